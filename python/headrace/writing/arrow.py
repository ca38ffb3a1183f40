"""Sources that speak Arrow's PyCapsule protocol (pyarrow, polars, duckdb, ...), read without pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from headrace._native import Field
from headrace.writing.arrow_abi import (
    ArrayView,
    ArrowArray,
    ArrowSchema,
    capsule_pointer,
    next_array,
    opened,
    releasing,
    stream_schema,
)
from headrace.writing.arrow_decode import decode_leaf, has_null
from headrace.writing.arrow_types import Leaf, leaves_of, parse_type
from headrace.writing.batches import Batch, Source, take_fields

__all__ = ["ArrowBatches", "ArrowSource", "count_nulls"]

_SLICE_ROWS = 1 << 17  # bounds what decoding copies: bits, dictionaries, views


class ArrowSource(Source):
    """A stream of record batches. A column is nullable if its type says so; tables are looked through first, and only nulls count."""

    def __init__(self, source: Any, *, fields: Sequence[str] | None = None, batch_rows: int | None = None) -> None:
        self._source = source
        self._batch_rows = batch_rows or _SLICE_ROWS
        # Tables can be streamed again at no cost; a reader or a query cannot.
        held = hasattr(source, "num_rows") or hasattr(source, "height")
        self._stream = ExitStack()
        self._pointer = self._stream.enter_context(opened(source))
        with releasing(stream_schema(self._pointer)) as schema:
            self._leaves = _chosen(leaves_of(parse_type(schema)), fields)
        self.total = int(getattr(source, "num_rows", getattr(source, "height", 0))) if held else None
        self._with_nulls = _names_with_nulls(source, self._leaves) if held else None

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        return [leaf.layout.field(leaf.name, self._nullable(leaf)) for leaf in self._leaves]

    def _nullable(self, leaf: Leaf) -> bool:
        return leaf.nullable if self._with_nulls is None else leaf.name in self._with_nulls

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        with self._stream:
            while (array := next_array(self._pointer)) is not None:
                with releasing(array):
                    yield from _slices(ArrayView(array, "record batch"), self._leaves, self._batch_rows)


class ArrowBatches(Source):
    """pyarrow record batches of one type, pulled one at a time: exceptions keep their type, which a C stream would lose.

    nullable: names of the fields that may have nulls; None: as the types say.
    """

    def __init__(
        self, batches: Iterable[Any], schema: Any, *, fields: Sequence[str] | None, nullable: set[str] | None, total: int | None
    ) -> None:
        self._batches = batches
        self._nullable = nullable
        self.total = total
        pointer = capsule_pointer(capsule := schema.__arrow_c_schema__(), b"arrow_schema", ArrowSchema)
        self._leaves = _chosen(leaves_of(parse_type(pointer)), fields)
        del capsule  # its destructor releases the schema

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        nullable = self._nullable
        return [leaf.layout.field(leaf.name, leaf.nullable if nullable is None else leaf.name in nullable) for leaf in self._leaves]

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        for batch in self._batches:
            schema, array = batch.__arrow_c_array__()
            with releasing(capsule_pointer(array, b"arrow_array", ArrowArray)) as pointer:
                yield from _slices(ArrayView(pointer, "record batch"), self._leaves, _SLICE_ROWS)
            del schema


def count_nulls(
    batches: Iterable[Any], schema: Any, scanned: Callable[[int, int | None, str], object] | None = None
) -> tuple[int, set[str]]:
    """(samples, names of the fields that have a null) of pyarrow record batches; reads them all, telling `scanned` how far it is."""
    pointer = capsule_pointer(capsule := schema.__arrow_c_schema__(), b"arrow_schema", ArrowSchema)
    leaves = leaves_of(parse_type(pointer))
    del capsule
    rows, found = 0, set()
    for batch in batches:
        _, array = batch.__arrow_c_array__()
        with releasing(capsule_pointer(array, b"arrow_array", ArrowArray)) as pointer:
            rows += int(pointer.contents.length)
            found |= _nulls_in(ArrayView(pointer, "record batch"), leaves)
        if scanned is not None:
            scanned(rows, None, "samples scanned")
    return rows, found


def _chosen(leaves: list[Leaf], fields: Sequence[str] | None) -> list[Leaf]:
    by_name = {leaf.name: leaf for leaf in leaves}
    return [by_name[name] for name in take_fields(list(by_name), fields)]


def _slices(root: ArrayView, leaves: list[Leaf], step: int) -> Iterator[Batch]:
    for begin in range(0, root.length, step):
        end = min(begin + step, root.length)
        yield Batch({leaf.name: decode_leaf(root, leaf, begin, end) for leaf in leaves}, end - begin)


def _names_with_nulls(source: Any, leaves: list[Leaf]) -> set[str]:
    found: set[str] = set()
    with opened(source) as stream:
        while (array := next_array(stream)) is not None:
            with releasing(array):
                found |= _nulls_in(ArrayView(array, "record batch"), leaves)
    return found


def _nulls_in(root: ArrayView, leaves: list[Leaf]) -> set[str]:
    return {leaf.name for leaf in leaves if has_null(root, leaf.path, leaf.type)}
