"""Which columns of whole numbers float64 would change: beyond 2^53 it does not hold them all, and pyarrow reads those beyond int64 as floats."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.writing.formats.tables import import_pyarrow
from headrace.writing.tensors import EXACT_INTEGERS

__all__ = ["WideIntegers"]

_INTEGER = r"\A[ \t]*[-+]?[0-9]+[ \t]*\z"  # RE2's grammar
_UNSIGNED = re.compile(r"[ \t]*[0-9]+[ \t]*")


class WideIntegers:
    """Looks at columns block by block; afterwards says which type holds what float64 does not."""

    def __init__(self) -> None:
        self._inexact: set[str] = set()  # columns with a whole number that float64 does not hold
        self._other: set[str] = set()  # columns with a value that uint64 does not hold

    def see_integers(self, name: str, values: npt.NDArray[np.int64]) -> None:
        """A block of a column that was read as int64: the values present."""
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if low < 0:
            self._other.add(name)
        if max(-low, high) > EXACT_INTEGERS:
            floats = values.astype(np.float64)
            # The largest would be 2^63 as a float, and out of range on the way back.
            if bool((floats >= 2.0**63).any()) or not np.array_equal(floats.astype(np.int64), values):
                self._inexact.add(name)

    @staticmethod
    def suspect(values: npt.NDArray[np.float64]) -> bool:
        """Whether a block that was read as float64 may hold a whole number that became another."""
        return bool((np.abs(values) >= EXACT_INTEGERS).any())

    def see_floats(self, name: str, texts: Any) -> None:
        """A block of a column that was read as float64: None if it holds no suspect, and so some fraction, or the texts of the values present."""
        if texts is None:
            self._other.add(name)
            return
        whole = texts.filter(import_pyarrow("pyarrow.compute", "converting CSV files").match_substring_regex(texts, _INTEGER))
        if len(whole) < len(texts):
            self._other.add(name)
        for text in whole.to_pylist():
            number = int(text)
            if name not in self._inexact and _rounded(number):
                self._inexact.add(name)
            if not (_UNSIGNED.fullmatch(text) and number < 1 << 64):
                self._other.add(name)

    def type_of(self, pyarrow: Any, name: str) -> Any:
        """The pyarrow type for a column that float64 would hold but for this: float64, uint64, or text as the last resort."""
        if name not in self._inexact:
            return pyarrow.float64()
        return pyarrow.string() if name in self._other else pyarrow.uint64()


def _rounded(number: int) -> bool:
    try:
        return int(float(number)) != number
    except OverflowError:
        return True
