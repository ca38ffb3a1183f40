"""Arrow arrays to Columns: buffers are shared where their layout is ours already, and checked before anything follows an offset."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.errors import CorruptDataError
from headrace.writing.arrow_abi import ArrayView
from headrace.writing.arrow_types import ArrowType, Layout, Leaf, layout_of
from headrace.writing.base import Column, Offsets, Valid, offsets_of
from headrace.writing.columns import ArrayColumn, OffsetColumn
from headrace.writing.dtypes import Array

__all__ = ["decode_leaf", "gather", "has_null"]


def decode_leaf(root: ArrayView, leaf: Leaf, begin: int, end: int) -> Column:
    """Rows [begin, end) of a record batch's field. Raises CorruptDataError for bad offsets, ValueError for nulls inside lists."""
    view, valid = root, None
    for depth, index in enumerate(leaf.path):
        view.demand(end)
        begin, end = begin + view.offset, end + view.offset
        if depth:  # the record batch itself has no nulls
            valid = both(valid, view.valid(begin, end))
        view = view.child(index, f"field {leaf.name!r}")
    view.demand(end)
    return _decode(view, leaf.type, leaf.layout, begin + view.offset, end + view.offset, valid)


def both(one: Valid | None, other: Valid | None) -> Valid | None:
    """True where both are; None means everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _decode(view: ArrayView, node: ArrowType, layout: Layout, begin: int, end: int, outer: Valid | None) -> Column:
    """Elements [begin, end), counted from the start of the buffers."""
    valid = both(outer, view.valid(begin, end))
    if node.dictionary is not None:
        return _dictionary(view, node, node.dictionary, layout, begin, end, valid)
    if layout.kind == "tensor":
        values = _tensor(view, node, layout, begin, end, valid)
        return ArrayColumn(values, layout.dtype, valid=valid, metadata=layout.metadata)
    if layout.kind == "ragged":
        return _list(view, node, layout, begin, end, valid)
    if node.format[0] == "v":
        return _views(view, layout.kind, begin, end, valid)
    if node.format.startswith("w:"):
        width = int(node.format[2:])
        raw = view.buffer(1, "u1", begin * width, end * width)
        return _compact(OffsetColumn(layout.kind, raw, offsets_of(np.full(end - begin, width, np.uint64))), valid)
    wide = node.format in ("U", "Z")
    first, last, offsets = _offsets(view, "i8" if wide else "i4", begin, end)
    return _compact(OffsetColumn(layout.kind, view.buffer(2, "u1", first, last), offsets), valid)


def _offsets(view: ArrayView, dtype: str, begin: int, end: int) -> tuple[int, int, Offsets]:
    """(first, last, offsets from first) of elements [begin, end)."""
    if end == begin:
        return 0, 0, np.zeros(1, np.uint64)
    raw = view.buffer(1, dtype, begin, end + 1)
    falls = raw[1:] < raw[:-1]
    if raw[0] < 0 or bool(falls.any()):
        row = int(np.argmax(falls))
        raise CorruptDataError(
            f"{view.where}: Arrow offsets must start at 0 or more and never fall; found {raw[row]} before {raw[row + 1]} at element {row}"
        )
    first = int(raw[0])
    return first, int(raw[-1]), (raw.astype(np.int64) - first).view(np.uint64)


def _tensor(view: ArrayView, node: ArrowType, layout: Layout, begin: int, end: int, valid: Valid | None) -> Array:
    """Values of shape (rows, *shape), for primitives and fixed-size lists of them."""
    if node.format.startswith("+w:"):
        size = int(node.format[3:])
        child = view.child(0, view.where)
        child.demand(end * size)
        inner_valid = None if valid is None else np.repeat(valid, size)
        inner = _tensor(
            child,
            node.children[0],
            layout_of(node.children[0], view.where),
            child.offset + begin * size,
            child.offset + end * size,
            inner_valid,
        )
        _refuse_inner_nulls(child, begin * size, end * size, inner_valid)
        return inner.reshape(end - begin, *layout.shape)
    if layout.raw == "bits":
        return view.bits(1, begin, end)
    values = view.buffer(1, np.dtype(layout.raw).newbyteorder("=").str, begin, end)
    if layout.dtype.startswith(("datetime64", "timedelta64")):
        return values.astype(np.int64, copy=False).view(layout.dtype)
    return values


def _refuse_inner_nulls(child: ArrayView, begin: int, end: int, wanted: Valid | None) -> None:
    present = child.valid(begin + child.offset, end + child.offset)
    if present is None:
        return
    missing = ~present if wanted is None else ~present & wanted
    if bool(missing.any()):
        raise ValueError(f"{child.where}: {int(missing.sum())} nulls inside lists; only whole samples can be null: fill or drop them first")


def _list(view: ArrayView, node: ArrowType, layout: Layout, begin: int, end: int, valid: Valid | None) -> Column:
    first, last, offsets = _offsets(view, "i8" if node.format == "+L" else "i4", begin, end)
    child = view.child(0, view.where)
    child.demand(last)
    # What a null list spans is nobody's value, so its nulls do not count.
    wanted = None if valid is None else np.repeat(valid, np.diff(offsets).astype(np.int64))
    _refuse_inner_nulls(child, first, last, wanted)
    inner = layout_of(node.children[0], view.where)
    values = _tensor(child, node.children[0], inner, child.offset + first, child.offset + last, wanted)
    row_bytes = values.dtype.itemsize * int(np.prod(layout.shape, dtype=np.int64))
    flat = np.ascontiguousarray(values)
    return _compact(OffsetColumn("ragged", flat, offsets * np.uint64(row_bytes), dtype=layout.dtype, shape=layout.shape), valid)


def _views(view: ArrayView, kind: str, begin: int, end: int, valid: Valid | None) -> Column:
    """utf8_view and binary_view: 16 bytes a value, either the value itself or (length, prefix, buffer, offset)."""
    words = view.buffer(1, "<i4", begin * 4, end * 4).reshape(-1, 4)
    lengths = words[:, 0].astype(np.int64)
    if valid is not None:
        lengths = np.where(valid, lengths, 0)
    if bool((lengths < 0).any()):
        raise CorruptDataError(f"{view.where}: a negative length in an Arrow view array")
    offsets = offsets_of(lengths)
    out = np.empty(int(offsets[-1]), np.uint8)
    starts = offsets[:-1].astype(np.int64)
    short = lengths <= 12
    inline = view.buffer(1, "u1", begin * 16, end * 16)
    gather(inline, np.flatnonzero(short) * 16 + 4, lengths[short], out, starts[short])
    buffers = view.raw.n_buffers - 3
    sizes = view.buffer(buffers + 2, "<i8", 0, buffers) if buffers > 0 else np.empty(0, np.int64)
    if not bool(short.all()) and (words[~short, 2].min() < 0 or words[~short, 2].max() >= buffers):
        raise CorruptDataError(f"{view.where}: an Arrow view names a buffer outside [0, {max(buffers, 0)})")
    for number in range(max(buffers, 0)):
        rows = np.flatnonzero(~short & (words[:, 2] == number))
        if len(rows):
            position = words[rows, 3].astype(np.int64)
            if position.min() < 0 or int((position + lengths[rows]).max()) > int(sizes[number]):
                raise CorruptDataError(f"{view.where}: an Arrow view points outside its buffer of {int(sizes[number])} bytes")
            gather(view.buffer(2 + number, "u1", 0, int(sizes[number])), position, lengths[rows], out, starts[rows])
    return OffsetColumn(kind, out, offsets, valid=valid)


def gather(source: Array, starts: Array, lengths: Array, out: Array, targets: Array) -> None:
    """Copy pieces source[starts[i] : + lengths[i]] to out[targets[i] :]; all arrays 1-d, bounds the caller's business."""
    step = 1 << 16  # pieces at a time: the index arrays take 16 bytes for each byte copied
    for first in range(0, len(starts), step):
        part = slice(first, first + step)
        ends = np.cumsum(lengths[part])
        total = int(ends[-1])
        within = np.arange(total) - np.repeat(ends - lengths[part], lengths[part])
        out[within + np.repeat(targets[part], lengths[part])] = source[within + np.repeat(starts[part], lengths[part])]


