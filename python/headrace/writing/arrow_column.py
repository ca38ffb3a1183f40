"""One column in Arrow's memory (a pyarrow Array or ChunkedArray, a polars Series, a column of pandas' ArrowDtype), read without pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace._native import Field
from headrace.writing.arrow_abi import ArrayView, ArrowArray, ArrowSchema, capsule_pointer, next_array, opened, releasing, stream_schema
from headrace.writing.arrow_decode import decode_leaf, has_null
from headrace.writing.arrow_types import Leaf, layout_of, parse_type
from headrace.writing.base import Column, NativeColumn, NullColumn, Place

__all__ = ["ArrowColumn", "arrow_column", "speaks_arrow"]

_PROBE_ROWS = 1024


def speaks_arrow(data: Any) -> bool:
    """Whether this hands out its values over Arrow's PyCapsule protocol."""
    return hasattr(data, "__arrow_c_array__") or hasattr(data, "__arrow_c_stream__")


def arrow_column(data: Any, place: Place) -> Column:
    """A Column over all of `data`; shares its memory. Raises TypeError naming the field for a type that cannot be stored."""
    if hasattr(data, "__arrow_c_array__"):
        schema, capsule = data.__arrow_c_array__()
        node = parse_type(capsule_pointer(schema, b"arrow_schema", ArrowSchema), place.field)
        view = ArrayView(capsule_pointer(capsule, b"arrow_array", ArrowArray), place.column)
        chunks = [_Chunk(view, 0, view.length, capsule)]
    else:
        with opened(data) as stream:
            with releasing(stream_schema(stream)) as pointer:
                node = parse_type(pointer, place.field)
            chunks = []
            while (array := next_array(stream)) is not None:
                owner = _Owner(array)
                view = ArrayView(array, place.column)
                chunks.append(_Chunk(view, 0, view.length, owner))
    if node.format == "n":
        return NullColumn(sum(map(len, chunks)))
    return ArrowColumn(chunks, Leaf(place.field, (), node, layout_of(node, place.field), node.nullable))


class _Owner:
    """Releases an ArrowArray when nothing refers to it any more."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __del__(self) -> None:
        if self._array.contents.release:
            self._array.contents.release(self._array)


@dataclass(frozen=True)
class _Chunk:
    """Elements [begin, end) of an array, whose memory lives as long as `owner`."""

    view: ArrayView
    begin: int
    end: int
    owner: object

    def __len__(self) -> int:
        return self.end - self.begin


class ArrowColumn(Column):
    """Chunks of one Arrow array, decoded piece by piece as they are encoded."""

    def __init__(self, chunks: list[_Chunk], leaf: Leaf) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._leaf = leaf

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        nullable = any(self._has_null(chunk) for chunk in self._chunks)
        return self._leaf.layout.field(name, nullable)

    def _has_null(self, chunk: _Chunk) -> bool:
        begin, end = chunk.begin + chunk.view.offset, chunk.end + chunk.view.offset
        return chunk.view.valid(begin, end) is not None or has_null(chunk.view, (), self._leaf.type)

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        chunks = []
        for chunk in self._chunks:
            first, last = max(begin, 0), min(end, len(chunk))
            if first < last:
                chunks.append(_Chunk(chunk.view, chunk.begin + first, chunk.begin + last, chunk.owner))
            begin, end = begin - len(chunk), end - len(chunk)
        return ArrowColumn(chunks, self._leaf)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        if not self._chunks:
            return 0.0
        chunk = self._chunks[0]
        return decode_leaf(chunk.view, self._leaf, chunk.begin, min(chunk.end, chunk.begin + _PROBE_ROWS)).row_bytes()

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        if not self._chunks:
            return NullColumn(0).encode(field, place)
        parts, first = [], place.first
        for chunk in self._chunks:
            decoded = decode_leaf(chunk.view, self._leaf, chunk.begin, chunk.end)
            parts.append(decoded.encode(field, Place(place.field, first)))
            first += len(chunk)
        return parts[0] if len(parts) == 1 else _joined(parts, [len(chunk) for chunk in self._chunks])


def _joined(parts: list[NativeColumn], rows: list[int]) -> NativeColumn:
    values = np.concatenate([part[0] for part in parts])
    offsets = None
    if parts[0][1] is not None:
        pieces, shift = [np.zeros(1, np.uint64)], 0
        for part_values, part_offsets, _ in parts:
            assert part_offsets is not None
            pieces.append(part_offsets[1:] + np.uint64(shift))
            shift += part_values.nbytes
        offsets = np.concatenate(pieces)
    if all(valid is None for _, _, valid in parts):
        return values, offsets, None
    pairs = zip(parts, rows, strict=True)
    return values, offsets, np.concatenate([np.ones(count, np.bool_) if part[2] is None else part[2] for part, count in pairs])
