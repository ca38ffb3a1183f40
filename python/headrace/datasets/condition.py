"""Conditions on fields, for `Dataset.where()`: what a row is told by its values, and a chunk by its statistics."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Column", "Condition", "col"]

Mask = npt.NDArray[np.bool_]
Values = tuple[npt.NDArray[Any], Mask | None]  # values, and which are there (None: all)
Stats = Mapping[str, npt.NDArray[Any]]  # of a field's chunks: Dataset.chunk_stats()

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Condition(ABC):
    """True, false or, where a value is null, unknown for a row, as in SQL; `&`, `|` and `~` combine conditions, and unknown rows are not chosen."""

    @abstractmethod
    def fields(self) -> set[str]:
        """The fields that it looks at."""

    @abstractmethod
    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        """(true, false) of each row; neither where unknown."""

    @abstractmethod
    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        """(some row may be true, some row may be other than true) of each chunk."""

    def __and__(self, other: Condition) -> Condition:
        return _Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)

    def __bool__(self) -> bool:
        raise TypeError("a condition has no truth of its own; combine conditions with &, | and ~, each in brackets")


class Column:
    """A field in a condition: `col("x") > 5`, `col("x") == 5`, `col("x").isin([1, 2])`, `col("x").is_null()`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, field: str) -> None:
        if not isinstance(field, str):
            raise TypeError(f"col() takes a field's name, got {type(field).__name__}")
        self.field = field

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return _Compare(self.field, "==", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return _Compare(self.field, "!=", value)

    def __lt__(self, value: Any) -> Condition:
        return _Compare(self.field, "<", value)

    def __le__(self, value: Any) -> Condition:
        return _Compare(self.field, "<=", value)

    def __gt__(self, value: Any) -> Condition:
        return _Compare(self.field, ">", value)

    def __ge__(self, value: Any) -> Condition:
        return _Compare(self.field, ">=", value)

    def isin(self, values: Iterable[Any]) -> Condition:
        """Whether the value is one of these."""
        found: Condition = _NotNull(self.field) & self.is_null()  # of none
        for value in values:
            found = found | (self == value)
        return found

    def is_null(self) -> Condition:
        """Whether the value is null."""
        return ~_NotNull(self.field)

    def __repr__(self) -> str:
        return f"col({self.field!r})"


def col(field: str) -> Column:
    """A field, to be compared: `ds.where((hr.col("distance") > 500) & ~hr.col("carrier").isin(["AA", "UA"]))`."""
    return Column(field)


class _Compare(Condition):
    def __init__(self, field: str, name: str, value: Any) -> None:
        if value is None or isinstance(value, Condition | Column):
            raise TypeError(f"col({field!r}) {name} {value!r}: compare with a number, a text or a date; is_null() asks for null")
        self.field, self.name, self.value = field, name, value

    def fields(self) -> set[str]:
        return {self.field}

    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        values, valid = columns[self.field]
        if values.ndim != 1:
            raise TypeError(
                f"col({self.field!r}): its values have shape {values.shape[1:]}; only fields of one value a sample can be compared"
            )
        found = np.asarray(_OPERATORS[self.name](values, self._like(values.dtype)), np.bool_)
        known = np.ones(len(values), np.bool_) if valid is None else valid
        return found & known, ~found & known

    def _like(self, dtype: np.dtype[Any]) -> Any:
        """The value, to be compared with others of this dtype."""
        value: Any = self.value
        is_text = isinstance(value, str | bytes)
        try:
            if dtype.kind == "M" and not isinstance(value, bool | int | float):
                return np.datetime64(value)
            # A number counts in the field's unit; numpy 2.5 deprecates durations without one.
            if dtype.kind == "m" and not is_text:
                is_number = isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64)
                return np.asarray(value).astype(dtype)[()] if is_number else np.timedelta64(value)
            if dtype.kind == "S" and isinstance(value, str):
                return value.encode()
        except ValueError as error:
            raise TypeError(f"col({self.field!r}) {self.name} {self.value!r}: {error}; the field holds {dtype}") from error
        if is_text != (dtype.kind in "OUS") or dtype.kind == "M":
            raise TypeError(f"col({self.field!r}) {self.name} {self.value!r}: the field holds {dtype}")
        return value

    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        one = stats[self.field]
        low, high, known = one["min"], one["max"], np.asarray(one["has_min_max"], np.bool_)
        if low.dtype.kind not in "biufmM" or (isinstance(self.value, str | bytes) and low.dtype.kind != "M"):
            everything = np.ones(len(known), np.bool_)
            return everything, everything
        value: Any = self._like(low.dtype)
        if low.dtype.kind in "mM":
            known = known & ~np.isnat(low)
        possible = {
            "==": (low <= value) & (value <= high), "!=": (low != value) | (high != value),
            "<": low < value, "<=": low <= value, ">": high > value, ">=": high >= value,
        }  # fmt: skip
        opposite = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[self.name]
        may, may_not = np.asarray(possible[self.name], np.bool_), np.asarray(possible[opposite], np.bool_)
        # Statistics leave NaN and NaT out: it compares as unequal, and as nothing else.
        may_not = may_not | (one["null_count"] > 0) | (low.dtype.kind in "fmM")
        if self.name == "!=" and low.dtype.kind in "fmM":
            may = np.ones(len(known), np.bool_)
        all_null = np.asarray(one["null_count"] >= one["num_samples"])
        return (may | ~known) & ~all_null, may_not | ~known


class _NotNull(Condition):
    def __init__(self, field: str) -> None:
        self.field = field

    def fields(self) -> set[str]:
        return {self.field}

    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        values, valid = columns[self.field]
        there = np.ones(len(values), np.bool_) if valid is None else valid
        return there, ~there

    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        nulls = stats[self.field]["null_count"]
        return np.asarray(nulls < stats[self.field]["num_samples"]), np.asarray(nulls > 0)


class _Both(Condition):
    def __init__(self, left: Condition, right: Condition) -> None:
        if not isinstance(right, Condition):
            raise TypeError(f"cannot combine a condition with {right!r}")
        self.left, self.right = left, right

    def fields(self) -> set[str]:
        return self.left.fields() | self.right.fields()

    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        (a, not_a), (b, not_b) = self.left.rows(columns), self.right.rows(columns)
        return a & b, not_a | not_b

    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        (a, not_a), (b, not_b) = self.left.chunks(stats), self.right.chunks(stats)
        return a & b, not_a | not_b


class _Either(_Both):
    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        (a, not_a), (b, not_b) = self.left.rows(columns), self.right.rows(columns)
        return a | b, not_a & not_b

    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        (a, not_a), (b, not_b) = self.left.chunks(stats), self.right.chunks(stats)
        return a | b, not_a & not_b


class _Not(Condition):
    def __init__(self, inner: Condition) -> None:
        self.inner = inner

    def fields(self) -> set[str]:
        return self.inner.fields()

    def rows(self, columns: Mapping[str, Values]) -> tuple[Mask, Mask]:
        true, false = self.inner.rows(columns)
        return false, true

    def chunks(self, stats: Mapping[str, Stats]) -> tuple[Mask, Mask]:
        may, may_not = self.inner.chunks(stats)
        # Not true may be unknown, which the negation is too: that all rows are true is then never known.
        return may_not, np.ones(len(may), np.bool_) if isinstance(self.inner, _Compare | _Both) else may