def _compact(column: OffsetColumn, valid: Valid | None) -> Column:
    """The column with its nulls; what a null spans is left out, as a null has length 0."""
    if valid is None:
        return column
    lengths = np.where(valid, np.diff(column.offsets), np.uint64(0)).astype(np.int64)
    if int(lengths.sum()) == int(column.offsets[-1]):
        return OffsetColumn(column.kind, column.values, column.offsets, dtype=column.dtype, shape=column.shape, valid=valid)
    return _picked(column, column.offsets[:-1].astype(np.int64), lengths, valid)


def _picked(column: OffsetColumn, starts: Array, lengths: Array, valid: Valid | None) -> OffsetColumn:
    offsets = offsets_of(lengths)
    out = np.empty(int(offsets[-1]), np.uint8)
    gather(column.values.reshape(-1).view(np.uint8), starts, lengths, out, offsets[:-1].astype(np.int64))
    return OffsetColumn(column.kind, out.view(column.values.dtype), offsets, dtype=column.dtype, shape=column.shape, valid=valid)


def _dictionary(view: ArrayView, node: ArrowType, values: ArrowType, layout: Layout, begin: int, end: int, valid: Valid | None) -> Column:
    dictionary = view.dictionary()
    raw: Any = {"c": "i1", "C": "u1", "s": "i2", "S": "u2", "i": "i4", "I": "u4", "l": "i8", "L": "u8"}.get(node.format)
    if raw is None:
        raise CorruptDataError(f"{view.where}: Arrow dictionary indices of type {node.format!r}")
    indices = view.buffer(1, raw, begin, end).astype(np.int64)
    if valid is not None:
        indices = np.where(valid, indices, 0)
    if len(indices) and (indices.min() < 0 or indices.max() >= max(dictionary.length, 1)):
        raise CorruptDataError(f"{view.where}: an Arrow dictionary index is outside [0, {dictionary.length})")
    decoded = _decode(dictionary, values, layout, dictionary.offset, dictionary.offset + dictionary.length, None)
    if dictionary.length == 0:
        return _all_null(layout, len(indices), valid, view.where)
    inner = decoded.valid if isinstance(decoded, (ArrayColumn, OffsetColumn)) else None
    valid = both(valid, None if inner is None else inner[indices])
    if isinstance(decoded, ArrayColumn):
        return ArrayColumn(decoded.values[indices], decoded.dtype, valid=valid, metadata=decoded.metadata)
    if not isinstance(decoded, OffsetColumn):
        raise TypeError(f"{view.where}: an Arrow dictionary of {values.format!r} cannot be stored; decode it first")
    starts = decoded.offsets.astype(np.int64)
    lengths = np.diff(starts)[indices]
    return _picked(decoded, starts[:-1][indices], lengths if valid is None else np.where(valid, lengths, 0), valid)


def _all_null(layout: Layout, rows: int, valid: Valid | None, where: str) -> Column:
    if rows and (valid is None or bool(valid.any())):
        raise CorruptDataError(f"{where}: Arrow dictionary indices into an empty dictionary")
    if layout.kind == "tensor":
        return ArrayColumn(np.zeros((rows, *layout.shape), layout.dtype), layout.dtype, valid=valid, metadata=layout.metadata)
    empty = np.zeros(0, layout.dtype)
    return OffsetColumn(layout.kind, empty, np.zeros(rows + 1, np.uint64), dtype=layout.dtype, shape=layout.shape, valid=valid)


def has_null(view: ArrayView, path: tuple[int, ...], node: ArrowType) -> bool:
    """Whether a field of a record batch has a null, or its dictionary has one."""
    begin, end = view.offset, view.offset + view.length
    for index in path:
        view = view.child(index, "record batch")
        begin, end = begin + view.offset, end + view.offset
        if view.raw.null_count != 0 and view.valid(begin, end) is not None:
            return True
    if node.dictionary is None:
        return False
    values = view.dictionary()
    return values.valid(values.offset, values.offset + values.length) is not None
