"""`headrace.mix`: several datasets read as one, each in its share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.shards import Dataset
from headrace.datasets.view import Change
from headrace.sampling.mixing import MixedOrder

__all__ = ["MixedArrays", "MixedDataset", "mix"]

Weights = npt.ArrayLike | Callable[[int], npt.ArrayLike]


class _Mixed:
    """What both kinds of mixtures have beside their dataset's own methods."""

    mixed: MixedOrder
    source_name: str | None

    def set_weights(self, weights: Weights | None) -> None:
        """Other shares from the next pass of each loader on; see mix(). Raises ValueError for weights that do not fit the sources."""
        self.mixed.set_weights(weights)

    def source_of(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The number of the source of samples of this dataset, int64, the shape of `indices`."""
        return self.mixed.source_of(indices)

    def subset(self, rows: Any) -> Any:
        """Raises TypeError: a part of a mixture has no shares. Take parts of the sources, and mix those."""
        raise TypeError("a part of a mixture has no shares: take split(), where() or subset() of each source, and mix what they give")

    def sequences(self, length: int, stride: int = 1) -> Any:
        """Not of a mixture: a run could begin in one source and end in the next. Raises TypeError."""
        raise TypeError(
            "sequences() of a mixture would run from one source into the next; mix the sequences: hr.mix([a.sequences(n), b.sequences(n)])"
        )

    def iterable(self, *arguments: Any, **options: Any) -> Any:
        """Not of a mixture, whose order is its own. Raises TypeError."""
        raise TypeError("a mixture is read by headrace.DataLoader, in its own order; iterable() has another")


class MixedDataset(_Mixed, Dataset):
    """Datasets on disk, one after the other, as one; a loader draws from them in shares. Index i counts rows over all sources. Pickles as its sources do."""

    def __init__(self, sources: Sequence[Dataset], mixed: MixedOrder, source_name: str | None) -> None:
        first = sources[0]
        self.__dict__.update(first.__dict__)
        self._sources = list(sources)
        self.mixed, self.source_name = mixed, source_name
        self.path = f"mix({', '.join(source.path for source in sources)})"
        self._opened = _native.Dataset.concat([source._opened for source in sources])
        self._choose(first.schema.names, first.schema.container, _laid_out(sources)[1])

    @property
    def versions(self) -> list[int]:
        """A mixture has the versions of its sources that were mixed, no others."""
        return [self.version]

    def __reduce__(self) -> tuple[Any, ...]:
        return _mixed_again, (self._sources, self.mixed, self.source_name, self._schema.names, self._schema.container, self._change)


class MixedArrays(_Mixed, ArrayDataset):
    """Datasets in memory, one after the other, as one; see MixedDataset."""

    def __init__(self, sources: Sequence[ArrayDataset], mixed: MixedOrder, source_name: str | None) -> None:
        first = sources[0]
        self._sources = list(sources)
        self.mixed, self.source_name = mixed, source_name
        columns = {name: [part for source in sources for part in source.columns[name]] for name in first.columns}
        path = f"mix({', '.join(source.path for source in sources)})"
        super().__init__(columns, first.schema.container, _rows_of_all(sources), path, first.structure, _laid_out(sources)[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _mixed_arrays_again, (self._sources, self.mixed, self.source_name, self.change)


def _mixed_arrays_again(sources: list[ArrayDataset], mixed: MixedOrder, source_name: str | None, change: Change) -> MixedArrays:
    dataset = MixedArrays(sources, mixed, source_name)
    dataset._apply(change)
    return dataset


def _mixed_again(
    sources: list[Dataset], mixed: MixedOrder, source_name: str | None, fields: list[str], container: str, change: Change
) -> MixedDataset:
    dataset = MixedDataset(sources, mixed, source_name)
    dataset._choose(fields, container, change)
    return dataset


def _laid_out(sources: Sequence[Dataset | ArrayDataset]) -> tuple[list[tuple[int, int, int]], Change]:
    """(first sample, samples, step) of each source in the mixture, and what the mixture's view of all rows is.

    Sequences may begin at any row: each source takes its own steps, from its own first row. Of subsets, the chosen rows of all are listed.
    """
    places, begin = [], 0
    for source in sources:
        change = _change_of(source)
        places.append((begin, len(source), change.stride))
        begin += _rows(source)
    if all(_change_of(source).rows is None for source in sources):
        return places, replace(_change_of(sources[0]), stride=1)
    starts = []
    for source, (begin, size, step) in zip(sources, places, strict=True):
        chosen = _change_of(source).rows
        starts.append(begin + step * (np.arange(size) if chosen is None else chosen))
    first = np.cumsum([0, *map(len, sources)]).tolist()
    places = [(begin, len(source), 1) for begin, source in zip(first, sources, strict=False)]
    return places, replace(_change_of(sources[0]), stride=1, rows=np.concatenate(starts))


def _stored_rows(source: ArrayDataset) -> int:
    return sum(len(part) for part in next(iter(source.columns.values())))


def _rows_of_all(sources: Sequence[ArrayDataset]) -> npt.NDArray[np.int64] | None:
    if all(source.rows is None for source in sources):
        return None
    rows, begin = [], 0
    for source in sources:
        rows.append((np.arange(_stored_rows(source)) if source.rows is None else source.rows) + begin)
        begin += _stored_rows(source)
    return np.concatenate(rows)


def _recognised(number: int, dataset: Any) -> Dataset | ArrayDataset:
    if isinstance(dataset, _Mixed):
        raise TypeError(f"mix: source {number} is a mixture itself; mix its sources")
    found = dataset
    if not isinstance(dataset, Dataset | ArrayDataset) and "torch" in sys.modules:
        from headrace.datasets.recognise import recognise

        found = recognise(dataset)
    if not isinstance(found, Dataset) and type(found) is not ArrayDataset:
        raise TypeError(
            f"mix: source {number} is {type(dataset).__name__}, which is not mixed as it is; expected datasets of hr.open() or hr.from_arrays(), "
            "or torch's TensorDataset; hr.write() makes one of the first kind"
        )
    return found


def _change_of(source: Dataset | ArrayDataset) -> Change:
    return source._change if isinstance(source, Dataset) else source.change


def _check_alike(sources: Sequence[Dataset | ArrayDataset]) -> None:
    """Raise TypeError or ValueError that names the source, and how it differs from the first."""

    def described(source: Dataset | ArrayDataset) -> dict[str, tuple[Any, ...]]:
        return {field.name: (field.kind, field.dtype, tuple(field.shape), field.nullable) for field in source.schema.fields}

    first, wanted = sources[0], described(sources[0])
    for number, source in enumerate(sources):
        place = f"mix: source {number} ({source.path})"
        if isinstance(source, Dataset) is not isinstance(first, Dataset):
            raise TypeError(
                f"{place} and source 0 are not of one kind: mix datasets on disk, or datasets in memory; hr.write() makes one of the other"
            )
        found = described(source)
        if list(found) != list(wanted):
            raise ValueError(
                f"{place} has the fields {', '.join(found)}, source 0 has {', '.join(wanted)}; select() the same ones, in the same order"
            )
        for name, field in found.items():
            if field != wanted[name]:
                names = ("kind", "dtype", "shape", "nullable")
                differing = [f"{what} {a!r}, not {b!r}" for what, a, b in zip(names, field, wanted[name], strict=True) if a != b]
                raise ValueError(f"{place}: field {name!r} has {' and '.join(differing)} as in source 0; cast() may help")
        if source.schema.container != first.schema.container:
            raise ValueError(
                f"{place} gives samples as {source.schema.container}, source 0 as {first.schema.container}; as_tuple() may help"
            )
        if _change_of(source).length != _change_of(first).length:
            raise ValueError(f"{place} and source 0 differ in being sequences of stored samples")


def mix(
    datasets: Sequence[Any], weights: Weights | None = None, *, num_samples: int | None = None, source: str | None = None
) -> MixedDataset | MixedArrays:
    """Datasets as one, which headrace.DataLoader reads in shares: `hr.DataLoader(hr.mix([a, b], weights=[0.7, 0.3]), 64, seed=1)`.

    Which sample of which source stands at a position is a function of (seed, epoch, position): such a pass resumes anywhere, is cut among ranks and
    replayed like any other. Every few positions (the shares' common denominator, 4096 at most) hold each source exactly in its share; in an epoch a source
    gives each of its samples once before any comes again, in an order of its own.
    datasets: of hr.open() or its views (all with the same stored fields), or all in memory: of hr.from_arrays(), or torch's TensorDataset and the like.
    weights: one number a source, or a function of the epoch that gives them; without, every sample comes once. set_weights() changes them for the next pass.
    num_samples: positions of an epoch, by default as many as samples. source: name of a field to add to each batch, int64: the number of the
    source of each sample, delivered last.
    Raises TypeError, ValueError naming the source and the field that differs.
    """
    if len(datasets) == 0:
        raise ValueError("mix needs at least one dataset")
    found = [_recognised(number, dataset) for number, dataset in enumerate(datasets)]
    _check_alike(found)
    if source is not None and source in found[0].schema.names:
        raise ValueError(f"mix: source={source!r} is a field of the datasets; choose another name")
    order = MixedOrder(_laid_out(found)[0], weights, num_samples)
    stored = [one for one in found if isinstance(one, Dataset)]
    return (
        MixedDataset(stored, order, source)
        if stored
        else MixedArrays([one for one in found if isinstance(one, ArrayDataset)], order, source)
    )


def _rows(source: Dataset | ArrayDataset) -> int:
    if isinstance(source, Dataset):
        return len(source._opened)
    return _stored_rows(source) if source.rows is None else len(source.rows)
