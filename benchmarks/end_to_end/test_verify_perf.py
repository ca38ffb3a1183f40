"""`headrace verify` beside reading the same files and hashing them with xxhash."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import xxhash

import headrace
from benchmarks.interleave import interleaved
from benchmarks.workloads.tabular import Tabular

_READ_BYTES = 1 << 20


def read_and_hash(path: Path, begin: int, end: int) -> int:
    """XXH3-64 of a part of a file, read piece by piece into one buffer; xxhash releases the interpreter lock for pieces this big."""
    digest = xxhash.xxh3_64()
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        while begin < end:
            size = file.readinto(buffer[: min(_READ_BYTES, end - begin)])
            assert size
            digest.update(buffer[:size])
            begin += size
    return digest.intdigest()


def read_and_hash_all(files: list[Path], threads: int) -> None:
    """Every file, cut evenly among threads."""
    shares = [
        (path, path.stat().st_size * t // threads, path.stat().st_size * (t + 1) // threads) for path in files for t in range(threads)
    ]
    workers = [threading.Thread(target=lambda mine=shares[t::threads]: [read_and_hash(*share) for share in mine]) for t in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.gate
@pytest.mark.parametrize("threads", [1, 2])
def test_verify_against_reading_and_hashing(tabular: Tabular, benchmark: Any, report: Any, threads: int) -> None:
    files = sorted(Path(tabular.path).glob("*.hrs"))
    size = sum(path.stat().st_size for path in files)
    checked = headrace.verify(tabular.path, threads=threads)
    assert checked["damages"] == []
    assert checked["bytes"] >= size  # every byte of every shard, and the manifest
    assert checked["samples"] == len(tabular)
    tabular.page_in()
    timings = interleaved(
        {"ours": lambda: headrace.verify(tabular.path, threads=threads), "rival": lambda: read_and_hash_all(files, threads)}, rounds=7
    )
    benchmark.pedantic(lambda: headrace.verify(tabular.path, threads=threads), rounds=3)
    report(
        f"verify / read and xxhash, {threads} thread{'s' * (threads > 1)}",
        timings.speed_ratio("ours", "rival"),
        at_least=0.8,
        limit=f"read and xxhash, {threads} thread{'s' * (threads > 1)}",
        our_gigabytes_per_second=size / timings.median("ours") / 1e9,
        their_gigabytes_per_second=size / timings.median("rival") / 1e9,
    )
