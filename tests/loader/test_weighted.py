"""Weighted orders in headrace.DataLoader: what is drawn, ranks, resume, replay, state."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import headrace as hr

SIZE = 1000
WEIGHTS = np.random.default_rng(1).random(SIZE) ** 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """Samples that say their number."""
    path = tmp_path_factory.mktemp("weighted") / "d"
    hr.write(path, {"x": np.arange(SIZE), "y": np.arange(SIZE) // 900}, chunk_samples=64)
    return hr.open(path)


def numbers(loader: hr.DataLoader) -> npt.NDArray[np.int64]:
    """All numbers of a pass."""
    return np.concatenate([batch["x"].numpy() for batch in loader])


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_batches_are_the_orders_draws_for_any_number_of_threads(dataset: hr.Dataset, num_workers: int) -> None:
    loader = hr.DataLoader(dataset, 64, order="weighted", weights=WEIGHTS, num_workers=num_workers, seed=7)
    order = hr.sampling.weighted(WEIGHTS)
    for epoch in range(2):
        np.testing.assert_array_equal(numbers(loader), order.indices(seed=7, epoch=epoch))


WAYS: dict[str, dict[str, Any]] = {
    "weights": {"weights": WEIGHTS},
    "weights of torch": {"weights": torch.from_numpy(WEIGHTS), "shuffle": True},
    "order and weights": {"order": "weighted", "weights": WEIGHTS},
    "order": {"order": hr.sampling.weighted(WEIGHTS)},
    "sampler": {"sampler": hr.sampling.weighted(WEIGHTS)},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_asking_gives_the_same_pass(dataset: hr.Dataset, way: str) -> None:
    loader = hr.DataLoader(dataset, 64, **WAYS[way], seed=3)
    np.testing.assert_array_equal(numbers(loader), hr.sampling.weighted(WEIGHTS).indices(seed=3))
    assert loader.shuffle
    assert list(loader.sampler)[:5] == hr.sampling.weighted(WEIGHTS).indices(0, 5, seed=3).tolist()


def test_an_epoch_is_as_long_as_it_is_told(dataset: hr.Dataset) -> None:
    for count, batches in [(100, 2), (2500, 40)]:
        loader = hr.DataLoader(dataset, 64, order=hr.sampling.weighted(WEIGHTS, count))
        assert len(loader) == batches == len(list(loader))
        assert len(numbers(loader)) == count


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_cut_the_same_global_batches(dataset: hr.Dataset, world_size: int) -> None:
    order = hr.sampling.weighted(WEIGHTS, 30 * world_size * 4)
    loaders = [hr.DataLoader(dataset, 30, order=order, seed=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    steps = [np.concatenate([batch["x"].numpy() for batch in batches]) for batches in zip(*loaders, strict=True)]
    np.testing.assert_array_equal(np.concatenate(steps), order.indices(seed=2))


def test_resume_and_replay_give_the_same_draws(dataset: hr.Dataset) -> None:
    def make() -> hr.DataLoader:
        return hr.DataLoader(dataset, 64, weights=WEIGHTS, num_workers=2, seed=5)

    loader = make()
    whole = [batch["x"].tolist() for batch in loader]
    it = iter(loader)
    second = [next(it)["x"].tolist() for _ in range(5)]
    saved = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(saved)) < 1024
    rest = [batch["x"].tolist() for batch in it]
    other = make()
    other.load_state_dict(saved)
    assert [batch["x"].tolist() for batch in other] == rest
    assert other.replay(3, epoch=0)["x"].tolist() == whole[3]
    assert other.replay(3, epoch=1)["x"].tolist() == second[3]


def test_a_state_of_other_weights_is_refused(dataset: hr.Dataset) -> None:
    saved = hr.DataLoader(dataset, 64, weights=WEIGHTS).state_dict()
    others: list[dict[str, Any]] = [
        {"weights": WEIGHTS[::-1]},
        {"order": hr.sampling.weighted(WEIGHTS, 10)},
        {"shuffle": True},
    ]
    for other in others:
        with pytest.raises(hr.ChangedError, match="order: saved 'weighted "):
            hr.DataLoader(dataset, 64, **other).load_state_dict(saved)
    hr.DataLoader(dataset, 64, weights=2 * WEIGHTS).load_state_dict(saved)  # The same shares.


def test_classes_are_drawn_alike(dataset: hr.Dataset) -> None:
    order = hr.sampling.class_balanced(dataset, "y", 20_000)
    drawn = np.bincount(np.concatenate([batch["y"].numpy() for batch in hr.DataLoader(dataset, 500, order=order)]))
    assert abs(drawn - 10_000).max() < 6 * 5000**0.5


def test_a_loader_with_weights_is_pickled(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 64, weights=WEIGHTS, seed=4)
    np.testing.assert_array_equal(numbers(pickle.loads(pickle.dumps(loader))), numbers(loader))


def test_a_damaged_sample_is_replaced_by_one_that_may_be_drawn(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"x": np.arange(400)}, chunk_samples=100, codec="none")
    shard = next((tmp_path / "d").glob("*.hrs"))
    raw = bytearray(shard.read_bytes())
    at = raw.index(np.arange(50, 60).tobytes())
    raw[at] ^= 0xFF
    shard.write_bytes(raw)
    weights = np.r_[np.ones(200), np.zeros(200)]
    loader = hr.DataLoader(hr.open(tmp_path / "d"), 50, weights=weights, on_error="replace", max_errors=10_000)
    drawn = numbers(loader)
    assert len(drawn) == 400
    assert set(drawn) <= set(range(100, 200))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": "weighted"}, "needs weights="),
        ({"weights": WEIGHTS, "order": "window"}, "order must be 'weighted'"),
        ({"weights": WEIGHTS, "shuffle": False}, "shuffle=False"),
        ({"weights": WEIGHTS[:-1]}, "999 weights for 1000 samples"),
        ({"weights": WEIGHTS, "order": hr.sampling.weighted(WEIGHTS)}, "leave weights= out"),
        ({"weights": WEIGHTS, "sampler": hr.sampling.weighted(WEIGHTS)}, "leave weights and order out"),
        ({"order": "sideways"}, "got 'sideways'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(dataset: hr.Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hr.DataLoader(dataset, 64, **options)


@pytest.mark.parametrize(
    "options", [{"weights": [1, 1]}, {"order": hr.sampling.weighted([1, 1])}, {"sampler": hr.sampling.weighted([1, 1])}]
)
def test_datasets_that_torch_runs_get_no_weights(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="only for datasets that the native engine reads"):
        hr.DataLoader([1, 2], 2, **options)
