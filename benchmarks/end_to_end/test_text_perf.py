"""Small compressed text, global shuffle, warm, nothing kept decoded: ours beside the codec alone and hand-written threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.interleave import Timings, interleaved
from benchmarks.rivals.hand_written_decode import HandWrittenText
from benchmarks.workloads.text import TEXT_BATCH, Texts, texts
from headrace._native import Dataset, Order, decode_rate, xxh3_64

THREADS = 2
SEED = 11
RIVAL_SAMPLES = 50_000  # what the hand-written loop is timed on: it holds its frames in memory
MOST_AMPLIFICATION = 8


@pytest.fixture(scope="module")
def workload(folder: Path) -> Texts:
    return Texts.prepare(folder, int(os.environ.get("HEADRACE_BENCH_TEXTS", "2000000")))


def drain(batches: Iterator[Any]) -> int:
    return sum(1 for _ in batches)


@pytest.mark.gate
def test_text(workload: Texts, benchmark: Any, report: Any) -> None:
    loader = headrace.DataLoader(
        headrace.open(workload.path), TEXT_BATCH, True, num_workers=THREADS, seed=SEED, prefetch_bytes=16 << 20, columns=True
    )
    native = Dataset(workload.path)
    order = Order(len(workload), SEED, 0).indices(0, len(workload))
    rival = HandWrittenText(texts(0, RIVAL_SAMPLES), TEXT_BATCH)
    rival_order = order[order < RIVAL_SAMPLES]

    def ours() -> Iterator[Any]:
        loader.set_epoch(0)
        return iter(loader)

    assert np.array_equal(np.sort(order), np.arange(len(workload)))
    for at, batch in enumerate(ours()):
        found = np.array([xxh3_64(text.encode()) for text in batch["text"]], np.uint64)
        np.testing.assert_array_equal(found, workload.hashes[order[at * TEXT_BATCH : at * TEXT_BATCH + len(found)]])
    workload.page_in()
    limit: list[float] = []
    tasks: dict[str, Any] = {
        "ours": lambda: drain(ours()),
        "codec": lambda: limit.append(decode_rate(native, 0, order, TEXT_BATCH, THREADS)["seconds"]),
        rival.name: lambda: drain(rival.batches(rival_order)),
    }
    timings = Timings(interleaved(tasks, rounds=5).seconds | {"codec": limit[-5:]})
    stats = decode_rate(native, 0, order, TEXT_BATCH, THREADS)
    delivered = workload.sample_bytes * len(workload)
    amplification = stats["decoded_bytes"] / delivered
    benchmark.pedantic(lambda: drain(ours()), rounds=1)
    report(
        "headrace / the codec alone (text)",
        timings.speed_ratio("ours", "codec"),
        at_least=0.6,
        decode_amplification=amplification,
        read_amplification_of_delivered=stats["stored_bytes"] / delivered,
        samples_per_second=len(workload) / timings.median("ours"),
        seconds_by_round=timings.seconds,
    )
    assert amplification <= MOST_AMPLIFICATION
    report(f"headrace / {rival.name}", timings.speed_ratio("ours", rival.name) * len(workload) / len(rival_order))
