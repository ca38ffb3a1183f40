"""The page of `headrace report`: everything in it, nothing outside it, and shown right by a real browser where one is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headrace as hr
from headrace.report.page import make_page
from tests.cli.command_line import headrace_command

SEARCH = {
    "defaults": {"num_workers": 2},
    "trials": [
        {"number": 0, "options": {"num_workers": 2, "reader": "mmap"}, "ratio": 1.0, "samples_per_second": 1e6, "error": None},
        {"number": 1, "options": {"num_workers": 1, "reader": "pread"}, "ratio": 1.5, "samples_per_second": 1.5e6, "error": None},
        {"number": 2, "options": {"num_workers": 0, "reader": "uring"}, "ratio": None, "samples_per_second": None, "error": "OSError: <no> rings"},
    ],
    "importance": {"num_workers": 0.75, "reader": 0.25},
}  # fmt: skip
READINGS = [{"loader": "train", "time": 100.0 + i, "samples_per_second": 1000.0 * i, "stall_share": 0.1, "totals": {}} for i in range(20)]


class Checker(HTMLParser):
    """Tags that close in order, and what would be loaded from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.loads: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.loads += [tag] if tag in ("script", "link", "iframe", "object", "img") else []
        if tag not in ("meta", "br", "line", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_everything_is_there_and_nothing_is_loaded() -> None:
    page = make_page(
        {"tune.json": SEARCH, "monitor.jsonl": READINGS, "odd": [1, 2], "nested": {"a": {"b": {"c": 3}}}}, title="Tuesday's run"
    )
    checked = Checker(page)
    assert checked.loads == []
    assert "url(" not in page
    assert "http" not in page
    for word in ("Tuesday's run", "tune.json", "best so far", "75.0 %", "pread", "1.5", "OSError: <no> rings", "stall share", "20 records"):
        assert word in checked.words, word
    assert page.count("<polyline") == 4


def test_markup_in_results_stays_text() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    document = {evil: evil, "trials": [{"number": 0, "ratio": 1.0, "options": {evil: evil}}], "importance": {evil: 1.0}, "list": [evil]}
    page = make_page({evil: document, "readings": [{"loader": evil, "time": 1.0, "samples_per_second": 1.0}]}, title=evil)
    assert Checker(page).loads == []
    assert "<script" not in page


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text(json.dumps(SEARCH))
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(one) + "\n" for one in READINGS))
    out = tmp_path / "page.html"
    done = headrace_command("report", str(tmp_path / "tune.json"), str(tmp_path / "m.jsonl"), "-o", str(out))
    assert done.code == 0, done.err
    assert "best so far" in out.read_text()
    (tmp_path / "bad").write_text("{")
    done = headrace_command("report", str(tmp_path / "bad"), "-o", str(out))
    assert done.code == 2
    assert "neither JSON nor JSON lines" in done.err
    assert "best so far" in out.read_text()
    assert headrace_command("report", str(tmp_path / "none"), "-o", str(out)).code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "m.jsonl", "page.html", "tune.json"]


def test_what_bench_loader_prints_becomes_bars(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"x": np.arange(2000.0)})
    done = headrace_command("bench", "loader", str(tmp_path / "d"), "--epochs", "2", "--workers", "0,1", "--json")
    assert done.code == 0, done.err
    page = make_page({"bench": done.json})
    assert page.count("<rect") >= 2
    words = Checker(page).words
    assert "headrace, 1 workers" in words
    assert "limit of the machine" in words


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser: Debian's chromium")
def test_a_browser_shows_it(tmp_path: Path) -> None:
    """Drawn by a headless Chromium: marks of each plot's colour are on the screenshot, and the document has the sections that were written."""
    page = tmp_path / "page.html"
    page.write_text(make_page({"tune.json": SEARCH, "monitor.jsonl": READINGS}))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars"]
    shot = tmp_path / "page.png"
    subprocess.run(
        ["chromium", *options, f"--screenshot={shot}", "--window-size=1000,1800", page.as_uri()], check=True, capture_output=True
    )
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (1800, 1000, 3)
    ours = np.abs(pixels - [0x0B, 0x6E, 0x99]).sum(axis=2) < 30
    assert ours.sum() > 2000  # the bars and the lines
    assert (pixels.sum(axis=2) < 300).sum() > 2000  # words
    dom = subprocess.run(["chromium", *options, "--dump-dom", page.as_uri()], check=True, capture_output=True, text=True).stdout
    assert dom.count("<section>") == 2
    assert dom.count("<polyline") == 4


ODD = {
    "not numbers": {"results": [{"bytes_per_second": "x", "num_workers": 1}], "trials": [{"ratio": 1.0}], "importance": {"a": "b"}},
    "not finite": {"a": float("nan"), "trials": [{"number": 0, "ratio": float("inf")}, {"number": 1, "ratio": float("nan")}]},
    "beyond floats": {"x_bytes": 10**400, "trials": [{"number": 10**400, "ratio": 10**400}], "importance": {"a": 10**400}},
    "below nothing": {"results": [{"bytes_per_second": -5, "num_workers": 1, "limit_share": "q", "name": "headrace"}]},
    "half a character": {"a": "\ud800"},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_are_shown_and_break_nothing(name: str) -> None:
    page = make_page({"odd": ODD[name]})
    Checker(page)
    assert 'width="-' not in page
    assert not any(word in page for word in ('points="nan', "inf,", ",nan", ",inf"))


def test_deep_and_long_documents_make_a_page_of_a_bounded_size() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    readings = [{"loader": f"l{i % 3}", "time": i, "samples_per_second": i % 7, "stall_share": 0.5} for i in range(100_000)]
    long = {
        "deep": deep, "text": "x" * 10**7, "trials": [{"number": i, "ratio": 1 + i} for i in range(50_000)],
        "parts": {f"k{i}": {"a": i} for i in range(50_000)}, **{f"k{i}": [i] for i in range(50_000)},
    }  # fmt: skip
    page = make_page({"long": long, "readings": readings})
    Checker(page)
    assert len(page) < 1_000_000


def test_thinning_keeps_what_stands_out() -> None:
    readings = [{"loader": "train", "time": i, "samples_per_second": 900.0 if i == 77_777 else 100.0} for i in range(100_000)]
    page = make_page({"readings": readings})
    points = [point.split(",") for point in page.split('points="')[1].split('"')[0].split()]
    assert len(points) <= 2000
    heights = sorted(float(y) for _, y in points)
    assert heights[0] < 25 < heights[1]  # y counts from the top: the one peak.


def report(tmp_path: Path, text: str) -> Any:
    (tmp_path / "in.json").write_text(text, encoding="utf-8")
    return headrace_command("report", str(tmp_path / "in.json"), "-o", str(tmp_path / "out.html"))


def test_a_last_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    lines = "".join(json.dumps(one) + "\n" for one in READINGS)
    assert report(tmp_path, lines + '{"loader": "tr').code == 0
    assert "20 records" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ('{"a": 1}\n{bad\n{"a": 2}\n', "line 2"),
        ('{"a": 1}\n{bad\n', "line 2"),
        ("[" * 100_000, "nests too deeply"),
        ("{", "line 1"),
    ],
)
def test_what_is_no_result_is_named(tmp_path: Path, text: str, words: str) -> None:
    done = report(tmp_path, text)
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "out.html").exists()


def test_a_result_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    done = headrace_command("report", str(tmp_path / "a.json"), "-o", str(tmp_path / "." / "a.json"))
    assert done.code == 2
    assert "is one of the results" in done.err
    assert (tmp_path / "a.json").read_text() == "{}"
