"""A dataset on disk: map-style, picklable, safe in forked and spawned processes."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.fallback import note_fallback
from headrace.datasets.layout import BatchLayout, CollatedLayout
from headrace.datasets.parts import Parts
from headrace.datasets.rows import absolute_rows
from headrace.datasets.view import NO_CHANGE, Change
from headrace.errors import ChangedError, HeadraceWarning, import_extra

if TYPE_CHECKING:
    from headrace.datasets.iterable import IterableBatches

__all__ = ["Dataset", "open"]


class Dataset(Parts):
    """One version of a dataset, read through the native engine.

    `dataset[i]` is one sample (dict, tuple or value, as written) of numpy values and strings; `dataset[[1, 2]]`, an index array and slices give
    columns. Negative indices count from the end. Arrays share the memory of the batch that was read for the call; nobody else writes to it.
    Pickles as its path and version: another process opens the same version, or raises ChangedError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        version: int | None = None,
        *,
        reader: str = "auto",
        verify: str = "once",
        cache: str = "process",
        fields: Sequence[str] | None = None,
        container: str | None = None,
        change: Change = NO_CHANGE,
    ) -> None:
        # What is read later, and in other processes, is found wherever they are.
        self.path = os.path.abspath(os.fsdecode(path)) if path else ""
        self.reader = reader
        self.verify = verify
        if version is not None and (type(version) is not int or not 1 <= version < 1 << 64):
            raise ValueError(f"version is {version!r}; expected a number from 1 on, or None for the newest")
        if cache not in ("process", "node"):
            raise ValueError(f"cache is {cache!r}; expected 'process' or 'node'")
        self.cache = cache
        group = os.environ.get("HEADRACE_NODE_GROUP", "") if cache == "node" else None
        self._opened = _native.Dataset(self.path, 0 if version is None else version, reader=reader, verify=verify, share_group=group)
        self._native = self._opened
        self.note_fallback()
        self._choose(self._native.schema.names if fields is None else list(fields), container, change)
        if self._native.newer_minor:
            warnings.warn(
                f"{self.path} was written by a newer headrace; parts this version does not know are ignored (upgrade: pip install -U headrace)",
                HeadraceWarning,
                stacklevel=3,
            )

    def _choose(self, names: list[str], container: str | None, change: Change) -> None:
        full = self._opened.schema
        unknown = [name for name in names if name not in full.names]
        if unknown:
            raise KeyError(f"{self.path} has no field {unknown[0]!r}; it has {', '.join(map(repr, full.names))}")
        self.field_numbers = [full.names.index(name) for name in names]
        self._change = change
        self._native = change.of(self._opened, self.field_numbers)
        self._length = len(self._native)
        full = self._native.schema
        kept = container or (full.container if full.container != "single" or len(names) == 1 else "tuple")
        self._schema = _native.Schema([full.fields[i] for i in self.field_numbers], kept, full.metadata)
        self.layout = BatchLayout(self._schema.fields, kept)

    def _view(self, names: list[str], container: str | None, change: Change | None = None) -> Dataset:
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._choose(names, container, self._change if change is None else change)
        return view

    def note_fallback(self) -> None:
        """Log, once, that the system refused the reader that was asked for. Some refuse at the first read: whoever reads calls this afterwards."""
        if self.reader not in ("mmap", "pread"):
            note_fallback(self._native, self.reader)

    def _fetch(self, indices: npt.NDArray[np.int64]) -> _native.Batch:
        batch = self._native.fetch(indices, self.field_numbers)
        self.note_fallback()
        return batch

    @property
    def schema(self) -> _native.Schema:
        """The fields that this view delivers, in order."""
        return self._schema

    @property
    def version(self) -> int:
        """The version that is open."""
        return self._native.version

    @property
    def versions(self) -> list[int]:
        """All versions that the directory holds now."""
        return self._native.versions

    @property
    def fingerprint(self) -> int:
        """Hash of the version's manifest, of sequences() and of subset(): equal only for the same samples in the same order."""
        return self._native.fingerprint

    @property
    def is_whole(self) -> bool:
        """Whether its samples are the rows of the version, one each: no subset() or sequences()."""
        return self._change.rows is None and not self._change.length

    @property
    def origin(self) -> tuple[int, npt.NDArray[np.int64] | None, int]:
        """Fingerprint of the whole dataset, the chosen samples of it (None: all), and how many there are to choose from."""
        whole = replace(self._change, rows=None).of(self._opened, self.field_numbers)
        return self._opened.fingerprint, self._change.rows, len(whole)

    @property
    def reader_choice(self) -> str:
        """What reads, and for reader="auto" why: "mmap: it fits into memory, ...". `reader` stays what was asked for."""
        reason = self._opened.reader_reason
        return f"{self._native.reader}: {reason}" if reason else self._native.reader

    @property
    def native(self) -> _native.Dataset:
        """The native dataset, for statistics and for engines of one's own."""
        return self._native

    def select(self, fields: Sequence[str]) -> Dataset:
        """Return a view that reads and delivers only these fields, in this order. Raises KeyError for an unknown one.

        Views share what is open: they see the same version, whatever became of the files since.
        """
        if isinstance(fields, str):
            raise TypeError(f"fields is the text {fields!r}; expected a list of names")
        return self._view(list(fields), None if self._schema.container == "single" else self._schema.container)

    def as_tuple(self, *fields: str) -> Dataset:
        """Return a view whose samples are tuples of these fields (all of them if none is named), as `for x, y in loader` wants."""
        return self._view(list(fields or self._schema.names), "tuple")

    def subset(self, rows: npt.ArrayLike) -> Dataset:
        """Return a view of these samples only, in this order: integers (negative ones count from the end, repeats are allowed) or a mask of len(self).

        Costs 8 bytes a row; shares what is open, so training and validation parts decode each block once. A subset of a subset chooses among its samples.
        Its fingerprint covers the rows. Raises IndexError for a row that is not there, TypeError for what is no row number.
        """
        return self._view(self._schema.names, self._schema.container, self._change.with_rows(rows, self._length))

    def collated(self) -> Dataset:
        """Return a view whose batches come in the containers of torch's default collate: lists where samples are tuples."""
        view = self._view(self._schema.names, self._schema.container)
        view.layout = CollatedLayout(view._schema.fields, view._schema.container)
        return view

    def sequences(self, length: int, stride: int = 1) -> Dataset:
        """Return a view whose sample i is the run of samples [i * stride, i * stride + length): each field with one more dimension in front.

        There are (len - length) // stride + 1 of them; runs cross blocks, chunks and shards. For samples of fixed shape without nulls: select() those
        fields first. Tokens in one long row of uint16, windows at any offset: `ds.sequences(2049).cast({"tokens": "int64"})`.
        Raises ValueError for a length that the dataset does not have, a field of another kind, or a view that already is one of sequences.
        """
        return self._view(self._schema.names, self._schema.container, self._change.with_sequences(length, stride))

    def cast(self, dtypes: Mapping[str, Any]) -> Dataset:
        """Return a view that delivers fields as other dtypes: {"tokens": "int64", "x": np.float32, "y": torch.bfloat16}.

        Converted by the engine in the pass that copies a sample. As numpy's astype: bool to any number, integers to wider ones that hold all their values,
        any of them to floats, and floats to floats (these two may round; what is too large becomes infinite). For tensors and ragged fields.
        Raises KeyError for an unknown field, ValueError naming field and dtypes for a cast that would lose integers or more.
        """
        return self._view(self._schema.names, self._schema.container, self._change.with_dtypes(dtypes, self._schema.names, self.path))

    def iterable(
        self, batch_size: int = 1, shuffle: bool = False, *, drop_last: bool = False, seed: int = 0, **options: Any
    ) -> IterableBatches:
        """Return a torch IterableDataset of whole batches, for `torch.utils.data.DataLoader(it, batch_size=None)`.

        Batches are as headrace.DataLoader's. Each torch worker reads its share of the batches; `set_epoch` chooses the order. Options: order, window,
        ragged, strings, num_threads, rank, world_size. Raises MissingExtraError without torch.
        """
        import_extra("torch", "torch", "Dataset.iterable()")
        from headrace.datasets.iterable import IterableBatches

        return IterableBatches(self, batch_size, shuffle, drop_last=drop_last, seed=seed, **options)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, bool):
            raise TypeError(f"an index is a whole number, a slice or a sequence of them, got {index}")
        if hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0:
            return self.__getitems__([operator.index(index)])[0]
        if isinstance(index, slice):
            chosen = np.arange(*index.indices(self._length), dtype=np.int64)
        else:
            chosen = self.absolute(np.asarray(index))
        return self.layout.to_numpy(self._fetch(chosen))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Read many samples in one native call: what torch's DataLoader asks for, a batch at a time."""
        return self.layout.to_samples(self._fetch(self.absolute(np.asarray(indices))))

    def __iter__(self) -> Iterator[Any]:
        for begin in range(0, self._length, 1024):
            yield from self.__getitems__(range(begin, min(begin + 1024, self._length)))

    def absolute(self, indices: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Indices from the front, checked. Raises IndexError, TypeError."""
        return absolute_rows(indices, self._length)

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.path, self.version, self.reader, self.verify, self._schema.names, self._schema.container, self.fingerprint)
        return _reopen, (*options, self._change, self.cache)

    def __repr__(self) -> str:
        return f"Dataset({self.path!r}, version={self.version}, samples={self._length}, fields={self._schema.names})"


class JoinedDataset(Dataset):
    """The samples of several datasets, one after the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        """parts: at least one; all deliver the same fields in the same way, sequences() excepted. Raises ValueError if they differ."""
        first = parts[0]
        if any(
            part._schema.names != first._schema.names
            or part._schema.container != first._schema.container
            or part._change.length
            or part._change != first._change
            for part in parts
        ):
            raise ValueError("joined datasets differ in fields, container or dtypes, or are sequences")
        self.__dict__.update(first.__dict__)
        opened = list(dict.fromkeys(part._opened for part in parts))  # Parts of one dataset, as a split makes them, are read from that one.
        begins = dict(zip(opened, np.cumsum([0, *map(len, opened)]).tolist(), strict=False))
        rows = None
        if len(opened) < len(parts) or any(part._change.rows is not None for part in parts):
            chosen = [np.arange(len(part._opened)) if part._change.rows is None else part._change.rows for part in parts]
            rows = np.concatenate([begins[part._opened] + some for part, some in zip(parts, chosen, strict=True)])
        self._opened = opened[0] if len(opened) == 1 else _native.Dataset.concat(opened)
        self.path = " + ".join(dict.fromkeys(part.path for part in parts))
        self._choose(first._schema.names, first._schema.container, replace(first._change, rows=rows))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("datasets that a loader joined are not pickled; pickle the ConcatDataset")


def _reopen(
    path: str,
    version: int,
    reader: str,
    verify: str,
    fields: list[str],
    container: str,
    fingerprint: int,
    change: Change = NO_CHANGE,
    cache: str = "process",
) -> Dataset:
    dataset = Dataset(path, version, reader=reader, verify=verify, cache=cache, fields=fields, container=container, change=change)
    if dataset.fingerprint != fingerprint:
        raise ChangedError(f"{path} version {version} is not the dataset that was pickled: it was replaced since")
    return dataset


def open(
    path: str | os.PathLike[str], version: int | None = None, *, reader: str = "auto", verify: str = "once", cache: str = "process"
) -> Dataset:
    """Open a dataset for reading, the newest version unless one is named.

    reader: "mmap", "pread", "direct" (O_DIRECT, past the page cache) or "uring" (io_uring, through it); direct and uring fall back to pread where
    the system refuses them: `stats()["reader"]` says what is used, and one line of the logger "headrace" (INFO) says why. "auto": "mmap"
    while the files fit into three quarters of the free memory (of the cgroup, where it has a limit) or are all in the page cache; else "pread" where the
    page cache can hold an eighth of them, "direct" where not. It looks again once a second while a loader reads. Where files do not fit, a loader that
    waits compares all four in turns and keeps what delivers 5 % more, and one whose windows of small samples are more than its `prefetch_bytes` holds begins
    with "mmap"; what is delivered is the same. `Dataset.reader_choice` says what
    reads now and why.
    verify: check each block's checksum when it is first read ("once"), on
    every read ("always"; for mapped files whenever a block is decoded or gathered), or "never".
    cache: where decoded blocks are kept: "process", or "node": in memory shared with the other processes of this user on this machine that say so too
    (ranks, trials), so that each block is decoded once. Nothing of it is in a file system, or left when processes end, however they do. Shared blocks count
    in the process's budget (set_cache_bytes()) and stay until it closes the dataset. HEADRACE_NODE_GROUP separates groups that do not share.
    Raises NotFoundError (no dataset, or no such version), TruncatedError, CorruptDataError, UnsupportedVersionError, ChangedError.
    """
    return Dataset(path, version, reader=reader, verify=verify, cache=cache)
