"""What the loader takes from the trainer: a step that computes for 20 ms on one core, alone and with the loader running at the step's pace.

Beside wall time stands what tells causes apart, of the computing thread alone: processor time (caches, memory bandwidth, clock), and time that it
was ready to run and another thread had its core (the scheduler; on a busy machine also what other processes take, in both columns alike).
"""

from __future__ import annotations

import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.workloads.tabular import BATCH_SIZE, Tabular

_STEP_SECONDS = 0.020
_STEPS = 6  # of one side, then the other: short, so that neighbours slow both alike
_ROUNDS = 40


class Step:
    """Compute on one core, always the same amount: about 20 ms of a product of matrices that fit the cache, repeated."""

    def __init__(self) -> None:
        self._a = np.random.default_rng(1).random((96, 96), dtype=np.float64)
        self._out = np.empty_like(self._a)
        begin = time.thread_time()
        self._times = 200
        self()
        self._times = max(1, round(200 * _STEP_SECONDS / (time.thread_time() - begin)))

    def __call__(self) -> None:
        # einsum without optimize runs on the calling thread only, whatever library numpy multiplies with.
        for _ in range(self._times):
            np.einsum("i,j->ij", self._a[0], self._a[1], out=self._out)


@dataclass(frozen=True)
class Cost:
    """Of a step, mean over some."""

    wall: float  # seconds
    processor: float  # seconds
    waiting: float  # seconds on a run queue
    switches: float  # away from the thread while it had work


def _queued_seconds() -> float:
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(path.read_text(encoding="ascii").split()[1]) * 1e-9 if path.exists() else 0.0


def _now() -> tuple[float, float, float, float]:
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if sys.platform.startswith("linux") else 0
    return time.perf_counter(), time.thread_time(), _queued_seconds(), float(switches)


def cost_of_steps(step: Callable[[], None], batches: Iterator[Any] | None) -> Cost:
    """Of the computing part alone; each step first takes a batch, or does not."""
    total = [0.0] * 4
    for _ in range(_STEPS):
        if batches is not None:
            next(batches)
        begin = _now()
        step()
        total = [sum_ + after - before for sum_, after, before in zip(total, _now(), begin, strict=True)]
    return Cost(*(value / _STEPS for value in total))


def _settle(loader: headrace.DataLoader) -> None:
    """Wait until no batch is being built."""
    while (stats := loader.stats())["batches_ready"] < stats["batches_in_flight"]:
        time.sleep(0.001)


@pytest.mark.gate
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_step_beside_the_loader_against_the_same_step_alone(tabular: Tabular, report: Any, num_workers: int) -> None:
    tabular.page_in()
    step = Step()
    loader = headrace.DataLoader(headrace.open(tabular.path), BATCH_SIZE, True, num_workers=num_workers, seed=1)
    batches = iter(loader)
    for _ in range(20):  # The slabs are there.
        next(batches)
    alone, beside = [], []
    for number in range(_ROUNDS):
        if len(loader) - number * _STEPS - 20 < 2 * _STEPS:
            pytest.fail("the dataset is too small for as many steps: raise HEADRACE_BENCH_SAMPLES")
        for results, source in [(alone, None), (beside, batches)][:: 1 if number % 2 == 0 else -1]:
            _settle(loader)
            results.append(cost_of_steps(step, source))
    columns = {
        name: [list(column) for column in zip(*map(astuple, side), strict=True)] for name, side in (("alone", alone), ("beside", beside))
    }
    middle = {name: [1e3 * statistics.median(column) for column in sides] for name, sides in columns.items()}

    def ratio(column: int) -> float:
        return statistics.median(b / a for a, b in zip(columns["alone"][column], columns["beside"][column], strict=True))

    report(
        f"a step of 20 ms beside the loader / alone, num_workers={num_workers}",
        ratio(0),
        at_most=1.03,
        processor_time_ratio=ratio(1),
        milliseconds_alone=middle["alone"][0],
        milliseconds_beside=middle["beside"][0],
        milliseconds_queued_alone=statistics.fmean(columns["alone"][2]) * 1e3,
        milliseconds_queued_beside=statistics.fmean(columns["beside"][2]) * 1e3,
        switches_alone=statistics.fmean(columns["alone"][3]),
        switches_beside=statistics.fmean(columns["beside"][3]),
        stall_share=loader.stats()["stall_share"],
    )
