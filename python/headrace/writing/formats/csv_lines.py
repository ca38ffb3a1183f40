"""Where lines of CSV text end: at the line breaks that no quoted value holds (RFC 4180, quotes doubled inside quotes).

Needed to cut text of any size into blocks that can be parsed alone.
"""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["CsvText"]

_QUOTE = ord('"')


class CsvText:
    """Text that starts at the start of a line. Ends are byte positions after a line break; 0 where there is none."""

    def __init__(self, text: bytes, delimiter: str) -> None:
        self.text = text
        self._delimiter = delimiter.encode()

    @cached_property
    def _marks(self) -> npt.NDArray[np.int64]:
        """Positions where quoting begins and ends, by turns: text before an even number of them is outside quotes."""
        if b'"' not in self.text:
            return np.empty(0, np.int64)
        text = np.frombuffer(self.text, np.uint8)
        quotes = np.flatnonzero(text == _QUOTE)
        opening = quotes[::2][quotes[::2] > 0] - 1
        # Every quote is a mark as long as each that opens one stands at the start of a value, or doubles the one before it.
        starts = (*self._delimiter, *b'\n\r"')
        return quotes if bool(np.isin(text[opening], starts).all()) else self._exact_marks()

    def _exact_marks(self) -> npt.NDArray[np.int64]:
        # Quotes inside plain values (5" pipe) quote nothing.
        quoted = rb'(?:\A|(?<=[\n\r%s]))"[^"]*+(?:""[^"]*+)*+("|\Z)' % re.escape(self._delimiter)
        marks = []
        for match in re.finditer(quoted, self.text):
            marks.append(match.start())
            if match[1]:
                marks.append(match.start(1))
        return np.array(marks, np.int64)

    def last_end(self) -> int:
        """End of the last whole line."""
        end = len(self.text)
        while (found := self.text.rfind(b"\n", 0, end)) >= 0:
            before = int(np.searchsorted(self._marks, found))
            if before % 2 == 0:
                return found + 1
            end = int(self._marks[before - 1])
        return 0

    def first_end(self) -> int:
        """End of the first whole line."""
        begin = 0
        while (found := self.text.find(b"\n", begin)) >= 0:
            before = int(np.searchsorted(self._marks, found))
            if before % 2 == 0:
                return found + 1
            if before == len(self._marks):
                return 0
            begin = int(self._marks[before])
        return 0

    @property
    def unclosed(self) -> bytes | None:
        """The first bytes of the quoted value that does not end in this text."""
        if len(self._marks) % 2 == 0:
            return None
        begin = int(self._marks[-1])
        return self.text[begin : begin + 40]
