"""One process, no loader: np.take of permuted indices into buffers that are used again.

mode="clip" matters: with the default mode numpy gathers into a temporary array first and copies. The batch is overwritten by the next
one, which a loader may not do; the permutation is made outside the clock. Both favour this rival.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.workloads.tabular import BATCH_SIZE, FEATURES, Tabular


class HandWritten:
    """Gathers from arrays in memory, or from mapped .npy files."""

    def __init__(self, workload: Tabular, mapped: bool = False) -> None:
        self.name = "hand-written, mapped files" if mapped else "hand-written, in memory"
        self._features, self._labels = workload.mapped() if mapped else (workload.features, workload.labels)
        self._batch = np.empty((BATCH_SIZE, FEATURES), np.float32), np.empty(BATCH_SIZE, np.int64)

    def batches(self, indices: npt.NDArray[np.int64]) -> Iterator[Any]:
        """Batches valid until the next one."""
        features, labels = self._batch
        for begin in range(0, len(indices), BATCH_SIZE):
            chosen = indices[begin : begin + BATCH_SIZE]
            count = len(chosen)
            np.take(self._features, chosen, axis=0, out=features[:count], mode="clip")
            np.take(self._labels, chosen, out=labels[:count], mode="clip")
            yield torch.from_numpy(features[:count]), torch.from_numpy(labels[:count])
