"""Memory that a process and its worker processes hold for themselves: anonymous and shared memory, without the page cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["PeakMemory", "private_bytes"]

_INTERVAL_SECONDS = 0.02  # reading it takes up to a millisecond: often enough to see a batch, seldom enough not to be the benchmark


def private_bytes(pid: int | None = None) -> int | None:
    """Proportional anonymous and shared memory of a process and its descendants, in bytes: what is shared by two of them counts once.

    None where the kernel does not say (not Linux, or no permission).
    """
    total = 0
    for process in _with_descendants(os.getpid() if pid is None else pid):
        size = _proportional_bytes(process)
        if size is None and process in (pid, os.getpid()):
            return None
        total += size or 0  # a worker that has just ended holds nothing
    return total


def _proportional_bytes(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    parts = [line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(int(part[1]) << 10 for part in parts) if len(parts) == 2 else None


def _with_descendants(pid: int) -> list[int]:
    found = [pid]
    for process in found:  # grows while it is walked
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
            except OSError:
                continue  # the thread has just ended
    return found


class PeakMemory:
    """The most private memory above what there was at the beginning, as seen by `sample()`."""

    def __init__(self) -> None:
        self._baseline = private_bytes()
        self._peak = self._baseline
        self._next = 0.0

    def sample(self) -> None:
        """Look at the memory, unless it was looked at just now."""
        now = time.perf_counter()
        if self._peak is None or now < self._next:
            return
        self._next = now + _INTERVAL_SECONDS
        self._peak = max(self._peak, private_bytes() or 0)

    @property
    def peak_bytes(self) -> int | None:
        """Bytes above the beginning; None where the kernel does not say."""
        return None if self._peak is None or self._baseline is None else max(0, self._peak - self._baseline)
