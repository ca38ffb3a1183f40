"""Compressed volumes that fit the cache decoded, global shuffle, second epoch on: ours beside a memory copy of the delivered bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from benchmarks.end_to_end.test_volumes_perf import SEED, THREADS, check_content, drain
from benchmarks.interleave import Timings, interleaved
from benchmarks.workloads.volumes import CODECS, SIDE, VOLUME_BATCH, Volumes
from headrace._native import Order, copy_limit

ROUNDS = 7
VOLUME_BYTES = 4 * SIDE**3
# Beyond every cache of the processor, as the decoded volumes are; two threads read one each.
COPY_SOURCE_BYTES = 256 << 20


@pytest.fixture(scope="module")
def volumes(folder: Path) -> Volumes:
    return Volumes.prepare(folder, int(os.environ.get("HEADRACE_BENCH_VOLUMES", "1000")))


@pytest.fixture
def whole_cache(volumes: Volumes) -> Iterator[None]:
    """Room for all volumes, and for what keeping them takes."""
    headrace.set_cache_bytes(len(volumes) * (VOLUME_BYTES + 4096))
    yield
    headrace.set_cache_bytes(None)


@pytest.mark.gate
@pytest.mark.parametrize("codec", CODECS)
def test_cached_volumes(volumes: Volumes, whole_cache: None, benchmark: Any, report: Any, codec: str) -> None:
    loader = headrace.DataLoader(headrace.open(volumes.path(codec)), VOLUME_BATCH, True, num_workers=THREADS, seed=SEED)
    epochs = 0

    def ours() -> Iterator[Any]:
        nonlocal epochs
        loader.set_epoch(epochs)
        epochs += 1
        return (batch["volume"] for batch in loader)

    for epoch in range(2):  # The first decodes; what the second finds is checked as well.
        check_content(volumes, ours(), Order(len(volumes), SEED, epoch).indices(0, len(volumes)))
    decoded = loader.stats()["bytes_decoded"]
    copied: list[float] = []
    tasks: dict[str, Any] = {
        "ours": lambda: drain(ours()),
        # What the bare loop timed itself, without making its sources.
        "copy": lambda: copied.append(copy_limit(len(volumes) * VOLUME_BYTES, VOLUME_BYTES, COPY_SOURCE_BYTES, THREADS)),
    }
    timings = interleaved(tasks, rounds=ROUNDS)
    timings = Timings(timings.seconds | {"copy": copied[-ROUNDS:]})
    benchmark.pedantic(lambda: drain(ours()), rounds=1)
    assert loader.stats()["bytes_decoded"] == decoded, "a volume was decoded again"
    report(
        f"headrace, cached / memory copy ({codec})",
        timings.speed_ratio("ours", "copy"),
        at_least=0.7,
        limit="memory copy, 2 threads",
        our_gigabytes_per_second=len(volumes) * VOLUME_BYTES / timings.median("ours") / 1e9,
        copy_gigabytes_per_second=len(volumes) * VOLUME_BYTES / timings.median("copy") / 1e9,
    )
