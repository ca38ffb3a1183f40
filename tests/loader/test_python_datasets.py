"""Datasets that torch runs: the same batches on torchdata's loader and on torch's, a place, errors that say where, and a switch that turns headrace off."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from headrace.loader import python_engine, torch_loader

ENGINES = ["torchdata", "torch"]


class Squares(data.Dataset[Any]):
    def __init__(self, size: int = 37, fails: tuple[int, ...] = ()) -> None:
        self.size, self.fails = size, fails

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        if index in self.fails:
            raise KeyError(f"no {index}")
        return index, np.full(3, index * index, np.float32)


class Whole(Squares):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


class Stream(data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        info = data.get_worker_info()
        begin, step = (info.id, info.num_workers) if info else (0, 1)
        yield from range(begin, 23, step)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":  # As where torchdata is not installed.
        monkeypatch.setattr(python_engine, "_stateful_loader", lambda: None)
    return str(request.param)


def flat(batches: Any) -> list[Any]:
    return [(i.tolist(), x.tolist()) if isinstance(i, torch.Tensor) else (i, x.tolist()) for i, x in batches]


OPTIONS: dict[str, dict[str, Any]] = {
    "in order": {"batch_size": 5},
    "shuffled": {"batch_size": 5, "shuffle": True, "drop_last": True},
    "no batches": {"batch_size": None, "shuffle": True},
    "a generator": {"batch_size": 5, "shuffle": True, "generator": 3},
    "RandomSampler": {"batch_size": 5, "sampler": "replacement"},
    "list of batches": {"batch_sampler": [[1, 2], [0], [7, 7, 7], [3], [4]]},
    "weights": {"batch_size": 5, "sampler": "weights"},
}


def options_of(name: str) -> dict[str, Any]:
    options = dict(OPTIONS[name])
    if "generator" in options:
        options["generator"] = torch.Generator().manual_seed(3)
    if options.get("sampler") == "replacement":
        options["sampler"] = data.RandomSampler(Squares(), replacement=True, num_samples=41)
    if options.get("sampler") == "weights":
        options["sampler"] = data.WeightedRandomSampler(list(range(37)), 30, generator=torch.Generator().manual_seed(3))
    return options


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dataset", [Squares, Whole])
@pytest.mark.parametrize("name", OPTIONS)
def test_batches_and_draws_equal_torchs(engine: str, name: str, dataset: Any, workers: int) -> None:
    torch.manual_seed(4)
    loader: Any = data.DataLoader(dataset(), num_workers=workers, **options_of(name))
    theirs = flat(loader) + flat(loader)
    after = torch.get_rng_state()
    torch.manual_seed(4)
    loader = hr.DataLoader(dataset(), num_workers=workers, **options_of(name))
    assert loader.stats()["engine"] == "torch"  # With or without torchdata: there is nothing that it would add.
    assert flat(loader) + flat(loader) == theirs
    assert torch.equal(torch.get_rng_state(), after)
    assert loader.stats()["batches"] == len(theirs) == 2 * len(loader)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_pass_resumes(name: str, workers: int) -> None:
    loader = hr.DataLoader(Squares(), num_workers=workers, **options_of(name))
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    rest = flat(iterator)
    assert rest
    torch.manual_seed(99)
    resumed = hr.DataLoader(Squares(), num_workers=workers, **options_of(name))
    resumed.load_state_dict(state)
    assert resumed.stats()["position"] == 3
    assert flat(resumed) == rest


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes(workers: int) -> None:
    loader = hr.DataLoader(Stream(), 4, num_workers=workers)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = [batch.tolist() for batch in iterator]
    resumed = hr.DataLoader(Stream(), 4, num_workers=workers)
    resumed.load_state_dict(state)
    assert [batch.tolist() for batch in resumed] == rest


def test_without_torchdata_a_state_holds_no_place_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers ask any loader that has state_dict(), which torch's has not: Lightning's checkpoints must not fail."""
    monkeypatch.setattr(python_engine, "_stateful_loader", lambda: None)
    loader: Any = hr.DataLoader(Stream())
    with pytest.warns(hr.HeadraceWarning, match=r"holds no place: this loader runs Stream as torch does.*headrace\[stateful\]"):
        state = loader.state_dict()
    assert loader.state_dict() == state  # Warned of once.
    loader.load_state_dict(state)
    with pytest.raises(TypeError, match=r"headrace\[stateful\]"):
        loader.load_state_dict({"epoch": 1})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dataset", [Squares, Whole])
