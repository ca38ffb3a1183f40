"""How long next() waited: percentiles against numpy's, and what they say of a loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace.loader.stats import wait_percentile


def bucket(ns: int) -> int:
    """As cpp/headrace/pipeline/wait_counts.h cuts them: eighths of powers of two."""
    if ns < 8:
        return ns
    shift = ns.bit_length() - 4
    return shift * 8 + (ns >> shift)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_percentiles_to_a_sixteenth(seed: int, share: float) -> None:
    waits = np.exp(np.random.default_rng(seed).normal(12, 3, 2000)).astype(np.int64)
    counts = np.bincount([bucket(int(ns)) for ns in waits]).tolist()
    exact = float(np.quantile(waits, share, method="inverted_cdf"))
    assert wait_percentile(counts, share) * 1e9 == pytest.approx(exact, rel=1 / 15)


def test_no_waits() -> None:
    assert wait_percentile([], 0.5) == 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_waits_of_a_loader(tmp_path: Path, num_workers: int) -> None:
    headrace.write(tmp_path / "d", {"x": np.zeros((5000, 100))}, codec="zstd")
    loader = headrace.DataLoader(headrace.open(tmp_path / "d"), 10, num_workers=num_workers)
    assert loader.stats()["wait_seconds"] == {"p50": 0, "p90": 0, "p99": 0, "max": 0}
    for _ in range(2):
        assert sum(1 for _ in loader) == 500
    stats = loader.stats()
    waits = stats["wait_seconds"]
    assert 0 < waits["p50"] <= waits["p90"] <= waits["p99"] <= waits["max"] <= stats["stall_seconds"]
    # Half of all batches waited for p50 or longer, to a sixteenth.
    assert 500 * waits["p50"] <= stats["stall_seconds"] * 16 / 15


def test_waits_of_passes_side_by_side_count_together(tmp_path: Path) -> None:
    headrace.write(tmp_path / "d", {"x": np.zeros(100)})
    loader = headrace.DataLoader(headrace.open(tmp_path / "d"), 10)
    for _ in zip(loader, loader, strict=True):
        pass
    stats = loader.stats()
    assert stats["batches"] == 20
    assert 20 * stats["wait_seconds"]["max"] >= stats["stall_seconds"] * 15 / 16
