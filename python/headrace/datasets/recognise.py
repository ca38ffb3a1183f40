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
from headrace.datasets.hugging_face import is_hugging_face, read_table, stamp_of
from headrace.datasets.image_folder import ImageFolder
from headrace.datasets.rows import absolute_rows
from headrace.datasets.shards import Dataset, JoinedDataset
from headrace.datasets.zipped import ZippedDataset

__all__ = ["find_native", "is_stored", "recognise", "stamp"]


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
    return find_native(dataset)[0]


def find_native(dataset: Any) -> tuple[Dataset | ArrayDataset | None, str]:
    """The native form of a dataset, or None and why there is none."""
    try:
        found = _find(dataset)
    except (TypeError, ValueError, IndexError) as error:
        return None, str(error)  # What cannot be read in place runs as torch runs it, and fails as there if it fails.
    return found, "" if found is not None else f"{type(dataset).__name__} is none that is recognised, or holds one that is not"


def _find(dataset: Any) -> Dataset | ArrayDataset | None:
    if isinstance(dataset, Dataset | ArrayDataset):
        return dataset
    stored = _stored(dataset)
    if stored is not None:
        return stored.collated()
    table = _table(dataset)
    if table is not None:
        return table.collated() if isinstance(table, ImageFolder) else table
    columns = _columns(dataset)
    if columns is None or not columns.parts:
        return _zipped(dataset)
    if any(_is_text(part) for parts in columns.parts for part in parts):
        raise TypeError("it holds arrays of texts, which torch delivers in the container that held the samples")
    named: dict[str, Sequence[Any]] = {str(i): parts for i, parts in enumerate(columns.parts)}
    return ArrayDataset(named, "tuple", columns.rows, path=type(dataset).__name__, structure=columns.structure)


def _table(dataset: Any) -> ArrayDataset | None:
    """The native form of a Hugging Face dataset or a folder of images, or of a subset of one."""
    if isinstance(dataset, ImageFolder):
        return dataset
    if is_hugging_face(dataset):
        return read_table(dataset)
    if type(dataset) is data.Subset:
        inner = _table(dataset.dataset)
        return None if inner is None else inner.subset(np.asarray(dataset.indices))
    return None


def is_stored(dataset: Any) -> bool:
    """Whether all its samples are those of datasets on disk: what they are is known to the engine, also where Python wants them one by one."""
    kind = type(dataset)
    if kind is data.Subset:
        return is_stored(dataset.dataset)
    if kind is data.ConcatDataset:
        return all(is_stored(one) for one in dataset.datasets)
    if kind is data.StackDataset:
        return bool(dataset.datasets) and all(is_stored(one) for one in _children(dataset.datasets))
    return isinstance(dataset, Dataset)


def _stored(dataset: Any) -> Dataset | None:
    """The native form of subsets, concatenations and stacks of datasets on disk. Raises ValueError where they do not fit together."""
    if isinstance(dataset, Dataset):
        return dataset
    if type(dataset) is data.Subset:
        inner = _stored(dataset.dataset)
        return None if inner is None else inner.subset(np.asarray(dataset.indices))
    if type(dataset) is data.ConcatDataset and is_stored(dataset):
        return _joined([part for part in map(_stored, dataset.datasets) if part is not None])
    return _zipped(dataset) if is_stored(dataset) else None


def _joined(parts: list[Dataset]) -> Dataset:
    """Datasets one after the other; of stacks, each part of them."""
    if len(parts) == 1:
        return parts[0]
    stacks = [part for part in parts if isinstance(part, ZippedDataset)]
    if not stacks:
        return JoinedDataset(parts)
    first = stacks[0]
    if len(stacks) < len(parts) or any(stack.structure != first.structure or len(stack.parts) != len(first.parts) for stack in stacks):
        raise ValueError("joined datasets differ in how their samples nest")
    columns = []
    for one in zip(*(stack.parts for stack in stacks), strict=True):
        columns.append(JoinedDataset([part for part in one if isinstance(part, Dataset)]).collated())
    return ZippedDataset(columns, first.structure)


