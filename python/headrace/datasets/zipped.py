"""Datasets side by side, as torch's StackDataset has them: sample i holds sample i of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout
from headrace.datasets.shards import Dataset
from headrace.datasets.view import NO_CHANGE

__all__ = ["ZippedDataset", "ZippedLayout"]


class ZippedDataset(Dataset):
    """What the native engine reads of a StackDataset: a batch is built from all parts at once, each in its own memory, of the same samples.

    parts: datasets on disk and tables in memory, all of the same length. structure: a part's number, or a list or dict of structures: how a sample
    nests them. Raises ValueError for parts that differ in length.
    """

    def __init__(self, parts: Sequence[Dataset | ArrayDataset], structure: Any) -> None:
        self.parts, self.structure = list(parts), structure
        self.path = " | ".join(part.path for part in parts)
        self.reader, self.verify, self.cache = "auto", "once", "process"
        self._change = NO_CHANGE
        self._join()

    def _join(self) -> None:
        self._natives = [part.native for part in self.parts]
        self._opened = self._native = _native.Dataset.zip(self._natives)
        self._length = len(self._native)
        # A part delivers some of its fields: places of these among all of all parts.
        first, self.field_numbers, counts = 0, [], []
        for part, native in zip(self.parts, self._natives, strict=True):
            self.field_numbers += [first + number for number in part.field_numbers]
            first += len(native.schema.fields)
            counts.append(len(part.field_numbers))
        fields = self._native.schema.fields
        self._schema = _native.Schema([fields[number] for number in self.field_numbers], "tuple")
        self.layout = ZippedLayout(self._schema.fields, [part.layout for part in self.parts], counts, self.structure)

    @property
    def native(self) -> _native.Dataset:
        """The native dataset: another one once a tensor of a part has moved."""
        if any(part.native is not native for part, native in zip(self.parts, self._natives, strict=True)):
            self._join()
        return self._native

    def is_current(self, native: _native.Dataset) -> bool:
        """Whether this native table still says where the parts lie, as ArrayDataset.is_current()."""
        pairs = zip(self.parts, self._natives, strict=True)
        return native is self._native and all(part.is_current(own) for part, own in pairs if isinstance(part, ArrayDataset))

    @property
    def is_whole(self) -> bool:
        """False: no chunk holds samples of all parts."""
        return False

    def note_fallback(self) -> None:
        """Log, once, that the system refused the reader that a part asked for."""
        for part in self.parts:
            part.note_fallback()

    def subset(self, rows: npt.ArrayLike) -> ZippedDataset:
        """Return these samples of each part."""
        chosen = self.absolute(np.asarray(rows))
        return ZippedDataset([part.subset(chosen) for part in self.parts], self.structure)

    def collated(self) -> ZippedDataset:
        """Itself: its batches come in the containers of torch's default collate, as its parts' do."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ZippedDataset, (self.parts, self.structure)


class ZippedLayout(BatchLayout):
    """Batches whose parts have layouts of their own."""

    def __init__(self, fields: Sequence[_native.Field], parts: Sequence[BatchLayout], counts: Sequence[int], structure: Any) -> None:
        super().__init__(fields, "tuple")
        ends = np.cumsum(counts).tolist()
        self._parts = list(zip(parts, [0, *ends[:-1]], ends, strict=True))
        self._structure = structure

    def to_torch(self, batch: _native.Batch, strings: str = "lists") -> Any:
        """Torch tensors over the batch's own memory (no copy), nested as samples are."""
        return _collated(self._structure, [layout.to_torch(batch.part(begin, end), strings) for layout, begin, end in self._parts])

    def to_numpy(self, batch: _native.Batch) -> Any:
        """Numpy columns of each part, nested as samples are."""
        return _nested(self._structure, [layout.to_numpy(batch.part(begin, end)) for layout, begin, end in self._parts])

    def to_samples(self, batch: _native.Batch) -> list[Any]:
        """One sample each, as the StackDataset gives them."""
        columns = [layout.to_samples(batch.part(begin, end)) for layout, begin, end in self._parts]
        return [_nested(self._structure, row) for row in zip(*columns, strict=True)]


def _nested(structure: Any, values: Sequence[Any]) -> Any:
    """Values in the place of their numbers, as a sample holds them."""
    if isinstance(structure, int):
        return values[structure]
    if isinstance(structure, dict):
        return {key: _nested(inner, values) for key, inner in structure.items()}
    return tuple(_nested(inner, values) for inner in structure)


def _collated(structure: Any, values: Sequence[Any]) -> Any:
    """The same as torch's default collate nests them: tuples become lists, and texts in them, which it leaves as they were held, tuples."""
    if isinstance(structure, int):
        return values[structure]
    if isinstance(structure, dict):
        return {key: _collated(inner, values) for key, inner in structure.items()}
    return [
        tuple(values[inner])
        if isinstance(inner, int) and type(values[inner]) is list and _is_texts(values[inner])
        else _collated(inner, values)
        for inner in structure
    ]


def _is_texts(values: list[Any]) -> bool:
    return bool(values) and isinstance(values[0], str | bytes)
