"""`headrace tune --rewrite` on datasets written with poor settings: what the search predicts from a sample, and what the whole dataset gains once rewritten.

Both datasets are driven in turn, in one run, with memory for an eighth of their decoded blocks, as the search measures: what stays decoded costs the same in
any layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace.tune import layouts, write_options
from headrace.tune.measure import Side, make_side, rates
from headrace.writing.rewrite import rewrite

_ROWS, _COLUMNS, _BATCH = 200_000, 64, 1024  # 51 MB of int32
_CACHED_PART = 8

# Mistakes that are easily made: chunks of a few samples; blocks so large that a global order decodes a thousand samples for one.
_POOR: dict[str, dict[str, Any]] = {
    "chunks of 16 samples, zstd:19": {"codec": {"x": {"codec": "zstd", "level": 19}}, "chunk_samples": 16},
    "blocks of 1 MiB, zstd:9": {"codec": {"x": {"codec": "zstd", "level": 9, "block_bytes": 1 << 20}}, "chunk_bytes": 16 << 20},
}


def side(path: Path) -> Side:
    options = {"num_workers": 2, "prefetch_factor": None, "reader": "mmap", "window": None}
    made = make_side(headrace.open(path), options, batch_size=_BATCH, order="global", step=None)
    made.drive(0.5)  # Blocks are checked when they are first read.
    return made


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("poor", _POOR)
def test_what_a_rewrite_gains(report: Any, tmp_path: Path, poor: str) -> None:
    walk = np.cumsum(np.random.default_rng(0).integers(-2, 3, (_ROWS, _COLUMNS)), axis=1).astype(np.int32)
    headrace.write(tmp_path / "poor", {"x": walk}, **_POOR[poor])
    dataset = headrace.open(tmp_path / "poor")
    found = layouts(dataset, batch_size=_BATCH, trials=16, seed=0, seconds=0.3, sample_bytes=16 << 20, most_size=1.5, num_workers=2)
    assert found.best is not None
    assert found.best.options, "the present layout was found as good as any"
    rewrite(dataset, tmp_path / "rewritten", **write_options(dataset, found.best.options))
    headrace.set_cache_bytes(walk.nbytes // _CACHED_PART)
    try:
        new, old = side(tmp_path / "rewritten"), side(tmp_path / "poor")
        ours, theirs = rates(new, old, 4.0)
    finally:
        headrace.set_cache_bytes(None)
    loaders = [headrace.DataLoader(headrace.open(tmp_path / name), _BATCH, shuffle=True) for name in ("poor", "rewritten")]
    parity = headrace.evaluate.parity(*loaders)
    assert parity.same_order, parity.difference
    report(
        f"rewritten / poor settings, samples/s: {poor}", ours / theirs, at_least=1.5, workload="tuning", predicted=found.best.ratio,
        layout=", ".join(f"{name} {value}" for name, value in found.best.options.items()),
        bytes_rewritten_over_poor=bytes_of(tmp_path / "rewritten") / bytes_of(tmp_path / "poor"),
        our_samples_per_second=ours, their_samples_per_second=theirs,
    )  # fmt: skip
