"""What a column is: some values of one field, and how they become the bytes that the native writer takes.

Every Column can say which field it would like to be (`field`), be cut (`slice`, sharing memory), and be encoded for the field
that it must be (`encode`), which fails rather than change a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace._native import Field
from headrace.writing.dtypes import Array

__all__ = [
    "Column",
    "NativeColumn",
    "NullColumn",
    "Offsets",
    "Place",
    "Valid",
    "checked_valid",
    "even_offsets",
    "expected",
    "offsets_of",
    "timezone_metadata",
    "with_zeroed_nulls",
]

Valid = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.uint64]
NativeColumn = tuple[Array, Offsets | None, Valid | None]


@dataclass(frozen=True)
class Place:
    """Where values stand, for messages: `first` is the number of the column's first sample."""

    field: str
    first: int = 0

    def sample(self, row: int) -> str:
        """One sample's place, in words."""
        return f"sample {self.first + row}, field {self.field!r}"

    @property
    def column(self) -> str:
        """The column's place, in words."""
        return f"field {self.field!r} (samples from {self.first})" if self.first else f"field {self.field!r}"


class Column(ABC):
    """Values of one field for a run of samples."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def field(self, name: str) -> Field:
        """The field that holds these values without loss. Raises ValueError or TypeError naming field and sample."""

    @abstractmethod
    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""

    @abstractmethod
    def encode(self, field: Field, place: Place) -> NativeColumn:
        """(values, offsets, valid) as the native writer wants them; shares memory where it can.

        Raises ValueError naming field and sample.
        """

    @abstractmethod
    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""


def expected(field: Field) -> str:
    """What a field holds, in words."""
    if field.kind == "tensor":
        return f"{field.dtype} of shape {field.shape}" if field.shape else field.dtype
    if field.kind == "ragged":
        return f"{field.dtype} of shape {('any', *field.shape)}".replace("'", "")
    return {"string": "str", "bytes": "bytes", "image": "the bytes of an image file"}[field.kind]


def checked_valid(valid: Valid | None, field: Field, place: Place) -> Valid | None:
    """The validity to hand over, or None for all present. Raises ValueError if a field without nulls gets one."""
    if valid is None or bool(valid.all()):
        return None
    if not field.nullable:
        row = int(np.argmin(valid))
        raise ValueError(f"{place.sample(row)}: expected {expected(field)}, found null; pass schema= with nullable=True for this field")
    return np.ascontiguousarray(valid)


def even_offsets(rows: int, row_bytes: int) -> Offsets:
    """Offsets of `rows` values of `row_bytes` bytes each, shape (rows + 1,), uint64."""
    return np.arange(rows + 1, dtype=np.uint64) * np.uint64(row_bytes)


def with_zeroed_nulls(values: Array, valid: Valid | None) -> Array:
    """The format stores zero bytes for a null; copies only where there is one."""
    if valid is None:
        return values
    values = values.copy()
    values[~valid] = np.zeros((), dtype=values.dtype)
    return values


class NullColumn(Column):
    """Nothing but nulls: fits any nullable field, and says nothing about which."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        raise ValueError(f"field {name!r}: all {self.rows} samples seen are null, so its type is unknown; pass schema= with this field")

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        return NullColumn(end - begin)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        return 1.0

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        valid = checked_valid(np.zeros(self.rows, np.bool_), field, place)
        if field.kind == "tensor":
            return np.zeros(self.rows * field.row_bytes, np.uint8), None, valid
        return np.zeros(0, np.uint8), np.zeros(self.rows + 1, np.uint64), valid


def offsets_of(lengths: Array) -> Offsets:
    """Offsets (n + 1,) uint64 of pieces with these byte lengths, shape (n,)."""
    offsets = np.zeros(len(lengths) + 1, np.uint64)
    np.cumsum(lengths, dtype=np.uint64, out=offsets[1:])
    return offsets


def timezone_metadata(timezone: str) -> str:
    """The field metadata (JSON) of dates that are stored as UTC and were shown in a time zone."""
    escaped = timezone.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"timezone": "{escaped}"}}'
