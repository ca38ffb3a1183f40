"""Loaders that a benchmark runs side by side: headrace's, and others on the same dataset.

| name | reads |
|---|---|
| `headrace` | `headrace.DataLoader` |
| `torch` | torch's DataLoader, one sample a call: what a map-style dataset gives it |
| `torch-batched` | torch's DataLoader with `__getitems__`: whole batches read natively, collated by torch |
| `numpy` | a hand-written loop: `np.take` of a permutation from decoded arrays in memory into one batch that is used again |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from headrace._native import Pipeline, available_memory_bytes
from headrace.datasets.shards import Dataset

__all__ = ["RIVALS", "Contender", "HeadraceContender", "make_rival"]

RIVALS = ("torch", "torch-batched", "numpy")
_MEMORY_SHARE = 0.5  # of what is free, for decoded arrays: twice that would swap out what is measured


class Contender:
    """One loader. A pass may be left before its end."""

    name: str
    num_workers: int

    def passes(self, epoch: int) -> Iterator[int]:
        """Deliver an epoch's batches; yields the samples of each."""
        raise NotImplementedError


class HeadraceContender(Contender):
    """Ours. `loader` is the DataLoader, whose stats say more."""

    name = "headrace"

    def __init__(self, dataset: Dataset, batch_size: int, order: str, num_workers: int, seed: int) -> None:
        from headrace.loader.loader import DataLoader  # imports torch, which ceilings and checks do without

        self.num_workers = num_workers
        self._samples = len(dataset)
        self._batch_size = batch_size
        shuffle = order != "sequential"
        options: dict[str, Any] = {"order": order} if shuffle else {}
        self.loader: Any = DataLoader(dataset, batch_size, shuffle, num_workers=num_workers, seed=seed, **options)

    def passes(self, epoch: int) -> Iterator[int]:
        """Every batch but the last is full."""
        self.loader.set_epoch(epoch)
        left = self._samples
        for _ in self.loader:
            yield min(left, self._batch_size)
            left -= self._batch_size


class _OneByOne:
    """The dataset without `__getitems__`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]


class TorchContender(Contender):
    """torch's own DataLoader on the same files."""

    def __init__(self, dataset: Dataset, batch_size: int, order: str, num_workers: int, seed: int, *, batched: bool) -> None:
        import torch.utils.data

        self.name = "torch-batched" if batched else "torch"
        self.num_workers = num_workers
        self._samples = len(dataset)
        self._batch_size = batch_size
        self._generator = torch.Generator()
        self._seed = seed
        source: Any = dataset if batched else _OneByOne(dataset)
        self._loader: Any = torch.utils.data.DataLoader(
            source, batch_size, shuffle=order != "sequential", num_workers=num_workers, generator=self._generator
        )

    def passes(self, epoch: int) -> Iterator[int]:
        """Every batch but the last is full."""
        self._generator.manual_seed(self._seed + epoch)
        left = self._samples
        for _ in self._loader:
            yield min(left, self._batch_size)
            left -= self._batch_size


class NumpyContender(Contender):
    """Gathers from decoded arrays. Its batch is overwritten by the next one, which a loader may not do."""

    name = "numpy"
    num_workers = 0

    def __init__(self, dataset: Dataset, batch_size: int, order: str, seed: int) -> None:
        self._arrays = _decoded(dataset)
        self._batch = [np.empty((batch_size, *array.shape[1:]), array.dtype) for array in self._arrays]
        self._samples = len(dataset)
        self._batch_size = batch_size
        self._shuffle = order != "sequential"
        self._seed = seed

    def passes(self, epoch: int) -> Iterator[int]:
        """The permutation is part of the pass, as it is of a loop."""
        order = np.arange(self._samples)
        if self._shuffle:
            np.random.default_rng([self._seed, epoch]).shuffle(order)
        for begin in range(0, self._samples, self._batch_size):
            chosen = order[begin : begin + self._batch_size]
            for array, out in zip(self._arrays, self._batch, strict=True):
                # mode="clip": with the default numpy gathers into a temporary array and copies.
                np.take(array, chosen, axis=0, out=out[: len(chosen)], mode="clip")
            yield len(chosen)


def _decoded(dataset: Dataset) -> list[Any]:
    """Every field as an array in memory. Raises ValueError for fields without a fixed shape, and where memory does not suffice."""
    fields = dataset.schema.fields
    ragged = [field.name for field in fields if field.kind != "tensor"]
    if ragged:
        raise ValueError(
            f"numpy needs fields of a fixed shape to gather from; {', '.join(ragged)} {'has' if len(ragged) == 1 else 'have'} none"
        )
    needed = sum(field.row_bytes for field in fields) * len(dataset)
    free = available_memory_bytes()
    if needed > _MEMORY_SHARE * free:
        raise ValueError(f"numpy needs the decoded dataset in memory: {needed} bytes, {free} bytes are free and half of them may be used")
    pipeline = Pipeline(dataset.native, fields=range(len(fields)), batch_size=4096, order="sequential", num_threads=1, ragged="offsets")
    pipeline.start(0)
    arrays: list[Any] = []
    begin = 0
    while (batch := pipeline.next()) is not None:
        values = [batch.numpy(number) for number in range(len(fields))]
        arrays = arrays or [np.empty((len(dataset), *value.shape[1:]), value.dtype) for value in values]
        for array, value in zip(arrays, values, strict=True):
            array[begin : begin + len(batch)] = value
        begin += len(batch)
    return arrays


def make_rival(name: str, dataset: Dataset, batch_size: int, order: str, num_workers: int, seed: int) -> Contender:
    """The rival of that name. Raises ValueError if there is none, or it cannot read this dataset."""
    if name == "numpy":
        return NumpyContender(dataset, batch_size, order, seed)
    if name in ("torch", "torch-batched"):
        return TorchContender(dataset, batch_size, order, num_workers, seed, batched=name == "torch-batched")
    raise ValueError(f"against must be one of {', '.join(RIVALS)}, got {name!r}")
