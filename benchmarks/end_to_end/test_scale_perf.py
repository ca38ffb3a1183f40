"""Costs as the number of samples grows a thousandfold, up to 10^9 in 10^5 chunks: opening, first batch, every batch, resuming, state, memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.interleave import interleaved
from benchmarks.workloads.tiny import CHUNK_SAMPLES, check, prepare

_MIB = 1 << 20
_BATCH = 256
_ROUNDS = 11
_BATCHES = 50  # of a pass under way, timed together
_MOST_SAMPLES = int(os.environ.get("HEADRACE_BENCH_MOST_SAMPLES", "1000000000"))

# A process of its own: what the libraries took before is the baseline. Opened first, then with a sample read from every shard.
_CHILD = """
import sys, headrace

def held():
    with open("/proc/self/smaps_rollup") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in file if line.rstrip().endswith("kB")}
    return sizes["Rss"], sizes["Anonymous"]

headrace.open(sys.argv[1])
before = held()
dataset = headrace.open(sys.argv[2])
after = held()
dataset[range(0, len(dataset), 10_000_000)]
used = held()
print(after[0] - before[0], after[1] - before[1], used[0] - before[0], used[1] - before[1])
"""


@pytest.fixture(scope="module")
def paths(folder: Path) -> dict[int, Path]:
    """The datasets by samples: from a thousandth of the most on, by factors of ten."""
    return {_MOST_SAMPLES // factor: prepare(folder, _MOST_SAMPLES // factor) for factor in (1000, 100, 10, 1)}


def medians(
    paths: dict[int, Path], make: Callable[[Path], Callable[[], object]], times: int = 1
) -> tuple[dict[int, float], dict[int, float]]:
    """Milliseconds of what `make` returns for each dataset, in rounds that alternate over the datasets: by the clock, and of processors.

    The second, of all threads, counts work that runs ahead too, but not what other processes of the machine take.
    """
    used: dict[int, list[float]] = {samples: [] for samples in paths}

    def counted(samples: int, task: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            begin = time.process_time()
            task()
            used[samples].append(time.process_time() - begin)

        return run

    timings = interleaved({str(samples): counted(samples, make(path)) for samples, path in paths.items()}, _ROUNDS)
    scale = 1e3 / times
    return (
        {samples: scale * timings.median(str(samples)) for samples in paths},
        {samples: scale * statistics.median(used[samples][1:]) for samples in paths},
    )


def loader_of(path: Path, order: str, num_workers: int = 2) -> headrace.DataLoader:
    """A loader over a dataset that is opened anew: no shard of it has been touched."""
    return headrace.DataLoader(headrace.open(path), _BATCH, True, num_workers=num_workers, order=order, seed=3)


@pytest.mark.gate
def test_opening_costs_the_same(paths: dict[int, Path], report: Any) -> None:
    found, used = medians(paths, lambda path: lambda: headrace.open(path))
    report(
        "opening", found[_MOST_SAMPLES], unit="ms", at_most=50, by_samples=found, processor_ms=used, chunks=_MOST_SAMPLES // CHUNK_SAMPLES
    )


@pytest.mark.gate
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/smaps_rollup")
def test_opening_takes_little_memory(paths: dict[int, Path], report: Any) -> None:
    smallest = str(paths[min(paths)])
    resident, private, used, used_private = {}, {}, {}, {}
    for samples, path in paths.items():
        told = subprocess.run(
            [sys.executable, "-c", _CHILD, smallest, str(path)], check=True, capture_output=True, text=True
        ).stdout.split()
        # At least a page, so that a plot of what grew by nothing can be drawn.
        resident[samples], private[samples], used[samples], used_private[samples] = (max(4096, int(word)) / _MIB for word in told)
    report("memory of an open dataset", resident[_MOST_SAMPLES], unit="MiB", at_most=64, private_mib=private, resident_mib=resident)
    report(
        "memory of a dataset with every shard in use",
        used[_MOST_SAMPLES],
        unit="MiB",
        at_most=64,
        private_mib=used_private,
        resident_mib=used,
    )
    assert used[_MOST_SAMPLES] < 64


@pytest.mark.gate
@pytest.mark.parametrize("order", ["global", "window"])
def test_the_first_batch_comes_soon(paths: dict[int, Path], report: Any, order: str) -> None:
    def make(path: Path) -> Callable[[], object]:
        # Opened outside the clock, and anew for each round.
        loaders = iter([loader_of(path, order) for _ in range(_ROUNDS + 1)])
        return lambda: next(iter(next(loaders)))

    found, used = medians(paths, make)
    report(f"first batch, order={order}", found[_MOST_SAMPLES], unit="ms", at_most=20, by_samples=found, processor_ms=used)


@pytest.mark.gate
@pytest.mark.parametrize("order", ["global", "window"])
def test_a_batch_costs_the_same(paths: dict[int, Path], report: Any, order: str) -> None:
    """On the caller's thread, of blocks that were read before: what is left is the order, the places, the index and the memory."""

    def make(path: Path) -> Callable[[], object]:
        dataset = headrace.open(path)
        dataset[np.arange(0, len(dataset), CHUNK_SAMPLES)]  # A chunk is a block: each is checked once.
        loader = headrace.DataLoader(dataset, _BATCH, True, num_workers=0, order=order, seed=3)
        batches = iter(loader)
        check(next(batches)["x"], loader.sampler.order().indices(0, _BATCH))
        return lambda: [next(batches) for _ in range(_BATCHES)]

    found, used = medians(paths, make, _BATCHES)
    smallest = min(paths)
    report(
        f"a batch of {_BATCH}, order={order}",
        found[_MOST_SAMPLES],
        unit="ms",
        by_samples=found,
        processor_ms=used,
        most_to_fewest=found[_MOST_SAMPLES] / found[smallest],
    )


@pytest.mark.gate
def test_resuming_costs_the_same_wherever_it_is(paths: dict[int, Path], report: Any) -> None:
    state_bytes: dict[int, int] = {}

    def make(path: Path) -> Callable[[], object]:
        dataset = headrace.open(path)
        loader = headrace.DataLoader(dataset, _BATCH, True, num_workers=2, seed=3)
        next(iter(loader))
        state = {**loader.state_dict(), "position": len(dataset) // 2 // _BATCH * _BATCH}
        state_bytes[len(dataset)] = len(json.dumps(state))
        loaders = iter([loader_of(path, "global") for _ in range(_ROUNDS + 1)])

        def resume() -> None:
            resumed = next(loaders)
            resumed.load_state_dict(state)
            values = next(iter(resumed))["x"]
            check(values, resumed.sampler.order().indices(state["position"], state["position"] + _BATCH))

        return resume

    found, used = medians(paths, make)
    report("resuming in the middle, to the first batch", found[_MOST_SAMPLES], unit="ms", at_most=20, by_samples=found, processor_ms=used)
    report("state_dict as JSON", state_bytes[_MOST_SAMPLES], unit="bytes", at_most=1024, by_samples=state_bytes)
