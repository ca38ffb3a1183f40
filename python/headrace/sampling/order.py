"""The native order as a torch sampler: the same samples, in the same order, for code that asks a loader for its sampler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
import torch.utils.data

from headrace import _native
from headrace.errors import HeadraceWarning
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.partition import Share
from headrace.sampling.strata import StrataOrder
from headrace.sampling.weighted import WeightedOrder

__all__ = ["OrderBatchSampler", "OrderSampler", "SequentialOrderSampler", "is_plain", "read_by_engine"]

_AT_ONCE = 65536  # indices


class Stored(Protocol):
    """A dataset that the native engine reads; a picklable one makes the sampler picklable."""

    @property
    def native(self) -> _native.Dataset: ...
    def __len__(self) -> int: ...


class _Epoch:
    """An epoch of a mixture or of classes, asked like a native order."""

    def __init__(self, of: MixedOrder | StrataOrder, seed: int, epoch: int) -> None:
        self._of, self._seed, self._epoch = of, seed, epoch

    def indices(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        return self._of.indices(begin, end, seed=self._seed, epoch=self._epoch)


class OrderSampler(torch.utils.data.DistributedSampler[int]):
    """Iterates this rank's part of order(seed, epoch), batch after batch; `set_epoch` chooses the epoch. Materialises at most 65,536 indices.

    One of torch's DistributedSamplers, since trainers leave a loader alone that has one; rank and world size are looked for when they are needed, since
    many a trainer makes its process group after the loader. The loader that it belongs to follows an epoch that is chosen here.
    """

    def __init__(
        self,
        dataset: Stored,
        *,
        seed: int = 0,
        kind: str | WeightedOrder | MixedOrder | StrataOrder = "global",
        window: int = 32,
        share: Share | None = None,
        of: Any = None,
    ) -> None:
        """share: how the order is cut into batches and ranks; default one sample a batch. of: the user's dataset, if it is not `dataset` itself."""
        # Not super().__init__(): it asks for a process group, and counts samples in another way.
        self.dataset = dataset  # type: ignore[assignment]
        self.seed = seed
        self.kind = kind
        self.window = window
        self.share = share or Share()
        self.of = dataset if of is None else of
        self.epoch = 0
        self._told: int | None = None

    @property
    def rank(self) -> int:  # type: ignore[override]
        """Of this process, as of now."""
        return self.share.find().rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """The world size, as of now."""
        return self.share.find().world_size

    @property
    def drop_last(self) -> bool:  # type: ignore[override]
        """Of the global batch at the epoch's end, if it is not whole."""
        return self.share.drop_last

    @property
    def shuffle(self) -> bool:  # type: ignore[override]
        """Whether the order is another than that of the dataset."""
        return self.kind != "sequential"

    @property
    def num_positions(self) -> int:
        """Positions of an epoch, on all ranks together."""
        return self.kind.num_samples if isinstance(self.kind, WeightedOrder | MixedOrder | StrataOrder) else len(self.dataset)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, also for the next pass of the loader that this belongs to."""
        self.epoch = self._told = epoch

    def follow(self, epoch: int) -> None:
        """Take over the loader's own epoch."""
        self.epoch, self._told = epoch, None

    def take_told(self) -> int | None:
        """The epoch that somebody chose here since the loader looked last."""
        told, self._told = self._told, None
        return told

    def order(self) -> _native.Order | _Epoch:
        """The native order of the chosen epoch, of all ranks together; TypeError for a mixture, which has indices() of its own."""
        if isinstance(self.kind, MixedOrder):
            raise TypeError("a mixture has no such order; see MixedOrder.indices()")
        if isinstance(self.kind, StrataOrder):
            return _Epoch(self.kind, self.seed, self.epoch)
        native: _native.Dataset = self.dataset.native  # type: ignore[attr-defined]
        if isinstance(self.kind, WeightedOrder):
            return _native.Order(self.num_positions, self.seed, self.epoch, "weighted", weights=self.kind.table)
        layout = native.chunk_layout if self.kind == "window" else []
        return _native.Order(
            self.num_positions,
            self.seed,
            self.epoch,
            self.kind,
            self.window,
            [samples for samples, _ in layout],
            [chunk for _, chunk in layout],
        )

    def __iter__(self) -> Iterator[int]:
        order = self.order() if not isinstance(self.kind, MixedOrder) else _Epoch(self.kind, self.seed, self.epoch)
        total, partition = self.num_positions, self.share.find()
        steps = partition.num_batches(total)
        if partition.world_size == 1:  # One run of positions.
            end = min(steps * partition.global_batch, total)
            for begin in range(0, end, _AT_ONCE):
                yield from order.indices(begin, min(begin + _AT_ONCE, end)).tolist()
            return
        for step in range(steps):
            begin, count = partition.share(total, step)
            whole = range(begin, min(begin + count, total))
            if whole:
                yield from order.indices(whole.start, whole.stop).tolist()
            for position in range(max(begin, total), begin + count):  # Past the end: from the start again.
                yield from order.indices(position % total, position % total + 1).tolist()

    def __len__(self) -> int:
        total, partition = self.num_positions, self.share.find()
        steps = partition.num_batches(total)
        return (steps - 1) * partition.batch_size + partition.share(total, steps - 1)[1] if steps else 0


class SequentialOrderSampler(OrderSampler, torch.utils.data.SequentialSampler):
    """An OrderSampler of the stored order: trainers that look for a SequentialSampler see that nothing is shuffled."""


_is_read_by_engine: ContextVar[bool] = ContextVar("is_read_by_engine", default=False)


@contextmanager
def read_by_engine() -> Iterator[None]:
    """Within this, an OrderBatchSampler that is iterated feeds an engine: nothing to warn of."""
    token = _is_read_by_engine.set(True)
    try:
        yield
    finally:
        _is_read_by_engine.reset(token)


class OrderBatchSampler(torch.utils.data.BatchSampler):
    """The batches of this rank, from an OrderSampler. The loader that it belongs to never iterates it: its engine computes the order.

    Whoever does has made another loader of the same parts. Torch's own reads whole batches natively too, through the dataset's `__getitems__`, but
    nothing ahead, and without the options named in `lost`: a HeadraceWarning says so, once a process. Raises ValueError if `prepare` is one of them,
    without which batches would be others.
    """

    has_warned = False
    # Attributes of each, not of the class, since Lightning's wrapper takes those over.
    is_shared_out: bool
    lost: tuple[str, ...]

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.is_shared_out, self.lost = True, ()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        if hasattr(self.sampler, "set_epoch"):  # Lightning may have put another one in.
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        if not _is_read_by_engine.get():
            self._warn()
        return super().__iter__()

    def _warn(self) -> None:
        made = "a headrace.DataLoader was made into another loader, which iterates its batch_sampler"
        if "prepare" in self.lost:
            raise ValueError(f"{made} and would not prepare the images; to resume use load_state_dict() in place of skipping batches")
        if OrderBatchSampler.has_warned:
            return
        OrderBatchSampler.has_warned = True
        lost = f", and without {', '.join(self.lost)}" if self.lost else ""
        warnings.warn(
            f"{made}: order and ranks stay the same, but batches are read one by one, without prefetching{lost}, by that loader's own means; to "
            "resume on the engine use load_state_dict() in place of skipping batches",
            HeadraceWarning,
            stacklevel=3,
        )


def is_plain(batch_sampler: Any) -> TypeGuard[torch.utils.data.BatchSampler]:
    """Whether its batches are its sampler's samples, so many at a time, and nothing else: no subclass of the user's."""
    return type(batch_sampler) in (torch.utils.data.BatchSampler, OrderBatchSampler)
