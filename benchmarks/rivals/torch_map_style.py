"""torch's DataLoader on a map-style dataset in memory, one sample a call, at its best number of workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from benchmarks.workloads.tabular import BATCH_SIZE, Tabular

_PROBE_BATCHES = 16


class MapStyle(torch.utils.data.Dataset[Any]):
    """What most datasets look like."""

    def __init__(self, workload: Tabular) -> None:
        self.features = torch.from_numpy(workload.features)
        self.labels = torch.from_numpy(workload.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.features[index], self.labels[index]


class TorchMapStyle:
    """Slow enough that whole epochs are too long: give it a few dozen batches of indices."""

    name = "torch, __getitem__"
    collate: Any = None

    def __init__(self, workload: Tabular) -> None:
        self.dataset = self.make_dataset(workload)
        probe = np.arange(min(len(workload), _PROBE_BATCHES * BATCH_SIZE))
        self.tried = {count: self._rate(probe, count) for count in (0, 1, 2)}
        self.num_workers = max(self.tried, key=lambda count: self.tried[count])

    def make_dataset(self, workload: Tabular) -> Any:
        """The dataset that the loader reads."""
        return MapStyle(workload)

    def batches(self, indices: npt.NDArray[np.int64], num_workers: int | None = None) -> Iterator[Any]:
        """Batches of these samples, in this order."""
        count = self.num_workers if num_workers is None else num_workers
        context = "fork" if count else None
        return iter(
            torch.utils.data.DataLoader(
                self.dataset,
                BATCH_SIZE,
                sampler=indices.tolist(),
                num_workers=count,
                collate_fn=self.collate,
                multiprocessing_context=context,
            )
        )

    def _rate(self, indices: npt.NDArray[np.int64], num_workers: int) -> float:
        """Samples a second, the start of the workers left out: a long epoch would hide it."""
        batches = self.batches(indices, num_workers)
        next(batches)
        begin = time.perf_counter()
        samples = sum(len(label) for _, label in batches)
        return samples / (time.perf_counter() - begin)