def test_errors_keep_their_type_and_say_where(engine: str, dataset: Any, workers: int) -> None:
    loader = hr.DataLoader(dataset(fails=(17,)), 5, num_workers=workers)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    with pytest.raises(KeyError) as caught:
        next(iterator)
    notes = caught.value.__notes__
    assert "17" in notes[0]
    assert notes[0].startswith("headrace: dataset index 17" if dataset is Squares else "headrace: one of the dataset's samples [15, 16, 17")
    assert notes[1:] == ["headrace: epoch 0, batch 3"]
    assert "no 17" in str(caught.value)


def refuse(samples: list[Any]) -> Any:
    raise RuntimeError("cannot be put together")


@pytest.mark.parametrize("workers", [0, 1])
def test_collate_errors_name_the_samples(engine: str, workers: int) -> None:
    with pytest.raises(RuntimeError, match="cannot be put together") as caught:
        next(iter(hr.DataLoader(Squares(), 3, num_workers=workers, collate_fn=refuse)))
    assert "headrace: in collate_fn, of the dataset's samples [0, 1, 2]" in caught.value.__notes__


def test_samples_are_left_out_or_replaced_without_workers(engine: str) -> None:
    dataset = Squares(fails=(3, 8, 9))
    skipping = hr.DataLoader(dataset, 2, on_error="skip")
    assert [i for batch in flat(skipping) for i in batch[0]] == [i for i in range(37) if i not in (3, 8, 9)]
    assert skipping.stats()["skipped"] == 3
    replacing = hr.DataLoader(dataset, 2, on_error="replace")
    found = [i for batch in flat(replacing) for i in batch[0]]
    assert [i for i, value in enumerate(found) if value != i] == [3, 8, 9]
    with pytest.raises(hr.TooManyErrorsError, match="max_errors is 2"):
        list(hr.DataLoader(dataset, 2, on_error="skip", max_errors=2))
    with pytest.raises(ValueError, match="on_error: only for"):
        hr.DataLoader(dataset, 2, num_workers=2, on_error="skip")


def test_a_dataset_that_never_works_ends() -> None:
    with pytest.raises(KeyError, match="no "):
        list(hr.DataLoader(Squares(4, fails=(0, 1, 2, 3)), 2, on_error="replace"))


