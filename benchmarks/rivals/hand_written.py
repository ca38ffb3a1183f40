"""One process, no loader: np.take of permuted indices into buffers that are used again, or windows of tokens converted into them.

mode="clip" matters: with the default mode numpy gathers into a temporary array first and copies. The batch is overwritten by the next
one, which a loader may not do; the permutation is made outside the clock. Both favour this rival.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.workloads.tabular import BATCH_SIZE, Tabular

__all__ = ["HandWritten", "HandWrittenRows", "HandWrittenWindows"]


class HandWrittenRows:
    """Rows of arrays, by np.take."""

    def __init__(self, name: str, arrays: Sequence[npt.NDArray[Any]], batch_size: int) -> None:
        self.name, self._arrays, self._batch_size = name, arrays, batch_size
        self._batch = [np.empty((batch_size, *array.shape[1:]), array.dtype) for array in arrays]

    def batches(self, indices: npt.NDArray[np.int64]) -> Iterator[Any]:
        """Batches valid until the next one."""
        for begin in range(0, len(indices), self._batch_size):
            chosen = indices[begin : begin + self._batch_size]
            count = len(chosen)
            for array, batch in zip(self._arrays, self._batch, strict=True):
                np.take(array, chosen, axis=0, out=batch[:count], mode="clip")
            yield tuple(torch.from_numpy(batch[:count]) for batch in self._batch)


class HandWritten(HandWrittenRows):
    """The tabular workload's, from arrays in memory or from mapped .npy files."""

    def __init__(self, workload: Tabular, mapped: bool = False) -> None:
        arrays = workload.mapped() if mapped else (workload.features, workload.labels)
        super().__init__("hand-written, mapped files" if mapped else "hand-written, in memory", arrays, BATCH_SIZE)


class HandWrittenWindows:
    """Windows of one long row, each converted by numpy as it is copied."""

    def __init__(self, values: npt.NDArray[Any], length: int, batch_size: int) -> None:
        self.name = "hand-written, in memory"
        self._values, self._length = values, length
        self._batch = np.empty((batch_size, length), np.int64)

    def batches(self, starts: npt.NDArray[np.int64]) -> Iterator[torch.Tensor]:
        """Batches valid until the next one."""
        values, length, batch = self._values, self._length, self._batch
        for begin in range(0, len(starts), len(batch)):
            chosen = starts[begin : begin + len(batch)].tolist()
            for slot, start in enumerate(chosen):
                batch[slot] = values[start : start + length]
            yield torch.from_numpy(batch[: len(chosen)])
