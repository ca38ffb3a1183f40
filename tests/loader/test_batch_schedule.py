"""Batch sizes that change: at steps, or when told. Order, exactly-once and resuming stay exact, for any number of threads and ranks."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace.loader import cuda
from headrace.sampling.partition import Partition
from tests.loader.fake_cuda import FakeCuda, release_done

ROWS = 1000
AT = {3: 20, 7: 33, 40: 5, 100: 64}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("schedule") / "d"
    hr.write(path, {"id": np.arange(ROWS), "x": np.arange(ROWS * 4.0).reshape(ROWS, 4)}, chunk_samples=64)
    return hr.open(path)


def order_of(dataset: Any, epoch: int) -> list[int]:
    """Samples of an epoch, by a loader that knows no schedule."""
    loader = hr.DataLoader(dataset, ROWS, shuffle=True, seed=2)
    loader.set_epoch(epoch)
    return next(iter(loader))["id"].tolist()


def cut(order: list[int], step: int, at: dict[int, int], *, drop_last: bool = False) -> list[list[int]]:
    """The batches of an epoch that begins at a step."""
    out, place = [], 0
    while place < len(order):
        size = next(size for begin, size in sorted(at.items(), reverse=True) if begin <= step)
        if drop_last and place + size > len(order):
            break
        out.append(order[place : place + size])
        place, step = place + size, step + 1
    return out


def loader_of(dataset: Any, schedule: hr.BatchSchedule, **options: Any) -> hr.DataLoader:
    return hr.DataLoader(dataset, schedule, shuffle=True, seed=2, **options)


@pytest.mark.parametrize("workers", [0, 1, 2, 8, "auto"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_sizes_follow_the_steps_over_epochs(dataset: hr.Dataset, workers: Any, drop_last: bool) -> None:
    loader = loader_of(dataset, hr.BatchSchedule(8, AT), num_workers=workers, drop_last=drop_last)
    step = 0
    for epoch in range(3):
        expected = cut(order_of(dataset, epoch), step, {0: 8, **AT}, drop_last=drop_last)
        assert len(loader) == len(expected)
        assert [batch["id"].tolist() for batch in loader] == expected
        step += len(expected)
    assert loader.batch_schedule is not None
    assert loader.batch_schedule.step == step


@pytest.mark.parametrize("workers", [0, 2])
def test_a_size_that_is_set_counts_from_the_next_batch_on(dataset: hr.Dataset, workers: int) -> None:
    schedule = hr.BatchSchedule(8, {50: 100})
    loader = loader_of(dataset, schedule, num_workers=workers)
    seen = []
    for number, batch in enumerate(loader):
        seen.append(batch["id"].tolist())
        if number in (4, 5, 20):
            schedule.set(number * 3)
    assert seen == cut(order_of(dataset, 0), 0, {0: 8, 5: 12, 6: 15, 21: 60, 50: 100})
    assert loader.batch_size == 60


@pytest.mark.parametrize("stop", [0, 2, 3, 4, 7, 45])
def test_a_state_resumes_exactly(dataset: hr.Dataset, stop: int) -> None:
    def drive(loader: hr.DataLoader, batches: int) -> list[list[int]]:
        out: list[list[int]] = []
        while len(out) < batches:
            for batch in loader:
                out.append(batch["id"].tolist())
                assert loader.batch_schedule is not None
                if loader.batch_schedule.step == 45:
                    loader.batch_schedule.set(11)
                if len(out) == batches:
                    break
        return out

    whole = drive(loader_of(dataset, hr.BatchSchedule(8, AT), num_workers=2), 150)
    first = loader_of(dataset, hr.BatchSchedule(8, AT), num_workers=2)
    begun = drive(first, stop)
    state = json.loads(json.dumps(first.state_dict()))
    assert len(json.dumps(state)) < 1024
    second = loader_of(dataset, hr.BatchSchedule(1))
    second.load_state_dict(state)
    assert begun + drive(second, 150 - stop) == whole


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_each_global_batch(dataset: hr.Dataset, world_size: int) -> None:
    ranks = [loader_of(dataset, hr.BatchSchedule(8, AT), rank=rank, world_size=world_size, uneven="drop") for rank in range(world_size)]
    steps = [[batch["id"].tolist() for batch in loader] for loader in ranks]
    together = [[i for part in parts for i in part] for parts in zip(*steps, strict=True)]
    whole = cut(order_of(dataset, 0), 0, {at: size * world_size for at, size in {0: 8, **AT}.items()})
    assert together[:-1] == whole[: len(together) - 1]
    states = [loader.state_dict() for loader in ranks]
    assert all(state == states[0] for state in states)


def test_replay_knows_the_steps_of_the_epoch(dataset: hr.Dataset) -> None:
    schedule = hr.BatchSchedule(8, AT)
    loader = loader_of(dataset, schedule, num_workers=1)
    list(loader)
    seen = []
    for batch in loader:
        seen.append(batch["id"].tolist())
        if len(seen) == 5:
            schedule.set(17)
    for step in (0, 4, 5, 6, len(seen) - 1):
        assert loader.replay(step)["id"].tolist() == seen[step]
    with pytest.raises(ValueError, match="replay"):
        loader.replay(0, epoch=0)
    with pytest.raises(ValueError, match="step"):
        loader.replay(len(seen) + 50)


def test_on_a_device_nothing_old_is_delivered(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cut(order_of(dataset, 0), 0, {0: 8, 3: 20, 6: 9, 12: 33})
    fake = FakeCuda(eager=True, locks_pages=False)
    monkeypatch.setattr(cuda, "runtime", fake)
    schedule = hr.BatchSchedule(8, {3: 20, 12: 33})
    seen = []
    loader = loader_of(dataset, schedule, num_workers=2, device="cuda")
    for batch in loader:
        seen.append(batch["id"].tolist())
        while len(seen) == 5 and loader.stats()["batches_ready"] == 0:  # So that the next one is taken ahead before the size is set.
            time.sleep(0.001)
        if len(seen) == 6:
            schedule.set(9)
    fake.run()
    release_done()
    assert seen == expected


def test_what_has_no_order_of_its_own_has_no_schedule(dataset: hr.Dataset) -> None:
    for options in ({"sampler": range(ROWS)}, {"batch_by": hr.tokens(8, lengths=np.ones(ROWS, np.int64))}):
        with pytest.raises(ValueError, match=r"BatchSchedule|batch_size"):
            hr.DataLoader(dataset, hr.BatchSchedule(4), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="BatchSchedule"):
        hr.DataLoader([1, 2, 3], hr.BatchSchedule(4))  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "at"), [(0, None), (1, {-1: 2}), (1, {2: 0}), (1, dict.fromkeys(range(2000), 1))])
def test_what_is_no_schedule_is_refused(first: int, at: Any) -> None:
    with pytest.raises(ValueError, match=r"batch_size|step|changes"):
        hr.BatchSchedule(first, at)


@pytest.mark.parametrize(
    "state", [None, {}, {"step": 1}, {"step": -1, "epoch_step": 0, "changes": [[0, 1]]}, {"step": 1, "epoch_step": 2, "changes": [[0, 1]]},
              {"step": 1, "epoch_step": 0, "changes": [[0, 0]]}, {"step": 1, "epoch_step": 0, "changes": []},
              {"step": 1, "epoch_step": 0, "changes": "many"}]
)  # fmt: skip
def test_a_damaged_state_is_refused_and_changes_nothing(dataset: hr.Dataset, state: Any) -> None:
    loader = loader_of(dataset, hr.BatchSchedule(8, AT))
    saved = loader.state_dict()
    with pytest.raises(ValueError, match="load_state_dict: schedule"):
        loader.load_state_dict({**saved, "schedule": state})
    assert loader.state_dict() == saved


def test_a_copy_goes_on_by_itself(dataset: hr.Dataset) -> None:
    loader = loader_of(dataset, hr.BatchSchedule(8, AT))
    batches = iter(loader)
    for _ in range(5):
        next(batches)
    other = copy.deepcopy(loader)
    list(batches)
    assert [batch["id"].tolist() for batch in other] == cut(
        order_of(dataset, 1), 5, {0: 8, **AT}
    )  # As any loader that delivered something.
    assert other.batch_schedule is not loader.batch_schedule
    assert repr(other.batch_schedule) == f"BatchSchedule(8, {AT})"


def test_counting_steps_takes_no_step() -> None:
    """len() of 10^12 batches, and the place of one of them: a walk over them would not end."""
    partition = Partition(batch_size=1, rank=1, world_size=2, drop_last=True)
    schedule = hr.BatchSchedule(1, {10**9: 3, 10**9 + 5: 2})
    samples = 4 * 10**12 + 1
    assert schedule.num_batches(samples, partition) == 10**9 + 5 + (samples - 2 * 10**9 - 30) // 4
    assert schedule.place_of(10**9 + 6, samples, partition) == (2 * 10**9 + 34, replace(partition, batch_size=2))
    with pytest.raises(ValueError, match="this epoch has 1000000005"):
        schedule.place_of(10**10, 2 * 10**9 + 31, partition)


def test_a_copy_of_the_loader_moves_a_schedule_of_its_own(dataset: hr.Dataset) -> None:
    loader = loader_of(dataset, hr.BatchSchedule(8, AT), num_workers=1)
    iterator = iter(loader)
    next(iterator)
    before = loader.state_dict()
    list(copy.copy(loader))
    hr.diagnose(loader, seconds=0.01)
    assert loader.state_dict() == before
    assert next(iterator)["id"].tolist() == order_of(dataset, 0)[8:16]


def test_sizes_by_step_are_a_mapping() -> None:
    with pytest.raises(TypeError, match="sizes by step"):
        hr.BatchSchedule(8, [(1, 2)])  # type: ignore[arg-type]


def test_one_schedule_for_two_loaders_is_refused(dataset: hr.Dataset) -> None:
    schedule = hr.BatchSchedule(8, {2: 16})
    first = hr.DataLoader(dataset, schedule)
    with pytest.raises(ValueError, match="this BatchSchedule is another loader's already"):
        hr.DataLoader(dataset, schedule)
    other = copy.copy(schedule)
    second = hr.DataLoader(dataset, other)
    assert [len(batch["id"]) for _, batch in zip(range(4), second, strict=False)] == [8, 8, 16, 16]
    assert (schedule.step, other.step) == (0, 4)
    assert pickle.loads(pickle.dumps(schedule)).state_dict() == schedule.state_dict()
    del first
    gc.collect()
    hr.DataLoader(dataset, schedule)  # Nobody's any more.
