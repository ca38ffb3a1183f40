"""Small compressed text, global shuffle, warm, nothing kept decoded: ours beside the codec alone and hand-written threads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written_decode import HandWrittenText
from benchmarks.workloads.text import TEXT_BATCH, Texts, texts
from headrace._native import Dataset, Order, decode_rate, xxh3_64

THREADS = 2
SEED = 11
RIVAL_SAMPLES = 50_000  # what the hand-written loop is timed on: it holds its frames in memory
MOST_AMPLIFICATION = 8
ROUNDS = 5


@pytest.fixture(scope="module")
def workload(folder: Path) -> Texts:
    return Texts.prepare(folder, int(os.environ.get("HEADRACE_BENCH_TEXTS", "2000000")))


def drain(batches: Iterator[Any]) -> int:
    return sum(1 for _ in batches)


def cut(values: Any, offsets: Any) -> list[bytes]:
    """The samples of a batch delivered as offsets."""
    whole, places = values.numpy().tobytes(), offsets.tolist()
    return [whole[begin:end] for begin, end in itertools.pairwise(places)]


def check(workload: Texts, order: Any, samples: Iterator[bytes]) -> None:
    """Every sample once, in order, by its hash."""
    found = np.fromiter((xxh3_64(sample) for sample in samples), np.uint64)
    np.testing.assert_array_equal(found, workload.hashes[order])


@pytest.mark.gate
def test_text(workload: Texts, benchmark: Any, report: Any) -> None:
    dataset = headrace.open(workload.path).as_tuple("text")
    loaders = {
        strings: headrace.DataLoader(dataset, TEXT_BATCH, True, num_workers=THREADS, seed=SEED, prefetch_bytes=16 << 20, strings=strings)
        for strings in ("offsets", "lists")
    }
    native = Dataset(workload.path)
    order = Order(len(workload), SEED, 0).indices(0, len(workload))
    rival = HandWrittenText(texts(0, RIVAL_SAMPLES), TEXT_BATCH)
    rival_order = order[order < RIVAL_SAMPLES]

    def ours(strings: str) -> Iterator[Any]:
        loaders[strings].set_epoch(0)
        return (text for (text,) in loaders[strings])

    assert np.array_equal(np.sort(order), np.arange(len(workload)))
    check(workload, order, (sample.encode() for batch in ours("lists") for sample in batch))
    check(workload, order, (sample for batch in ours("offsets") for sample in cut(*batch)))
    workload.page_in()
    tasks: dict[str, Any] = {
        "offsets": lambda: drain(ours("offsets")),
        "lists": lambda: drain(ours("lists")),
        "codec": lambda: decode_rate(native, 0, order, TEXT_BATCH, THREADS)["seconds"],
        rival.name: lambda: drain(rival.batches(rival_order)),
    }
    timings = interleaved(tasks, rounds=ROUNDS)
    stats = decode_rate(native, 0, order, TEXT_BATCH, THREADS)
    delivered = workload.sample_bytes * len(workload)
    amplification = stats["decoded_bytes"] / delivered
    benchmark.pedantic(lambda: drain(ours("offsets")), rounds=1)
    for strings in loaders:
        report(
            f"headrace / the codec alone ({strings})",
            timings.speed_ratio(strings, "codec"),
            at_least=0.6 if strings == "offsets" else None,
            limit=f"block decode, {THREADS} threads",
            decode_amplification=amplification,
            read_amplification_of_delivered=stats["stored_bytes"] / delivered,
            our_samples_per_second=len(workload) / timings.median(strings),
            spread=timings.spread(strings, "codec"),
            seconds_by_round=timings.seconds,
        )
    assert amplification <= MOST_AMPLIFICATION
    report(
        f"headrace / {rival.name}",
        timings.speed_ratio("lists", rival.name) * len(workload) / len(rival_order),
        peer=rival.name,
        our_samples_per_second=len(workload) / timings.median("lists"),
        their_samples_per_second=len(rival_order) / timings.median(rival.name),
    )
