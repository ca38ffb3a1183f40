import subprocess
import sys

import pytest

from headrace.report.plot import BarGroup, Line, draw_bars, draw_lines

PNG = b"\x89PNG\r\n\x1a\n"


def png_pixels(path):
    """(columns, rows) from the header of a PNG, and whether it holds more than one colour."""
    from PIL import Image

    with Image.open(path) as image:
        return image.size, len(image.convert("RGB").getcolors(1 << 20))


def test_lines_are_written_as_png(tmp_path):
    draw_lines(
        tmp_path / "a.png",
        title="t",
        x_label="x",
        y_label="y",
        lines=[Line(label="ours", x=[1, 2, 4], y=[3.0, 5.0, 9.0]), Line(label="fio", x=[1, 2], y=[3.0, 6.0], dashed=True)],
    )
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    (columns, rows), colours = png_pixels(tmp_path / "a.png")
    assert columns > 800
    assert rows > 400
    assert colours > 10


def test_bars_grow_with_their_number(tmp_path):
    sizes = []
    for count in (2, 12):
        group = BarGroup(
            title="g", labels=[str(i) for i in range(count)], values=list(range(1, count + 1)), marks=[1.5] + [None] * (count - 1)
        )
        draw_bars(tmp_path / "b.png", title="t", x_label="x", groups=[group], mark_label="goal", line_at=1.0)
        sizes.append(png_pixels(tmp_path / "b.png")[0][1])
    assert sizes[1] > 2 * sizes[0]


def test_the_ending_chooses_the_kind_of_file(tmp_path):
    draw_bars(tmp_path / "b.svg", title="a <title>", x_label="x", groups=[BarGroup(title="g", labels=["a"], values=[1.0])], log=True)
    assert "<svg" in (tmp_path / "b.svg").read_text()


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_lines(tmp_path / "a.png", title="t", x_label="x", y_label="y", lines=[])
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_bars(tmp_path / "a.png", title="t", x_label="x", groups=[BarGroup(title="g", labels=[], values=[])])
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from headrace.report.plot import require_plotting\n"
        "try:\n    require_plotting()\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'headrace[plot]'" in done.stdout
