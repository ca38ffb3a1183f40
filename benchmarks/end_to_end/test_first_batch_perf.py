"""Time to the first batch from construction: warm, global shuffle, every shape of data."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

import headrace
from benchmarks.rivals.peers.headrace_loader import Peer
from benchmarks.workloads.shapes import SHAPES, prepare
from headrace.bench.ceilings import page_in

_TIMES = 15


@pytest.mark.gate
@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_first_batch_comes_soon(shape: str, folder: Path, report: Any) -> None:
    data = prepare(shape, folder)
    peer = Peer(data, data.folder / "headrace_loader")
    if not (peer.folder / "complete").exists():
        peer.folder.mkdir(parents=True, exist_ok=True)
        peer.convert()
        (peer.folder / "complete").touch()
    dataset = headrace.open(peer.folder / "dataset").as_tuple(*data.field_names)
    page_in(list((peer.folder / "dataset").iterdir()))
    seconds = []
    for number in range(_TIMES):
        begin = time.perf_counter()
        batches = iter(headrace.DataLoader(dataset, data.batch_size, True, num_workers=2, seed=number))
        first = next(batches)
        seconds.append(time.perf_counter() - begin)
        assert len(first[0]) == data.batch_size
        del batches, first
    report(
        "time to the first batch",
        1e3 * statistics.median(seconds),
        workload=shape,
        unit="ms",
        at_most=20.0,
        slowest_milliseconds=1e3 * max(seconds),
        very_first_milliseconds=1e3 * seconds[0],
        samples=len(dataset),
    )
