"""num_workers="auto" and prefetch_factor="auto": what may be chosen, within which bounds, and that batches stay what they are."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.utils.data

import headrace as hr
from headrace import _native

ROWS = 40_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("auto") / "d"
    values = np.random.default_rng(0).integers(0, 50, (ROWS, 64)).astype(np.int32)
    hr.write(path, {"id": np.arange(ROWS), "x": values}, codec={"id": "none", "x": "zstd"})
    return hr.open(path)


@pytest.fixture
def threads() -> Any:
    """More threads than this machine may have cores, so that there is something to choose."""
    before = hr.num_threads()
    hr.set_num_threads(8)
    yield 8
    hr.set_num_threads(before)


def ids_of(loader: Any) -> list[list[int]]:
    return [batch["id"].tolist() for batch in loader]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_batches_are_those_of_a_fixed_setting(dataset: hr.Dataset, count: int) -> None:
    before = hr.num_threads()
    hr.set_num_threads(count)
    try:
        expected = hr.DataLoader(dataset, 64, shuffle=True, seed=3, num_workers=0)
        auto = hr.DataLoader(dataset, 64, shuffle=True, seed=3, num_workers="auto")
        for _ in range(4):
            for want, got in zip(expected, auto, strict=True):
                torch.testing.assert_close(got, want, rtol=0, atol=0)
        assert auto.stats()["tuning"] in ("searching", "settled")
    finally:
        hr.set_num_threads(before)


def test_it_searches_while_it_runs_and_stays_within_its_budget(dataset: hr.Dataset, threads: int) -> None:
    budget = hr.Budget(cores=3, memory_bytes=8 << 20)
    loader = hr.DataLoader(dataset, 64, shuffle=True, num_workers="auto", budget=budget)
    states, used = set(), set()
    # Each pass is long enough for some slices, and there are as many as it takes: a handful, where the search works at all.
    for _ in range(2000):
        if states == {"searching", "settled"} and len(used) > 1:
            break
        for number, _ in enumerate(loader):
            if number % 50 == 0:
                stats = loader.stats()
                states.add(stats["tuning"])
                used.add(stats["num_threads"])
                assert stats["prefetch_bytes"] == 8 << 20
    assert states == {"searching", "settled"}
    assert max(used) <= 3
    assert len(used) > 1
    assert loader.num_workers == 3  # It begins there.
    assert loader.stats()["peak_bytes"] <= 8 << 20


def test_what_is_a_number_stays_that(dataset: hr.Dataset, threads: int) -> None:
    fixed = hr.DataLoader(dataset, 64, num_workers=2, prefetch_factor=3)
    next(iter(fixed))
    stats = fixed.stats()
    assert (stats["tuning"], stats["num_threads"], stats["prefetch_batches"]) == ("off", 2, 6)
    ahead = hr.DataLoader(dataset, 64, num_workers=2, prefetch_factor="auto")
    assert ahead.prefetch_factor is None
    workers = hr.DataLoader(dataset, 64, num_workers="auto", prefetch_factor=3)
    for _ in range(3):
        for _ in ahead:
            assert ahead.stats()["num_threads"] == 2
        for _ in workers:
            assert workers.stats()["prefetch_batches"] == 24
    assert ahead.stats()["tuning"] != "off"
    assert hr.DataLoader(dataset, 64, num_workers=0, prefetch_factor="auto").stats()["tuning"] == "off"


def test_a_state_resumes_whatever_was_chosen_meanwhile(dataset: hr.Dataset, threads: int) -> None:
    whole = ids_of(hr.DataLoader(dataset, 64, shuffle=True, seed=1, num_workers=1))
    loader = hr.DataLoader(dataset, 64, shuffle=True, seed=1, num_workers="auto")
    batches = iter(loader)
    for _ in range(100):
        next(batches)
    other = hr.DataLoader(dataset, 64, shuffle=True, seed=1, num_workers="auto", budget=hr.Budget(cores=1))
    other.load_state_dict(loader.state_dict())
    assert ids_of(other) == whole[100:]


def test_a_loader_beside_others_begins_with_its_share(dataset: hr.Dataset, threads: int) -> None:
    alone = hr.DataLoader(dataset, 64, num_workers="auto")
    batches = iter(alone)
    next(batches)
    assert alone.stats()["num_threads"] == threads
    passes = []
    for others, share in ((1, 4), (2, 3)):  # of eight, less one for this thread, which takes the batches of all
        beside = hr.DataLoader(dataset, 64, num_workers="auto")
        next(batches)
        held = iter(beside)
        next(held)
        assert beside.stats()["num_threads"] == share, others
        assert beside.stats()["prefetch_batches"] == 2 * share + 2
        passes.append(held)


def test_loaders_beside_each_other_deliver_what_they_deliver_alone(dataset: hr.Dataset, threads: int) -> None:
    expected = [ids_of(hr.DataLoader(dataset, 64, shuffle=True, seed=seed, num_workers=1)) for seed in range(4)]
    loaders = [hr.DataLoader(dataset, 64, shuffle=True, seed=seed, num_workers="auto") for seed in range(4)]
    got: list[list[list[list[int]]]] = [[] for _ in loaders]

    def consume(number: int) -> None:
        for _ in range(3):
            loaders[number].set_epoch(0)
            got[number].append(ids_of(loaders[number]))

    consumers = [threading.Thread(target=consume, args=(number,)) for number in range(4)]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert got == [[want] * 3 for want in expected]


def test_a_sampler_is_followed(dataset: hr.Dataset, threads: int) -> None:
    class Odd(torch.utils.data.Sampler[int]):
        def __iter__(self) -> Any:
            return iter(range(1, ROWS, 2))

        def __len__(self) -> int:
            return ROWS // 2

    for options in ({"num_workers": "auto"}, {"num_workers": 2, "prefetch_factor": "auto"}):
        loader = hr.DataLoader(dataset, 64, sampler=Odd(), **options)
        for _ in range(3):
            assert [i for batch in ids_of(loader) for i in batch] == list(range(1, ROWS, 2))


def test_copies_choose_for_themselves(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 64, num_workers="auto", budget=hr.Budget(cores=1))
    for other in (copy.copy(loader), pickle.loads(pickle.dumps(loader))):
        assert other.budget == hr.Budget(cores=1)
        next(iter(other))
        assert other.stats()["tuning"] == "settled"


def test_a_budget_without_automatic_numbers_counts_too(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 64, num_workers=4, budget=hr.Budget(cores=2, memory_bytes=4 << 20))
    assert loader.num_workers == 2
    next(iter(loader))
    assert loader.stats()["prefetch_bytes"] == 4 << 20
    smaller = hr.DataLoader(dataset, 64, num_workers=1, prefetch_bytes=1 << 20, budget=hr.Budget(memory_bytes=4 << 20))
    next(iter(smaller))
    assert smaller.stats()["prefetch_bytes"] == 1 << 20


def test_pinned_bytes_bound_what_goes_to_a_device_only() -> None:
    budget = hr.Budget(memory_bytes=100, pinned_bytes=10)
    assert budget.prefetch_bytes(None, is_pinned=True) == 10
    assert budget.prefetch_bytes(None, is_pinned=False) == 100
    assert hr.Budget().prefetch_bytes(None, is_pinned=True) is None
    assert hr.Budget(memory_bytes=1 << 62).prefetch_bytes(None, is_pinned=False) == min(2 << 30, _native.available_memory_bytes() // 10)


@pytest.mark.parametrize("options", [{"cores": 0}, {"memory_bytes": 0}, {"pinned_bytes": -1}, {"cores": 2000}])
def test_a_budget_of_nothing_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"budget\."):
        hr.Budget(**options)


def test_python_datasets_have_no_automatic_numbers() -> None:
    for options in ({"num_workers": "auto"}, {"prefetch_factor": "auto", "num_workers": 1}):
        with pytest.raises(ValueError, match="only the native engine sets them by itself"):
            hr.DataLoader([1, 2, 3], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="budget"):
        hr.DataLoader([1, 2, 3], budget=hr.Budget(cores=1))  # type: ignore[arg-type]


def test_bounds_that_hold_nothing_are_refused(dataset: hr.Dataset) -> None:
    pipeline = _native.Pipeline(dataset.native, fields=[0], batch_size=4, num_threads=1)
    for threads, ahead in (((2, 1), (1, 1)), ((-1, 1), (1, 1)), ((0, 1), (0, 1)), ((0, 1), (2, 1))):
        with pytest.raises(ValueError, match="tune: threads"):
            pipeline.tune(threads, ahead)
