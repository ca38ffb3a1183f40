"""The columns of a native batch as statistics take them: numbers in rows, or texts as bytes and offsets. Nothing is made per sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace._native import Batch, Field
from headrace.datasets.layout import bfloat16_to_float32

__all__ = ["Numbers", "Texts", "column_of", "kind_of", "time_text"]

_FEW_DAYS = 3
_NOT_A_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Numbers:
    """values: (rows, width); valid: (rows,) or (rows, width), True where there is one."""

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class Texts:
    """Text i is values[offsets[i]:offsets[i + 1]], in the units of `values`: bytes, or the inner samples of a ragged field."""

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_] | None

    def lengths(self) -> npt.NDArray[np.int64]:
        """Shape (rows,), int64."""
        return np.diff(self.offsets)


def kind_of(field: Field) -> str:
    """What is profiled: "number", "time" (dates and spans, as counts of their unit), "text", "bytes" (images too) or "ragged"."""
    if field.kind == "tensor":
        if field.dtype[0] in "SU":
            return "text"
        return "time" if re.match(r"(datetime|timedelta)64", field.dtype) else "number"
    return {"string": "text", "ragged": "ragged"}.get(field.kind, "bytes")


class _Capsule:
    """A DLPack capsule as numpy takes one."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def column_of(batch: Batch, number: int, field: Field) -> Numbers | Texts:
    """Field `number` of a batch; arrays share its memory where they need no conversion. Ragged fields must come as offsets."""
    valid = np.array(batch.valid(number)) if field.nullable else None
    if field.kind == "tensor":
        values = batch.numpy(number)
        if field.dtype[0] in "SU":
            return _fixed_texts(values, valid)
        return _numbers(field, values, valid)
    if field.kind == "ragged":
        inner, offsets = batch.numpy(number)
        flat = _numbers(field, inner, None).values
        return Texts(flat, np.ascontiguousarray(offsets), valid)
    return Texts(
        np.from_dlpack(_Capsule(batch.dlpack(number))), np.from_dlpack(_Capsule(batch.dlpack(number, "offsets"))).astype(np.int64), valid
    )


def _numbers(field: Field, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> Numbers:
    if field.dtype == "bfloat16":
        values = bfloat16_to_float32(values)
    if values.dtype.kind == "c":
        values = values.view(values.real.dtype).reshape(*values.shape, 2)
    rows = len(values)
    flat = np.ascontiguousarray(values).reshape(rows, -1 if values.size else int(np.prod(values.shape[1:], dtype=np.int64)))
    if flat.dtype.kind in "mM":
        flat = flat.view(np.int64)
        there = flat != _NOT_A_TIME
        if not there.all():
            valid = there if valid is None else there & valid[:, None]
    return Numbers(flat, valid)


def _fixed_texts(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> Texts:
    """Texts of fixed length, several a row counting as one after the other; what numpy pads with is no part of them."""
    rows = len(values)
    flat = values.reshape(-1)
    if values.ndim > 1 and valid is not None:
        valid = np.repeat(valid, flat.size // max(rows, 1))
    if flat.dtype.kind == "U":
        flat = np.char.encode(flat, "utf-8")
    width = flat.dtype.itemsize
    letters = np.ascontiguousarray(flat).view(np.uint8).reshape(len(flat), width)
    used = letters != 0
    lengths = np.where(used.any(axis=1), width - np.argmax(used[:, ::-1], axis=1), 0)
    offsets = np.zeros(len(flat) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Texts(letters[np.arange(width) < lengths[:, None]], offsets, valid)


class _Span(Protocol):
    @property
    def dtype(self) -> str: ...
    @property
    def min(self) -> float | None: ...
    @property
    def max(self) -> float | None: ...


def time_text(field: _Span, count: float) -> str:
    """A count of a field's unit as a date or span: to the day where the field's dates are more than a few days apart, else to the second."""
    value = np.array(round(count), np.int64).view(field.dtype)
    if not field.dtype.startswith("datetime64"):
        return str(value)
    ends = [np.array(round(end or 0), np.int64).view(field.dtype).astype("datetime64[D]") for end in (field.min, field.max)]
    if (ends[1] - ends[0]).astype(int) > _FEW_DAYS:
        return str(value.astype("datetime64[D]"))
    return str(value.astype("datetime64[s]") if field.dtype[-3:] in ("ns]", "us]", "ms]") else value)
