"""Aligned tables of text, cut to the width of the terminal.

Depends on `terminal` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.report.terminal import PLAIN, Style, display_width, fit, printable

__all__ = ["Column", "key_values", "table"]

_GAP = "  "
_LEAST_COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. Numbers go right. Where the table is wider than the terminal, columns marked `drop` go first, then those marked `cut` shrink."""

    title: str
    right: bool = False
    cut: bool = False
    drop: bool = False

    def align(self, text: str, columns: int) -> str:
        """`text` padded to `columns` terminal columns."""
        blank = " " * (columns - display_width(text))
        return blank + text if self.right else text + blank


def _fitting(columns: Sequence[Column], widths: Sequence[int], limit: int) -> list[int]:
    """Numbers of the columns that stay: those marked `drop` go, the last one first, until the table fits."""
    kept = list(range(len(columns)))
    for number in reversed(range(len(columns))):
        if sum(widths[i] + len(_GAP) for i in kept) - len(_GAP) <= limit:
            break
        if columns[number].drop:
            kept.remove(number)
    return kept


def _shrink(columns: Sequence[Column], widths: list[int], limit: int) -> None:
    """Take columns away from the widest column that may be cut, one at a time, until the table fits or none can give more."""
    total = sum(widths) + len(_GAP) * (len(widths) - 1)
    while total > limit:
        given = [i for i, column in enumerate(columns) if column.cut and widths[i] > _LEAST_COLUMNS]
        if not given:
            return
        widths[max(given, key=lambda i: widths[i])] -= 1
        total -= 1


def table(columns: Sequence[Column], cells: Sequence[Sequence[str]], *, width: int | None = None, style: Style = PLAIN) -> str:
    """Lines of a table: titles, then one line for each of `cells`. width: columns of the terminal, None for no limit.

    Control characters in cells are escaped. Raises ValueError if a line has another number of cells than there are columns.
    """
    lines = [[printable(cell) for cell in line] for line in cells]
    for number, line in enumerate(lines):
        if len(line) != len(columns):
            raise ValueError(f"line {number} has {len(line)} cells, the table has {len(columns)} columns")
    titles = [column.title for column in columns]
    widths = [max(display_width(line[i]) for line in [titles, *lines]) for i in range(len(columns))]
    if width is not None:
        kept = _fitting(columns, widths, width)
        columns, titles, widths = [columns[i] for i in kept], [titles[i] for i in kept], [widths[i] for i in kept]
        lines = [[line[i] for i in kept] for line in lines]
        _shrink(columns, widths, width)

    def render(line: Sequence[str]) -> str:
        return _GAP.join(c.align(fit(text, w), w) for c, text, w in zip(columns, line, widths, strict=True)).rstrip()

    return "\n".join([style.bold(render(titles)), *(render(line) for line in lines)])


def key_values(pairs: Sequence[tuple[str, str]], *, indent: str = "", width: int | None = None, style: Style = PLAIN) -> str:
    """Lines "key  value", keys padded to one width. width: cut lines to it, None for no limit."""
    longest = max((display_width(printable(key)) for key, _ in pairs), default=0)
    lines = []
    for key, value in pairs:
        key, value = printable(key), printable(value)
        if width is not None:
            value = fit(value, max(_LEAST_COLUMNS, width - len(indent) - longest - len(_GAP)))
        lines.append(f"{indent}{style.dim(key)}{' ' * (longest - display_width(key))}{_GAP}{value}".rstrip())
    return "\n".join(lines)