def _zipped(dataset: Any) -> ZippedDataset | None:
    """The native form of a stack of anything recognised, or of a subset of one, whose parts are read side by side."""
    kind = type(dataset)
    if kind is data.Subset:
        whole = _zipped(dataset.dataset)
        return None if whole is None else whole.subset(np.asarray(dataset.indices))
    if kind is not data.StackDataset:
        return None
    parts: list[Dataset | ArrayDataset] = []
    structures = []
    for child in _children(dataset.datasets):
        found = _find(child)
        if found is None or isinstance(found, ImageFolder):
            return None
        inner, structure = (found.parts, found.structure) if isinstance(found, ZippedDataset) else ([found.collated()], 0)
        structures.append(_shifted(structure, len(parts)))
        parts.extend(inner)
    named = isinstance(dataset.datasets, dict)
    return ZippedDataset(parts, dict(zip(dataset.datasets, structures, strict=True)) if named else structures)


def stamp(dataset: Any) -> Any:
    """What recognise() looks at, to compare by ==: other tensors, indices or datasets since give another stamp.

    Objects count by identity, so it is good for as long as what was recognised is held; indices by value.
    """
    kind = type(dataset)
    if isinstance(dataset, torch.Tensor):
        return id(dataset), place_of(dataset) if dataset.layout == torch.strided else None
    if isinstance(dataset, np.ndarray):
        return id(dataset), dataset.shape, dataset.strides, dataset.dtype.str
    if is_hugging_face(dataset):
        return stamp_of(dataset)
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
    return id(dataset), id(getattr(dataset, "transform", None))


def _values(indices: Any) -> Any:
    if isinstance(indices, torch.Tensor | np.ndarray):
        array = np.asarray(indices)
        return array.dtype.str, array.shape, array.tobytes()
    return indices if isinstance(indices, range) else tuple(indices)


def _children(datasets: Any) -> list[Any]:
    return list(datasets.values()) if isinstance(datasets, dict) else list(datasets)


def _columns(dataset: Any) -> Columns | None:
    kind = type(dataset)
    if kind in (torch.Tensor, np.ndarray):
        return Columns([[dataset]], 0)
    if kind is data.TensorDataset:
        if any(type(tensor) is not torch.Tensor for tensor in dataset.tensors):
            return None  # Rows of a subclass are of that subclass, and it may do anything else.
        return Columns([[tensor] for tensor in dataset.tensors], list(range(len(dataset.tensors))))
    if kind is ArrayDataset:
        if dataset.change.length or dataset.change.dtypes:
            return None  # Its samples are not rows of its arrays.
        names = {name: i for i, name in enumerate(dataset.columns)}
        structure: Any = names if dataset.schema.container == "dict" else list(names.values())
        whole = Columns(dataset.parts(), dataset.structure if dataset.structure is not None else structure, dataset.rows)
        return whole if dataset.change.rows is None else _subset(whole, dataset.change.rows)
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
    known = [_columns(child) for child in children]
    rows = known[0].rows if known and known[0] is not None else None
    if any(child is None or not _same_rows(child.rows, rows) or len(child.parts[0]) != 1 for child in known):
        return None  # Each column would need a list of rows of its own.
    parts: list[list[Any]] = []
    structures = []
    for child in known:
        assert child is not None
        structures.append(_shifted(child.structure, len(parts)))
        parts.extend(child.parts)
    return Columns(parts, dict(zip(datasets, structures, strict=True)) if isinstance(datasets, dict) else structures, rows)


def _same_rows(one: npt.NDArray[np.int64] | None, other: npt.NDArray[np.int64] | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _shifted(structure: Any, by: int) -> Any:
    if isinstance(structure, int):
        return structure + by
    if isinstance(structure, dict):
        return {key: _shifted(value, by) for key, value in structure.items()}
    return [_shifted(value, by) for value in structure]
