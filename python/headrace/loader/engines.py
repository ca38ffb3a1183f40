"""The engines of one loader: which are free, and what all of them did."""

from __future__ import annotations

import os
import threading
from typing import Any

from headrace import _native
from headrace.loader.stats import add_stats
from headrace.sampling.partition import Partition

__all__ = ["EnginePool"]

MAX_IDLE = 2  # Each keeps its threads and up to 64 MiB of free slabs.


class EnginePool:
    """Engines that no pass uses, and the sums over those that are gone. Any thread may call anything; a forked child begins with none."""

    def __init__(self) -> None:
        self._of_parents: list[_native.Pipeline] = []  # never ended here: their threads are not in this process
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[tuple[tuple[_native.Dataset, Partition], _native.Pipeline]] = []
        self._live: list[_native.Pipeline] = []  # in use or idle
        self._ended: dict[str, Any] | None = None  # what engines did that were let go

    def __reduce__(self) -> tuple[type[EnginePool], tuple[()]]:
        return EnginePool, ()  # A copy of a loader makes engines of its own.

    def _adopt(self) -> None:
        """In a forked child: leave to the parent what it made, the lock included, which another thread may hold for ever."""
        if self._pid != os.getpid():
            self._of_parents.extend(self._live)
            self._begin()

    def add(self, pipeline: _native.Pipeline) -> None:
        """Count a new engine in; it is in use."""
        self._adopt()
        with self._lock:
            self._live.append(pipeline)

    def take(self, native: _native.Dataset, partition: Partition) -> _native.Pipeline | None:
        """An idle engine over this very table and for this rank, or None. Others, which nobody will ask for again, are let go."""
        self._adopt()
        with self._lock:
            found, gone = None, []
            while self._idle and found is None:
                made_for, pipeline = self._idle.pop()
                if made_for[0] is native and made_for[1] == partition:
                    found = pipeline
                else:
                    gone.append(self._retire(pipeline))
        del gone  # Ended after the lock: its threads are joined.
        return found

    def give(self, native: _native.Dataset, partition: Partition, pipeline: _native.Pipeline) -> None:
        """Keep a stopped engine for the next pass, unless enough are kept."""
        self._adopt()
        gone = None
        with self._lock:
            self._idle.append(((native, partition), pipeline))
            if len(self._idle) > MAX_IDLE:
                gone = self._retire(self._idle.pop(0)[1])
        del gone

    def _retire(self, pipeline: _native.Pipeline) -> _native.Pipeline:
        did = {**pipeline.stats(), "batches_in_flight": 0, "batches_ready": 0, "bytes_in_flight": 0, "slab_bytes": 0}
        if self._ended is None:
            self._ended = did
        else:
            add_stats(self._ended, did)
        self._live = [one for one in self._live if one is not pipeline]
        return pipeline

    def add_others(self, stats: dict[str, Any], pipeline: _native.Pipeline) -> None:
        """Add to one engine's stats what all the others did."""
        self._adopt()
        with self._lock:
            others = [one for one in self._live if one is not pipeline]
            ended = self._ended
            if ended is not None:
                add_stats(stats, ended)
        for other in others:
            add_stats(stats, other.stats())
