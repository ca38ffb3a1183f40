"""Cutting CSV text at the ends of lines, against Python's own csv module."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import CorruptDataError
from headrace.writing import convert
from headrace.writing.formats.csv_lines import CsvText
from tests.writing.readback import read

CELLS = st.text(alphabet='ab,"\n é', max_size=6)


def written(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_MINIMAL, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8), extra=st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_ends_are_where_the_csv_module_ends_a_line(rows: list[list[str]], extra: int) -> None:
    text = written(rows)
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + len(written([row])))
    cut = len(text) - min(extra, len(text))
    # Of a text that stops inside a value, only what came before can be told.
    whole = [end for end in ends if end <= cut]
    assert CsvText(text[:cut], ",").last_end() == whole[-1]
    assert CsvText(text, ",").first_end() == ends[1]
    assert CsvText(text, ",").unclosed is None


@pytest.mark.parametrize(
    ("text", "last", "first"),
    [
        (b"", 0, 0),
        (b"a,b", 0, 0),
        (b'5" pipe,x\n6" pipe,"y\nz"\n1,', 24, 10),  # quotes inside plain values quote nothing
        (b'a"b"\n"c\nd', 5, 5),
        (b'x"",1\n"",2\n', 11, 6),
        (b'"a""\nb",1\n', 10, 10),
    ],
)
def test_quotes_count_at_the_start_of_a_value_only(text: bytes, last: int, first: int) -> None:
    assert (CsvText(text, ",").last_end(), CsvText(text, ",").first_end()) == (last, first)


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_converted_text_is_what_was_written(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("csv")
    rows = [["x" + cell for cell in row] for row in rows]  # neither numbers nor blank lines
    (folder / "a.csv").write_bytes(written([["one", "two\nlines"], *rows]))
    convert(folder / "a.csv", folder / "d", block_bytes=32)
    assert read(folder / "d", "one") == [row[0] for row in rows]
    assert read(folder / "d", "two\nlines") == [row[1] for row in rows]


def test_a_line_break_in_quotes_at_the_end_of_a_block(tmp_path: Path) -> None:
    # One column: cut at the wrong line break, each half would be read as a line of its own.
    values = [f"{number}\n" * 9 for number in range(500)]
    (tmp_path / "a.csv").write_bytes(written([["text"], *([value] for value in values)]))
    convert(tmp_path / "a.csv", tmp_path / "d", block_bytes=64)
    assert read(tmp_path / "d", "text") == values


def test_a_quote_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,"x\n2,y\n3,z\n')
    with pytest.raises(CorruptDataError, match=r"a.csv: the quoted value that begins with '\"x\\n2,y\\n3,z\\n' is never closed"):
        convert(tmp_path / "a.csv", tmp_path / "d")
    (tmp_path / "b.csv").write_bytes(b'a,b\n1,"x' + b"\n2,y" * 1000)
    with pytest.raises(CorruptDataError, match="is never closed"):
        convert(tmp_path / "b.csv", tmp_path / "d", block_bytes=64)
    (tmp_path / "c.csv").write_bytes(b"a,b\n1," + b"x" * 2000)
    with pytest.raises(CorruptDataError, match="a line is longer than 1024 bytes"):
        convert(tmp_path / "c.csv", tmp_path / "d", block_bytes=64)
    assert not (tmp_path / "d").exists()
