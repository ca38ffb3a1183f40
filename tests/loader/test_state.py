"""Saved places: legal at any moment, small, plain, equal on every rank; resumed anywhere, or refused with every difference named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from headrace.loader.state import LoaderState, check_same, read_state
from tests.loader.samples import damage, ids_of, numbered

N = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples."""
    return numbered(tmp_path_factory.mktemp("state") / "d", N, chunk_samples=8)


def resumed(dataset: hr.Dataset, state: Any, batch_size: int = 9, shuffle: bool = True, **options: Any) -> hr.DataLoader:
    loader = hr.DataLoader(dataset, batch_size, shuffle, **options)
    loader.load_state_dict(json.loads(json.dumps(state)))
    return loader


@pytest.mark.parametrize("order", ["sequential", "global", "window"])
def test_every_step_of_a_pass_can_be_resumed(dataset: hr.Dataset, order: str) -> None:
    options: dict[str, Any] = {"shuffle": False} if order == "sequential" else {"order": order, "window": 2}
    loader = hr.DataLoader(dataset, 9, **{"shuffle": True, **options}, num_workers=2)
    expected = [ids_of(loader), ids_of(loader), ids_of(loader)]
    loader.set_epoch(1)
    iterator = iter(loader)
    for step in range(13):
        state = loader.state_dict()
        assert (state["epoch"], state["position"], state["finished"]) == (1, min(N, 9 * step), False)
        assert len(json.dumps(state)) < 1024
        again = resumed(dataset, state, **options)
        assert again.state_dict() == state
        assert ids_of(again) == expected[1][step:]
        assert ids_of(again) == expected[2]
        if step < 12:
            next(iterator)


def test_the_end_of_an_epoch_leads_into_the_next(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True)
    expected = [ids_of(loader), ids_of(loader)]
    loader.set_epoch(0)
    assert len(list(loader)) == 12
    state = loader.state_dict()
    assert (state["epoch"], state["position"], state["finished"]) == (0, N, True)
    assert ids_of(resumed(dataset, state)) == expected[1]
    fresh = hr.DataLoader(dataset, 9, True).state_dict()
    assert (fresh["epoch"], fresh["position"], fresh["finished"]) == (0, 0, False)
    assert ids_of(resumed(dataset, fresh)) == expected[0]


def test_set_epoch_after_loading_keeps_the_place_of_that_epoch_only(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True)
    expected = [ids_of(loader), ids_of(loader), ids_of(loader)]
    loader.set_epoch(1)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    for epoch, rest in ((1, expected[1][3:]), (2, expected[2]), (0, expected[0])):
        again = resumed(dataset, state)
        again.set_epoch(epoch)
        assert ids_of(again) == rest
    twice = resumed(dataset, state)
    twice.load_state_dict(state)
    assert ids_of(twice) == expected[1][3:]


def test_prefetch_is_not_delivery(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 5, True, num_workers=2, prefetch_factor=10)
    iterator = iter(loader)
    assert loader.state_dict()["position"] == 0
    for step in range(4):
        next(iterator)
        assert loader.state_dict()["position"] == 5 * (step + 1)


def test_the_newest_of_two_passes_is_recorded(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 10, True)
    old = iter(loader)
    next(old)
    new = iter(loader)
    for _ in range(3):
        next(new)
    next(old)
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (1, 30)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_save_the_same_and_any_world_resumes(dataset: hr.Dataset, world_size: int) -> None:
    states = []
    for rank in range(world_size):
        loader = hr.DataLoader(dataset, 30 // world_size, True, rank=rank, world_size=world_size)
        iterator = iter(loader)
        next(iterator)
        next(iterator)
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states)
    seen = set(hr.DataLoader(dataset, 60, True).replay(0)["id"].tolist())
    for others in (1, 2, 4):
        rest = [ids_of(resumed(dataset, states[0], 8, rank=rank, world_size=others)) for rank in range(others)]
        assert {i for part in rest for batch in part for i in batch} | seen == set(range(N))
        whole = [i for batches in zip(*rest, strict=True) for batch in batches for i in batch]
        assert sorted(whole[:40]) == sorted(set(range(N)) - seen)


