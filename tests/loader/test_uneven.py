"""The end of an epoch over ranks that it does not divide by: equal steps everywhere, and with uneven="exact" every sample counted once."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from tests.loader.samples import damage, numbered

WORLD = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """21 numbered samples."""
    return numbered(tmp_path_factory.mktemp("uneven") / "d", 21, chunk_samples=4)


def loaders(dataset: Any, batch_size: int, **options: Any) -> list[hr.DataLoader]:
    return [hr.DataLoader(dataset, batch_size, rank=rank, world_size=WORLD, **options) for rank in range(WORLD)]


def counted(batch: dict[str, Any]) -> list[int]:
    ids: list[int] = batch["id"][batch["valid"]].tolist()
    return ids


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 6, 100])
def test_21_samples_over_4_ranks_are_21(dataset: hr.Dataset, batch_size: int, shuffle: bool, workers: int) -> None:
    ranks = loaders(dataset, batch_size, shuffle=shuffle, num_workers=workers, uneven="exact")
    passes = [list(loader) for loader in ranks]
    assert {len(batches) for batches in passes} == {len(loader) for loader in ranks} == {-(-21 // (batch_size * WORLD))}
    for step in zip(*passes, strict=True):
        assert len({len(batch["id"]) for batch in step}) == 1
    assert sorted(i for batches in passes for batch in batches for i in counted(batch)) == list(range(21))


def test_pad_repeats_and_drop_leaves_out(dataset: hr.Dataset) -> None:
    padded = [i for loader in loaders(dataset, 3) for batch in loader for i in batch["id"].tolist()]
    assert collections.Counter(padded) == collections.Counter([*range(21), 0, 1, 2])
    ranks = loaders(dataset, 3, uneven="drop")
    assert sorted(i for loader in ranks for batch in loader for i in batch["id"].tolist()) == list(range(20))
    assert [len(loader) for loader in ranks] == [2] * WORLD
    few = loaders(dataset, 5, uneven="drop")  # 1 sample is left for 4 ranks: no step.
    assert [len(loader) for loader in few] == [len(list(loader)) for loader in few] == [1] * WORLD


@pytest.mark.parametrize("uneven", ["pad", "drop", "exact"])
def test_len_is_exact_and_a_pass_resumes_for_another_number_of_ranks(dataset: hr.Dataset, uneven: str) -> None:
    first = loaders(dataset, 2, shuffle=True, uneven=uneven)
    iterators = [iter(loader) for loader in first]
    seen = [i for iterator in iterators for i in next(iterator)["id"].tolist()]
    state = first[3].state_dict()
    rest = [hr.DataLoader(dataset, 3, True, rank=rank, world_size=3, uneven=uneven) for rank in range(3)]
    steps = set()
    for loader in rest:
        loader.load_state_dict(state)
        batches = list(loader)
        steps.add(len(batches))
        seen += [i for batch in batches for i in (counted(batch) if uneven == "exact" else batch["id"].tolist())]
    assert steps == {2}
    assert set(seen) <= set(range(21))
    if uneven == "exact":
        assert sorted(seen) == list(range(21))
    elif uneven == "drop":
        assert len(seen) == len(set(seen)) == 20
    else:
        assert set(seen) == set(range(21))
        assert len(seen) == 8 + 9 + 6


def test_the_mask_goes_where_the_batch_lets_it() -> None:
    ids = np.arange(5)
    last: dict[str, Any] = {"rank": 1, "world_size": 2, "uneven": "exact"}  # positions 2, 3, then one that repeats position 0
    first, second = hr.DataLoader(hr.from_arrays((ids, ids * 2)), 2, **last)
    assert [part.tolist() for part in first] == [[2, 3], [4, 6], [True, True]]
    assert [part.tolist() for part in second] == [[0], [0], [False]]
    assert type(second) is tuple
    first, second = hr.DataLoader(hr.from_arrays((ids,)), 2, **last)
    assert (type(first), [part.tolist() for part in first]) == (tuple, [[2, 3], [True, True]])
    assert [part.tolist() for part in second] == [[0], [False]]
    first, second = hr.DataLoader(hr.from_arrays({"id": ids}), 2, **last)
    assert {name: part.tolist() for name, part in second.items()} == {"id": [0], "valid": [False]}
    alone = hr.DataLoader(hr.from_arrays((ids,)), 2, rank=0, world_size=1, uneven="exact")
    assert torch.cat([valid for _, valid in alone]).tolist() == [True] * 5
    collated = hr.DataLoader(hr.from_arrays((ids,)), 5, collate_fn=lambda rows: [int(row[0]) for row in rows], uneven="exact")
    assert [(batch[:-1], batch[-1].tolist()) for batch in collated] == [([0, 1, 2, 3, 4], [True] * 5)]
    taken = hr.DataLoader(hr.from_arrays({"valid": ids}), 5, uneven="exact")
    with pytest.raises(ValueError, match="the batch has a field 'valid' of its own"):
        next(iter(taken))


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_damaged_samples_are_left_out_of_the_count_once(tmp_path: Path, policy: str, workers: int) -> None:
    numbered(tmp_path / "d", 21, chunk_samples=3)
    damage(tmp_path / "d", 0, [0])  # 0, 1, 2, which also fill the last batches up
    seen = []
    for loader in loaders(hr.open(tmp_path / "d"), 3, uneven="exact", on_error=policy, num_workers=workers):
        for batch in loader:
            assert len(batch["valid"]) == len(batch["id"])
            seen += counted(batch)
    if policy == "skip":
        assert sorted(seen) == list(range(3, 21))
    else:
        assert len(seen) == 21
        assert set(seen) == set(range(3, 21))


def test_options_that_need_headraces_order_say_so(dataset: hr.Dataset) -> None:
    with pytest.raises(ValueError, match="uneven must be 'pad', 'drop' or 'exact', got 'even'"):
        hr.DataLoader(dataset, 2, uneven="even")
    with pytest.raises(ValueError, match="uneven cut headrace's own order"):
        hr.DataLoader(dataset, 2, sampler=range(21), uneven="exact")
    with pytest.raises(ValueError, match="uneven: only for datasets that the native engine reads"):
        hr.DataLoader([1, 2, 3], 2, uneven="drop")
    tensors = torch.utils.data.TensorDataset(torch.arange(21))
    passes = [list(loader) for loader in loaders(tensors, 3, uneven="exact")]
    assert sorted(i for batches in passes for ids, valid in batches for i in ids[valid].tolist()) == list(range(21))
