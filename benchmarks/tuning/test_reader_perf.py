"""reader="auto" against each reader by name, in turn: files in the page cache, and cold ones with the passes that follow."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace.bench.page_cache import drop_files

_READERS = ("auto", "mmap", "pread", "direct", "uring")
_ROUNDS = 5
_LATER = 2  # passes after a cold one
_SHAPES = {"2 KiB": (48_000, 2048, 256), "128 KiB": (750, 131_072, 8)}  # samples, bytes of each, batch: 96 MB


def seconds(path: Path, reader: str, order: str, state: str, batch: int, seed: int) -> tuple[float, str]:
    """Of the passes of a loader that is made anew, and who read."""
    if state == "cold":
        drop_files(sorted(path.glob("*.hrs")))
    loader = headrace.DataLoader(headrace.open(path, reader=reader), batch, shuffle=True, order=order, num_workers=2, seed=seed)
    passes = range(1 + _LATER)
    if state == "warm":  # Files are in memory, and each block was checked.
        for _ in loader:
            pass
        passes = range(1)
    begin = time.perf_counter()
    for _ in passes:
        for _ in loader:
            pass
    return time.perf_counter() - begin, loader.stats()["reader"]


@pytest.mark.gate
@pytest.mark.parametrize("state", ["warm", "cold"])
@pytest.mark.parametrize("order", ["global", "window"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_the_automatic_reader(report: Any, tmp_path: Path, shape: str, order: str, state: str) -> None:
    rows, width, batch = _SHAPES[shape]
    headrace.write(tmp_path / "d", {"x": np.random.default_rng(0).integers(0, 256, (rows, width), dtype=np.uint8)}, codec="none")
    spent: dict[str, list[float]] = {reader: [] for reader in _READERS}
    chosen = ""
    headrace.set_cache_bytes(1 << 20)
    try:
        for number in range(_ROUNDS):
            for reader in _READERS if number % 2 == 0 else _READERS[::-1]:
                took, who = seconds(tmp_path / "d", reader, order, state, batch, number)
                spent[reader].append(took)
                chosen = who if reader == "auto" else chosen
    finally:
        headrace.set_cache_bytes(None)
    # In pairs of one round; of the reader that it chose it differs by noise alone.
    ratios = {
        reader: statistics.median(other / auto for other, auto in zip(spent[reader], spent["auto"], strict=True))
        for reader in _READERS
        if reader not in ("auto", chosen)
    }
    best = min(ratios, key=lambda reader: ratios[reader])
    report(
        f"reader='auto' / the best other, {shape} samples, {order} order, {state}", ratios[best], at_least=0.95, workload="tuning",
        chosen=chosen, best_other=best, **{f"rate_over_{reader}": ratio for reader, ratio in ratios.items()},
    )  # fmt: skip
