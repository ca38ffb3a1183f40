"""Finds torch's own datasets whose samples are rows of arrays, so that the native engine reads them in place, without conversion.

Only exact types are recognised: a subclass may have changed what a sample is. What is not recognised, torch runs as it always did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data as data

from headrace.datasets.arrays import ArrayDataset, place_of
from headrace.datasets.rows import absolute_rows
from headrace.datasets.shards import Dataset
from headrace.datasets.view import NO_CHANGE

__all__ = ["recognise", "stamp"]


@dataclass
class Columns:
    """Parts of columns, all cut alike, how a sample nests them, and which rows are chosen."""

    parts: list[list[Any]]  # [column][part]
    # A column's number; a list for what torch's collate makes a list; a dict.
    structure: Any
    rows: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows) if self.rows is not None else sum(len(part) for part in self.parts[0])


def recognise(dataset: Any) -> Dataset | ArrayDataset | None:
    """The native form of a dataset, or None. Batches of it, collated by default, equal torch's bit for bit."""
    if isinstance(dataset, Dataset | ArrayDataset):
        return dataset
    try:
        columns = _columns(dataset)
        if columns is None or not columns.parts or any(_is_text(part) for parts in columns.parts for part in parts):
            return None
        named: dict[str, Sequence[Any]] = {str(i): parts for i, parts in enumerate(columns.parts)}
        return ArrayDataset(named, "tuple", columns.rows, path=type(dataset).__name__, structure=columns.structure)
    except (TypeError, ValueError, IndexError):
        return None  # What cannot be read in place runs as torch runs it, and fails as there if it fails.


def stamp(dataset: Any) -> Any:
    """What recognise() looks at, to compare by ==: other tensors, indices or datasets since give another stamp.

    Objects count by identity, so it is good for as long as what was recognised is held; indices by value.
    """
    kind = type(dataset)
    if isinstance(dataset, torch.Tensor):
        return id(dataset), place_of(dataset) if dataset.layout == torch.strided else None
    if isinstance(dataset, np.ndarray):
        return id(dataset), dataset.shape, dataset.strides, dataset.dtype.str
    if kind is data.TensorDataset:
        return kind, [stamp(tensor) for tensor in dataset.tensors]
    if kind is ArrayDataset:
        return id(dataset), [stamp(part) for parts in dataset.parts() for part in parts]
    if kind is data.Subset:
        return kind, stamp(dataset.dataset), _values(dataset.indices)
    if kind is data.ConcatDataset:
        return kind, [stamp(one) for one in dataset.datasets]
    if kind is data.StackDataset:
        named = isinstance(dataset.datasets, dict)
        return kind, list(dataset.datasets) if named else None, [stamp(one) for one in _children(dataset.datasets)]
    return id(dataset)


def _values(indices: Any) -> Any:
    if isinstance(indices, torch.Tensor | np.ndarray):
        array = np.asarray(indices)
        return array.dtype.str, array.shape, array.tobytes()
    return indices if isinstance(indices, range) else tuple(indices)


def _children(datasets: Any) -> list[Any]:
    return list(datasets.values()) if isinstance(datasets, dict) else list(datasets)


def _columns(dataset: Any) -> Columns | None:
    kind = type(dataset)
    if kind is data.TensorDataset:
        if any(type(tensor) is not torch.Tensor for tensor in dataset.tensors):
            return None  # Rows of a subclass are of that subclass, and it may do anything else.
        return Columns([[tensor] for tensor in dataset.tensors], list(range(len(dataset.tensors))))
    if kind is ArrayDataset:
        if dataset.change != NO_CHANGE:
            return None  # Its samples are not rows of its arrays.
        names = {name: i for i, name in enumerate(dataset.columns)}
        structure: Any = names if dataset.schema.container == "dict" else list(names.values())
        return Columns(dataset.parts(), dataset.structure if dataset.structure is not None else structure, dataset.rows)
    if kind is data.Subset:
        return _subset(_columns(dataset.dataset), dataset.indices)
    if kind is data.ConcatDataset:
        return _concatenated([_columns(one) for one in dataset.datasets])
    if kind is data.StackDataset:
        return _stacked(dataset.datasets)
    return None


def _is_text(part: Any) -> bool:
    """Whether torch's collate gives the values as they are, in a list or a tuple: whichever held the samples."""
    return isinstance(part, np.ndarray) and part.dtype.kind in "SU"


def _subset(inner: Columns | None, indices: Any) -> Columns | None:
    if inner is None:
        return None
    chosen = absolute_rows(np.asarray(indices), len(inner))
    return Columns(inner.parts, inner.structure, chosen if inner.rows is None else inner.rows[chosen])


def _concatenated(children: list[Columns | None]) -> Columns | None:
    known = [child for child in children if child is not None]
    if len(known) < len(children) or any(child.structure != known[0].structure for child in known):
        return None
    parts: list[list[Any]] = [[] for _ in known[0].parts]
    rows: list[npt.NDArray[np.int64]] = []
    begin = 0
    for child in known:
        held = sum(len(part) for part in child.parts[0])
        rows.append((np.arange(held) if child.rows is None else child.rows) + begin)
        begin += held
        for column, more in zip(parts, child.parts, strict=True):
            column.extend(more)
    whole = all(child.rows is None for child in known)
    # Parts of different dtypes or shapes are refused when the table is made.
    return Columns(parts, known[0].structure, None if whole else np.concatenate(rows))


def _stacked(datasets: Any) -> Columns | None:
    children = _children(datasets)
    known = [Columns([[child]], 0) if type(child) in (torch.Tensor, np.ndarray) else _columns(child) for child in children]
    if any(child is None or child.rows is not None or len(child.parts[0]) != 1 for child in known):
        return None  # Each column would need a list of rows of its own.
    parts: list[list[Any]] = []
    structures = []
    for child in known:
        assert child is not None
        structures.append(_shifted(child.structure, len(parts)))
        parts.extend(child.parts)
    return Columns(parts, dict(zip(datasets, structures, strict=True)) if isinstance(datasets, dict) else structures)


def _shifted(structure: Any, by: int) -> Any:
    if isinstance(structure, int):
        return structure + by
    if isinstance(structure, dict):
        return {key: _shifted(value, by) for key, value in structure.items()}
    return [_shifted(value, by) for value in structure]
