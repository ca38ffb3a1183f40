"""headrace.DataLoader on the dataset; its order is a function of seed and epoch, so `indices` must be that order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import headrace
from benchmarks.workloads.tabular import BATCH_SIZE, Tabular
from headrace._native import Order

SEED = 11


class HeadraceLoader:
    """Ours. `order()` gives the indices of an epoch, for the rivals to follow."""

    name = "headrace"

    def __init__(self, workload: Tabular, num_workers: int = 2, **options: Any) -> None:
        self.num_workers = num_workers
        self.loader = headrace.DataLoader(headrace.open(workload.path), BATCH_SIZE, True, num_workers=num_workers, seed=SEED, **options)
        self._samples = len(workload)

    def order(self, epoch: int = 0) -> npt.NDArray[np.int64]:
        """Samples in the order of an epoch."""
        return Order(self._samples, SEED, epoch).indices(0, self._samples)

    def batches(self, indices: npt.NDArray[np.int64] | None = None) -> Iterator[Any]:
        """Epoch 0."""
        self.loader.set_epoch(0)
        for batch in self.loader:
            yield batch["features"], batch["label"]
