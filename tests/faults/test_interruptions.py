"""Interrupted calls and short answers: the same bytes through every reader, and no busy loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, READERS, ROWS, FaultyDisk, deliver, write


@contextmanager
def storm() -> Iterator[list[int]]:
    """SIGALRM a thousand times a second, to a handler that breaks off system calls."""
    count = [0]

    def ring(*_: object) -> None:
        count[0] += 1

    before = signal.signal(signal.SIGALRM, ring)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", READERS)
def test_a_storm_of_signals_changes_nothing(disk: FaultyDisk, reader: str, workers: int) -> None:
    disk.rules({"suffix": ".hrs", "delay": 0.003})  # Longer than from one signal to the next.
    with storm() as count:
        loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK // 2, num_workers=workers)
        assert deliver(loader) == (list(range(ROWS)), [])
        while count[0] < 50:
            assert deliver(loader) == (list(range(ROWS)), [])
    assert loader.stats()["read_retries"] == 0


@pytest.mark.parametrize("reader", ["pread", "direct", "uring"])
def test_a_byte_at_a_time_is_put_together(disk: FaultyDisk, reader: str) -> None:
    if not (disk.folder / "small").exists():
        hr.write(disk.folder / "small", {"x": np.arange(80), "s": [f"sample {i}" for i in range(80)]}, codec={"x": "none", "s": "lz4"})
    disk.rules()
    dataset = hr.open(disk.mount / "small", reader=reader)
    before = disk.rules({"direct_io": True, "suffix": ".hrs", "short": 1})["reads"]
    used = time.process_time()
    batch = next(iter(hr.DataLoader(dataset, 80, num_workers=2)))
    used = time.process_time() - used
    assert batch["x"].tolist() == list(range(80))
    assert batch["s"] == [f"sample {i}" for i in range(80)]
    reads = disk.counts()["reads"] - before
    assert reads >= 640, "the values of x alone are 640 bytes"
    assert reads < 20_000
    assert used < 60, "nobody spins"


@pytest.mark.parametrize("reader", ["pread", "direct", "uring"])
@pytest.mark.parametrize("short", [1000, 4097])
def test_short_answers_are_put_together(disk: FaultyDisk, reader: str, short: int) -> None:
    disk.rules({"direct_io": True, "suffix": ".hrs", "short": short})
    loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK // 2, num_workers=2)
    assert deliver(loader) == (list(range(ROWS)), [])


def test_opening_survives_the_storm(tmp_path: Path) -> None:
    write(tmp_path / "d")
    with storm() as count:
        while count[0] < 100:
            assert len(hr.open(tmp_path / "d")) == ROWS
