"""`hr.DataLoader` is torch's, to whoever looks: signature, attributes, order, batches, errors; and what it adds to it."""

from __future__ import annotations

import gc
import inspect
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data
from torch.utils.data.dataloader import _BaseDataLoaderIter

import headrace as hr
from headrace import images
from tests.loader.samples import (
    ROWS,
    answer_of,
    assert_same,
    ids_of,
    numbered,
    sample,
    torch_batch,
    write_all_kinds,
)

N = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples in several shards."""
    return numbered(tmp_path_factory.mktemp("loader") / "d", N, codec="zstd", chunk_samples=8, shard_bytes=1)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """Every kind of field."""
    path = tmp_path_factory.mktemp("loader") / "kinds"
    write_all_kinds(path, "lz4")
    return hr.open(path)


THEIRS = inspect.signature(data.DataLoader.__init__).parameters
OURS = inspect.signature(hr.DataLoader.__init__).parameters
ADDED = [name for name in OURS if name not in THEIRS]


def test_the_signature_is_torchs_and_then_some() -> None:
    assert issubclass(hr.DataLoader, data.DataLoader)
    assert list(OURS)[: len(THEIRS)] == list(THEIRS)
    for name, theirs in THEIRS.items():
        assert (OURS[name].kind, OURS[name].default) == (theirs.kind, theirs.default), name
    assert {OURS[name].kind for name in ADDED} == {inspect.Parameter.KEYWORD_ONLY}


OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "most": {
        "batch_size": 7,
        "shuffle": True,
        "num_workers": 2,
        "pin_memory": False,
        "drop_last": True,
        "timeout": 9,
        "worker_init_fn": print,
        "multiprocessing_context": "spawn",
        "prefetch_factor": 3,
        "persistent_workers": True,
        "in_order": False,
        "seed": 5,
        "order": "window",
        "window": 3,
        "prefetch_bytes": 1 << 20,
        "on_error": "skip",
        "max_errors": 7,
        "ragged": "offsets",
        "strings": "offsets",
        "rank": 0,
        "world_size": 1,
        "parallel": "native",
        "device": "cpu",
    },
    "given in full": {"sampler": range(5), "collate_fn": len, "generator": torch.Generator()},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_each_option_is_an_attribute_of_the_same_name(dataset: hr.Dataset, case: str) -> None:
    given = OPTIONS[case]
    loader = hr.DataLoader(dataset, **given)
    for name, parameter in OURS.items():
        if name == "self":
            continue
        assert hasattr(loader, name), name
        value = getattr(loader, name)
        if name == "multiprocessing_context" and name in given:
            assert value.get_start_method() == given[name]
        elif name in given:
            assert value == given[name], name
        elif name not in ("dataset", "sampler", "batch_sampler", "collate_fn", "shuffle"):
            assert value == parameter.default, name
    assert loader.dataset is dataset
    if "shuffle" not in given:
        assert loader.shuffle is False
    assert (loader.partition.rank, loader.partition.world_size) == (0, 1)


def test_a_loader_made_again_from_its_attributes_is_the_same(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, **OPTIONS["most"])
    again = hr.DataLoader(**{name: getattr(loader, name) for name in OURS if name not in ("self", "sampler", "batch_sampler", "generator")})
    assert ids_of(again) == ids_of(loader)
    # What trainers do: torch's own loader around the same dataset and sampler.
    loader.set_epoch(0)
    names = ("dataset", "batch_size", "sampler", "collate_fn", "drop_last", "pin_memory")
    plain = data.DataLoader(**{name: getattr(loader, name) for name in names})
    assert ids_of(plain) == ids_of(loader)


@pytest.mark.parametrize("name", ["torch's", "headrace's", "arrays"])
@pytest.mark.parametrize("order", ["global", "window"])
def test_a_trainer_gives_it_a_sampler_of_its_own(dataset: hr.Dataset, name: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    rows: Any = {"torch's": data.TensorDataset(torch.arange(20)), "headrace's": dataset, "arrays": hr.from_arrays([torch.arange(20)])}[name]
    loader = hr.DataLoader(rows, 4, shuffle=True, **({} if name == "torch's" else {"order": order}))
    # As lightning.fabric does it: every attribute that is an argument and differs from its default, and another sampler.
    arguments = {k: v for k, v in vars(loader).items() if k in OURS and v is not OURS[k].default}
    sampler: Any = data.DistributedSampler(rows, num_replicas=2, rank=0)
    changed = {"sampler": sampler, "shuffle": False, "batch_sampler": None, "batch_size": 4, "drop_last": False, "dataset": rows}
    again = type(loader)(**{**arguments, **changed})
    plain = data.DataLoader(rows, 4, sampler=sampler)
    assert len(again) == len(plain)
    if name == "torch's":
        assert [x.tolist() for (x,) in again] == [x.tolist() for (x,) in plain]


def test_any_seed_that_is_given_asks_for_headraces_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = data.TensorDataset(torch.arange(40))

    def first(global_seed: int, **options: Any) -> list[list[int]]:
        torch.manual_seed(global_seed)
        return [x.tolist() for (x,) in hr.DataLoader(rows, 5, shuffle=True, **options)]

    assert first(1) != first(2)
    assert first(1, seed=None) == first(1)
    for seed in (0, 1):
        assert first(1, seed=seed) == first(2, seed=seed)
        whole = first(1, seed=seed, rank=0, world_size=1)
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert first(1, seed=seed) == [step for i, step in enumerate(whole) if i % 2 == 1]
        monkeypatch.delenv("RANK")
        monkeypatch.delenv("WORLD_SIZE")


def test_no_seed_is_seed_0_for_headraces_own_datasets(dataset: hr.Dataset) -> None:
    loader, zero = hr.DataLoader(dataset, 5, shuffle=True), hr.DataLoader(dataset, 5, shuffle=True, seed=0)
    assert (loader.seed, zero.seed) == (None, 0)
    assert loader.state_dict() == zero.state_dict()
    assert ids_of(loader) == ids_of(zero)


TORCHS_ERRORS: dict[str, dict[str, Any]] = {
    "shuffle and sampler": {"shuffle": True, "sampler": range(4)},
    "batch_sampler and batch_size": {"batch_sampler": [[1]], "batch_size": 4},
    "batch_sampler and drop_last": {"batch_sampler": [[1]], "drop_last": True},
    "batch_size 0": {"batch_size": 0},
    "half a batch": {"batch_size": 2.5},
    "drop_last without batches": {"batch_size": None, "drop_last": True},
    "num_workers": {"num_workers": -1},
    "timeout": {"timeout": -1},
    "persistent_workers without workers": {"persistent_workers": True},
    "context without workers": {"multiprocessing_context": "spawn"},
    "unknown context": {"multiprocessing_context": "thread", "num_workers": 1},
}


@pytest.mark.parametrize("case", TORCHS_ERRORS)
def test_what_torch_refuses_is_refused(dataset: hr.Dataset, case: str) -> None:
    with pytest.raises(ValueError):
        data.DataLoader(dataset, **TORCHS_ERRORS[case])
    with pytest.raises(ValueError):
        hr.DataLoader(dataset, **TORCHS_ERRORS[case])


OUR_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": -1}, r"seed must be in \[0, 18446744073709551616\), got -1"),
    "order": ({"order": "random"}, "order must be 'global' or 'window', got 'random'"),
    "window": ({"window": 0}, "window must be in"),
    "prefetch_bytes": ({"prefetch_bytes": 0}, "prefetch_bytes must be in"),
    "prefetch_factor": ({"prefetch_factor": 0}, "prefetch_factor must be in"),
    "on_error": ({"on_error": "ignore"}, "on_error must be 'raise', 'skip' or 'replace', got 'ignore'"),
    "max_errors": ({"max_errors": -1}, "max_errors must be in"),
    "ragged": ({"ragged": "square"}, "ragged must be 'padded' or 'offsets', got 'square'"),
    "strings": ({"strings": "arrays"}, "strings must be 'lists' or 'offsets', got 'arrays'"),
    "timeout": ({"timeout": float("inf")}, "timeout must be a number of seconds, 0 to wait for ever, got inf"),
    "nan": ({"timeout": float("nan")}, "got nan"),
    "rank alone": ({"rank": 0}, "rank and world_size go together"),
    "rank": ({"rank": 2, "world_size": 2}, "rank must be in"),
    "rank and sampler": ({"rank": 0, "world_size": 2, "sampler": range(4)}, "must do its own share"),
}


@pytest.mark.parametrize("case", OUR_ERRORS)
def test_wrong_native_options_are_refused_when_given(dataset: hr.Dataset, case: str) -> None:
    options, message = OUR_ERRORS[case]
    with pytest.raises(ValueError, match=message):
        hr.DataLoader(dataset, **options)


def test_wrong_epochs_and_steps_are_refused(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 10, True)
    for wrong in (lambda: loader.set_epoch(-1), lambda: loader.replay(10), lambda: loader.replay(-1), lambda: loader.replay(0, epoch=-1)):
        with pytest.raises(ValueError, match=r"(epoch|step) must be in \[0, "):
            wrong()
    with pytest.raises(TypeError, match="epoch must be an integer, got 'one'"):
        loader.set_epoch("one")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="follows a sampler"):
        hr.DataLoader(dataset, 10, sampler=range(5)).replay(0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_every_kind_of_field_arrives(kinds: hr.Dataset, ragged: str, workers: int) -> None:
    for step, batch in enumerate(hr.DataLoader(kinds, 64, num_workers=workers, ragged=ragged)):
        assert_same(batch, torch_batch(range(step * 64, min(ROWS, step * 64 + 64)), ragged))
    loader = hr.DataLoader(kinds, 50, True, seed=2, num_workers=workers, ragged=ragged)
    order = [int(i) for i in loader.sampler]
    for step, batch in enumerate(loader):
        assert_same(batch, torch_batch(order[step * 50 : step * 50 + 50], ragged))


def test_collate_fn_gets_the_samples(kinds: hr.Dataset) -> None:
    seen = list(hr.DataLoader(kinds, 40, collate_fn=lambda samples: samples, num_workers=2))
    assert [len(batch) for batch in seen] == [40] * 7 + [20]
    for i, one in enumerate(itertools.chain.from_iterable(seen)):
        if i % 23 == 0:
            for name, value in sample(i).items():
                assert_same(one[name], value, f"sample {i}, {name}")
    with pytest.raises(ZeroDivisionError):
        next(iter(hr.DataLoader(kinds, 40, collate_fn=lambda samples: 1 / 0)))


def test_collate_fn_of_torch_agrees(dataset: hr.Dataset) -> None:
    ours = list(hr.DataLoader(dataset, 9))
    assert_same(list(hr.DataLoader(dataset, 9, collate_fn=data.default_collate)), ours)
    assert_same(list(hr.DataLoader(dataset, 9, collate_fn=lambda samples: data.default_collate(samples))), ours)
    assert_same(list(data.DataLoader(dataset, 9)), ours)


@pytest.mark.parametrize("workers", [0, 2])
def test_iterators_live_side_by_side(dataset: hr.Dataset, workers: int) -> None:
    loader = hr.DataLoader(dataset, 9, True, num_workers=workers)
    expected = [ids_of(hr.DataLoader(dataset, 9, True))]
    first, second = iter(loader), iter(loader)
    pairs = list(zip(first, second, strict=True))
    assert [ids_of(batch[i] for batch in pairs) for i in (0, 1)] == expected * 2
    nested = [(outer["id"][0].item(), len(list(loader))) for outer in itertools.islice(loader, 3)]
    assert [count for _, count in nested] == [12, 12, 12]
    assert loader.stats()["batches"] == 2 * 12 + 3 + 3 * 12


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_break_and_iterate_again(dataset: hr.Dataset, workers: int) -> None:
    loader = hr.DataLoader(dataset, 9, True, num_workers=workers)
    epochs = [ids_of(loader) for _ in range(4)]
    loader.set_epoch(0)
    for epoch in range(4):
        for step, batch in enumerate(loader):
            assert batch["id"].tolist() == epochs[epoch][step]
            if step == epoch:
                break
    iterator = iter(loader)
    next(iterator)
    del iterator
    gc.collect()
    loader.set_epoch(3)
    assert ids_of(loader) == epochs[3]
    iterator = iter(loader)
    assert iter(iterator) is iterator
    assert len(iterator) == 12
    iterator.close()
    assert list(iterator) == []


def test_a_finished_iterator_stays_finished(dataset: hr.Dataset) -> None:
    iterator = iter(hr.DataLoader(dataset, 50))
    assert len(list(iterator)) == 2
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(iterator)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_lengths_are_exact_and_ranks_together_see_everything(dataset: hr.Dataset, shuffle: bool, drop_last: bool) -> None:
    for world_size, batch_size in itertools.product([1, 2, 3, 7], [1, 8, 33, 60]):
        parts = []
        for rank in range(world_size):
            loader = hr.DataLoader(dataset, batch_size, shuffle, drop_last=drop_last, rank=rank, world_size=world_size)
            parts.append(ids_of(loader))
            assert len(parts[-1]) == len(loader)
        seen = [i for part in parts for batch in part for i in batch]
        assert len({tuple(map(len, part)) for part in parts}) == 1  # Every rank takes the same steps.
        if drop_last:
            assert len(seen) == len(set(seen)) == N // (batch_size * world_size) * batch_size * world_size
        else:
            assert set(seen) == set(range(N))
            assert len(seen) - N < world_size  # As many again as make equal shares.


def test_set_epoch_replay_and_the_order_that_follows(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True, seed=7, num_workers=2)
    epochs = [ids_of(loader) for _ in range(3)]
    assert len({str(epoch) for epoch in epochs}) == 3
    assert [loader.replay(step, epoch=1)["id"].tolist() for step in range(12)] == epochs[1]
    iterator = iter(loader)
    next(iterator)
    assert loader.replay(5)["id"].tolist() == hr.DataLoader(dataset, 9, True, seed=7).replay(5, epoch=3)["id"].tolist()
    before = loader.state_dict()
    loader.replay(0)
    assert loader.state_dict() == before  # A replay is not a delivery.
    assert len(list(iterator)) == 11
    loader.set_epoch(np.int64(1))  # type: ignore[arg-type]
    assert ids_of(loader) == epochs[1]
    assert ids_of(loader) == epochs[2]
    other = hr.DataLoader(dataset, 9, True, seed=8)
    assert ids_of(other) != epochs[0]


def test_set_epoch_reaches_torchs_samplers(dataset: hr.Dataset) -> None:
    sampler = data.DistributedSampler(dataset, 2, 0)
    loader = hr.DataLoader(dataset, 10, sampler=sampler)
    first = ids_of(loader)
    loader.set_epoch(4)
    assert sampler.epoch == 4
    assert ids_of(loader) != first
    other: Any = hr.DataLoader([*range(8)], 2, sampler=data.DistributedSampler(range(8), 2, 0))  # type: ignore[arg-type]
    other.set_epoch(3)
    assert other.sampler.epoch == 3


def test_stats_mean_what_they_say(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True, num_workers=2)
    fresh = loader.stats()
    assert (fresh["batches"], fresh["samples"], fresh["seconds"], fresh["stall_share"], fresh["samples_per_second"]) == (0, 0, 0, 0, 0)
    batches = list(loader)
    size = sum(batch["id"].nbytes + batch["x"].nbytes + sum(map(len, batch["name"])) for batch in batches)
    once = loader.stats()
    assert set(once) == set(fresh)
    assert (once["batches"], once["samples"], once["epoch"], once["position"]) == (12, N, 0, N)
    assert size <= once["bytes_delivered"] <= size + 12 * 4096  # Offsets of the names, and what aligns the fields.
    assert 0 < once["time_to_first_batch_seconds"] <= once["seconds"]
    assert 0 <= once["stall_seconds"] <= once["seconds"]
    assert once["stall_share"] == pytest.approx(once["stall_seconds"] / once["seconds"])
    assert once["samples_per_second"] == pytest.approx(N / once["seconds"])
    assert set(once["stages"]) == {"plan", "read", "verify", "decode", "assemble", "images", "fields"}
    assert all(seconds >= 0 for seconds in once["stages"].values())
    assert (once["batches_in_flight"], once["bytes_in_flight"], once["errors"], once["skipped"]) == (0, 0, 0, 0)
    assert 0 < once["peak_bytes"] <= once["prefetch_bytes"]
    assert (once["num_threads"], once["prefetch_batches"] > 0, once["reader"]) == (2, True, "mmap")
    iterator = iter(loader)
    next(iterator)
    during = loader.stats()
    assert (during["batches"], during["epoch"], during["position"]) == (13, 1, 9)
    assert during["seconds"] > once["seconds"]
    del iterator
    after = loader.stats()
    assert after["batches"] == 13
    assert loader.stats()["seconds"] == after["seconds"]  # No pass, no time.
    assert hr.DataLoader(dataset, prefetch_bytes=1 << 20).stats()["prefetch_bytes"] == 1 << 20


OTHERS: dict[str, Callable[[], Any]] = {
    "a list": lambda: list(range(23)),
    "a map": lambda: {i: i * 2 for i in range(23)},
    "an iterable": lambda: Count(),
}


class Count(data.IterableDataset[int]):
    """0 .. 22, each worker its share."""

    def __iter__(self) -> Any:
        info = data.get_worker_info()
        return iter(range(23) if info is None else range(info.id, 23, info.num_workers))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"batch_size": None}, {"batch_size": 5, "drop_last": True, "num_workers": 2}])
def test_other_datasets_run_as_torch_runs_them(name: str, options: dict[str, Any]) -> None:
    ours = hr.DataLoader(OTHERS[name](), **options)
    theirs = data.DataLoader(OTHERS[name](), **options)
    assert not ours.is_native
    assert_same([torch.as_tensor(batch) for batch in ours], [torch.as_tensor(batch) for batch in theirs])
    assert isinstance(iter(ours), _BaseDataLoaderIter)
    for attribute in THEIRS:
        if attribute not in ("self", "dataset", "sampler", "batch_sampler", "shuffle"):
            assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    if name != "an iterable":
        assert len(ours) == len(theirs)


def test_samples_one_by_one_come_as_torch_gives_them(dataset: hr.Dataset) -> None:
    ours = hr.DataLoader(dataset, batch_size=None, shuffle=True, generator=torch.Generator().manual_seed(1))
    theirs = data.DataLoader(dataset, batch_size=None, shuffle=True, generator=torch.Generator().manual_seed(1))
    assert not ours.is_native
    assert_same([one["id"] for one in ours], [one["id"] for one in theirs])


NATIVE_ONLY: dict[str, Any] = {
    "seed": 1,
    "order": "window",
    "window": 3,
    "prefetch_bytes": 1 << 20,
    "budget": hr.Budget(cores=1),
    "rank": 0,
    "world_size": 1,
    "on_error": "skip",
    "max_errors": 3,
    "ragged": "offsets",
    "strings": "offsets",
    "weights": [1.0],
    "mesh": "a mesh",
    "uneven": "drop",
    "check_ranks": False,
    "prepare": images.Compose([images.CenterCrop(1)]),
    "batch_by": hr.tokens(8, [1, 1]),
}


def test_native_options_are_refused_for_other_datasets(dataset: hr.Dataset) -> None:
    assert set(NATIVE_ONLY) | {"parallel", "device", "snapshot_every_n_steps"} == set(ADDED)
    for name, value in NATIVE_ONLY.items():
        if name in ("on_error", "max_errors"):  # Python's samples, too, may be left out; in worker processes nobody could say which.
            assert getattr(hr.DataLoader([1, 2], **{name: value}), name) == value
            with pytest.raises(ValueError, match=f"^{name}: only for"):
                hr.DataLoader([1, 2], num_workers=1, **{name: value})
            continue
        with pytest.raises(
            ValueError, match=f"^{name}: only for datasets that the native engine reads, in batches; got list with batch_size=1"
        ):
            hr.DataLoader([1, 2], **{name: value})
    with pytest.raises(ValueError, match=r"^seed: only for .* got Dataset with batch_size=None"):
        hr.DataLoader(dataset, batch_size=None, seed=3, on_error="skip")
    loader: Any = hr.DataLoader([1, 2])
    with pytest.raises(TypeError, match=r"needs a headrace dataset read in batches; this loader runs list as torch does"):
        loader.replay(0)


def test_loaders_pickle_with_their_place(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset.select(["id"]), 9, True, seed=3, num_workers=2)
    expected = ids_of(loader)
    loader.set_epoch(0)
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    copy = pickle.loads(pickle.dumps(loader))
    assert copy.state_dict() == loader.state_dict()
    assert repr(copy) == repr(loader)
    state = loader.state_dict()
    code = """
