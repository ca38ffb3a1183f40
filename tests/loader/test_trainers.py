"""What trainers find at a loader, and what becomes of it: the parts of tests/integrations that need no trainer."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from headrace import images
from headrace.sampling.order import OrderBatchSampler, OrderSampler
from tests.images.photos import make_folder

ROWS = 43


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    hr.write(str(tmp_path / "d"), {"id": np.arange(ROWS)})
    return hr.open(tmp_path / "d")


@pytest.fixture(autouse=True)
def _warn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OrderBatchSampler, "has_warned", False)


def ids_of(batches: Any) -> list[list[int]]:
    return [batch["id"].tolist() for batch in batches]


ORDERS: dict[str, dict[str, Any]] = {
    "stored": {},
    "global": {"shuffle": True},
    "window": {"shuffle": True, "order": "window", "window": 2},
    "weighted": {"order": "weighted", "weights": np.arange(ROWS) + 1.0},
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("cut", [{}, {"drop_last": True}, {"uneven": "drop"}, {"uneven": "exact"}])
def test_the_batch_sampler_gives_the_batches_of_the_rank(dataset: hr.Dataset, order: str, world_size: int, cut: dict[str, Any]) -> None:
    for rank in range(world_size):
        loader = hr.DataLoader(dataset, batch_size=4, seed=5, rank=rank, world_size=world_size, **ORDERS[order], **cut)
        for epoch in (0, 3):
            loader.set_epoch(epoch)
            assert isinstance(loader.sampler, data.DistributedSampler)
            assert (loader.sampler.rank, loader.sampler.num_replicas, loader.sampler.epoch) == (rank, world_size, epoch)
            with (
                pytest.warns(hr.HeadraceWarning, match="without prefetching")
                if not OrderBatchSampler.has_warned
                else warnings.catch_warnings()
            ):
                batches = list(loader.batch_sampler)  # type: ignore[arg-type]
            assert batches == ids_of(loader)
            assert len(batches) == len(loader) == len(loader.batch_sampler)  # type: ignore[arg-type]
            assert len(loader.sampler) == sum(map(len, batches))
            # As torch's own loader around the same parts, which reads through the dataset's __getitems__.
            assert ids_of(data.DataLoader(dataset, batch_sampler=loader.batch_sampler)) == batches


def test_a_sequential_order_is_seen_as_such(dataset: hr.Dataset) -> None:
    assert isinstance(hr.DataLoader(dataset, 4).sampler, data.SequentialSampler)
    assert not isinstance(hr.DataLoader(dataset, 4, True).sampler, data.SequentialSampler)
    assert not isinstance(
        hr.DataLoader(data.TensorDataset(torch.arange(9)), 4, True).sampler, OrderSampler
    )  # Torch's order, torch's sampler.


@pytest.mark.parametrize("rows", ["headrace's", "torch's"])
@pytest.mark.parametrize("name", ["sampler", "batch_sampler"])
def test_a_loader_made_again_around_its_sampler_keeps_order_and_rank(dataset: hr.Dataset, rows: str, name: str) -> None:
    source: Any = dataset if rows == "headrace's" else data.TensorDataset(torch.arange(ROWS))
    options: dict[str, Any] = {"seed": 3, "rank": 1, "world_size": 2, "prefetch_bytes": 1 << 20, "num_workers": 1, "on_error": "skip"}
    loader = hr.DataLoader(source, 4, True, drop_last=True, order="window", window=2, **options)
    given: dict[str, Any] = {
        "sampler": {"sampler": loader.sampler, "batch_size": 4, "drop_last": True},
        "batch_sampler": {"batch_sampler": loader.batch_sampler},
    }[name]
    again = hr.DataLoader(source, shuffle=False, order="window", window=2, **given, **options)
    assert not again.is_fed
    assert [str(batch) for batch in again] == [str(batch) for batch in loader]
    assert again.partition == loader.partition
    assert again.state_dict() == loader.state_dict()
    # The sampler of another dataset says nothing about this one.
    other = hr.DataLoader(hr.from_arrays({"id": np.arange(ROWS)}), 4, sampler=loader.sampler)
    assert other.is_fed


def test_batches_of_another_sampler_in_its_batch_sampler_are_followed(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 4, True, seed=3, rank=1, world_size=2)
    # As Lightning's overfit_batches does: the batch sampler's class, with a sampler of torch's.
    swapped = type(loader.batch_sampler)(data.SequentialSampler(dataset), 4, False)  # type: ignore[call-arg, arg-type]
    swapped.set_epoch(4)  # type: ignore[union-attr]
    again = hr.DataLoader(dataset, batch_sampler=swapped, seed=3, rank=1, world_size=2)
    assert ids_of(again) == [list(range(b, min(b + 4, ROWS))) for b in range(0, ROWS, 4)]
    assert again.stats()["batches"] == 11


class Recording:
    """Notes a batch sampler's batches, as Lightning's wrapper does for predictions."""

    def __init__(self, inner: Any) -> None:
        self.__dict__ = dict(inner.__dict__)
        self.inner, self.seen = inner, []  # type: ignore[var-annotated]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.inner:
            self.seen.append(batch)
            yield batch

    def __len__(self) -> int:
        return len(self.inner)


def test_an_engine_may_follow_a_wrapped_batch_sampler_without_a_warning(dataset: hr.Dataset) -> None:
    options: dict[str, Any] = {"seed": 3, "rank": 1, "world_size": 2, "uneven": "drop"}
    loader = hr.DataLoader(dataset, 4, True, **options)
    wrapped = Recording(loader.batch_sampler)
    again = hr.DataLoader(dataset, batch_sampler=wrapped, **options)
    assert ids_of(again) == wrapped.seen == ids_of(loader)
    assert again.stats()["batches"] == 6


def test_an_epoch_that_is_chosen_at_the_sampler_counts_for_the_next_pass(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 4, True, seed=3)
    epochs = []
    for epoch in range(4):
        loader.set_epoch(epoch)
        epochs.append(ids_of(loader))
    sampler: Any = loader.sampler
    sampler.set_epoch(2)
    assert ids_of(loader) == epochs[2]
    assert ids_of(loader) == epochs[3]  # Told once.
    sampler.set_epoch(2)
    loader.set_epoch(1)  # The later word counts.
    assert ids_of(loader) == epochs[1]
    batches = iter(loader)
    sampler.set_epoch(0)  # Until the first batch, as with torch's samplers.
    assert ids_of(batches) == epochs[0]
    assert loader.state_dict()["epoch"] == 0
    batches = iter(loader)
    first = next(batches)["id"].tolist()
    sampler.set_epoch(3)  # Not afterwards.
    assert [first, *ids_of(batches)] == epochs[1]
    assert ids_of(loader) == epochs[3]


def test_a_trainer_that_counts_from_0_after_a_resume_goes_on_from_there(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 4, True, seed=3)
    whole = [ids_of(loader) for _ in range(5)]
    loader.set_epoch(2)
    batches = iter(loader)
    seen = [next(batches)["id"].tolist() for _ in range(3)]
    again = hr.DataLoader(dataset, 4, True, seed=3)
    again.load_state_dict(loader.state_dict())
    sampler: Any = again.sampler
    for told in range(3):
        sampler.set_epoch(told)
        seen += ids_of(again)
    assert seen == [batch for epoch in whole[2:] for batch in epoch]
    again.load_state_dict(loader.state_dict())
    sampler.set_epoch(3)  # One that counts on from the checkpoint's epoch is taken at its word.
    assert ids_of(again) == whole[3]
    finished = [ids_of(loader), loader.state_dict()][1]
    again.load_state_dict(finished)
    sampler.set_epoch(0)
    assert ids_of(again) == whole[finished["epoch"] + 1]


def test_ranks_are_found_when_the_process_group_comes_after_the_loader(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = hr.DataLoader(dataset, 4, True, seed=3, num_workers=1)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(loader)))
    alone = ids_of(loader)
    assert len(loader) == 11
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader.set_epoch(0)
    expected = ids_of(hr.DataLoader(dataset, 4, True, seed=3, rank=1, world_size=2))
    assert (len(loader), ids_of(loader)) == (6, expected)
    assert (len(copied), ids_of(copied)) == (6, expected)
    assert loader.stats()["batches"] == 11 + 6  # Engines for another share are not used again, what they did is counted.
    monkeypatch.delenv("RANK")
    loader.set_epoch(0)
    assert ids_of(loader) == alone


def test_what_another_loader_would_not_do_is_named(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 4, on_error="skip", strings="offsets")
    with pytest.warns(hr.HeadraceWarning, match=r"without prefetching, and without on_error, strings, by"):
        assert len(list(data.DataLoader(dataset, batch_sampler=loader.batch_sampler))) == 11
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Said once.
        assert len(list(data.DataLoader(dataset, batch_sampler=loader.batch_sampler))) == 11


def test_batches_whose_images_would_not_be_prepared_are_refused(tmp_path: Path) -> None:
    hr.convert(make_folder(tmp_path / "photos"), tmp_path / "images")
    loader = hr.DataLoader(hr.open(tmp_path / "images"), 7, prepare=images.Compose([images.CenterCrop(8)]))
    assert [tuple(batch["image"].shape) for batch in loader] == [(7, 3, 8, 8)] * 3
    with pytest.raises(ValueError, match="would not prepare the images"):
        list(loader.batch_sampler)  # type: ignore[arg-type]
