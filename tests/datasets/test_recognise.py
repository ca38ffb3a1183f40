"""Torch's own datasets on the native engine: batches, their types and the generators' states equal torch's, bit for bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr


def tensors(size: int = 53, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, 3, generator=generator), torch.arange(size)


def plain() -> data.TensorDataset:
    return data.TensorDataset(*tensors())


DATASETS: dict[str, Callable[[], Any]] = {
    "TensorDataset": plain,
    "one tensor": lambda: data.TensorDataset(torch.arange(40)),
    "Subset": lambda: data.Subset(plain(), [3, 1, 1, 50, 7, 2]),
    "Subset of Subset": lambda: data.Subset(data.Subset(plain(), range(10, 40)), [0, 29, 5]),
    "random_split": lambda: data.random_split(plain(), [0.5, 0.5], generator=torch.Generator().manual_seed(1))[0],
    "ConcatDataset": lambda: data.ConcatDataset([plain(), data.TensorDataset(*tensors(20, 2)), plain()]),
    "ConcatDataset of Subsets": lambda: data.ConcatDataset([data.Subset(plain(), [5, 4]), data.TensorDataset(*tensors(9, 2))]),
    "StackDataset": lambda: data.StackDataset(*tensors()),
    "StackDataset of dicts": lambda: data.StackDataset(image=plain(), label=torch.arange(53)),
    "from_arrays in Subset": lambda: data.Subset(hr.from_arrays({"a": np.arange(30.0)}), [2, 9]),  # type: ignore[arg-type]
}


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", DATASETS)
def test_batches_equal_torchs(name: str, shuffle: bool, workers: int) -> None:
    options: dict[str, Any] = {"batch_size": 4, "shuffle": shuffle, "drop_last": len(name) % 2 == 0}
    torch.manual_seed(11)
    theirs = [batch for _ in range(2) for batch in data.DataLoader(DATASETS[name](), **options)]
    after = torch.get_rng_state()
    torch.manual_seed(11)
    loader = hr.DataLoader(DATASETS[name](), num_workers=workers, **options)
    assert loader.is_native
    ours = [batch for _ in range(2) for batch in loader]
    assert len(loader) * 2 == len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)
    assert torch.equal(torch.get_rng_state(), after)


def numbers(batches: Any) -> list[list[int]]:
    return [batch[1].tolist() for batch in batches]


SAMPLERS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "generator": lambda d, g: {"shuffle": True, "generator": g},
    "RandomSampler": lambda d, g: {"sampler": data.RandomSampler(d, generator=g)},
    "more than once": lambda d, g: {"sampler": data.RandomSampler(d, num_samples=130, generator=g)},
    "exactly once": lambda d, g: {"sampler": data.RandomSampler(d, num_samples=53, generator=g)},
    "replacement": lambda d, g: {"sampler": data.RandomSampler(d, replacement=True, num_samples=77, generator=g)},
    "SubsetRandomSampler": lambda d, g: {"sampler": data.SubsetRandomSampler([4, 2, 9, 1, 1, 30, *range(20)], generator=g)},
    "WeightedRandomSampler": lambda d, g: {"sampler": data.WeightedRandomSampler(np.arange(53).tolist(), 61, generator=g)},
    "SequentialSampler": lambda d, g: {"sampler": data.SequentialSampler(d)},
    "list": lambda d, g: {"sampler": [5, 5, 1, -1, *range(9)]},
    "DistributedSampler": lambda d, g: {"sampler": data.DistributedSampler(d, 2, 1, shuffle=True)},
    "batch_sampler": lambda d, g: {"batch_sampler": data.BatchSampler(data.RandomSampler(d, generator=g), 9, True), "batch_size": 1},
    "list of batches": lambda d, g: {"batch_sampler": [[1, 2], [0], [7, 7, 7]], "batch_size": 1},
}


@pytest.mark.parametrize("seeded", [False, True], ids=["torch's own generator", "a generator"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_followed_and_their_generators_too(name: str, workers: int, seeded: bool) -> None:
    def run(make: Any, **more: Any) -> tuple[Any, Any]:
        torch.manual_seed(5)
        generator = torch.Generator().manual_seed(6) if seeded else None
        dataset = plain()
        loader = make(dataset, **{"batch_size": 8, **SAMPLERS[name](dataset, generator)}, **more)
        out = numbers(loader) + numbers(loader)
        return out, [torch.get_rng_state().tolist(), None if generator is None else generator.get_state().tolist()]

    assert run(hr.DataLoader, num_workers=workers) == run(data.DataLoader)


@pytest.mark.parametrize("seeded", [False, True], ids=["torch's own generator", "a generator"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "DistributedSampler"])
def test_a_pass_resumes_in_its_own_order(name: str, seeded: bool) -> None:
    def make() -> hr.DataLoader:
        dataset = plain()
        return hr.DataLoader(dataset, **{"batch_size": 8, **SAMPLERS[name](dataset, torch.Generator().manual_seed(6) if seeded else None)})

    torch.manual_seed(5)
    loader = make()
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = numbers(iterator)
    torch.manual_seed(99)  # Another process would have drawn other things.
    resumed = make()
    resumed.load_state_dict(state)
    assert numbers(resumed) == rest


def test_a_tampered_state_is_refused() -> None:
    loader = hr.DataLoader(plain(), batch_size=8, shuffle=True)
    next(iter(loader))
    for drawn in ("x", {"seed": "1"}, {"generator": 4}, {"other": 1}):
        with pytest.raises(ValueError, match="drawn"):
            loader.load_state_dict({**loader.state_dict(), "drawn": drawn})


class Doubled(data.TensorDataset):
    def __getitem__(self, index: Any) -> Any:
        return tuple(2 * tensor for tensor in super().__getitem__(index))


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        (Doubled(torch.arange(4)), {}),
        (data.TensorDataset(torch.zeros(4, 2, requires_grad=True)), {}),
        (data.TensorDataset(torch.zeros(4, 3, 2).transpose(1, 2)), {}),
        (data.ConcatDataset([data.TensorDataset(torch.zeros(2)), data.TensorDataset(torch.zeros(2, 3))]), {"batch_size": 2}),
        ([1, 2, 3], {}),
        (data.TensorDataset(torch.arange(4)), {"collate_fn": len}),
        (data.TensorDataset(torch.arange(4)), {"worker_init_fn": print}),
        (data.TensorDataset(torch.arange(4)), {"batch_size": None}),
        (data.TensorDataset(torch.arange(4)), {"parallel": "process"}),
    ],
    ids=["subclass", "gradient", "transposed", "unequal", "list", "collate_fn", "worker_init_fn", "no batches", "process"],
)
def test_what_somebody_could_tell_apart_runs_as_torch_runs_it(dataset: Any, options: dict[str, Any]) -> None:
    loader = hr.DataLoader(dataset, **options)
    assert not loader.is_native
    options.pop("parallel", None)
    for one, other in zip(loader, data.DataLoader(dataset, **options), strict=True):
        assert torch.equal(
            torch.as_tensor(one[0] if isinstance(one, list) else one), torch.as_tensor(other[0] if isinstance(other, list) else other)
        )


def test_native_or_an_error() -> None:
    assert hr.DataLoader(plain(), parallel="native").is_native
    with pytest.raises(TypeError, match="cannot serve list"):
        hr.DataLoader([1], parallel="native")
    with pytest.raises(TypeError, match="collate_fn"):
        hr.DataLoader(plain(), parallel="native", collate_fn=len)
    with pytest.raises(ValueError, match="'auto', 'native', 'process' or 'thread'"):
        hr.DataLoader(plain(), parallel="fast")


def test_native_options_choose_headraces_order() -> None:
    loader = hr.DataLoader(plain(), batch_size=8, shuffle=True, seed=4, rank=1, world_size=2)
    other = hr.DataLoader(plain(), batch_size=8, shuffle=True, seed=4, rank=0, world_size=2)
    assert sorted({i for batch in (*numbers(loader), *numbers(other)) for i in batch}) == list(range(53))
    assert torch.equal(
        loader.replay(1, epoch=0)[1],
        torch.tensor(numbers(hr.DataLoader(plain(), batch_size=8, shuffle=True, seed=4, rank=1, world_size=2))[1]),
    )


class Marked(torch.Tensor):
    """A tensor that says so."""


TORCHS_OWN: dict[str, Callable[[], Any]] = {
    "a subclass of Tensor": lambda: data.TensorDataset(torch.randn(20, 2).as_subclass(Marked), torch.arange(20)),
    "strings in a StackDataset": lambda: data.StackDataset(np.array([f"s{i}" for i in range(20)]), torch.arange(20)),
    "bytes in a dict": lambda: data.StackDataset(a=np.array([b"%d" % i for i in range(20)]), b=torch.arange(20)),
    "strings in a Subset": lambda: data.Subset(hr.from_arrays([np.array(["a", "b", "c"])]), [2, 0]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_what_would_come_in_other_types_is_left_to_torch(name: str) -> None:
    dataset = TORCHS_OWN[name]()
    ours, theirs = hr.DataLoader(dataset, 3), data.DataLoader(dataset, 3)
    assert not ours.is_native
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        pairs = zip(one.values(), other.values(), strict=True) if isinstance(one, dict) else zip(one, other, strict=True)
        for a, b in pairs:
            assert type(a) is type(b)
            assert a == b if not isinstance(b, torch.Tensor) else torch.equal(a, b)


BATCHES: dict[str, list[Any]] = {
    "sets": [{3, 1, 2}, {7}],
    "frozensets and tuples": [frozenset([5, 6]), (1, 2)],
    "tensors": [torch.tensor([4, 4]), [torch.tensor(1), torch.tensor(2)]],
    "numpy": [np.array([9, 8], np.uint8), [np.int32(3)]],
    "ranges": [range(3), range(9, 2, -2)],
    "keys": [{1: "a", 2: "b"}],
    "negative": [[-1, -53]],
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", BATCHES)
def test_batches_of_indices_in_any_form(name: str, workers: int) -> None:
    batches = BATCHES[name]
    ours = hr.DataLoader(plain(), batch_sampler=batches, num_workers=workers, parallel="native")
    assert_same(list(ours), list(data.DataLoader(plain(), batch_sampler=batches)))


@pytest.mark.parametrize("indices", [[[1], [2]], [slice(0, 2), slice(2, 4)], [[1, 2], [3]], [(0, 1)]])
def test_indices_that_are_no_numbers_are_named(indices: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"indices that are no whole numbers .*parallel='process'"):
        list(hr.DataLoader(plain(), 2, sampler=indices))


CHANGES: dict[str, Callable[[Any], None]] = {
    "TensorDataset": lambda dataset: setattr(dataset, "tensors", tuple(tensor + 100 for tensor in dataset.tensors)),
    "one tensor": lambda dataset: setattr(dataset, "tensors", (torch.arange(90), torch.arange(90) % 7)),
    "Subset": lambda dataset: dataset.indices.extend([9, 8, 7, 30, 4]),
    "Subset of Subset": lambda dataset: dataset.indices.__setitem__(1, 7),
    "random_split": lambda dataset: setattr(dataset, "indices", [5, 6]),
    "ConcatDataset": lambda dataset: dataset.datasets.__setitem__(1, data.TensorDataset(*tensors(20, 5))),
    "StackDataset": lambda dataset: setattr(dataset, "datasets", dataset.datasets[::-1]),
    "StackDataset of dicts": lambda dataset: dataset.datasets.__setitem__("label", torch.arange(53) * 2),
    "from_arrays in Subset": lambda dataset: setattr(dataset, "indices", np.array([2, 3, 3])),
}


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_a_dataset_that_is_changed_later_is_followed(name: str, seed: int | None) -> None:
    dataset = DATASETS[name]()
    order: dict[str, Any] = {} if seed is None else {"seed": seed}
    loader = hr.DataLoader(dataset, 4, shuffle=True, parallel="native", **order)
    list(loader)
    CHANGES[name](dataset)
    torch.manual_seed(5)
    ours = list(loader)
    assert len(ours) == len(loader)
    if seed is None:
        torch.manual_seed(5)
        assert_same(ours, list(data.DataLoader(dataset, 4, shuffle=True)))
    else:
        chosen = [int(i) for i in loader.sampler]
        assert sorted(chosen) == list(range(len(dataset)))
        assert_same(ours, list(data.DataLoader(dataset, 4, sampler=chosen)))


def test_a_pass_under_way_keeps_what_it_began_with() -> None:
    dataset = data.Subset(plain(), list(range(12)))
    loader = hr.DataLoader(dataset, 4, parallel="native")
    iterator = iter(loader)
    first = next(iterator)[1].tolist()
    dataset.indices = [40]
    assert first + torch.cat([n for _, n in iterator]).tolist() == list(range(12))
    assert torch.cat([n for _, n in loader]).tolist() == [40]


def test_a_change_to_what_cannot_be_read_is_an_error() -> None:
    dataset = data.Subset(plain(), [1, 2])
    loader = hr.DataLoader(dataset, 4, parallel="native")
    dataset.indices = [1, 53]
    with pytest.raises(hr.ChangedError, match="make a new loader"):
        iter(loader)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "seed": 1}])
def test_copies_and_pickles_deliver_their_own_dataset(options: dict[str, Any]) -> None:
    tensor = torch.zeros(100_000)
    loader = hr.DataLoader(data.TensorDataset(tensor), 1000, parallel="native", **options)
    pickled = pickle.dumps(loader)
    assert len(pickled) < 1.5 * tensor.nbytes  # The arrays once.
    for other in (copy.deepcopy(loader), pickle.loads(pickled)):
        other.dataset.tensors[0].fill_(1)
        assert other.is_native
        assert sum(float(x.sum()) for (x,) in other) == 100_000
    assert sum(float(x.sum()) for (x,) in loader) == 0
