"""Weighted draws from 10^8 weights: building the table, its memory and exactness, and its rate beside what numpy offers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import headrace
from benchmarks.interleave import interleaved

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")

_WEIGHTS = int(os.environ.get("HEADRACE_BENCH_MOST_SAMPLES", "1000000000")) // 10
_DRAWS = 1 << 20
_ROUNDS = 5

Weights = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def private_bytes() -> int:
    """Anonymous memory of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))


def check_shares(order: headrace.sampling.WeightedOrder, weights: Weights) -> None:
    """Raises AssertionError unless each sample is drawn with its weight's share, to a few times 2^-32 / samples."""
    scale = len(weights) / float(np.sum(weights, dtype=np.float64))
    shares = order.probabilities()
    for begin in range(0, len(weights), 1 << 22):
        part = slice(begin, begin + (1 << 22))
        error = np.abs(shares[part] * len(weights) - weights[part].astype(np.float64) * scale)
        assert float(error.max()) <= 8 * 2.0**-32


def check_draws(order: headrace.sampling.WeightedOrder, cumulated: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Raises AssertionError unless half of the draws are below the median of the mass, within five standard deviations."""
    drawn = order.indices(0, 4 * _DRAWS, seed=2)
    middle = int(np.searchsorted(cumulated, cumulated[-1] / 2))
    assert abs(float(np.mean(drawn < middle)) - 0.5) < 5 * 0.5 / np.sqrt(len(drawn))


def choosing(weights: Weights) -> Callable[[], object]:
    """numpy's choice, from float32 weights as they are."""
    generator = np.random.default_rng(1)

    def choose() -> object:
        shares = weights.astype(np.float64)  # What choice asks for: float64 that sums to one.
        shares /= shares.sum()
        return generator.choice(len(weights), _DRAWS, p=shares)

    return choose


@pytest.mark.gate
def test_weighted_sampling_at_a_hundred_million(report: Any) -> None:
    """Each draw of ours can be computed alone, in constant time."""
    weights = np.random.default_rng(7).random(_WEIGHTS, dtype=np.float32)
    before = private_bytes()
    begin = time.perf_counter()
    order = headrace.sampling.weighted(weights)
    built = time.perf_counter() - begin
    bytes_a_weight = (private_bytes() - before) / _WEIGHTS
    check_shares(order, weights)
    cumulated = np.cumsum(weights, dtype=np.float64)
    check_draws(order, cumulated)
    if _WEIGHTS > 1 << 24:
        with pytest.raises(RuntimeError, match="2\\^24"):  # Why torch is not a peer here.
            torch.multinomial(torch.from_numpy(weights), 1)
    generator = np.random.default_rng(1)
    epoch = iter(range(1 << 30))
    timings = interleaved(
        {
            "ours": lambda: order.indices(0, _DRAWS, seed=1, epoch=next(epoch)),
            "numpy choice": choosing(weights),
            "search in a cumulated sum": lambda: np.searchsorted(cumulated, generator.random(_DRAWS) * cumulated[-1], side="right"),
        },
        _ROUNDS,
    )
    for peer in list(timings.seconds)[1:]:
        report(
            f"weighted draws / {peer}",
            timings.speed_ratio("ours", peer),
            workload=f"{_WEIGHTS:.0e} weights".replace("e+0", "e"),
            peer=peer,
            our_samples_per_second=_DRAWS / timings.median("ours"),
            their_samples_per_second=_DRAWS / timings.median(peer),
            seconds_to_build=built,
            bytes_a_weight=bytes_a_weight,
        )
