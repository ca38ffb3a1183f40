"""`ds.iterable()` under torch's own DataLoader: the batches of headrace.DataLoader, in its order, whatever the workers."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import headrace as hr
from tests.loader.samples import ROWS, assert_same, ids_of, numbered, torch_batch, write_all_kinds


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """150 numbered samples in several shards."""
    return numbered(tmp_path_factory.mktemp("iterable") / "d", 150, codec="zstd", chunk_samples=8, shard_bytes=1)


ORDERS: dict[str, dict[str, Any]] = {
    "sequential": {"shuffle": False},
    "global": {"shuffle": True, "seed": 3},
    "window": {"shuffle": True, "seed": 3, "order": "window", "window": 2},
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_those_of_the_loader(dataset: hr.Dataset, order: str, drop_last: bool) -> None:
    for world_size in (1, 2, 4):
        for rank in range(world_size):
            share: dict[str, Any] = {**ORDERS[order], "drop_last": drop_last, "rank": rank, "world_size": world_size}
            loader = hr.DataLoader(dataset, 16, **share)
            stream = dataset.iterable(16, **share)
            for epoch in (0, 5):
                loader.set_epoch(epoch)
                stream.set_epoch(epoch)
                assert_same(list(stream), list(loader))
            assert len(stream) == len(loader)


@pytest.mark.parametrize(("workers", "threads"), [(0, 0), (0, 1), (0, 8), (1, 2), (3, 2)])
def test_workers_and_threads_change_nothing(dataset: hr.Dataset, workers: int, threads: int) -> None:
    stream = dataset.iterable(16, shuffle=True, num_threads=threads)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers)
    assert ids_of(loader) == ids_of(hr.DataLoader(dataset, 16, shuffle=True))
    assert len(loader) == 10


def test_a_shard_of_each_kind_of_field_is_delivered(tmp_path: Path) -> None:
    write_all_kinds(tmp_path / "d", "zstd")
    for ragged in ("padded", "offsets"):
        batches = list(hr.open(tmp_path / "d").iterable(70, ragged=ragged))
        for step, batch in enumerate(batches):
            assert_same(batch, torch_batch(range(step * 70, min(ROWS, step * 70 + 70)), ragged))
    for step, batch in enumerate(hr.open(tmp_path / "d").iterable(70, strings="offsets")):
        assert_same(batch, torch_batch(range(step * 70, min(ROWS, step * 70 + 70)), strings="offsets"))


def test_it_pickles_and_may_be_left_half_way(dataset: hr.Dataset) -> None:
    stream = dataset.iterable(16, shuffle=True)
    stream.set_epoch(2)
    expected = ids_of(stream)
    for _ in range(5):
        stream.set_epoch(2)
        assert next(iter(stream))["id"].tolist() == expected[0]
    stream.set_epoch(2)
    for other in (pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)):
        assert ids_of(other) == expected
        assert (other.epoch, stream.epoch) == (3, 2)
    first = iter(stream)
    stream.set_epoch(2)
    second = iter(stream)
    assert ids_of([batch for pair in zip(first, second, strict=True) for batch in pair]) == [batch for batch in expected for _ in range(2)]


def orders_of(dataset: hr.Dataset) -> list[list[list[int]]]:
    loader = hr.DataLoader(dataset, 16, shuffle=True)
    return [ids_of(loader) for _ in range(8)]


LOADERS: dict[str, dict[str, Any]] = {
    "no worker": {},
    "one": {"num_workers": 1},
    "three": {"num_workers": 3},
    "persistent": {"num_workers": 3, "persistent_workers": True},
    "spawned": {"num_workers": 2, "multiprocessing_context": "spawn"},
    "spawned, persistent": {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
}


@pytest.mark.parametrize("name", LOADERS)
def test_each_pass_has_the_next_epoch(dataset: hr.Dataset, name: str) -> None:
    expected = orders_of(dataset)
    stream = dataset.iterable(16, shuffle=True)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, **LOADERS[name])
    for epoch in range(3):
        torch.manual_seed(7)  # The seed of the workers is no name for a pass.
        assert ids_of(loader) == expected[epoch]
    stream.set_epoch(6)
    assert ids_of(loader) == expected[6]
    assert ids_of(loader) == expected[7]
    stream.set_epoch(1)
    assert ids_of(loader) == expected[1]
    assert stream.epoch == 2


def test_passes_side_by_side_and_other_numbers_of_workers(dataset: hr.Dataset) -> None:
    expected = orders_of(dataset)
    stream = dataset.iterable(16, shuffle=True)
    loaders = [torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers) for workers in (2, 3)]
    passes: list[Any] = [iter(loader) for loader in loaders]
    seen = [ids_of(one) for one in passes]
    assert sorted(seen) == sorted(expected[:2])  # Whose workers came first has the first.
    assert ids_of(loaders[1]) == expected[2]
    assert ids_of(stream) == expected[3]


def test_an_empty_dataset_yields_nothing(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"id": torch.arange(0).numpy()})
    stream = hr.open(tmp_path / "d").iterable(4, shuffle=True)
    assert list(stream) == []
    assert len(stream) == 0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "batch_size": ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    "order": ({"order": "random", "shuffle": True}, "order must be 'global' or 'window', got 'random'"),
    "ragged": ({"ragged": "square"}, "ragged must be 'padded' or 'offsets', got 'square'"),
    "window": ({"window": 0}, "window must be in"),
    "seed": ({"seed": -1}, "seed must be in"),
    "num_threads": ({"num_threads": -1}, "num_threads must be in"),
    "rank": ({"rank": 2, "world_size": 2}, "rank must be in"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_refused_where_they_are_given(dataset: hr.Dataset, name: str) -> None:
    options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        dataset.iterable(**options)
    with pytest.raises(TypeError, match="on_eror"):
        dataset.iterable(4, on_eror="skip")
