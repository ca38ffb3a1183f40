"""Many loaders in one process: they share the threads, all of them go on, and idle ones cost none. Thread numbers follow the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import headrace as hr

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/task")

SAMPLES, LOADERS, ALLOWANCE = 20_000, 100, 8


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 samples: raw x, compressed y, several shards."""
    where = tmp_path_factory.mktemp("many") / "d"
    columns = {"x": np.arange(SAMPLES * 8, dtype=np.float32).reshape(-1, 8), "y": np.arange(SAMPLES)}
    hr.write(where, columns, codec={"x": "none", "y": "zstd"}, chunk_samples=256, shard_bytes=400_000)
    return where


_COMMON = """
import headrace as hr, json, os, sys, threading
import torch
path, reader = sys.argv[1:3]

def engine_threads():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            names.append(open(f"/proc/self/task/{task}/comm").read().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass  # It ended meanwhile.
    return [name for name in names if name.startswith("headrace")]

def private_mib():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024
"""

_ALL_AT_ONCE = """
before = private_mib()
dataset = hr.open(path, reader=reader)
loaders = [hr.DataLoader(dataset, 500, True, num_workers=2, seed=i, prefetch_bytes=1 << 20) for i in range(100)]
made = len(engine_threads())
iterators = [iter(loader) for loader in loaders]
seen, sums, most = [0] * 100, [0] * 100, 0
while iterators[0] is not None:
    for i, iterator in enumerate(iterators):
        batch = next(iterator, None)
        if batch is None:
            iterators[i] = None
            continue
        seen[i] += len(batch["y"])
        sums[i] += int(batch["y"].sum())
    most = max(most, len(engine_threads()))
print(json.dumps({"made": made, "most": most, "seen": seen, "sums": sums, "reader": loaders[0].stats()["reader"], "grown": private_mib() - before,
                  "ended": all(iterator is None for iterator in iterators)}))
"""

_CONSUMERS = """
dataset = hr.open(path, reader=reader)
seen = [0] * 100
def consume(i):
    for batch in hr.DataLoader(dataset, 500, True, num_workers=4, seed=i, prefetch_bytes=1 << 20):
        seen[i] += len(batch["y"])
threads = [threading.Thread(target=consume, args=(i,)) for i in range(100)]
most = 0
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads):
    most = max(most, len(engine_threads()))
    threads[0].join(0.002)
print(json.dumps({"most": most, "seen": seen}))
"""


def run(script: str, path: Path, reader: str = "mmap", environment: dict[str, str] | None = None) -> dict[str, object]:
    """Run a script in a process of its own; what it prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", _COMMON + textwrap.dedent(script), str(path), reader],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("reader", ["mmap", "pread", "direct", "uring"])
def test_a_hundred_loaders_at_once_share_the_threads(path: Path, reader: str) -> None:
    told = run(_ALL_AT_ONCE, path, reader)
    cores = len(os.sched_getaffinity(0))
    assert told["made"] == 0  # No loader costs a thread before it reads.
    assert 1 <= int(str(told["most"])) <= cores + ALLOWANCE
    assert told["seen"] == [SAMPLES] * LOADERS
    assert told["sums"] == [SAMPLES * (SAMPLES - 1) // 2] * LOADERS
    assert told["ended"]
    # A budget of 1 MiB each, the free slabs that a loader keeps for its next pass, and the allocator.
    assert float(str(told["grown"])) < LOADERS * 2 + 64
    if reader in ("mmap", "pread"):
        assert told["reader"] == reader


@pytest.mark.parametrize("reader", ["mmap", "pread"])
def test_a_hundred_consumers_at_once_all_go_on(path: Path, reader: str) -> None:
    told = run(_CONSUMERS, path, reader)
    assert told["seen"] == [SAMPLES] * LOADERS
    assert int(str(told["most"])) <= len(os.sched_getaffinity(0)) + ALLOWANCE


_NARROWED = """
cores = sorted(os.sched_getaffinity(0))
dataset = hr.open(path, reader=reader)
def once():
    loader = hr.DataLoader(dataset, 500, num_workers=8)
    assert sum(len(batch["y"]) for batch in loader) == 20000
    inside = [sorted(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task")
              if open(f"/proc/self/task/{t}/comm").read().strip() == "headrace"]
    return hr.num_threads(), inside
wide = once()
os.sched_setaffinity(0, cores[:1])
after = hr.num_threads()
narrow = once()
os.sched_setaffinity(0, cores)
again = once()
print(json.dumps({"cores": cores, "wide": wide[0], "after": after, "narrow": narrow, "again": again}))
"""


def test_affinity_sizes_the_pool_and_a_change_is_taken_up_by_the_next_loader(path: Path) -> None:
    told = run(_NARROWED, path, environment={"HEADRACE_NUM_THREADS": ""})
    cores = told["cores"]
    assert isinstance(cores, list)
    first: list[object] = cores[:1]
    assert told["wide"] == told["after"] == len(cores)
    assert told["narrow"] == [1, [first]]
    count, inside = told["again"]  # type: ignore[misc]
    assert count == len(cores)
    assert cores in inside  # A thread that found nothing to do moves before its next task.


def test_a_number_from_the_environment_outlives_a_change_of_affinity(path: Path) -> None:
    told = run(_NARROWED, path, environment={"HEADRACE_NUM_THREADS": "3"})
    assert told["wide"] == told["after"] == 3
    assert told["narrow"][0] == told["again"][0] == 3  # type: ignore[index]


@pytest.fixture
def quota_of_one_core() -> Iterator[Path]:
    """A control group of version 1 or 2 that leaves one core; whoever writes its process number into cgroup.procs is in it."""
    for base, limits in (
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}),
        (Path("/sys/fs/cgroup"), {"cpu.max": "100000 100000"}),
    ):
        group = base / f"headrace-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, value in limits.items():
                (group / name).write_text(value)
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("needs control groups: none may be made here")


def test_a_quota_sizes_the_pool(path: Path, quota_of_one_core: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores: a quota of one core says nothing on one")
    script = f"""
    open({str(quota_of_one_core / "cgroup.procs")!r}, "w").write(str(os.getpid()))
    seen = sum(len(batch["y"]) for batch in hr.DataLoader(hr.open(path), 500, num_workers=8))
    print(json.dumps({{"threads": hr.num_threads(), "seen": seen}}))
    """
    assert run(script, path, environment={"HEADRACE_NUM_THREADS": ""}) == {"threads": 1, "seen": SAMPLES}


@pytest.mark.parametrize("value", ["yes", "0", "OFF"])
def test_a_numa_setting_that_is_none_is_refused(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import headrace as h; h.num_threads()"],
        capture_output=True,
        text=True,
        env={**os.environ, "HEADRACE_NUMA": value},
    )
    assert done.returncode == 1
    assert f"HEADRACE_NUMA is {value!r}; expected 'on' or 'off'" in done.stderr
