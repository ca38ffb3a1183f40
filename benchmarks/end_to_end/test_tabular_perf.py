"""Tabular data, global shuffle, warm: ours beside a hand-written loop and torch, each answer checked before the clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written import HandWritten
from benchmarks.rivals.headrace_loader import HeadraceLoader
from benchmarks.rivals.torch_getitems import TorchGetitems
from benchmarks.rivals.torch_map_style import TorchMapStyle
from benchmarks.workloads.tabular import BATCH_SIZE, Tabular
from headrace._native import gather_limit
from headrace.bench.ceilings import measure_ceilings

THREADS = 2
_TORCH_BATCHES = 48


def drain(batches: Iterator[Any]) -> int:
    """Take all batches; returns the number of samples."""
    return sum(len(label) for _, label in batches)


def assert_equal_batches(ours: Iterator[Any], theirs: Iterator[Any], samples: int) -> None:
    """Every batch bit-equal, and all samples there. Views of float32 as integers: NaNs and signs of zero count."""
    delivered = 0
    for (features, label), (expected_features, expected_label) in zip(ours, theirs, strict=True):
        assert torch.equal(features.view(torch.int32), expected_features.view(torch.int32))
        assert torch.equal(label, expected_label)
        delivered += len(label)
    assert delivered == samples


@pytest.fixture(scope="module")
def ours(tabular: Tabular) -> HeadraceLoader:
    """Ours at its best number of workers, of a warm run."""
    tabular.page_in()
    contenders = {str(count): HeadraceLoader(tabular, count) for count in (0, 1, 2)}
    timings = interleaved({name: lambda loader=loader: drain(loader.batches()) for name, loader in contenders.items()}, rounds=2)
    for name in contenders:
        print(f"\n  headrace, num_workers={name}: {len(tabular) / timings.median(name):,.0f} samples/s", end="")
    return contenders[min(contenders, key=timings.median)]


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_batches_are_bit_equal_to_the_hand_written_loops(tabular: Tabular, num_workers: int) -> None:
    loader = HeadraceLoader(tabular, num_workers)
    order = loader.order()
    assert np.array_equal(np.sort(order), np.arange(len(tabular)))
    assert_equal_batches(loader.batches(), HandWritten(tabular).batches(order), len(tabular))


@pytest.mark.gate
def test_against_the_limit(tabular: Tabular, benchmark: Any, report: Any) -> None:
    """Two threads on two cores, beside the gather alone and the hand-written loop, all in the same order and rounds."""
    loader, rival = HeadraceLoader(tabular, THREADS), HandWritten(tabular)
    order = loader.order()
    assert_equal_batches(loader.batches(), rival.batches(order), len(tabular))
    tabular.page_in()
    timings = interleaved(
        {
            "ours": lambda: drain(loader.batches()),
            "limit": lambda: gather_limit([tabular.features, tabular.labels], order, BATCH_SIZE, THREADS),
            "rival": lambda: drain(rival.batches(order)),
        },
        rounds=15,
    )
    benchmark.pedantic(lambda: drain(loader.batches()), rounds=3)
    speed = len(tabular) / timings.median("ours")
    report(
        "headrace / the gather alone",
        timings.speed_ratio("ours", "limit"),
        at_least=0.85,
        limit=f"random gather in C++, {THREADS} threads",
        our_samples_per_second=speed,
        delivered_gigabytes_per_second=speed * tabular.sample_bytes / 1e9,
        spread=timings.spread("ours", "limit"),
        seconds_by_round=timings.seconds,
    )
    report(
        f"headrace / {rival.name}, {THREADS} threads",
        timings.speed_ratio("ours", "rival"),
        at_least=4.0,
        peer=rival.name,
        our_samples_per_second=speed,
        their_samples_per_second=len(tabular) / timings.median("rival"),
        ratio_of_the_limit=timings.speed_ratio("limit", "rival"),
        spread=timings.spread("ours", "rival"),
    )


@pytest.mark.gate
@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "mapped files"])
def test_against_a_hand_written_loop(tabular: Tabular, ours: HeadraceLoader, benchmark: Any, report: Any, mapped: bool) -> None:
    rival = HandWritten(tabular, mapped)
    order = ours.order()
    assert_equal_batches(ours.batches(), rival.batches(order), len(tabular))
    tabular.page_in()
    timings = interleaved({"ours": lambda: drain(ours.batches()), "rival": lambda: drain(rival.batches(order))}, rounds=7)
    benchmark.pedantic(lambda: drain(ours.batches()), rounds=3)
    ceilings = measure_ceilings([], max(1, ours.num_workers))
    speed = len(tabular) / timings.median("ours")
    report(
        f"headrace / {rival.name}",
        timings.speed_ratio("ours", "rival"),
        at_least=None if mapped else 1.0,
        peer=rival.name,
        our_samples_per_second=speed,
        their_samples_per_second=len(tabular) / timings.median("rival"),
        our_workers=ours.num_workers,
        share_of_memory_copy_rate=speed * tabular.sample_bytes / ceilings.copy_bytes_per_second,
        seconds_by_round=timings.seconds,
    )


@pytest.mark.gate
@pytest.mark.parametrize(("kind", "goal"), [(TorchMapStyle, 30.0), (TorchGetitems, None)], ids=["map style", "getitems"])
def test_against_torch(tabular: Tabular, ours: HeadraceLoader, benchmark: Any, report: Any, kind: Any, goal: float | None) -> None:
    rival = kind(tabular)
    indices = ours.order()[: _TORCH_BATCHES * BATCH_SIZE]
    assert_equal_batches(rival.batches(indices), HandWritten(tabular).batches(indices), len(indices))
    tabular.page_in()
    timings = interleaved({"ours": lambda: drain(ours.batches()), "rival": lambda: drain(rival.batches(indices))}, rounds=3)
    benchmark.pedantic(lambda: drain(ours.batches()), rounds=3)
    # Ours runs whole epochs, the rival a part of one: compare samples a second, not seconds.
    report(
        f"headrace / {rival.name}",
        timings.speed_ratio("ours", "rival") * len(tabular) / len(indices),
        at_least=goal,
        peer=rival.name,
        our_samples_per_second=len(tabular) / timings.median("ours"),
        their_samples_per_second=len(indices) / timings.median("rival"),
        their_best_workers=rival.num_workers,
        their_samples_per_second_by_workers={count: round(rate) for count, rate in rival.tried.items()},
    )