def test_differences_are_named_one_and_all(dataset: hr.Dataset, tmp_path: Path) -> None:
    loader = hr.DataLoader(dataset, 9, True, seed=1)
    next(iter(loader))
    state = loader.state_dict()
    other = numbered(tmp_path / "d", 90)
    cases: list[tuple[hr.DataLoader, list[str]]] = [
        (hr.DataLoader(dataset, 9, True, seed=2), ["seed: saved 1, now 2"]),
        (hr.DataLoader(dataset, 9, True, seed=1, order="window"), ["order: saved 'global', now 'window'", "window: saved 0, now 32"]),
        (hr.DataLoader(dataset, 9, seed=1), ["order: saved 'global', now 'sequential'"]),
        (hr.DataLoader(dataset, 9, sampler=range(N)), ["order: saved 'global', now 'sampler'"]),
        (hr.DataLoader(other, 9, True), ["fingerprint: saved ", "num_samples: saved 100, now 90", "seed: saved 1, now 0"]),
    ]
    for into, words in cases:
        before = into.state_dict()
        with pytest.raises((hr.ChangedError, ValueError)) as caught:
            into.load_state_dict(state)
        if "batch_size" not in str(caught.value):  # A sampler's state has one more entry.
            assert isinstance(caught.value, hr.ChangedError)
            for word in words:
                assert word in str(caught.value)
        assert into.state_dict() == before
    fed = hr.DataLoader(dataset, 9, sampler=range(N))
    with pytest.raises(hr.ChangedError, match="batch_size: saved 9, now 8"):
        hr.DataLoader(dataset, 8, sampler=range(N)).load_state_dict(fed.state_dict())


def test_what_does_not_decide_the_order_may_differ(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = [i for batch in ids_of(iterator) for i in batch]
    views: list[dict[str, Any]] = [
        {"batch_size": 4},
        {"num_workers": 8},
        {"prefetch_bytes": 1 << 20},
        {"drop_last": False},
        {"on_error": "skip"},
    ]
    for options in views:
        again = resumed(dataset.select(["id"]), state, **options)
        assert [i for batch in ids_of(again) for i in batch] == rest


TAMPERED: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"version": 99}, "version is 99, this headrace reads 1"),
    "no version": ({"version": None}, "version is None"),
    "position beyond the end": ({"position": N + 1}, "position 101, finished False is no place in an epoch of 100"),
    "negative position": ({"position": -1}, "position -1"),
    "position as text": ({"position": "9"}, "position '9'"),
    "position as a fraction": ({"position": 9.0}, "position 9.0"),
    "position as truth": ({"position": True}, "position True"),
    "epoch": ({"epoch": -1}, "epoch -1"),
    "huge epoch": ({"epoch": 1 << 63}, "epoch 9223372036854775808"),
    "finished": ({"finished": 1}, "finished 1"),
    "skipped": ({"skipped": "all"}, "skipped is all; expected a list of sample numbers"),
    "skipped text": ({"skipped": ["1"]}, "expected a list of sample numbers"),
    "skipped beyond the end": ({"skipped": [N]}, "expected a list of sample numbers"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_states_are_refused(dataset: hr.Dataset, case: str) -> None:
    changes, message = TAMPERED[case]
    loader = hr.DataLoader(dataset, 9, True)
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**before, **changes})
    assert loader.state_dict() == before


@pytest.mark.parametrize("state", [None, "state", 3, [1]])
def test_what_is_no_dict_is_refused(dataset: hr.Dataset, state: Any) -> None:
    with pytest.raises(TypeError, match=r"load_state_dict: expected the dict that state_dict\(\) gave, got"):
        hr.DataLoader(dataset, 9).load_state_dict(state)


