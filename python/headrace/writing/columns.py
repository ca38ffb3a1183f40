"""Columns that are arrays: of fixed shape (ArrayColumn), or flat values with offsets (OffsetColumn)."""

from __future__ import annotations

import numpy as np

from headrace._native import Field
from headrace.writing.base import (
    Column,
    NativeColumn,
    Offsets,
    Place,
    Valid,
    checked_valid,
    even_offsets,
    expected,
    offsets_of,
    with_zeroed_nulls,
)
from headrace.writing.dtypes import Array, cast
from headrace.writing.text import TextColumn

__all__ = ["ArrayColumn", "OffsetColumn"]


class ArrayColumn(Column):
    """One array, first dimension samples. `valid` is True where a value is present; None: everywhere. `weak`: made of Python numbers."""

    def __init__(self, values: Array, dtype: str, *, valid: Valid | None = None, weak: bool = False, metadata: str = "") -> None:
        self.values = values
        self.dtype = dtype
        self.valid = valid
        self.weak = weak
        self.metadata = metadata

    def __len__(self) -> int:
        return len(self.values)

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        nullable = self.valid is not None and not bool(self.valid.all())
        return Field(name, "tensor", self.dtype, self.values.shape[1:], nullable, metadata=self.metadata)

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        valid = None if self.valid is None else self.valid[begin:end]
        return ArrayColumn(self.values[begin:end], self.dtype, valid=valid, weak=self.weak, metadata=self.metadata)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        return float(self.values.dtype.itemsize * int(np.prod(self.values.shape[1:], dtype=np.int64)))

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        if field.kind in ("bytes", "image", "string"):
            return self._encode_bytes(field, place)
        valid = checked_valid(self.valid, field, place)
        inner = self.values.shape[1:] if field.kind == "tensor" else self.values.shape[2:]
        if inner != field.shape or (field.kind == "ragged" and self.values.ndim < 2):
            raise ValueError(f"{place.column}: expected {expected(field)}, found {self.dtype} of shape {self.values.shape[1:]}")
        values = cast(self.values, self.dtype, field.dtype, weak=self.weak, where=place.column)
        if field.kind == "tensor":
            return with_zeroed_nulls(values, valid), None, valid
        if valid is not None:
            lengths = np.where(valid, np.uint64(self.values.shape[1] * field.row_bytes), np.uint64(0))
            return np.ascontiguousarray(values[valid]), offsets_of(lengths), valid
        return values, even_offsets(len(self), self.values.shape[1] * field.row_bytes), None

    def _encode_bytes(self, field: Field, place: Place) -> NativeColumn:
        if self.values.dtype.kind in "SU" and self.values.ndim == 1:
            present = self.valid if self.valid is not None else np.ones(len(self), np.bool_)
            texts = [text if here else None for text, here in zip(self.values.tolist(), present.tolist(), strict=True)]
            return TextColumn(texts, "string" if self.values.dtype.kind == "U" else "bytes").encode(field, place)
        if field.kind != "string" and self.dtype == "uint8" and self.values.ndim == 2:
            plain = Field(field.name, "ragged", "uint8", (), field.nullable)
            return self.encode(plain, place)
        raise ValueError(f"{place.column}: expected {expected(field)}, found {self.dtype} of shape {self.values.shape[1:]}")


class OffsetColumn(Column):
    """Values of varying length in one array: `values` flat, `offsets` uint64 (rows + 1,) in bytes. Null samples have length 0."""

    def __init__(
        self, kind: str, values: Array, offsets: Offsets, *, dtype: str = "uint8", shape: tuple[int, ...] = (), valid: Valid | None = None
    ) -> None:
        self.kind = kind
        self.values = values
        self.offsets = offsets
        self.dtype = dtype
        self.shape = shape
        self.valid = valid

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        nullable = self.valid is not None and not bool(self.valid.all())
        return Field(name, self.kind, self.dtype, self.shape, nullable)

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        offsets = self.offsets[begin : end + 1]
        flat = self.values.reshape(-1).view(np.uint8)
        values = flat[int(offsets[0]) : int(offsets[-1])].view(self.values.dtype)
        valid = None if self.valid is None else self.valid[begin:end]
        return OffsetColumn(self.kind, values, offsets - offsets[0], dtype=self.dtype, shape=self.shape, valid=valid)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        return float(self.offsets[-1] - self.offsets[0]) / max(len(self), 1)

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        valid = checked_valid(self.valid, field, place)
        bytes_like = ("bytes", "image")
        if field.kind == self.kind == "ragged":
            if field.shape != self.shape:
                raise ValueError(
                    f"{place.column}: expected {expected(field)}, found {self.dtype} of shape {(len(self.values), *self.shape)}"
                )
            values = cast(self.values, self.dtype, field.dtype, weak=False, where=place.column)
            scale = values.dtype.itemsize, self.values.dtype.itemsize
            return values, self.offsets // np.uint64(scale[1]) * np.uint64(scale[0]), valid
        if field.kind == self.kind or (field.kind in bytes_like and (self.kind in bytes_like or self.dtype == "uint8")):
            return self.values, self.offsets, valid
        if field.kind == "tensor" and field.dtype[0] in "SU" and self.kind in ("string", "bytes"):
            return self._encode_fixed(field, place)
        raise ValueError(f"{place.column}: expected {expected(field)}, found {self.kind} values")

    def _encode_fixed(self, field: Field, place: Place) -> NativeColumn:
        raw = self.values.tobytes()
        ends = self.offsets.tolist()
        present = self.valid.tolist() if self.valid is not None else [True] * len(self)
        pieces = [raw[b:e] if here else None for b, e, here in zip(ends[:-1], ends[1:], present, strict=True)]
        if self.kind == "string":
            return TextColumn([None if piece is None else piece.decode() for piece in pieces], "string").encode(field, place)
        return TextColumn(list(pieces), "bytes").encode(field, place)
