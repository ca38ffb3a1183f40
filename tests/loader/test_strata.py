"""Orders by classes in headrace.DataLoader: threads, ranks, resume, replay, damaged samples, the cache."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from tests.loader.samples import damage, numbered

SIZE = 610
LABELS = np.random.default_rng(1).choice(3, SIZE, p=[0.7, 0.25, 0.05])
SHARES = np.bincount(LABELS) / SIZE


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("strata") / "d"
    hr.write(path, {"x": np.arange(SIZE), "label": LABELS}, chunk_samples=64, codec="lz4")
    return hr.open(path)


def batches_of(loader: hr.DataLoader) -> list[list[int]]:
    return [batch["x"].tolist() for batch in loader]


ORDERS = {
    "stratified": lambda: hr.sampling.stratified_batches(LABELS),
    "under": lambda: hr.sampling.undersample(LABELS),
    "over": lambda: hr.sampling.oversample(LABELS),
}


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_batches_are_the_orders_for_any_number_of_threads(dataset: hr.Dataset, kind: str, num_workers: int) -> None:
    order = ORDERS[kind]()
    loader = hr.DataLoader(dataset, 32, order=order, num_workers=num_workers, seed=7)
    assert len(loader) == -(-len(order) // 32)
    for epoch in range(2):
        expected = order.for_batches(32).indices(seed=7, epoch=epoch)
        assert [x for batch in batches_of(loader) for x in batch] == expected.tolist()
    assert loader.shuffle
    by_sampler = hr.DataLoader(dataset, 32, sampler=order, seed=7)
    assert batches_of(by_sampler) == batches_of(hr.DataLoader(dataset, 32, order=order, seed=7))
    assert list(by_sampler.sampler)[:7] == order.for_batches(32).indices(0, 7, seed=7).tolist()


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_of_every_rank_are_in_proportion(dataset: hr.Dataset, world: int, workers: int) -> None:
    ranks = [
        hr.DataLoader(dataset, 20, order=ORDERS["stratified"](), rank=rank, world_size=world, uneven="exact", num_workers=workers)
        for rank in range(world)
    ]
    passes = [list(loader) for loader in ranks]
    seen = [x for batches in passes for batch in batches for x in batch["x"][batch["valid"]].tolist()]
    assert sorted(seen) == list(range(SIZE))
    whole = SIZE // (20 * world)
    for batches in passes:
        for batch in batches[:whole]:
            counts = np.bincount(batch["label"].numpy(), minlength=3)
            assert (np.abs(counts - 20 * SHARES) < 1).all()
        for batch in batches[whole:]:  # What is left, shared: in proportion to two samples.
            counts = np.bincount(batch["label"][batch["valid"]].numpy(), minlength=3)
            assert (np.abs(counts - int(batch["valid"].sum()) * SHARES) < 2).all()


@pytest.mark.parametrize("kind", ORDERS)
def test_a_pass_resumes_on_other_ranks_and_any_step_is_replayed(dataset: hr.Dataset, kind: str) -> None:
    order = ORDERS[kind]()
    first = [hr.DataLoader(dataset, 10, order=order, rank=rank, world_size=2, seed=3) for rank in range(2)]
    iterators = [iter(loader) for loader in first]
    seen = [x for _ in range(4) for iterator in iterators for x in next(iterator)["x"].tolist()]
    state = first[1].state_dict()
    rest = [hr.DataLoader(dataset, 10, order=order, rank=rank, world_size=3, seed=3, uneven="exact") for rank in range(3)]
    for loader in rest:
        loader.load_state_dict(state)
        seen += [x for batch in loader for x in batch["x"][batch["valid"]].tolist()]
    expected = order.for_batches(10).indices(seed=3)
    assert sorted(seen) == sorted(expected.tolist())
    step = first[0].replay(2)
    assert step["x"].tolist() == expected[40:50].tolist()
    fresh = hr.DataLoader(dataset, 10, order=order, seed=3)
    assert batches_of(pickle.loads(pickle.dumps(fresh))) == batches_of(fresh)


def test_another_order_is_not_resumed(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 10, order=ORDERS["stratified"]())
    next(iter(loader))
    state = loader.state_dict()
    other = hr.DataLoader(dataset, 11, order=ORDERS["stratified"]())
    with pytest.raises(hr.ChangedError, match="order: saved 'strata"):
        other.load_state_dict(state)
    same = hr.DataLoader(dataset, 11, order=hr.sampling.stratified_batches(LABELS, batch_size=10))
    same.load_state_dict(state)
    with pytest.raises(hr.ChangedError, match="order: saved"):
        hr.DataLoader(dataset, 10, order=ORDERS["under"]()).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_samples_are_replaced_by_others_of_their_class(tmp_path: Path, workers: int) -> None:
    ds = numbered(tmp_path / "d", 60, chunk_samples=4)
    labels = np.arange(60) % 3
    damage(tmp_path / "d", 0, [17])  # and with it the three others of its block
    loader = hr.DataLoader(ds, 12, order=hr.sampling.stratified_batches(labels), on_error="replace", num_workers=workers)
    for batch in loader:
        ids = batch["id"].numpy()
        assert not set(ids.tolist()) & {16, 17, 18, 19}
        assert np.bincount(labels[ids]).tolist() == [4, 4, 4]
    assert sorted(loader.state_dict()["skipped"]) == [16, 17, 18, 19]


def test_the_cache_foresees_classes(tmp_path: Path) -> None:
    """Blocks that fit only in part: knowing what comes next, more is found than by least recent use, and batches stay what they are."""
    rows = np.random.default_rng(0).integers(0, 255, (400, 4096), dtype=np.uint8)
    labels = np.arange(400) % 4
    hr.write(tmp_path / "d", {"x": rows}, codec="lz4", chunk_samples=16)
    order = hr.sampling.stratified_batches(labels, batch_size=8)
    hr.set_cache_bytes(100 * 4096 * 2)
    try:
        loader = hr.DataLoader(hr.open(tmp_path / "d"), 8, order=order, seed=1)
        for epoch in range(3):
            found = np.concatenate([batch["x"].numpy() for batch in loader])
            assert np.array_equal(found, rows[order.indices(seed=1, epoch=epoch)])
        stats = loader.stats()
        assert stats["cache_hits"] > 0
    finally:
        hr.set_cache_bytes(None)


def test_datasets_of_torch_and_arrays(dataset: hr.Dataset) -> None:
    order = ORDERS["under"]()
    expected = order.indices(seed=2).tolist()
    for other in (hr.from_arrays((np.arange(SIZE), LABELS)), torch.utils.data.TensorDataset(torch.arange(SIZE), torch.tensor(LABELS))):
        loader = hr.DataLoader(other, 16, order=order, seed=2)
        assert [x for batch in loader for x in batch[0].tolist()] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones(SIZE)}, "leave weights, sampler and order out"),
        ({"shuffle": False}, "shuffle=False asks for the stored order"),
        ({"generator": torch.Generator()}, "leave sampler, batch_sampler and generator out"),
    ],
)
def test_contradictions_are_refused(dataset: hr.Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hr.DataLoader(dataset, 8, order=ORDERS["stratified"](), **options)
    with pytest.raises(ValueError, match="there are 610 labels for 10 samples"):
        hr.DataLoader(dataset.subset(np.arange(10)), 8, order=ORDERS["stratified"]())


def test_an_order_is_measured_like_any_other(dataset: hr.Dataset) -> None:
    quality = hr.evaluate.order(hr.DataLoader(dataset, 32, order=ORDERS["stratified"]()), labels=LABELS)
    uniform = hr.evaluate.order(hr.DataLoader(dataset, 32, shuffle=True, seed=0), labels=LABELS)
    assert quality.samples == SIZE
    assert quality.batch_label_entropy is not None
    assert uniform.batch_label_entropy is not None
    assert quality.batch_label_entropy > uniform.batch_label_entropy
