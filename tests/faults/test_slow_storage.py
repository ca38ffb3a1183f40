"""Slow and stuck storage, through every reader: nothing deadlocks, `timeout` raises, the wait shows in stats(), and Ctrl-C works meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, READERS, ROWS, FaultyDisk, deliver, rows_of

STUCK = {"suffix": ".hrs", "hold": True}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", READERS)
def test_slow_storage_slows_down_and_no_more(disk: FaultyDisk, reader: str, workers: int) -> None:
    dataset = hr.open(disk.mount / "d", reader=reader)
    disk.rules({"suffix": ".hrs", "delay": 0.5})
    loader = hr.DataLoader(dataset, CHUNK, num_workers=workers)
    iterator = iter(loader)
    assert rows_of(next(iterator)) == list(range(CHUNK))
    stats = loader.stats()
    # Below the delay: the kernel may have begun the read before the engine's clock, and a worker before next().
    assert stats["stall_seconds"] >= 0.2
    assert stats["stages"]["read"] >= 0.2
    disk.rules()
    assert [row for batch in iterator for row in rows_of(batch)] == list(range(CHUNK, ROWS))


@pytest.mark.parametrize("workers", [0, 1, 8])
@pytest.mark.parametrize("reader", READERS)
def test_stuck_storage_is_a_timeout_and_the_pass_goes_on(disk: FaultyDisk, reader: str, workers: int) -> None:
    dataset = hr.open(disk.mount / "d", reader=reader)
    loader = hr.DataLoader(dataset, CHUNK // 2, True, num_workers=workers, timeout=0.3)
    disk.rules(STUCK)
    iterator = iter(loader)
    for _ in range(2):
        with pytest.raises(hr.LoaderTimeoutError, match=r"no batch within 0\.3 s: step 0 .* is .*reading"):
            next(iterator)
    stats = loader.stats()
    # Of 0.6: the timeout's clock begins before that of the wait, and on a busy machine other threads run between them.
    assert stats["stall_seconds"] >= 0.3
    assert stats["stall_share"] > 0.2
    assert stats["batches"] == 0
    assert loader.state_dict()["position"] == 0
    disk.rules()
    loader.timeout = 60
    assert sorted(row for batch in iterator for row in rows_of(batch)) == list(range(ROWS))
    assert sorted(deliver(loader)[0]) == list(range(ROWS))


@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("reader", READERS)
def test_ctrl_c_ends_the_wait_for_stuck_storage(disk: FaultyDisk, reader: str, timeout: float) -> None:
    loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK // 2, num_workers=2, timeout=timeout)
    disk.rules(STUCK)
    iterator = iter(loader)

    returned = threading.Event()

    def interrupt() -> None:
        while disk.counts()["waiting"] == 0 and not returned.is_set():
            time.sleep(0.01)
        time.sleep(0.2)  # By then next() waits.
        if not returned.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    def wait() -> None:
        thread.start()
        next(iterator)

    thread = threading.Thread(target=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        returned.set()
        thread.join()
    assert disk.counts()["waiting"] > 0  # Still stuck: it was the signal that ended the wait.
    disk.rules()
    assert [row for batch in iterator for row in rows_of(batch)] == list(range(ROWS))


@pytest.mark.parametrize("reader", READERS)
def test_a_loader_on_stuck_storage_closes_at_once(disk: FaultyDisk, reader: str) -> None:
    loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK // 2, num_workers=2, timeout=0.2)
    disk.rules(STUCK)
    iterator = iter(loader)
    with pytest.raises(hr.LoaderTimeoutError):
        next(iterator)
    iterator.close()
    del iterator, loader
    assert disk.counts()["waiting"] > 0  # Closing waited for nothing.
    disk.rules()
    assert deliver(hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK, num_workers=2)) == (list(range(ROWS)), [])


@pytest.mark.parametrize("reader", READERS)
def test_one_stuck_read_holds_up_its_batch_alone(disk: FaultyDisk, reader: str) -> None:
    """Another loader on the same process's threads goes on."""
    stuck = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK, num_workers=1, timeout=0.2)
    healthy = hr.DataLoader(hr.open(disk.folder / "d", reader=reader), CHUNK, num_workers=2, timeout=60)
    before = hr.num_threads()
    hr.set_num_threads(4)
    try:
        disk.rules(STUCK)
        iterator = iter(stuck)
        with pytest.raises(hr.LoaderTimeoutError):
            next(iterator)
        assert deliver(healthy) == (list(range(ROWS)), [])
        disk.rules()
        stuck.timeout = 60
        assert [row for batch in iterator for row in rows_of(batch)] == list(range(ROWS))
    finally:
        hr.set_num_threads(before)
