"""What a stream can show: colour, width, and text that cannot steer the terminal.

Depends on the standard library only, so that `headrace --help` stays fast.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

__all__ = ["PLAIN", "Style", "columns_of", "display_width", "fit", "is_terminal", "printable", "style_for"]

_DEFAULT_COLUMNS = 80
_ELLIPSIS = "..."


def is_terminal(stream: IO[str] | None) -> bool:
    """True if `stream` is an open terminal. Python has None for a stream that was closed before it began (`>&-`)."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def columns_of(stream: IO[str] | None) -> int | None:
    """Columns of the terminal behind `stream`, asked anew at each call so that a resized window is seen; None if it is not a terminal."""
    if stream is None or not is_terminal(stream):
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return _DEFAULT_COLUMNS
    return columns if columns > 0 else _DEFAULT_COLUMNS


@dataclass(frozen=True)
class Style:
    """Wraps text in colour codes, or returns it as it is."""

    enabled: bool

    def bold(self, text: str) -> str:
        """For a heading."""
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        """For what is read last."""
        return self._wrap("2", text)

    def red(self, text: str) -> str:
        """For damage and errors."""
        return self._wrap("31", text)

    def green(self, text: str) -> str:
        """For what is well."""
        return self._wrap("32", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and text else text


PLAIN = Style(enabled=False)


def style_for(stream: IO[str] | None, choice: str = "auto", environ: Mapping[str, str] | None = None) -> Style:
    """The style for `stream`. choice: "auto" (a terminal, unless NO_COLOR is set or TERM is dumb), "always", "never"."""
    if choice not in ("auto", "always", "never"):
        raise ValueError(f"choice must be 'auto', 'always' or 'never', got {choice!r}")
    if choice != "auto":
        return Style(enabled=choice == "always")
    environ = os.environ if environ is None else environ
    return Style(enabled=is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")


def printable(text: str) -> str:
    """`text` with every control and formatting character escaped: stored names and values must not move the cursor or hide text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def display_width(text: str) -> int:
    """Terminal columns of `text`, which holds no colour codes. Wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """`text`, cut to at most `columns` terminal columns; a cut text ends in "..." where there is room for it."""
    if display_width(text) <= columns:
        return text
    mark = _ELLIPSIS if columns >= 2 * len(_ELLIPSIS) else ""
    room = columns - len(mark)
    kept: list[str] = []
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + mark
