"""num_workers="auto" against the best of nine fixed settings, by what binds; on all cores, on one, under a quota, and four loaders at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from tests.faults.faulty_disk import FaultyDisk, why_no_fuse

_QUOTA = Path("/sys/fs/cgroup/cpu")  # version 1; 2 would move the whole process tree
_GOAL = 0.95
_GATHER, _TINY, _DECODE, _STORAGE = "gather", "tiny", "decode", "storage"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A dataset for each thing that may bind."""
    folder = tmp_path_factory.mktemp("tuning")
    rng = np.random.default_rng(0)
    headrace.write(folder / _GATHER, {"x": rng.random((60_000, 512), dtype=np.float32)}, codec="none")
    headrace.write(folder / _TINY, {"x": rng.random((1_000_000, 8), dtype=np.float32)}, codec="none")
    headrace.write(folder / _DECODE, {"x": rng.integers(0, 50, (160_000, 512)).astype(np.int32)}, codec="zstd")
    headrace.write(folder / _STORAGE, {"x": rng.integers(0, 256, (3_000, 32768)).astype(np.uint8)}, codec="none")
    return {name: str(folder / name) for name in (_GATHER, _TINY, _DECODE, _STORAGE)}


@pytest.fixture
def slow_disk(paths: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The storage dataset where each read takes 4 ms, however many there are."""
    if missing := why_no_fuse():
        pytest.skip(f"a throttled file needs FUSE: {missing}")
    folder = Path(paths[_STORAGE]).parent
    disk = FaultyDisk(folder, tmp_path / "m")
    try:
        disk.rules({"suffix": ".hrs", "delay": 0.004, "direct_io": True})
        yield str(disk.mount / _STORAGE)
    finally:
        disk.close()


@pytest.fixture
def quota() -> Iterator[str]:
    """A cgroup that leaves one core and a half."""
    folder = _QUOTA / f"headrace-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("150000")
    except OSError as error:
        pytest.skip(f"a quota needs a writable cgroup of version 1: {error}")
    try:
        yield str(folder)
    finally:
        folder.rmdir()


def measure(report: Any, name: str, **scenario: Any) -> None:
    command = [sys.executable, "-m", "benchmarks.tuning.convergence", json.dumps({"name": name, **scenario})]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    found = json.loads(done.stdout.splitlines()[-1])
    report(
        f"auto / best fixed setting, {name}",
        found["ratio"],
        at_least=_GOAL,
        workload="tuning",
        half_of_rounds_within=f"{found['quartiles'][0]:.3f} to {found['quartiles'][1]:.3f}",
        best=f"{found['best'][0]} workers, prefetch_factor {found['best'][1]}",
        best_samples_per_second=found["best_samples_per_second"],
        worst_of_them=found["worst_over_best"],
        chosen=f"{found['chosen'][0]} threads, {found['chosen'][1]} batches",
        latest_change_seconds=found["latest_change_seconds"],
    )


@pytest.mark.gate
@pytest.mark.parametrize("cores", [None, 1])
@pytest.mark.parametrize(("binds", "batch_size"), [(_GATHER, 256), (_TINY, 64)])
def test_gather(report: Any, paths: dict[str, str], binds: str, batch_size: int, cores: int | None) -> None:
    measure(report, f"{binds}{', one core' if cores else ''}", binds=binds, path=paths[binds], batch_size=batch_size, cores=cores)


@pytest.mark.gate
@pytest.mark.parametrize("cores", [None, 1])
def test_decode(report: Any, paths: dict[str, str], cores: int | None) -> None:
    name = f"decode{', one core' if cores else ''}"
    measure(
        report, name, binds=_DECODE, path=paths[_DECODE], batch_size=256, order="window", window=4, prefetch_bytes=32 << 20, cores=cores
    )


@pytest.mark.gate
def test_storage(report: Any, slow_disk: str) -> None:
    # A new pass finds some of its first blocks in the cache, which deep settings use up before the clock starts: so there is none.
    measure(report, "storage", binds=_STORAGE, path=slow_disk, batch_size=4, reader="pread", prefetch_bytes=24 << 20, cache_bytes=0, turn=0.6,
            converge=10.0)  # fmt: skip


@pytest.mark.gate
def test_consumer(report: Any, paths: dict[str, str]) -> None:
    measure(report, "consumer", binds="consumer", path=paths[_GATHER], batch_size=256, step_ms=5.0)


@pytest.mark.gate
def test_quota(report: Any, paths: dict[str, str], quota: str) -> None:
    measure(report, "decode, a core and a half", binds=_DECODE, path=paths[_DECODE], batch_size=256, order="window", window=4, prefetch_bytes=32 << 20,
            quota_folder=quota, turn=0.4)  # fmt: skip


@pytest.mark.gate
def test_four_loaders(report: Any, paths: dict[str, str]) -> None:
    measure(report, "four loaders, gather", binds=_GATHER, path=paths[_GATHER], batch_size=256, loaders=4, turn=0.3, rounds=3)
