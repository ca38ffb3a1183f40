"""The native order as a torch sampler: the same samples, in the same order, for code that asks a loader for its sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch.utils.data

from headrace import _native
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.weighted import WeightedOrder

__all__ = ["OrderSampler"]


class Stored(Protocol):
    """A dataset that the native engine reads; a picklable one makes the sampler picklable."""

    @property
    def native(self) -> _native.Dataset: ...
    def __len__(self) -> int: ...


class OrderSampler(torch.utils.data.Sampler[int]):
    """Iterates order(seed, epoch) over the samples of a headrace dataset; `set_epoch` chooses the epoch. Materialises at most 65,536 indices."""

    def __init__(self, dataset: Stored, *, seed: int = 0, kind: str | WeightedOrder | MixedOrder = "global", window: int = 32) -> None:
        self.dataset = dataset
        self.seed = seed
        self.kind = kind
        self.window = window
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def order(self) -> _native.Order:
        """The native order of the chosen epoch; TypeError for a mixture, which has indices() of its own."""
        if isinstance(self.kind, MixedOrder):
            raise TypeError("a mixture has no such order; see MixedOrder.indices()")
        if isinstance(self.kind, WeightedOrder):
            return _native.Order(len(self), self.seed, self.epoch, "weighted", weights=self.kind.table)
        layout = self.dataset.native.chunk_layout if self.kind == "window" else []
        return _native.Order(
            len(self.dataset),
            self.seed,
            self.epoch,
            self.kind,
            self.window,
            [samples for samples, _ in layout],
            [chunk for _, chunk in layout],
        )

    def __iter__(self) -> Iterator[int]:
        order = None if isinstance(self.kind, MixedOrder) else self.order()
        for begin in range(0, len(self), 65536):
            end = min(begin + 65536, len(self))
            yield from self._indices(order, begin, end).tolist()

    def _indices(self, order: _native.Order | None, begin: int, end: int) -> npt.NDArray[np.int64]:
        if isinstance(self.kind, MixedOrder):
            return self.kind.indices(begin, end, seed=self.seed, epoch=self.epoch)
        assert order is not None
        return order.indices(begin, end)

    def __len__(self) -> int:
        return self.kind.num_samples if isinstance(self.kind, WeightedOrder | MixedOrder) else len(self.dataset)
