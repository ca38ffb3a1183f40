"""tune.batch_size(): the largest batch that fits and the knee, against steps whose limits are known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr

ROWS = 4096


@pytest.fixture
def loader(tmp_path: Path) -> hr.DataLoader:
    hr.write(tmp_path / "d", {"id": np.arange(ROWS), "x": np.zeros((ROWS, 4), np.float32)})
    return hr.DataLoader(hr.open(tmp_path / "d"), 8, shuffle=True, seed=1, num_workers=1)


ERRORS = {
    "host": MemoryError("no memory"),
    "torch on the host": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    "a device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=list(ERRORS))
@pytest.mark.parametrize("limit", [1, 7, 100, 1000, 4095])
def test_the_largest_that_fits_is_found_to_an_eighth(loader: hr.DataLoader, error: Exception, limit: int) -> None:
    resets = []

    def step(batch: dict[str, torch.Tensor]) -> None:
        if len(batch["id"]) > limit:
            raise error

    found = hr.tune.batch_size(step, loader, seconds=0.001, reset=lambda: resets.append(1))
    assert found.largest <= limit < found.largest * 1.125 + 1
    assert found.is_bounded
    failed = [one for one in found.measured if one.samples_per_second is None]
    assert len(failed) == len(resets) > 0
    assert all(one.batch_size > limit and str(error)[:20] in str(one.error) for one in failed)
    assert found.knee in {one.batch_size for one in found.measured if one.samples_per_second}


def test_without_a_limit_it_ends_where_told_or_at_the_dataset(loader: hr.DataLoader) -> None:
    sizes = []
    assert hr.tune.batch_size(lambda batch: sizes.append(len(batch["id"])), loader, seconds=0.001).largest == ROWS
    assert set(sizes) == {2**k for k in range(13)}
    found = hr.tune.batch_size(lambda batch: None, loader, least=3, most=50, seconds=0.001)
    assert (found.largest, found.is_bounded) == (50, False)
    assert [one.batch_size for one in found.measured] == [3, 6, 12, 24, 48, 50]


def test_the_knee_is_the_smallest_size_that_is_about_as_fast(loader: hr.DataLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 10 ms and 10 us a sample, on a clock of its own: half of the best possible rate at 1000 samples."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def step(batch: dict[str, Any]) -> None:
        now[0] += 0.01 + 1e-5 * len(batch["id"])

    found = hr.tune.batch_size(step, loader, share=0.75)
    rates = {2**k: 2**k / (0.01 + 1e-5 * 2**k) for k in range(13)}
    assert {one.batch_size: one.samples_per_second for one in found.measured} == pytest.approx(rates)
    assert found.knee == min(size for size, rate in rates.items() if rate >= 0.75 * max(rates.values())) == 2048


def test_batches_are_the_datasets_and_the_loader_stays_where_it_is(loader: hr.DataLoader) -> None:
    before = loader.state_dict()
    order = [i for batch in loader for i in batch["id"].tolist()]
    after = loader.state_dict()
    seen: dict[int, list[int]] = {}
    hr.tune.batch_size(lambda batch: seen.setdefault(len(batch["id"]), batch["id"].tolist()), loader, most=64, seconds=0.001)
    assert seen == {size: order[:size] for size in (1, 2, 4, 8, 16, 32, 64)}
    assert loader.state_dict() == after != before
    assert loader.batch_size == 8
    assert len(next(iter(loader))["id"]) == 8


def test_other_errors_are_raised(loader: hr.DataLoader) -> None:
    def step(batch: Any) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        hr.tune.batch_size(step, loader)

    def never(batch: Any) -> None:
        raise MemoryError("full")

    with pytest.raises(MemoryError, match=r"a batch of 2 does not fit: MemoryError: full"):
        hr.tune.batch_size(never, loader, least=2)
    with pytest.raises(TypeError, match="native engine"):
        hr.tune.batch_size(step, hr.DataLoader([1, 2]))  # type: ignore[arg-type]
    for options in ({"least": 0}, {"most": 0}, {"seconds": 0}, {"share": 1.5}, {"least": ROWS + 1}):
        with pytest.raises(ValueError):
            hr.tune.batch_size(step, loader, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_measures_whole_batches(tmp_path: Path, rank: int) -> None:
    hr.write(tmp_path / "d", {"id": np.arange(1000)})
    loader = hr.DataLoader(hr.open(tmp_path / "d"), 8, shuffle=True, rank=rank, world_size=3)
    seen: list[int] = []
    found = hr.tune.batch_size(lambda batch: seen.append(len(batch["id"])), loader, seconds=0.001)
    assert found.largest == 1000
    assert set(seen) == {one.batch_size for one in found.measured}


def test_a_dataset_without_samples(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"id": np.arange(10)})
    with pytest.raises(ValueError, match="no sample"):
        hr.tune.batch_size(lambda batch: None, hr.DataLoader(hr.open(tmp_path / "d").subset([]), 8))
