"""A torch IterableDataset of whole batches from the engine, for code that insists on its own DataLoader(ds, batch_size=None)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.utils.data

from headrace import _native
from headrace.datasets.epochs import SharedEpoch
from headrace.datasets.shards import Dataset
from headrace.sampling.options import one_of, whole_number
from headrace.sampling.partition import Partition
from headrace.sampling.world import find_world

__all__ = ["IterableBatches"]


class IterableBatches(torch.utils.data.IterableDataset[Any]):
    """Yields batches (as headrace.DataLoader delivers them); with torch workers, worker w of n yields batches w, w + n, ...

    Each pass has the next epoch, also where persistent workers make it; `set_epoch` chooses one.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        shuffle: bool,
        *,
        drop_last: bool = False,
        seed: int = 0,
        order: str = "global",
        window: int = 32,
        ragged: str = "padded",
        strings: str = "lists",
        num_threads: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.order = one_of("order", order, ("global", "window")) if shuffle else "sequential"
        self.window = whole_number("window", window, 1, 1 << 32)
        self.seed = whole_number("seed", seed, 0, 1 << 64)
        self.ragged = one_of("ragged", ragged, ("padded", "offsets"))
        self.strings = one_of("strings", strings, ("lists", "offsets"))
        self.num_threads = whole_number("num_threads", num_threads, 0, 1 << 31)
        self.rank, self.world_size = find_world(rank, world_size)
        self.partition = Partition(batch_size=batch_size, rank=self.rank, world_size=self.world_size, drop_last=drop_last)
        self._epoch = SharedEpoch()

    @property
    def epoch(self) -> int:
        """The epoch whose order the next pass follows."""
        return self._epoch.get()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass follows; worker processes that are there already follow it too."""
        self._epoch.set(whole_number("epoch", epoch, 0, (1 << 63) - 1))

    def __len__(self) -> int:
        return self.partition.num_batches(len(self.dataset))

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        # torch gives worker w the seed of the pass plus w.
        epoch = self._epoch.begin() if info is None else self._epoch.begin_shared(_signed(info.seed - info.id), info.num_workers)
        return self._batches(epoch, info)

    def _batches(self, epoch: int, info: Any) -> Iterator[Any]:
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        native = self.dataset.native
        layout = native.chunk_layout if self.order == "window" else []
        order = _native.Order(
            len(self.dataset),
            self.seed,
            epoch,
            self.order,
            self.window,
            [samples for samples, _ in layout],
            [chunk for _, chunk in layout],
        )
        pipeline = _native.Pipeline(
            native,
            fields=self.dataset.field_numbers,
            batch_size=self.partition.batch_size,
            # A worker process of torch's already is one of several: one thread each.
            num_threads=self.num_threads if info is None else 1,
            ragged=self.ragged,
        )
        pipeline.start_fed()
        ahead = 2 * self.num_threads + 2
        steps = range(worker, len(self), workers)
        fed = 0
        for done in range(len(steps)):
            for step in steps[fed : done + ahead]:
                pipeline.feed(self._indices(order, step))
                fed += 1
            batch = pipeline.next()
            assert batch is not None
            self.dataset.note_fallback()
            yield self.dataset.layout.to_torch(batch, self.strings)

    def _indices(self, order: _native.Order, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        begin, count = self.partition.share(len(self.dataset), step)
        straight = min(count, len(self.dataset) - begin) if begin < len(self.dataset) else 0
        parts = [order.indices(begin, begin + straight)] if straight else []
        parts += [order.indices(p % len(self.dataset), p % len(self.dataset) + 1) for p in range(begin + straight, begin + count)]
        return np.concatenate(parts)


def _signed(number: int) -> int:
    """The 64 low bits as a signed number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
