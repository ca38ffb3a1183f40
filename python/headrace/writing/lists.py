"""Columns whose samples are arrays of their own: stacked to a tensor field, or concatenated to a ragged one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace._native import Field
from headrace.writing.base import Column, NativeColumn, NullColumn, Place, Valid, checked_valid, expected, offsets_of, with_zeroed_nulls
from headrace.writing.dtypes import Array, cast
from headrace.writing.tensors import as_array

__all__ = ["ListColumn"]


class ListColumn(Column):
    """One array a sample, None where null. `dtypes` and `weak` run beside `arrays`."""

    def __init__(self, arrays: list[Array | None], dtypes: list[str], weak: list[bool], place: Place) -> None:
        self.arrays = arrays
        self.dtypes = dtypes
        self.weak = weak
        self.place = place

    @classmethod
    def of(cls, values: Sequence[Any], place: Place) -> ListColumn:
        """Of arrays, tensors, lists of numbers and None. Raises TypeError or ValueError naming field and sample."""
        arrays: list[Array | None] = []
        dtypes, weak = [], []
        for row, value in enumerate(values):
            if value is None or value is np.ma.masked or _is_masked(value, place.sample(row)):
                arrays.append(None)
                dtypes.append("")
                weak.append(True)
                continue
            array, name, is_weak = as_array(value, place.sample(row))
            arrays.append(array)
            dtypes.append(name)
            weak.append(is_weak)
        return cls(arrays, dtypes, weak, place)

    def __len__(self) -> int:
        return len(self.arrays)

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        place = Place(self.place.field, self.place.first + begin)
        return ListColumn(self.arrays[begin:end], self.dtypes[begin:end], self.weak[begin:end], place)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        probe = self.arrays[:: max(len(self.arrays) // 1000, 1)]
        return sum(array.nbytes for array in probe if array is not None) / max(len(probe), 1)

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        known = [row for row, array in enumerate(self.arrays) if array is not None]
        if not known:
            return NullColumn(len(self)).field(name)
        # An empty Python list has neither a dtype nor inner dimensions of its own.
        telling = [row for row in known if not self._is_blank(row)] or known
        dtype = self._common_dtype(telling)
        nullable = len(known) < len(self)
        shapes = {self._shape(row) for row in telling}
        if len(shapes) == 1 and len(telling) == len(known):
            return Field(name, "tensor", dtype, shapes.pop(), nullable)
        first = self._shape(telling[0])
        for row in telling:
            shape = self._shape(row)
            if len(shape) != len(first) or shape[1:] != first[1:]:
                raise ValueError(
                    f"{self.place.sample(row)}: shape {shape} after {first}; only the first dimension may vary. "
                    "Pad or flatten the samples, or store them as encoded bytes"
                )
        return Field(name, "ragged", dtype, first[1:], nullable)

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        valid: Valid | None = None
        if None in self.dtypes or "" in self.dtypes:
            valid = checked_valid(np.array([name != "" for name in self.dtypes]), field, place)
        if field.kind == "tensor":
            return with_zeroed_nulls(self._stacked(field, place), valid), None, valid
        if field.kind == "ragged":
            return (*self._joined(field, place), valid)
        if field.kind in ("bytes", "image"):
            plain = Field(field.name, "ragged", "uint8", (), field.nullable)
            return (*self._joined(plain, place), valid)
        row = next((row for row, array in enumerate(self.arrays) if array is not None), 0)
        raise ValueError(f"{place.sample(row)}: expected {expected(field)}, found {self.dtypes[row]} of shape {self._shape(row)}")

    def _stacked(self, field: Field, place: Place) -> Array:
        for row, array in enumerate(self.arrays):
            if array is not None and array.shape != field.shape:
                hint = ""
                if array.ndim == len(field.shape) and array.shape[1:] == field.shape[1:]:
                    hint = f"; if lengths vary, pass schema= with Field({field.name!r}, 'ragged', {field.dtype!r}, {array.shape[1:]})"
                raise ValueError(f"{place.sample(row)}: expected {expected(field)}, found {self.dtypes[row]} of shape {array.shape}{hint}")
        blank = np.zeros(field.shape, _like(field.dtype))
        pieces = [blank if array is None else array for array in self._cast(field.dtype, place)]
        stacked = np.stack(pieces) if pieces else np.zeros((0, *field.shape), blank.dtype)
        return cast(stacked, field.dtype, field.dtype, weak=False, where=place.column)

    def _joined(self, field: Field, place: Place) -> tuple[Array, Any]:
        for row, array in enumerate(self.arrays):
            if array is not None and (array.ndim < 1 or array.shape[1:] != field.shape) and not self._is_blank(row):
                raise ValueError(f"{place.sample(row)}: expected {expected(field)}, found {self.dtypes[row]} of shape {array.shape}")
        lengths = np.fromiter((0 if array is None else len(array) for array in self.arrays), np.uint64, len(self.arrays))
        pieces = [array for array in self._cast(field.dtype, place) if array is not None and len(array)]
        joined = np.concatenate(pieces) if pieces else np.zeros((0, *field.shape), _like(field.dtype))
        values = cast(joined, field.dtype, field.dtype, weak=False, where=place.column)
        return values, offsets_of(lengths * np.uint64(field.row_bytes))

    def _cast(self, dtype: str, place: Place) -> list[Array | None]:
        if all(name == dtype or not name for name in self.dtypes):
            return self.arrays
        result: list[Array | None] = []
        for row, array in enumerate(self.arrays):
            if array is not None and not self._is_blank(row):
                array = cast(array, self.dtypes[row], dtype, weak=self.weak[row], where=place.sample(row))
            result.append(array)
        return result

    def _shape(self, row: int) -> tuple[int, ...]:
        array = self.arrays[row]
        return () if array is None else array.shape

    def _is_blank(self, row: int) -> bool:
        return self.weak[row] and self._shape(row) == (0,)

    def _common_dtype(self, rows: list[int]) -> str:
        """The dtype of all; Python numbers may be int in one sample and float in the next."""
        names = {self.dtypes[row] for row in rows}
        if len(names) == 1:
            return names.pop()
        if all(self.weak[row] for row in rows) and names <= {"int64", "float64", "complex128"}:
            return max(names, key=["int64", "float64", "complex128"].index)
        first = self.dtypes[rows[0]]
        row = next(row for row in rows if self.dtypes[row] != first)
        raise ValueError(f"{self.place.sample(row)}: expected {first}, found {self.dtypes[row]}; convert the samples to one dtype")


def _is_masked(value: Any, where: str) -> bool:
    """Whether all of a sample is masked. Raises ValueError if a part is."""
    if not isinstance(value, np.ma.MaskedArray) or not value.size:
        return False
    masked = int(np.ma.getmaskarray(value).sum())
    if 0 < masked < value.size:
        raise ValueError(f"{where}: {masked} of {value.size} values are masked; only whole samples can be null: fill them first")
    return masked > 0


def _like(dtype: str) -> Any:
    return "<u2" if dtype == "bfloat16" else np.dtype(dtype).newbyteorder("<")
