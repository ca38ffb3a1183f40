"""tune.layouts(): predictions that hold for the whole, and nothing left behind whatever ends it."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace import _native
from headrace.tune import layouts, write_options
from headrace.writing.rewrite import rewrite

ROWS = 30_000


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers that a filter and zstd make small, stored raw in tiny blocks; strings beside them."""
    path = tmp_path_factory.mktemp("poor") / "d"
    walk = np.cumsum(np.random.default_rng(0).integers(-2, 3, (ROWS, 64)), axis=1).astype(np.int32)
    hr.write(path, {"x": walk, "name": [f"sample {i % 100}" for i in range(ROWS)]}, codec="none", chunk_bytes=1 << 20)
    return path


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_predicted_sizes_hold_for_the_whole(poor: Path, tmp_path: Path) -> None:
    dataset = hr.open(poor)
    found = layouts(dataset, trials=5, seconds=0.05, sample_bytes=2 << 20, sampler="random", folder=tmp_path)
    assert (found.samples, found.sampled < ROWS // 3) == (ROWS, True)
    assert abs(found.present.stored_bytes / bytes_of(poor) - 1) < 0.02  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []
    for number, trial in enumerate(found.trials):
        assert trial.error is None
        rewrite(dataset, tmp_path / f"d{number}", **write_options(dataset, trial.options))
        assert trial.stored_bytes is not None
        assert abs(trial.stored_bytes / bytes_of(tmp_path / f"d{number}") - 1) < 0.15
    assert found.best is not None
    assert found.present.options == {}


def test_the_largest_size_is_a_bound(poor: Path) -> None:
    found = layouts(poor, trials=8, seconds=0.03, sample_bytes=1 << 20, sampler="random", most_size=0.6)
    assert found.best is not None
    assert found.best.stored_bytes <= 0.6 * found.present.stored_bytes  # type: ignore[operator]
    assert layouts(poor, trials=1, seconds=0.01, sample_bytes=1 << 20, most_size=0.0001).best is None


def test_a_trial_that_fails_counts_and_the_cache_is_as_it_was(poor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def full(*arguments: Any, **options: Any) -> int:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise OSError(28, "No space left on device")
        return rewrite(*arguments, **options)

    monkeypatch.setattr(sys.modules["headrace.tune.layouts"], "rewrite", full)  # The package's attribute of that name is the function.
    _native.set_cache_bytes(12345678)
    try:
        found = layouts(poor, trials=4, seconds=0.02, sample_bytes=1 << 20, folder=tmp_path)
        assert _native.chosen_cache_bytes() == 12345678
    finally:
        _native.set_cache_bytes(None)
    assert [trial.error is None for trial in found.trials] == [False, True, False, True]
    assert "No space left" in str(found.trials[0].error)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_what_was_found(poor: Path, tmp_path: Path) -> None:
    def stop(trial: Any) -> None:
        if trial.number == 1:
            raise KeyboardInterrupt

    found = layouts(poor, trials=9, seconds=0.02, sample_bytes=1 << 20, folder=tmp_path, on_trial=stop)
    assert found.interrupted
    assert len(found.trials) == 2
    assert found.best is not None
    assert list(tmp_path.iterdir()) == []
    assert _native.chosen_cache_bytes() is None


def test_what_cannot_be_rewritten_is_refused(poor: Path) -> None:
    with pytest.raises(ValueError, match="whole"):
        layouts(hr.open(poor).subset([1, 2]))
    with pytest.raises(ValueError, match="most_size"):
        layouts(poor, most_size=0)


def test_a_disk_that_is_full_at_once_leaves_the_cache_as_it_was(poor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["headrace.tune.layouts"], "rewrite", full)
    hr.set_cache_bytes(12 << 20)
    try:
        with pytest.raises(OSError, match="No space left"):
            layouts(poor, trials=1, seconds=0.01, sample_bytes=1 << 20, folder=tmp_path)
        assert _native.chosen_cache_bytes() == 12 << 20
    finally:
        hr.set_cache_bytes(None)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_search_left_is_removed_and_what_another_uses_is_not(poor: Path, tmp_path: Path) -> None:
    names = ("headrace-tune-killed", "headrace-tune-used", "headrace-tune-just-made", "other")
    for name in names:
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d" / "shard").write_text("x")
        if "just" not in name:
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / "headrace-tune-link").symlink_to(tmp_path / "other")
    used = os.open(tmp_path / "headrace-tune-used", os.O_RDONLY)
    try:
        fcntl.flock(used, fcntl.LOCK_EX)
        layouts(poor, trials=1, seconds=0.01, sample_bytes=1 << 20, folder=tmp_path)
    finally:
        os.close(used)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "headrace-tune-link"])
    assert (tmp_path / "other" / "d" / "shard").exists()
