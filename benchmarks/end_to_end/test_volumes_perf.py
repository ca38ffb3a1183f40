"""Compressed volumes, global shuffle, warm, nothing kept decoded: ours beside the codec alone and hand-written threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written_decode import HandWrittenVolumes
from benchmarks.workloads.volumes import CODECS, UNFILTERED, VOLUME_BATCH, Volumes, volume
from headrace._native import Dataset, Order, decode_rate

THREADS = 2
SEED = 11
ROUNDS = 7


@pytest.fixture(scope="module")
def volumes(folder: Path) -> Volumes:
    return Volumes.prepare(folder, int(os.environ.get("HEADRACE_BENCH_VOLUMES", "1000")))


def loader_of(volumes: Volumes, codec: str) -> headrace.DataLoader:
    # So little prefetch that no volume of the last epoch is still decoded: the codec binds in every epoch.
    return headrace.DataLoader(
        headrace.open(volumes.path(codec)), VOLUME_BATCH, True, num_workers=THREADS, seed=SEED, prefetch_bytes=32 << 20
    )


def drain(batches: Iterator[Any]) -> int:
    return sum(len(batch) for batch in batches)


def check_content(volumes: Volumes, batches: Iterator[Any], order: Any) -> None:
    """Every volume once, in order, told by its sum; some of them bit by bit."""
    at = 0
    for number, batch in enumerate(batches):
        expected = order[at : at + len(batch)]
        np.testing.assert_array_equal(batch.numpy().sum(axis=(1, 2, 3, 4), dtype=np.float64), volumes.sums[expected])
        if number % 16 == 0:
            np.testing.assert_array_equal(batch[0].numpy(), volume(int(expected[0])))
        at += len(batch)
    assert at == len(volumes)


@pytest.mark.gate
@pytest.mark.parametrize("codec", CODECS)
def test_volumes(volumes: Volumes, benchmark: Any, report: Any, codec: str) -> None:
    loader, plain, native = loader_of(volumes, codec), loader_of(volumes, codec + UNFILTERED), Dataset(volumes.path(codec))
    order = Order(len(volumes), SEED, 0).indices(0, len(volumes))
    rivals = [HandWrittenVolumes((volume(i) for i in range(len(volumes))), codec, shuffled, VOLUME_BATCH) for shuffled in (False, True)]

    def batches_of(loader: headrace.DataLoader) -> Iterator[Any]:
        loader.set_epoch(0)
        return (batch["volume"] for batch in loader)

    def ours() -> Iterator[Any]:
        return batches_of(loader)

    assert np.array_equal(np.sort(order), np.arange(len(volumes)))
    for batches in (ours(), batches_of(plain), *(rival.batches(order) for rival in rivals)):
        check_content(volumes, batches, order)
    volumes.page_in()
    tasks: dict[str, Any] = {"ours": lambda: drain(ours()), "ours" + UNFILTERED: lambda: drain(batches_of(plain))}
    for name, with_filters in (("codec", False), ("codec and filter", True)):
        # What the bare loop timed itself, without finding its blocks.
        tasks[name] = lambda f=with_filters: decode_rate(native, 0, order, VOLUME_BATCH, THREADS, f)["seconds"]
    for rival in rivals:
        tasks[rival.name] = lambda r=rival: drain(r.batches(order))
    timings = interleaved(tasks, rounds=ROUNDS)
    best = min((rival.name for rival in rivals), key=timings.median)
    benchmark.pedantic(lambda: drain(ours()), rounds=1)
    stats = decode_rate(native, 0, order, VOLUME_BATCH, THREADS)
    report(
        f"headrace / the codec alone ({codec})",
        timings.speed_ratio("ours", "codec"),
        at_least=0.9,
        limit=f"{codec} decode, {THREADS} threads",
        our_samples_per_second=len(volumes) / timings.median("ours"),
        spread=timings.spread("ours", "codec"),
        ratio_to_codec_and_filter=timings.speed_ratio("ours", "codec and filter"),
        decoded_gigabytes_per_second=stats["decoded_bytes"] / timings.median("ours") / 1e9,
        stored_ratio=stats["decoded_bytes"] / stats["stored_bytes"],
        seconds_by_round=timings.seconds,
    )
    # Each in its better form: what a filter saves in decoding may be less than weaving its planes together costs.
    our_best = min(("ours", "ours" + UNFILTERED), key=timings.median)
    report(
        f"headrace / {best}",
        timings.speed_ratio(our_best, best),
        at_least=2.0,
        peer=best,
        our_samples_per_second=len(volumes) / timings.median(our_best),
        their_samples_per_second=len(volumes) / timings.median(best),
        spread=timings.spread(our_best, best),
        with_filter=timings.speed_ratio("ours", best),
        without_filter=timings.speed_ratio("ours" + UNFILTERED, best),
    )
