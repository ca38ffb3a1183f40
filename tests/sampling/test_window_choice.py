"""window="auto": the cheapest window that meets the target, the same wherever it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.sampling.window_choice import automatic_window, distance_from_uniform, window_target


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """500 chunks of 40 samples."""
    path: Path = tmp_path_factory.mktemp("window") / "d"
    hr.write(path, {"x": np.arange(20_000)}, chunk_samples=40)
    return hr.open(path)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.3, 0.6])
def test_it_is_the_smallest_that_meets_the_target(dataset: hr.Dataset, target: float) -> None:
    loader = hr.DataLoader(dataset, 10, shuffle=True, order="window", window=f"auto:{target}", seed=3)
    chosen = loader.window
    assert hr.evaluate.order(loader).distance <= target or chosen == 500
    smaller = [window for window in (1, 2, 4, 8, 16, 32, 64, 128, 256) if window < chosen]
    for window in smaller:
        fixed = hr.DataLoader(dataset, 10, shuffle=True, order="window", window=window, seed=3)
        assert hr.evaluate.order(fixed).distance > target


def test_a_smaller_distance_takes_no_smaller_window(dataset: hr.Dataset) -> None:
    windows = [automatic_window(target, dataset.native.chunk_layout, 0) for target in (0.9, 0.5, 0.3, 0.2, 0.1, 0.05, 0.01)]
    assert windows == sorted(windows)
    assert len(set(windows)) > 3


def test_the_number_is_the_state_s_and_every_rank_s(dataset: hr.Dataset) -> None:
    loaders = [hr.DataLoader(dataset, 10, shuffle=True, order="window", window="auto", rank=rank, world_size=3) for rank in range(3)]
    assert len({loader.window for loader in loaders}) == 1
    assert loaders[0].state_dict()["window"] == loaders[0].window
    fixed = hr.DataLoader(dataset, 10, shuffle=True, order="window", window=loaders[0].window, rank=0, world_size=3)
    fixed.load_state_dict(loaders[0].state_dict())
    assert next(iter(fixed))["x"].tolist() == next(iter(loaders[0]))["x"].tolist()


def test_few_chunks_are_all_mixed() -> None:
    assert automatic_window(0.001, [(100, 50)], 0) == 2
    assert automatic_window(0.1, [(1, 10)], 0) == 1
    assert automatic_window(0.1, [(0, 10)], 0) == 1


def test_the_distance_of_known_orders() -> None:
    n = 1 << 16
    stored = np.arange(n)
    assert distance_from_uniform(stored, stored, n, 45) == pytest.approx(1, abs=0.01)
    assert distance_from_uniform(stored, np.random.default_rng(0).permutation(n), n, 45) < 0.01


@pytest.mark.parametrize("window", ["auto:", "auto:0", "auto:1", "auto:x", "most", "auto:-1", "auto:nan"])
def test_other_words_are_refused(dataset: hr.Dataset, window: str) -> None:
    with pytest.raises(ValueError, match="window must be"):
        window_target(window)
    with pytest.raises(ValueError, match="window must be"):
        hr.DataLoader(dataset, 10, shuffle=True, order="window", window=window)


def test_other_orders_have_no_window_to_choose(dataset: hr.Dataset) -> None:
    assert hr.DataLoader(dataset, 10, shuffle=True, window="auto").window == 32
    with pytest.raises(ValueError, match="window"):
        hr.DataLoader([1, 2], window="auto")  # type: ignore[arg-type]
