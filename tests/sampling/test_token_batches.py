"""Batches by tokens: every sample once on as many steps everywhere, within the budget, with little padding; the same for any threads, resumed in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace import _native

N, BUDGET = 3000, 4096


def lognormal(count: int = N, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.clip(np.random.default_rng(seed).lognormal(5, 0.8, count), 1, BUDGET).astype(np.int64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """3000 samples of as many tokens as a lognormal distribution says; all tokens of sample i are i."""
    path = tmp_path_factory.mktemp("tokens") / "d"
    lengths = lognormal()
    hr.write(path, {"id": np.arange(N), "tokens": [np.full(length, i, np.int32) for i, length in enumerate(lengths)]}, chunk_samples=256)
    return hr.open(path)


def ranks(dataset: Any, batch_by: Any, world_size: int = 4, **options: Any) -> list[hr.DataLoader]:
    return [hr.DataLoader(dataset, batch_by=batch_by, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


def test_groups_are_as_large_as_the_budget_lets_them_be() -> None:
    lengths = np.sort(lognormal(500)).astype(np.uint64)
    for world in (1, 3, 4):
        begin = 0
        for count in _native.cut_by_longest(lengths, BUDGET, world).tolist():
            end = begin + count * world
            assert count * lengths[end - 1] <= BUDGET
            wider = end + world
            assert wider > len(lengths) or (count + 1) * lengths[wider - 1] > BUDGET
            begin = end
        assert len(lengths) - begin < world
    assert _native.cut_by_longest(np.zeros(7, np.uint64), 5, 2).tolist() == [3]
    for bad in (np.array([2, 1], np.uint64), np.array([1, 9], np.uint64)):
        with pytest.raises(ValueError, match=r"not sorted|beyond the budget"):
            _native.cut_by_longest(bad, 5, 1)


def test_bins_are_those_of_best_fit() -> None:
    lengths = np.sort(lognormal(400))[::-1].astype(np.uint64)
    room: list[int] = []
    expected = []
    for length in lengths.tolist():
        fitting = [(left, bin) for bin, left in enumerate(room) if left >= length]
        if not fitting:
            room.append(BUDGET)
            fitting = [(BUDGET, len(room) - 1)]
        left, bin = min(fitting)
        room[bin] = left - length
        expected.append(left)
    bins = _native.pack_best_fit(lengths, BUDGET)
    assert bins.max() + 1 == len(room)
    assert sorted(BUDGET - int(lengths[bins == bin].sum()) for bin in range(len(room))) == sorted(room)
    with pytest.raises(ValueError, match="not sorted"):
        _native.pack_best_fit(lengths[::-1].copy(), BUDGET)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [1, 3, 4])
def test_every_sample_comes_once_in_as_many_steps_on_each_rank(dataset: hr.Dataset, world_size: int, shuffle: bool) -> None:
    lengths = lognormal()
    loaders = ranks(dataset, hr.tokens(BUDGET, key="tokens", window=512), world_size, shuffle=shuffle, num_workers=2)
    for _ in range(2):
        steps = {len(loader) for loader in loaders}
        passes = [list(loader) for loader in loaders]
        assert {len(batches) for batches in passes} == steps
        assert len(steps) == 1
        assert sorted(i for batches in passes for batch in batches for i in batch["id"].tolist()) == list(range(N))
        for step in zip(*passes, strict=True):
            for batch in step:
                assert batch["tokens"].numel() <= BUDGET
                assert batch["tokens.length"].tolist() == lengths[batch["id"].numpy()].tolist()
        sizes = [{len(batch["id"]) for batch in step} for step in zip(*passes, strict=True)]
        assert sum(len(size) > 1 for size in sizes) <= 3  # at the end of the last window


def test_little_is_padding_with_4_ranks_and_lognormal_lengths() -> None:
    lengths = np.clip(np.random.default_rng(1).lognormal(5.5, 1.0, 100_000), 1, 16384).astype(np.int64)
    data = hr.from_arrays({"id": np.arange(len(lengths))})
    for batch_by, options in ((hr.tokens(16384, lengths), {}), (hr.pack(16384, lengths), {"ragged": "offsets"})):
        loaders = ranks(data, batch_by, shuffle=True, seed=2, **options)
        shares = [loader.stats()["padding_share"] for loader in loaders]
        assert max(shares) < 0.05
        plans = [loader.planned.plan(0) for loader in loaders if loader.planned is not None]
        assert len({len(plan) for plan in plans}) == 1
        held = wanted = 0
        for plan in plans:
            for i in range(len(plan)):
                mine = lengths[plan.samples[plan.offsets[i] : plan.offsets[i + 1]]]
                held += mine.sum()
                wanted += 16384 if options else mine.max() * len(mine)
        assert np.isclose(1 - held / wanted, np.mean(shares), atol=2e-3)
        assert np.array_equal(np.sort(np.concatenate([plan.samples for plan in plans])), np.arange(len(lengths)))


def test_packed_sequences_hold_whole_samples_side_by_side(dataset: hr.Dataset) -> None:
    loaders = ranks(dataset.select(["tokens"]), hr.pack(BUDGET, key="tokens"), ragged="offsets", shuffle=True, num_workers=2)
    seen = []
    for loader in loaders:
        for batch in loader:
            values, offsets = batch["tokens"]
            assert len(values) == offsets[-1] <= BUDGET
            firsts = values[offsets[:-1]].tolist()
            assert np.repeat(firsts, np.diff(offsets)).tolist() == values.tolist()
            seen += firsts
    assert sorted(seen) == list(range(N))
    with pytest.raises(ValueError, match="give ragged='offsets'"):
        hr.DataLoader(dataset, batch_by=hr.pack(BUDGET, key="tokens"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize("pack", [False, True])
def test_few_samples_for_many_ranks(count: int, pack: bool) -> None:
    lengths = np.arange(1, count + 1)
    data = hr.from_arrays({"id": np.arange(count)})
    batch_by, options = (hr.pack(9, lengths), {"ragged": "offsets"}) if pack else (hr.tokens(9, lengths), {})
    for uneven in ("pad", "drop"):
        passes = [[batch["id"].tolist() for batch in loader] for loader in ranks(data, batch_by, uneven=uneven, **options)]
        assert len({len(batches) for batches in passes}) == 1
        seen = [i for batches in passes for batch in batches for i in batch]
        if uneven == "pad":
            assert set(seen) == set(range(count))
            assert len(seen) <= count + 3
        else:
            assert len(seen) == len(set(seen)) >= count - 3


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_a_pass_resumes_at_any_batch_and_epochs_differ(dataset: hr.Dataset, workers: int) -> None:
    def make() -> hr.DataLoader:
        return hr.DataLoader(
            dataset, batch_by=hr.tokens(BUDGET, key="tokens", window=1000), shuffle=True, seed=5, rank=1, world_size=2, num_workers=workers
        )

    loader = make()
    epochs, states = [], []
    for _ in range(2):
        batches = []
        for batch in loader:
            batches.append(batch["id"].tolist())
            states.append(json.loads(json.dumps(loader.state_dict())))
        epochs.append(batches)
    assert epochs[0] != epochs[1]
    first = len(epochs[0])
    for place in (0, 7, first - 1, first, first + 3):
        again = make()
        again.load_state_dict(states[place])
        epoch, step = divmod(place, first) if place < first else (1, place - first)
        assert [batch["id"].tolist() for batch in again] == epochs[epoch][step + 1 :]
        if epoch == 0:
            assert [batch["id"].tolist() for batch in again] == epochs[1]
    whole = make()
    whole.set_epoch(1)
    assert [batch["id"].tolist() for batch in whole] == epochs[1]


def test_places_of_other_plans_are_refused(dataset: hr.Dataset) -> None:
    def make(budget: int = BUDGET, **options: Any) -> hr.DataLoader:
        return hr.DataLoader(dataset, batch_by=hr.tokens(budget, "tokens"), **options)

    state = make().state_dict()
    for other, words in (
        (make(5000), r"order: saved 'tokens 4096 .*now 'tokens 5000"),
        (make(rank=0, world_size=2, uneven="drop"), "True pad.*True drop|False pad.*False drop"),
        (make(seed=1), "seed: saved 0, now 1"),
    ):
        with pytest.raises(hr.ChangedError, match=words):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="is no place in an epoch of"):
        make().load_state_dict({**state, "position": 10_000})


def test_what_does_not_go_together_is_refused(dataset: hr.Dataset) -> None:
    batch_by = hr.tokens(BUDGET, key="tokens")
    for options in (
        {"batch_size": 2},
        {"sampler": range(3)},
        {"drop_last": True},
        {"uneven": "exact"},
        {"weights": np.ones(N)},
        {"order": "window"},
    ):
        with pytest.raises(ValueError, match="batch_by makes the batches"):
            hr.DataLoader(dataset, batch_by=batch_by, **options)
    with pytest.raises(ValueError, match="batch_by: only for datasets that the native engine reads"):
        hr.DataLoader([1, 2], batch_by=batch_by)
    for arguments, words in (
        ({"lengths": [1], "key": "x"}, "and not both"),
        ({}, "and not both"),
        ({"lengths": [1.5]}, "one whole number a sample"),
        ({"lengths": [-1]}, "not negative"),
    ):
        with pytest.raises(ValueError, match=words):
            hr.tokens(10, **arguments)
    with pytest.raises(KeyError, match="there is no field 'text'"):
        hr.DataLoader(dataset, batch_by=hr.tokens(BUDGET, key="text"))
    with pytest.raises(ValueError, match="field 'id' is of one shape"):
        hr.DataLoader(dataset, batch_by=hr.tokens(BUDGET, key="id"))
    with pytest.raises(ValueError, match="2 lengths for 3000 samples"):
        hr.DataLoader(dataset, batch_by=hr.tokens(BUDGET, [1, 2]))
    long = int(np.flatnonzero(lognormal() > 1000)[0])
    with pytest.raises(ValueError, match=rf"sample {long} has {lognormal()[long]} tokens"):
        hr.DataLoader(dataset, batch_by=hr.tokens(1000, key="tokens"))


def test_lengths_of_a_text_count_its_bytes(tmp_path: Path) -> None:
    texts = ["a" * (i % 17) + "é" for i in range(100)]
    hr.write(tmp_path / "d", {"text": texts})
    loader = hr.DataLoader(hr.open(tmp_path / "d"), batch_by=hr.tokens(64, key="text"))
    assert loader.planned is not None
    assert loader.planned.spec.lengths_of(loader.source).tolist() == [len(text.encode()) for text in texts]


def test_a_loader_made_again_from_its_attributes_has_the_same_batches(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, batch_by=hr.tokens(BUDGET, key="tokens"), shuffle=True, seed=3, rank=1, world_size=2)
    again = hr.DataLoader(dataset, batch_by=loader.batch_by, batch_sampler=loader.batch_sampler, seed=loader.seed)
    plain = hr.DataLoader(dataset, batch_sampler=loader.batch_sampler, seed=loader.seed)
    expected = [batch["id"].tolist() for batch in loader]
    for other in (again, plain):
        assert other.planned is not None
        assert other.state_dict()["order"] == loader.state_dict()["order"]
        assert [batch["id"].tolist() for batch in other] == expected


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_other_numbers_of_ranks_go_on_with_what_is_left(dataset: hr.Dataset, pack: bool, shuffle: bool) -> None:
    batch_by = hr.pack(BUDGET, key="tokens", window=700) if pack else hr.tokens(BUDGET, key="tokens", window=700)
    options: dict[str, Any] = {"ragged": "offsets", "shuffle": shuffle, "seed": 9}

    def go_on(state: Any, world_size: int, threads: int, steps: int | None) -> tuple[list[int], Any]:
        """What all ranks of so many read in so many steps, and the state that they all give."""
        seen, states, lengths = [], [], set()
        for loader in ranks(dataset, batch_by, world_size, num_workers=threads, **options):
            if state is not None:
                loader.load_state_dict(json.loads(json.dumps(state)))
            lengths.add(len(loader))
            iterator = iter(loader)
            taken = [next(iterator) for _ in range(steps)] if steps is not None else list(iterator)
            seen += [i for batch in taken for i in batch["id"].tolist()]
            assert all(len(batch["tokens"][0]) <= BUDGET for batch in taken if pack)
            states.append(loader.state_dict())
            del iterator
        assert len(lengths) == 1
        assert all(one == states[0] for one in states)
        return seen, states[0]

    first, state = go_on(None, 2, 2, 7)
    assert state["ranks"] == 2
    assert state["cuts"] == []
    for world_size, threads in ((4, 8), (1, 0), (2, 2)):
        rest, end = go_on(state, world_size, threads, None)
        assert sorted(first + rest) == list(range(N))
        assert end["finished"]
        # Again, in the middle of what is left; then on yet another number.
        second, again = go_on(state, world_size, threads, 5)
        third, twice = go_on(again, 3, 1, 4)
        assert twice["cuts"] == ([[2, 7], [world_size, 5]] if world_size != 2 else [[2, 12]])
        assert go_on(twice, 3, 2, 0)[1] == twice
        rest, _ = go_on(twice, 2, 0, None)
        assert sorted(first + second + third + rest) == list(range(N))
    # The next epoch is whole, and that of an uninterrupted run.
    loader, whole = (hr.DataLoader(dataset, batch_by=batch_by, **options) for _ in range(2))
    loader.load_state_dict(state)
    list(loader)
    list(whole)
    assert [batch["id"].tolist() for batch in loader] == [batch["id"].tolist() for batch in whole]


def test_a_tampered_cut_is_refused(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, batch_by=hr.tokens(BUDGET, key="tokens"))
    state = loader.state_dict()
    for more in ({"cuts": [[1]]}, {"cuts": [[0, 3]]}, {"cuts": 3}, {"cuts": [[2, -1]]}, {"ranks": "2"}, {"ranks": -1}, {"ranks": 1 << 40}):
        with pytest.raises(ValueError, match="expected pairs of ranks and steps"):
            loader.load_state_dict({**state, **more})
    with pytest.raises(ValueError, match="is no place in an epoch of"):
        loader.load_state_dict({**state, "ranks": 4, "position": 5000})