@pytest.mark.parametrize("drawn", [{"epoch": -1}, {"epoch": "3"}, {"epoch": True}, {"epoch": 1 << 63}, {"other": 1}, [1]])
def test_tampered_draws_are_refused(dataset: hr.Dataset, drawn: Any) -> None:
    loader, _ = loader_of(dataset, "own", 0)
    with pytest.raises(ValueError, match="drawn is"):
        loader.load_state_dict({**loader.state_dict(), "drawn": drawn})


def test_states_with_parts_missing_are_refused(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True)
    whole = loader.state_dict()
    for key in set(whole) - {"version"}:
        with pytest.raises(ValueError, match=f"the state has no {key}; it was not made by"):
            loader.load_state_dict({k: v for k, v in whole.items() if k != key})
    for nothing in ({}, {"epoch": 1}):
        with pytest.raises(ValueError, match="version is None"):
            loader.load_state_dict(nothing)


def test_numpy_numbers_make_plain_states(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True, seed=np.int64(4))  # type: ignore[arg-type]
    loader.set_epoch(np.uint8(2))  # type: ignore[arg-type]
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()


def test_a_pass_begins_where_the_last_one_says() -> None:
    assert LoaderState().begin() == LoaderState()
    assert LoaderState(3, 40).begin() == LoaderState(4)
    assert LoaderState(3, 40, resume=True).begin() == LoaderState(3, 40, resume=True)
    assert LoaderState(3, 100, finished=True).begin() == LoaderState(4)
    assert LoaderState(3, 0).begin() == LoaderState(3)
    state = LoaderState(3, 40, resume=True)
    assert state.at_epoch(3) is state
    assert state.at_epoch(4) == LoaderState(4)
    state.deliver(50)
    assert (state.position, state.resume) == (50, False)
    saved = {"version": 1, "epoch": 2, "position": 7, "finished": False, "seed": 1, "num_samples": 7}
    assert read_state(saved, {"seed": 1, "num_samples": 7}, 7) == LoaderState(2, 7, resume=True)
    with pytest.raises(hr.ChangedError, match=r"seed: saved 1, now 2; order: saved None, now 'x'\)"):
        check_same(saved, {"seed": 2, "order": "x"})


# -- samplers with an epoch of their own ---------------------------------------------------------------------------------------------------


class Rotated(torch.utils.data.Sampler[int]):
    """Begins at its epoch, which it tells nobody."""

    def __init__(self) -> None:
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        self.first = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([(i + self.first) % N for i in range(N)])

    def __len__(self) -> int:
        return N


def loader_of(dataset: hr.Dataset, kind: str, workers: int) -> tuple[hr.DataLoader, Any]:
    sampler: Any = Rotated() if kind == "own" else torch.utils.data.DistributedSampler(dataset, 2, 1)  # type: ignore[arg-type]
    return hr.DataLoader(dataset, 9, sampler=sampler, num_workers=workers), sampler


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "told"), [("torch's", "loader"), ("torch's", "sampler"), ("torch's", "nobody"), ("own", "loader"), ("own", "nobody")]
)
def test_a_samplers_epoch_is_resumed(dataset: hr.Dataset, kind: str, told: str, workers: int) -> None:
    loader, sampler = loader_of(dataset, kind, workers)

    def begin(epoch: int) -> None:
        if told != "nobody":
            (loader if told == "loader" else sampler).set_epoch(epoch)

    for epoch in range(3):
        begin(epoch)
        list(loader)
    begin(3)
    states = [loader.state_dict()]
    iterator = iter(loader)
    for _ in range(2):
        next(iterator)
        states.append(loader.state_dict())
    left = ids_of(iterator)
    done = loader.state_dict()
    whole = ids_of(loader)  # Again, with what the sampler was told last.
    for step, state in enumerate(states):
        again, _ = loader_of(dataset, kind, workers)
        again.load_state_dict(json.loads(json.dumps(state)))
        assert again.state_dict() == state
        assert ids_of(again) == whole[step:]
    assert whole[2:] == left
    again, _ = loader_of(dataset, kind, workers)
    again.load_state_dict(json.loads(json.dumps(done)))
    assert ids_of(again) == whole


