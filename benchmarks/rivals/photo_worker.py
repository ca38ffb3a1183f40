"""Runs one loader of photos in a process of its own: `python -m benchmarks.rivals.photo_worker MODULE KIND FOLDER SAMPLES`. Answers as worker.py does:

{"do": "settings"}                       {"name": ..., "settings": [...]}
{"do": "open", "settings": {...}}        {}
{"do": "check"}                          {"samples": ...}               an epoch: shapes, and means and deviations as of normalised photos
{"do": "time", "seconds": S}             {"samples": ..., "seconds": ..., "first_batch_seconds": ..., "cpu_seconds": ..., "bytes": ...}
                                         processor time of all threads; the most resident memory above what was there after the imports
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.photo_peers import BATCH, SIDE
from benchmarks.rivals.worker import answer


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _kib(name: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))


class Worker:
    """One loader."""

    def __init__(self, module: str, kind: str, folder: Path, samples: int) -> None:
        paths = sorted(folder.glob("*/*.jpg"))
        assert len(paths) == samples, f"{len(paths)} photos in {folder}, expected {samples}"
        module, _, name = module.partition(":")
        self._peer: Any = getattr(importlib.import_module(f"benchmarks.rivals.photo_peers.{module}"), name or "Peer")(paths, kind)
        self._samples = samples
        self._epoch = 0
        Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew: imports are not counted.
        self._imported_kib = _kib("VmRSS")

    def settings(self) -> dict[str, Any]:
        return {"name": self._peer.name, "settings": self._peer.settings()}

    def open(self, settings: dict[str, Any]) -> dict[str, Any]:
        self._peer.open(**settings)
        return {}

    def check(self) -> dict[str, Any]:
        """Raises AssertionError where batches are not what everybody is to deliver."""
        samples, means, deviations = 0, [], []
        for batch in self._peer.batches(self._epoch):
            images = np.asarray(batch)
            assert images.shape[1:] == (3, SIDE, SIDE), images.shape
            assert images.dtype == np.float32, images.dtype
            samples += len(images)
            means.append(images.mean())
            deviations.append(images.std())
        assert samples > self._samples - BATCH, f"{samples} photos in an epoch, expected {self._samples}"
        assert -1 < np.mean(means) < 1, means
        assert 0.5 < np.mean(deviations) < 2, deviations
        return {"samples": samples, "mean": float(np.mean(means)), "deviation": float(np.mean(deviations))}

    def time(self, seconds: float) -> dict[str, Any]:
        """Epochs one after the other, for a while. The clock of the rate starts at the first batch."""
        begin = time.perf_counter()
        started = now = cpu = 0.0
        samples = 0
        while started == 0 or now - started < seconds:
            self._epoch += 1
            for batch in self._peer.batches(self._epoch):
                now = time.perf_counter()
                if started == 0:
                    started, cpu = now, _cpu_seconds()
                    continue
                samples += len(batch)
                if now - started >= seconds:
                    break
            assert started > 0, "an epoch without a batch; see what the loader printed"
        return {
            "samples": samples,
            "seconds": now - started,
            "first_batch_seconds": started - begin,
            "cpu_seconds": _cpu_seconds() - cpu,
            "bytes": (_kib("VmHWM") - self._imported_kib) * 1024,
        }


if __name__ == "__main__":
    answer(lambda: Worker(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
