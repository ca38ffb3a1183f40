"""What the loader takes from the trainer: a step that computes for 20 ms on one core, alone and with the loader running at the step's pace."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.workloads.tabular import BATCH_SIZE, Tabular

_STEP_SECONDS = 0.020
_STEPS = 100  # two seconds a side and round
_ROUNDS = 5


class Step:
    """Compute on one core, always the same amount: about 20 ms of a product of matrices that fit the cache, repeated."""

    def __init__(self) -> None:
        self._a = np.random.default_rng(1).random((96, 96), dtype=np.float64)
        self._out = np.empty_like(self._a)
        begin = time.perf_counter()
        self._times = 200
        self()
        self._times = max(1, round(200 * _STEP_SECONDS / (time.perf_counter() - begin)))

    def __call__(self) -> None:
        # einsum without optimize runs on the calling thread only, whatever library numpy multiplies with.
        for _ in range(self._times):
            np.einsum("i,j->ij", self._a[0], self._a[1], out=self._out)


def seconds_of_steps(step: Callable[[], None], batches: Iterator[Any] | None) -> float:
    """Median seconds of the computing part of a step; each step first takes a batch, or does not."""
    seconds = []
    for _ in range(_STEPS):
        if batches is not None:
            next(batches)
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return statistics.fmean(seconds)


@pytest.mark.gate
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_step_beside_the_loader_against_the_same_step_alone(tabular: Tabular, report: Any, num_workers: int) -> None:
    tabular.page_in()
    step = Step()
    loader = headrace.DataLoader(headrace.open(tabular.path), BATCH_SIZE, True, num_workers=num_workers, seed=1)
    ratios, alone, beside = [], [], []
    for number in range(_ROUNDS):
        loader.set_epoch(number)
        batches = iter(loader)
        next(batches)
        sides: list[tuple[list[float], Iterator[Any] | None]] = [(alone, None), (beside, batches)]
        for results, source in sides if number % 2 == 0 else sides[::-1]:
            # The loader's prefetched batches wait meanwhile: it works only when one is taken.
            results.append(seconds_of_steps(step, source))
        ratios.append(beside[-1] / alone[-1])
        del batches, sides, source
    report(
        f"a step of 20 ms beside the loader / alone, num_workers={num_workers}",
        statistics.median(ratios),
        at_most=1.03,
        milliseconds_alone=1e3 * statistics.median(alone),
        milliseconds_beside=1e3 * statistics.median(beside),
        by_round=[round(ratio, 3) for ratio in ratios],
        stall_share=loader.stats()["stall_share"],
    )
