"""Runs one loader in a process of its own: `python -m benchmarks.rivals.worker MODULE SHAPE FOLDER SAMPLES`, under that loader's interpreter.

Reads commands from standard input and answers on standard output, one JSON document a line. What the loader prints goes to stderr.

    {"do": "convert"}                        {"seconds": ...}               makes the loader's own files, once
    {"do": "settings"}                       {"name": ..., "settings": [...], "order": ...}
    {"do": "open", "settings": {...}}        {"seconds": ...}
    {"do": "check"}                          {"samples": ...}               a whole epoch, every value compared, every sample once
    {"do": "time", "seconds": S}             {"samples": ..., "seconds": ..., "first_batch_seconds": ...}
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads.shapes import Shape, prepare


class Worker:
    """One loader on one shape of data."""

    def __init__(self, module: str, shape: Shape) -> None:
        self._shape = shape
        folder = shape.folder / module
        self._peer: Any = importlib.import_module(f"benchmarks.rivals.peers.{module}").Peer(shape, folder)
        self._epoch = 0

    def convert(self) -> dict[str, Any]:
        """Make the loader's own files, unless an earlier run did."""
        begin = time.perf_counter()
        folder: Path = self._peer.folder
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._peer.convert()
            (folder / "complete").touch()
        return {"seconds": time.perf_counter() - begin}

    def settings(self) -> dict[str, Any]:
        """What can be chosen, and how the loader shuffles."""
        return {"name": self._peer.name, "settings": self._peer.settings(), "order": self._peer.order}

    def open(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Everything that is not delivering."""
        begin = time.perf_counter()
        self._peer.open(**settings)
        return {"seconds": time.perf_counter() - begin}

    def check(self) -> dict[str, Any]:
        """An epoch, every value compared with what is stored."""
        counts = np.zeros(self._shape.samples, np.int64)
        for batch in self._peer.batches(self._epoch):
            np.add.at(counts, self._shape.check(batch), 1)
        wrong = np.flatnonzero(counts != 1)
        assert len(wrong) == 0, f"sample {wrong[0]} came {counts[wrong[0]]} times, expected once ({len(wrong)} such samples)"
        return {"samples": len(counts)}

    def time(self, seconds: float) -> dict[str, Any]:
        """A new epoch, for a while. The clock of the rate starts at the first batch: starting workers is reported apart."""
        self._epoch += 1
        begin = time.perf_counter()
        batches = iter(self._peer.batches(self._epoch))
        next(batches)
        started = now = time.perf_counter()
        samples = 0
        for batch in batches:
            samples += len(batch[0])
            now = time.perf_counter()
            if now - started >= seconds:
                break
        elapsed = now - started
        del batches
        return {"samples": samples, "seconds": elapsed, "first_batch_seconds": started - begin}


def answer(make: Callable[[], Any]) -> None:
    """Answer commands until standard input ends, by the methods of what `make` returns; it is made at the first."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        call = command.pop("do")
        try:
            worker = worker or make()
            said = getattr(worker, call)(**command)
        except Exception as error:  # noqa: BLE001 - the one who asked is told
            import traceback

            traceback.print_exc()
            said = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def main(module: str, shape: str, folder: str, samples: str) -> None:
    """One loader on one shape of data."""
    answer(lambda: Worker(module, prepare(shape, Path(folder), int(samples))))


if __name__ == "__main__":
    main(*sys.argv[1:])
