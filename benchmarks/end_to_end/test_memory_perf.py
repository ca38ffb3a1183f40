"""Memory beyond the page cache: bounded by the prefetch budget, and flat over epochs. These assert: memory can be held to a number."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import headrace
from benchmarks.workloads.tabular import Tabular

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")

_MIB = 1 << 20
_PREFETCH_BYTES = 64 * _MIB
_ALLOWANCE_BYTES = 100 * _MIB  # the issue's: allocator, threads' stacks, the dataset's index
_GROWTH_BYTES = 8 * _MIB  # noise of the allocator between epochs

# Runs in a process of its own: a peak is a process's, and this one has held other things. Anonymous and shared memory count, mapped
# files do not: they are the page cache. What the imports take is the baseline: a trainer has torch in memory anyway.
_CHILD = """
import json, sys
import torch, headrace
path, prefetch_bytes, epochs, num_workers = sys.argv[1], *map(int, sys.argv[2:])

def private_bytes():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return sum(int(lines[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem"))

torch.zeros(1000, 1000) @ torch.zeros(1000, 1000)
baseline = private_bytes()
loader = headrace.DataLoader(headrace.open(path), 4096, True, num_workers=num_workers, seed=1, prefetch_bytes=prefetch_bytes)
peaks, samples = [], 0
for epoch in range(epochs):
    loader.set_epoch(epoch)
    peak = 0
    for step, batch in enumerate(loader):
        samples += len(batch["label"])
        if step % 8 == 0:
            peak = max(peak, private_bytes())
    peaks.append(peak)
print(json.dumps({"baseline": baseline, "peaks": peaks, "samples": samples, "stats_peak": loader.stats()["peak_bytes"]}))
"""


def run(path: str, *, epochs: int, num_workers: int) -> Any:
    """Peaks of private memory by epoch, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, path, str(_PREFETCH_BYTES), str(epochs), str(num_workers)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.mark.gate
@pytest.mark.parametrize("num_workers", [0, 2])
def test_uncompressed_data_stays_within_the_budget_and_flat(tabular: Tabular, report: Any, num_workers: int) -> None:
    tabular.page_in()
    measured = run(tabular.path, epochs=20, num_workers=num_workers)
    check(measured, 20 * len(tabular), report)


@pytest.mark.gate
def test_compressed_data_stays_within_the_budget_and_flat(folder: Any, report: Any) -> None:
    samples = 200_000
    path = folder / "compressed"
    if not path.exists():
        steps = np.random.default_rng(5).integers(0, 9, (samples, 64)).astype(np.float32)
        headrace.write(path, {"features": steps, "label": np.arange(samples)}, codec="zstd:1")
    measured = run(str(path), epochs=20, num_workers=2)
    check(measured, 20 * samples, report)


def check(measured: Any, samples: int, report: Any) -> None:
    """Hold peaks against the budget and against each other."""
    baseline, peaks = measured["baseline"], measured["peaks"]
    assert measured["samples"] == samples
    used = max(peaks) - baseline
    budget = _PREFETCH_BYTES + _ALLOWANCE_BYTES
    report(
        "budget / peak of private memory",
        budget / max(1, used),
        peak_mib=used / _MIB,
        budget_mib=budget / _MIB,
        batches_at_most_mib=measured["stats_peak"] / _MIB,
        growth_mib=(max(peaks[15:]) - max(peaks[1:6])) / _MIB,
    )
    assert used <= budget, f"{used / _MIB:.1f} MiB used, {budget / _MIB:.0f} MiB allowed"
    assert max(peaks[15:]) - max(peaks[1:6]) <= _GROWTH_BYTES, f"memory grows: {[round(p / _MIB) for p in peaks]} MiB by epoch"
