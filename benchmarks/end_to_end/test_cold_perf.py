"""Cold data at the speed of the device: a pass of a loader beside `fio` on the same file, in the same rounds."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.workloads.cold import Cold, back_free_memory, device_bytes, fio_bytes_per_second
from headrace._native import Order

BATCH = 32
ROUNDS = 3
READERS = ["direct", "uring", "pread", "mmap"]
TIMED = ["direct", "mmap"]  # what reader="auto" chooses from

pytestmark = pytest.mark.skipif(shutil.which("fio") is None, reason="needs fio: `apt-get install -y fio`")


@pytest.fixture(scope="module")
def cold(folder: Path) -> Iterator[Cold]:
    made = Cold.prepare(folder, int(os.environ.get("HEADRACE_BENCH_COLD_SAMPLES", "8192")))
    yield made
    if "HEADRACE_BENCH_FOLDER" not in os.environ:
        made.remove()


def check_content(cold: Cold, reader: str, order: dict[str, Any]) -> None:
    """Every sample once, each batch's numbers as they were written, some samples bit by bit."""
    seen: list[int] = []
    for number, batch in enumerate(cold.loader(reader, BATCH, **order)):
        ids = batch["x"][:, :8].contiguous().view(torch.int64).reshape(-1).tolist()
        if number % 32 == 0:
            np.testing.assert_array_equal(batch["x"][-1].numpy(), cold.sample(ids[-1]))
        seen += ids
    assert sorted(seen) == list(range(cold.count))
    if order.get("order") == "global":
        assert seen == Order(cold.count, 3, 0).indices(0, cold.count).tolist()


def one_pass(cold: Cold, reader: str, order: dict[str, Any]) -> tuple[float, float]:
    """Bytes a second of a pass over cold files, and bytes read from the device a byte of samples."""
    cold.drop()
    if reader != "direct":  # The page cache needs memory for all of it.
        back_free_memory(cold.total_bytes)
    loader = cold.loader(reader, BATCH, **order)
    before, begin = device_bytes(), time.perf_counter()
    for _ in loader:
        pass
    seconds = time.perf_counter() - begin
    return cold.total_bytes / seconds, (device_bytes() - before) / cold.total_bytes


@pytest.mark.gate
@pytest.mark.parametrize(
    ("name", "order", "goal"),
    [
        ("chunks in order of windows", {"shuffle": True, "order": "window"}, 0.95),
        ("single samples at random", {"shuffle": True, "order": "global"}, 0.9),
    ],
    ids=["window", "global"],
)
def test_cold(cold: Cold, benchmark: Any, report: Any, name: str, order: dict[str, Any], goal: float) -> None:
    random = order["order"] == "global"
    for reader in READERS:
        check_content(cold, reader, order)
    fio: list[float] = []
    ours: dict[str, list[tuple[float, float]]] = {reader: [] for reader in TIMED}
    for number in range(ROUNDS):
        tasks = ["fio", *TIMED] if number % 2 == 0 else [*TIMED[::-1], "fio"]
        for task in tasks:
            if task == "fio":
                fio.append(fio_bytes_per_second(cold.file, random=random))
            else:
                ours[task].append(one_pass(cold, task, order))
    benchmark.pedantic(lambda: one_pass(cold, "direct", order), rounds=1)
    limit = "fio, O_DIRECT, depth 32, " + ("128 KiB at random" if random else "1 MiB in order")
    for reader in TIMED:
        amplification = statistics.median(read for _, read in ours[reader])
        # Not less: then it was not cold.
        assert amplification > 0.97, (
            f"{reader}: {amplification:.2f} bytes came from the device for each byte of samples; the files were not cold"
        )
        report(
            f"{name}, {reader} / fio",
            statistics.median(rate / limit_rate for (rate, _), limit_rate in zip(ours[reader], fio, strict=True)),
            at_least=goal,
            limit=limit,
            our_gigabytes_per_second=statistics.median(rate for rate, _ in ours[reader]) / 1e9,
            their_gigabytes_per_second=statistics.median(fio) / 1e9,
            device_bytes_a_byte=amplification,
        )
