import pytest

from headrace.report.table import Column, key_values, table
from headrace.report.terminal import Style, display_width

COLUMNS = (Column(title="field", cut=True), Column(title="bytes", right=True))


def test_numbers_are_right_aligned_and_lines_have_no_trailing_blanks():
    text = table(COLUMNS, [["a", "1"], ["image", "12,345"]])
    assert text.splitlines() == ["field   bytes", "a           1", "image  12,345"]


def test_a_table_that_is_too_wide_gives_way_in_the_column_that_may_be_cut():
    lines = table(COLUMNS, [["x" * 40, "1"]], width=20).splitlines()
    assert lines[1] == "xxxxxxxxxx...      1"
    assert max(map(display_width, lines)) == 20


def test_columns_that_may_not_be_cut_stay_whole():
    columns = (Column(title="n", right=True),)
    assert table(columns, [["123456789"]], width=4).splitlines()[1] == "123456789"


def test_columns_that_may_be_dropped_go_before_others_are_cut():
    columns = (Column(title="field", cut=True), Column(title="a", drop=True), Column(title="b"), Column(title="c", drop=True))
    cells = [["x" * 20, "1", "2", "3"]]
    assert table(columns, cells, width=29).splitlines()[1] == "x" * 20 + "  1  2  3"
    assert table(columns, cells, width=28).splitlines()[1] == "x" * 20 + "  1  2"
    assert table(columns, cells, width=25).splitlines()[1] == "x" * 20 + "  2"
    assert table(columns, cells, width=20).splitlines()[1] == "x" * 14 + "...  2"


def test_wide_characters_count_two_columns():
    lines = table(COLUMNS, [["日本", "1"], ["abcd", "2"]]).splitlines()
    assert display_width(lines[1]) == display_width(lines[2])


def test_cells_cannot_steer_the_terminal():
    text = table(COLUMNS, [["evil\x1b[2J\r\n", "1"]])
    assert "\x1b" not in text
    assert "\\x1b[2J\\r\\n" in text
    assert len(text.splitlines()) == 2


def test_a_line_with_a_missing_cell_is_refused():
    with pytest.raises(ValueError, match="line 1 has 1 cells, the table has 2 columns"):
        table(COLUMNS, [["a", "1"], ["b"]])


def test_titles_are_bold_only_with_style():
    assert table(COLUMNS, [], style=Style(enabled=True)).startswith("\x1b[1m")
    assert "\x1b" not in table(COLUMNS, [])


def test_keys_are_padded_and_values_cut():
    assert key_values([("a", "1"), ("long", "2")], indent="  ").splitlines() == ["  a     1", "  long  2"]
    assert key_values([("a", "x" * 50)], width=20) == "a  xxxxxxxxxxxxxx..."
    assert key_values([]) == ""
