"""Windows of tokens at any offset, widened to int64, global shuffle, warm: ours beside a bare widening loop and a hand-written one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import headrace
from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written import HandWrittenWindows
from benchmarks.workloads.tokens import TOKENS_BATCH, WINDOW, Tokens
from headrace._native import Order, widen_limit

THREADS = 2
SEED = 11
ROUNDS = 25
BATCHES = 4000  # of a round: an epoch has 16 million


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokens:
    return Tokens.prepare(folder, int(os.environ.get("HEADRACE_BENCH_TOKENS", str(256 << 20))))


def loader_of(tokens: Tokens, *, warm: bool = False) -> headrace.DataLoader:
    return headrace.DataLoader(tokens.windows(warm=warm), TOKENS_BATCH, True, num_workers=THREADS, seed=SEED)


def order_of(tokens: Tokens, epoch: int, batches: int) -> npt.NDArray[np.int64]:
    return Order(len(tokens), SEED, epoch).indices(0, min(len(tokens), batches * TOKENS_BATCH))


def batches_of(loader: headrace.DataLoader, epoch: int, count: int) -> Iterator[torch.Tensor]:
    loader.set_epoch(epoch)
    return (batch["tokens"] for batch in itertools.islice(loader, count))


def drain(batches: Iterator[torch.Tensor]) -> int:
    return sum(1 for _ in batches)


def check_content(tokens: Tokens, starts: npt.NDArray[np.int64], batches: Iterator[torch.Tensor]) -> None:
    """Bit-equal to the hand-written loop's, which numpy converts."""
    delivered = 0
    for ours, theirs in zip(batches, HandWrittenWindows(tokens.tokens, WINDOW, TOKENS_BATCH).batches(starts), strict=True):
        assert ours.dtype == torch.int64
        assert torch.equal(ours, theirs)
        delivered += len(ours)
    assert delivered == len(starts)
    assert len(np.unique(starts)) == len(starts)


def test_every_window_comes_once(folder: Path) -> None:
    """A whole epoch, of few tokens: that of all of them has 268 million windows."""
    few = Tokens.prepare(folder, 60_000)
    starts = order_of(few, 1, len(few))
    assert np.array_equal(np.sort(starts), np.arange(len(few)))
    check_content(few, starts, batches_of(loader_of(few), 1, len(few)))


@pytest.mark.gate
def test_tokens(tokens: Tokens, benchmark: Any, report: Any) -> None:
    loader, rival = loader_of(tokens, warm=True), HandWrittenWindows(tokens.tokens, WINDOW, TOKENS_BATCH)
    starts = order_of(tokens, 0, BATCHES)
    check_content(tokens, starts, batches_of(loader, 0, BATCHES))
    tokens.page_in()
    timings = interleaved(
        {
            "ours": lambda: drain(batches_of(loader, 0, BATCHES)),
            "limit": lambda: widen_limit(tokens.tokens, starts, WINDOW, TOKENS_BATCH, THREADS),
            "rival": lambda: drain(rival.batches(starts)),
        },
        rounds=ROUNDS,
    )
    benchmark.pedantic(lambda: drain(batches_of(loader, 0, BATCHES)), rounds=1)
    speed = len(starts) / timings.median("ours")
    report(
        "headrace / a bare widening loop",
        timings.speed_ratio("ours", "limit"),
        at_least=0.6,
        limit=f"widening copy of the same windows in C++, {THREADS} threads",
        our_samples_per_second=speed,
        delivered_gigabytes_per_second=speed * WINDOW * 8 / 1e9,
        spread=timings.spread("ours", "limit"),
        seconds_by_round=timings.seconds,
    )
    report(
        f"headrace / {rival.name}",
        timings.speed_ratio("ours", "rival"),
        at_least=3.0,
        peer=rival.name,
        our_samples_per_second=speed,
        their_samples_per_second=len(starts) / timings.median("rival"),
        spread=timings.spread("ours", "rival"),
    )
