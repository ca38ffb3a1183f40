"""The epoch of a dataset that several processes iterate together: one number in shared memory, taken once a pass."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import get_spawning_popen
from typing import Any

__all__ = ["SharedEpoch"]

PASSES = 64  # that are remembered
ENTRY = 4  # numbers of a pass: seed, count, epoch, workers that began it


class SharedEpoch:
    """The epoch of the next pass. Worker processes see it, however they were started; a pickle that is not for them, and a copy, counts by itself.

    Every worker of one pass must get the same epoch, whichever comes first, while other passes may be under way: a pass is known by the seed that
    torch's DataLoader gave its workers and by how many passes this worker has seen since.
    """

    def __init__(self, epoch: int = 0) -> None:
        self._make(epoch)
        self._seed, self._count = 0, 0  # of the latest pass in this worker

    def _make(self, epoch: int) -> None:
        # Of the spawn context: it may be inherited by fork as well, which does not hold the other way round.
        self._shared: Any = multiprocessing.get_context("spawn").Array("q", 2 + PASSES * ENTRY)
        self._shared[0] = epoch

    def get(self) -> int:
        """The epoch of the next pass."""
        return int(self._shared[0])

    def set(self, epoch: int) -> None:
        """Choose it."""
        self._shared[0] = epoch

    def begin(self) -> int:
        """The epoch of a pass of this process alone; the next one has the next."""
        with self._shared.get_lock():
            self._shared[0] += 1
            return int(self._shared[0]) - 1

    def begin_shared(self, seed: int, workers: int) -> int:
        """The epoch of a pass of this process and of the other workers that torch gave this seed."""
        self._seed, self._count = seed, self._count + 1 if seed == self._seed else 0
        with self._shared.get_lock():
            shared = self._shared
            for begin in range(2, len(shared), ENTRY):
                if shared[begin] == seed and shared[begin + 1] == self._count and 0 < shared[begin + 3] < workers:
                    shared[begin + 3] += 1
                    return int(shared[begin + 2])
            begin = 2 + shared[1] % PASSES * ENTRY
            shared[1] += 1
            shared[begin : begin + ENTRY] = [seed, self._count, shared[0], 1]
            return self.begin()

    def __getstate__(self) -> dict[str, Any]:
        is_worker = get_spawning_popen() is not None
        return {"shared": self._shared} if is_worker else {"epoch": self.get()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._seed, self._count = 0, 0
        if "shared" in state:
            self._shared = state["shared"]
        else:
            self._make(state["epoch"])