import json, pickle, sys
from tests.loader.samples import ids_of
loader = pickle.loads(bytes.fromhex(sys.argv[1]))
loader.load_state_dict(json.loads(sys.argv[2]))
print(json.dumps([ids_of(loader), ids_of(loader)]))
"""
    rest, following = answer_of(code, pickle.dumps(loader).hex(), json.dumps(state))
    assert rest == expected[4:]
    assert ids_of(iterator) == expected[4:]
    assert ids_of(loader) == following
    del iterator
    assert copy.state_dict() == state  # A copy has its own place.


def test_an_empty_dataset_and_an_empty_batch(dataset: hr.Dataset, tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"id": np.arange(0)})
    for options in ({}, {"shuffle": True}, {"drop_last": True}, {"rank": 1, "world_size": 2}):
        loader = hr.DataLoader(hr.open(tmp_path / "d"), 4, num_workers=1, **options)  # type: ignore[arg-type]
        assert list(loader) == []
        assert len(loader) == 0
    assert ids_of(hr.DataLoader(dataset, batch_sampler=[[], [3], []])) == [[], [3], []]


def test_repr_says_where_it_is(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 9, True, seed=3)
    next(iter(loader))
    assert repr(loader) == (
        f"DataLoader(dataset={dataset.path!r}[100], batch_size=9, shuffle=True, num_workers=0, rank 0/1, epoch 0, position 9, seed 3)"
    )
    assert "batch_size=9, sampler=RandomSampler, num_workers" in repr(hr.DataLoader(data.TensorDataset(torch.arange(9)), 9, True))
    assert "batch_sampler=list, num_workers" in repr(hr.DataLoader(dataset, batch_sampler=[[1, 2], [3]]))
