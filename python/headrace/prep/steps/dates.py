"""Parts of dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.prep.categories import unit_of
from headrace.prep.program import Program, Value
from headrace.prep.step import Learned, Step

__all__ = ["DateParts"]

_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second", "dayofyear")
_USUAL = ("year", "month", "day", "weekday", "hour", "minute", "dayofyear")


class DateParts(Step):
    """A datetime64 field as numbers, (batch, parts), float32: as pandas' `dt` has them, Monday being weekday 0; NaT gives nulls.

    parts: of "year", "month", "day", "weekday", "hour", "minute", "second", "dayofyear". cyclic: sine and cosine of where a part is in its cycle in place
        of the part (of 12 months, 31 days, 7 weekdays, 24 hours, 60 minutes and seconds, 365.25 days of a year); a year stays a number.
    fields=None: all datetime64 fields. Columns are called `<name>_<part>`, `<name>_<part>_sin`, `<name>_<part>_cos`.
    """

    def __init__(self, parts: Sequence[str] = _USUAL, *, cyclic: bool = False, fields: Any = None) -> None:
        for part in parts:
            if part not in _PARTS:
                raise ValueError(f"DateParts: there is no part {part!r}; expected some of {', '.join(_PARTS)}")
        if not parts or isinstance(parts, str):
            raise ValueError(f"DateParts: parts is {parts!r}; expected a list of {', '.join(_PARTS)}")
        self.parts, self.cyclic, self.fields = list(parts), cyclic, fields

    def suits(self, value: Value) -> bool:
        """Dates as the dataset has them."""
        return value.source is not None and value.kind == "tensor" and value.dtype.startswith("datetime64")

    def expects(self) -> str:
        """For an error."""
        return "expected datetime64"

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One step."""
        value = program.read(name, "int64")
        multiple, unit = unit_of(value.dtype)
        wanted = [(part, form) for part in self.parts for form in (("sin", "cos") if self.cyclic and part != "year" else ("",))]
        labels = [f"{component}_{part}" + (f"_{form}" if form else "") for component in value.names for part, form in wanted]
        made = program.make(name, "float64", (len(labels),), labels, nullable=True)
        program.add(
            "date_parts",
            [value.register],
            made.register,
            parts=np.array([_PARTS.index(part) for part, _ in wanted], np.int64),
            forms=np.array([("", "sin", "cos").index(form) for _, form in wanted], np.int64),
            multiple=np.array([multiple], np.int64),
            unit=[unit],
        )
        program.set(made)