# -- damaged samples -----------------------------------------------------------------------------------------------------------------------


BAD = range(48, 56)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 numbered samples, in chunks of 8; those of chunk 6 are damaged."""
    path = tmp_path_factory.mktemp("state") / "damaged"
    numbered(path, 200, chunk_samples=8)
    damage(path, 0, [BAD[0]])
    return path


def outcome(path: Path, policy: str, workers: int, order: str) -> tuple[list[list[int]], list[int]]:
    loader = hr.DataLoader(hr.open(path), 16, True, seed=3, order=order, window=3, on_error=policy, num_workers=workers)
    batches = ids_of(loader) + ids_of(loader)
    assert loader.stats()["skipped"] == len(loader.state_dict()["skipped"])
    return batches, loader.state_dict()["skipped"]


@pytest.mark.parametrize("order", ["global", "window"])
@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_damage_is_handled_alike_for_any_number_of_threads(damaged: Path, policy: str, order: str) -> None:
    batches, skipped = outcome(damaged, policy, 0, order)
    seen = [i for batch in batches for i in batch]
    assert set(seen) == set(range(200)) - set(BAD)
    assert sorted(skipped) == list(BAD)  # Both epochs met each of them.
    assert len(seen) == (2 * 192 if policy == "skip" else 2 * 200)
    if policy == "replace":
        assert {len(batch) for batch in batches} == {16, 8}
    for workers in (1, 2, 8):
        assert outcome(damaged, policy, workers, order) == (batches, skipped)


def test_damage_raises_once_a_batch_and_the_pass_goes_on(damaged: Path) -> None:
    for workers in (0, 2):
        loader = hr.DataLoader(hr.open(damaged), 16, num_workers=workers)
        iterator = iter(loader)
        seen = [next(iterator)["id"][0].item() for _ in range(3)]
        with pytest.raises(hr.CorruptDataError, match=r"(?s)step 3.*sample 48.*chunk 6.*'id'"):
            next(iterator)
        assert loader.state_dict()["position"] == 48  # What was not delivered is not counted.
        assert [*seen, *(batch["id"][0].item() for batch in iterator)] == [i for i in range(0, 200, 16) if i != 48]
        assert loader.stats()["errors"] == 8


def test_the_budget_of_errors_is_the_loaders_and_travels_in_its_state(damaged: Path) -> None:
    loader = hr.DataLoader(hr.open(damaged), 16, on_error="skip", max_errors=8)
    for _ in range(3):  # The same 8 samples fail each time.
        assert len(list(loader)) == 13
    state = json.loads(json.dumps(loader.state_dict()))
    assert state["skipped"] == list(BAD)
    again = hr.DataLoader(hr.open(damaged), 16, on_error="skip", max_errors=8)
    again.load_state_dict(state)
    assert again.stats()["skipped"] == 8
    assert len(list(again)) == 13
    assert again.state_dict()["skipped"] == list(BAD)
    few = hr.DataLoader(hr.open(damaged), 16, on_error="skip", max_errors=7)
    with pytest.raises(
        hr.TooManyErrorsError, match=r"8 samples failed, max_errors is 7; the last: sample 55: (?!sample).*run `headrace verify"
    ):
        list(few)


def test_ranks_differ_in_what_failed_there_only(damaged: Path) -> None:
    loaders = [hr.DataLoader(hr.open(damaged), 4, on_error="skip", rank=rank, world_size=2) for rank in range(2)]
    for loader in loaders:
        list(loader)
    states = [loader.state_dict() for loader in loaders]
    assert [state.pop("skipped") for state in states] == [[48, 49, 50, 51], [52, 53, 54, 55]]
    assert states[0] == states[1]