def test_attributes_set_later_count() -> None:
    loader = hr.DataLoader(Squares(), 5)
    next(iter(loader))
    loader.collate_fn = len  # type: ignore[assignment]
    assert next(iter(loader)) == 5
    loader.num_workers, loader.prefetch_factor = 1, 2
    assert next(iter(loader)) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_headrace_is_switched_off(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv("HEADRACE_DISABLE", "1")
    tensors = data.TensorDataset(torch.arange(40), torch.randn(40, 3))
    torch.manual_seed(2)
    loader = hr.DataLoader(tensors, 6, shuffle=True, num_workers=workers)
    assert not loader.is_native
    assert loader.fallback_reason == "HEADRACE_DISABLE is set"
    ours = flat(loader)
    iterator: Any = iter(loader)
    assert type(iterator).__module__ == "torch.utils.data.dataloader"
    del iterator
    torch.manual_seed(2)
    assert ours == flat(data.DataLoader(tensors, 6, shuffle=True, num_workers=workers))
    arrays = hr.from_arrays({"a": np.arange(9)})
    with pytest.warns(hr.HeadraceWarning, match="without seed, window"):
        loader = hr.DataLoader(arrays, 4, seed=3, window=2)
    assert [batch["a"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    monkeypatch.setenv("HEADRACE_DISABLE", "0")
    assert hr.DataLoader(arrays, 4).is_native


def test_a_dict_of_arrays_is_a_dataset_of_their_rows() -> None:
    loader = hr.DataLoader({"a": np.arange(9), "b": torch.zeros(9, 2)}, 4)
    assert loader.is_native
    assert len(loader) == 3
    assert [batch["a"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    named: Any = {"a": torch.zeros(2), "b": torch.ones(2)}  # Samples by name, where a sampler names them.
    assert [batch.tolist() for batch in hr.DataLoader(named, sampler=["b"])] == [[[1, 1]]]
    other: Any = {0: "x", 1: "y"}  # To torch, a dataset of its values.
    assert list(hr.DataLoader(other)) == [["x"], ["y"]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_place_before_the_first_batch_is_that_pass(name: str, workers: int) -> None:
    loader = hr.DataLoader(Squares(), num_workers=workers, **options_of(name))
    iterator = iter(loader)
    state = loader.state_dict()
    expected = flat(iterator)
    loader.load_state_dict(state)
    assert flat(loader) == expected


def test_annotations_as_torchs() -> None:
    annotated: Any = hr.DataLoader[torch.Tensor]  # type: ignore[type-arg]
    assert flat(annotated(Squares(), batch_size=5)) == flat(data.DataLoader(Squares(), 5))


class LongerThanItSays(Stream):
    def __len__(self) -> int:
        return 9


def test_a_stream_longer_than_it_says_is_warned_of() -> None:
    loader = hr.DataLoader(LongerThanItSays(), None)
    assert len(loader) == 9
    with pytest.warns(UserWarning, match="was reported to be 9"):
        assert len(list(loader)) == 23


@pytest.mark.parametrize("name", OPTIONS)
def test_a_place_is_plain_and_of_any_number_of_workers(name: str) -> None:
    loader = hr.DataLoader(Squares(), num_workers=2, **options_of(name))
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    assert (state["epoch"], state["position"], state["finished"]) == (0, 3, False)
    rest = flat(iterator)
    assert loader.state_dict()["finished"]
    for workers, context in ((0, None), (1, None), (3, None), (1, "forkserver")):
        torch.manual_seed(99)
        resumed = hr.DataLoader(Squares(), num_workers=workers, multiprocessing_context=context, **options_of(name))
        resumed.load_state_dict(state)
        assert flat(resumed) == rest


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_asked_for_before_the_first_pass_is_that_pass(workers: int) -> None:
    torch.manual_seed(4)
    expected = flat(data.DataLoader(Squares(), 5, True, num_workers=workers))
    after = torch.get_rng_state()
    torch.manual_seed(4)
    loader = hr.DataLoader(Squares(), 5, True, num_workers=workers)
    state = loader.state_dict()
    assert loader.state_dict() == state
    assert flat(loader) == expected
    assert torch.equal(torch.get_rng_state(), after)  # Asking has drawn nothing that the pass would not have drawn.
    assert flat(loader) != expected
    loader.load_state_dict(state)
    assert flat(loader) == expected


def test_workers_that_persist_follow_every_pass_and_are_resumed_with_their_seed() -> None:
    options: dict[str, Any] = {"batch_size": 5, "shuffle": True, "num_workers": 2, "persistent_workers": True}
    torch.manual_seed(4)
    theirs: Any = data.DataLoader(Squares(), **options)
    expected = [flat(theirs) for _ in range(3)]
    torch.manual_seed(4)
    loader = hr.DataLoader(Squares(), **options)
    assert flat(loader) == expected[0]
    iterator: Any = iter(loader)
    workers = [worker.pid for worker in iterator._workers]
    next(iterator)
    state = loader.state_dict()
    assert flat(iterator) == expected[1][1:]
    assert flat(loader) == expected[2]
    again: Any = iter(loader)
    assert [worker.pid for worker in again._workers] == workers
    seed = again._base_seed
    loader.load_state_dict(state)
    resumed: Any = iter(loader)
    assert resumed._base_seed == seed == state["key"]
    assert [worker.pid for worker in resumed._workers] != workers
    assert flat(resumed) == expected[1][1:]


class Remembering(Squares):
    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.size = state["size"]


@pytest.mark.parametrize("workers", [0, 2])
def test_datasets_with_a_state_of_their_own_are_torchdatas(workers: int) -> None:
    loader = hr.DataLoader(Remembering(), 5, num_workers=workers)
    assert loader.stats()["engine"] == "torchdata"
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = flat(iterator)
    resumed = hr.DataLoader(Remembering(), 5, num_workers=workers)
    resumed.load_state_dict(state)
    assert flat(resumed) == rest
    assert "size" in str(state)


class Dreaming(Squares):
    """Its samples are random numbers of the process's, and its state is where these are."""

    def __getitem__(self, index: int) -> Any:
        return int(torch.randint(1 << 30, (1,))), np.zeros(1)

    def state_dict(self) -> dict[str, Any]:
        return {"at": torch.get_rng_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["at"])


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_draws_what_the_sampler_draws_from_is_resumed(workers: int, is_begun: bool) -> None:
    loader = hr.DataLoader(Dreaming(), 5, True, num_workers=workers)
    iterator = iter(loader) if is_begun else None
    state = loader.state_dict()
    expected = flat(loader if iterator is None else iterator)
    loader.load_state_dict(state)
    assert flat(loader) == expected


def test_a_torch_without_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_loader, "_TAKES_IN_ORDER", False)  # as torch 2.4 and 2.5
    loader = hr.DataLoader(Squares(), 5)
    assert (loader.in_order, len(list(loader))) == (True, 8)
    with pytest.raises(ValueError, match=r"in_order=False needs torch 2\.6, this is .*parallel='thread'"):
        hr.DataLoader(Squares(), 5, in_order=False)
    threaded = hr.DataLoader(Squares(), 5, in_order=False, num_workers=2, parallel="thread")
    assert (threaded.in_order, len(list(threaded))) == (False, 8)
