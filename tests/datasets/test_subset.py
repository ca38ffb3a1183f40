"""Subsets and concatenations of datasets on disk: the engine's batches equal torch's own over the same samples, bit for bit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr

ROWS = 230


def columns(begin: int = 0, count: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(begin)
    return {
        "x": rng.standard_normal((count, 5)).astype(np.float32),
        "y": np.arange(begin, begin + count),
        "name": [f"row {i}" for i in range(begin, begin + count)],
        "maybe": np.arange(count, dtype=np.int16) * 3,
    }


@pytest.fixture(scope="module", params=["mmap", "pread"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("subset") / "a"
    hr.write(path, columns(), chunk_samples=32)
    return hr.open(path, reader=request.param)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("subset") / "b"
    hr.write(path, columns(1000, 71), chunk_samples=16)
    return hr.open(path)


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple) and theirs and not isinstance(theirs[0], str):
        for one, two in zip(ours, theirs, strict=True):
            assert_same(one, two)
    elif isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


Make = Callable[[hr.Dataset, hr.Dataset], Any]
DATASETS: dict[str, Make] = {
    "Subset": lambda a, b: data.Subset(a, [7, 7, -1, 0, 229, *range(100, 140)]),
    "random_split": lambda a, b: data.random_split(a, [0.8, 0.2], generator=torch.Generator().manual_seed(3))[0],
    "Subset of Subset": lambda a, b: data.Subset(data.Subset(a, range(200, 20, -3)), [4, 0, 31, 4]),
    "tuples": lambda a, b: data.Subset(a.as_tuple("y", "name", "x"), range(3, 60)),
    "one field": lambda a, b: data.Subset(a.select(["x"]), np.arange(50)),
    "casts": lambda a, b: data.Subset(a.cast({"maybe": "float64"}), torch.arange(9)),
    "sequences": lambda a, b: data.Subset(a.select(["x", "y"]).sequences(7, 3), [1, 70, 5, 74]),
    "subset() of a subset": lambda a, b: data.Subset(a.subset(np.arange(ROWS) % 2 == 0), [9, 3, -1]),
    "ConcatDataset": lambda a, b: data.ConcatDataset([a, b]),
    "ConcatDataset of parts": lambda a, b: data.ConcatDataset([data.Subset(b, [70, 2]), data.Subset(a, [3]), b, a]),
    "both parts of a split": lambda a, b: data.ConcatDataset(data.random_split(a, [100, 130])),
    "Subset of a ConcatDataset": lambda a, b: data.Subset(data.ConcatDataset([b, a, data.ConcatDataset([a, b])]), [600, 0, 71, 301, 302]),
}


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", DATASETS)
def test_batches_equal_torchs(stored: hr.Dataset, other: hr.Dataset, name: str, shuffle: bool, workers: int) -> None:
    dataset = DATASETS[name](stored, other)
    torch.manual_seed(11)
    theirs = [batch for _ in range(2) for batch in data.DataLoader(dataset, 8, shuffle=shuffle)]
    after = torch.get_rng_state()
    torch.manual_seed(11)
    loader = hr.DataLoader(dataset, 8, shuffle=shuffle, num_workers=workers, parallel="native")
    ours = [batch for _ in range(2) for batch in loader]
    assert len(ours) == len(loader) * 2 == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        assert_same(one, two)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("order", ["global", "window"])
@pytest.mark.parametrize("name", DATASETS)
def test_headraces_order_takes_each_once(stored: hr.Dataset, other: hr.Dataset, name: str, order: str) -> None:
    dataset = DATASETS[name](stored, other)
    loader = hr.DataLoader(dataset, 4, shuffle=True, seed=5, order=order, window=2)
    chosen = [int(i) for i in loader.sampler]
    assert sorted(chosen) == list(range(len(dataset)))
    theirs = list(data.DataLoader(dataset, 4, sampler=chosen))
    for one, two in zip(loader, theirs, strict=True):
        assert_same(one, two)


def test_a_collate_function_gets_the_datasets_own_samples(stored: hr.Dataset) -> None:
    dataset = data.Subset(stored, [5, 3, 200])
    ours = list(hr.DataLoader(dataset, 2, collate_fn=list, parallel="native"))
    theirs = list(data.DataLoader(dataset, 2, collate_fn=list))
    for one, two in zip(ours, theirs, strict=True):
        for a, b in zip(one, two, strict=True):
            assert list(a) == list(b)
            assert np.array_equal(a["x"], b["x"])
            assert (a["y"], a["name"]) == (b["y"], b["name"])


def test_a_subset_is_a_dataset(stored: hr.Dataset) -> None:
    rows = [5, -1, 5, 0]
    subset = stored.subset(rows)
    assert len(subset) == 4
    assert subset[1]["y"] == ROWS - 1
    assert subset[[0, 3]]["y"].tolist() == [5, 0]
    assert [sample["name"] for sample in subset] == ["row 5", f"row {ROWS - 1}", "row 5", "row 0"]
    assert pickle.loads(pickle.dumps(subset))[1:3]["y"].tolist() == [ROWS - 1, 5]
    assert subset.subset([3, 1]).select(["y"])[:]["y"].tolist() == [0, ROWS - 1]
    assert len(stored.subset([])) == 0
    assert list(hr.DataLoader(stored.subset([]), 4)) == []
    assert len({one.fingerprint for one in (stored, subset, stored.subset([5, 0]), stored.subset([0, 5]), stored.subset(range(ROWS)))}) == 5
    assert stored.subset(range(3)).fingerprint == stored.subset([0, 1, 2]).cast({"maybe": "int64"}).fingerprint


@pytest.mark.parametrize("rows", [[ROWS], [-ROWS - 1], [1 << 70], [True, False]])
def test_a_row_that_is_not_there_is_refused(stored: hr.Dataset, rows: Any) -> None:
    with pytest.raises(IndexError):
        stored.subset(rows)
    for wrong in ([0.5], [[1]], "x"):
        with pytest.raises(TypeError):
            stored.subset(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sequences"):
        stored.select(["x"]).subset([1, 2, 3]).sequences(2)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"shuffle": True, "seed": 2}, {}])
@pytest.mark.parametrize("name", ["random_split", "ConcatDataset of parts"])
def test_a_pass_resumes(stored: hr.Dataset, other: hr.Dataset, name: str, options: dict[str, Any]) -> None:
    def make() -> hr.DataLoader:
        return hr.DataLoader(DATASETS[name](stored, other), 8, num_workers=2, **options)

    loader = make()
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    rest = [batch["y"].tolist() for batch in iterator]
    torch.manual_seed(77)
    resumed = make()
    resumed.load_state_dict(state)
    assert [batch["y"].tolist() for batch in resumed] == rest
    with pytest.raises(hr.ChangedError, match="fingerprint"):
        hr.DataLoader(data.Subset(stored, [0] * len(resumed.source)), 8, **options).load_state_dict(state)


def test_memory_tables_fingerprint_covers_rows() -> None:
    dataset = hr.from_arrays({"a": np.zeros(1000)})
    rows = np.arange(1000)
    swapped = rows.copy()
    swapped[[17, 18]] = [18, 17]
    assert dataset.subset(rows).fingerprint != dataset.subset(swapped).fingerprint
    assert hr.DataLoader(data.Subset(dataset, rows)).source.fingerprint != hr.DataLoader(data.Subset(dataset, swapped)).source.fingerprint  # type: ignore[arg-type]


def test_other_fields_run_as_torch_runs_them(stored: hr.Dataset, tmp_path: Path) -> None:
    hr.write(tmp_path / "c", {"x": np.zeros((4, 5), np.float64), "y": np.arange(4), "name": ["a"] * 4, "maybe": np.zeros(4, np.int16)})
    mixed = data.ConcatDataset([stored, hr.open(tmp_path / "c")])
    loader = hr.DataLoader(mixed, 3)
    assert not loader.is_native
    assert next(iter(loader))["y"].tolist() == [0, 1, 2]


def test_a_damaged_sample_is_named_by_its_number_in_the_subset(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"a": np.arange(4096, dtype=np.int64)}, codec="none", chunk_samples=64)
    (shard,) = [path for path in (tmp_path / "d").iterdir() if "shard" in path.name]
    intact = hr.open(tmp_path / "d")
    assert int(intact.subset([4000])[0]["a"]) == 4000
    raw = bytearray(shard.read_bytes())
    at = raw.find(np.int64(4000).tobytes() + np.int64(4001).tobytes())
    raw[at] ^= 255
    shard.write_bytes(raw)
    damaged = hr.open(tmp_path / "d", reader="pread").subset([1, 4000, 2])
    with pytest.raises(hr.CorruptDataError, match="sample 1:"):
        list(hr.DataLoader(damaged, 1))
    loader = hr.DataLoader(damaged, 1, on_error="skip")
    assert [int(batch["a"]) for batch in loader] == [1, 2]
    assert loader.state_dict()["skipped"] == [1]


@pytest.mark.parametrize("order", ["global", "window"])
def test_ranks_share_a_subset(stored: hr.Dataset, other: hr.Dataset, order: str) -> None:
    rows = np.random.default_rng(1).permutation(ROWS)[:160]
    found = []
    for rank in range(4):
        loader = hr.DataLoader(stored.subset(rows), 5, shuffle=True, seed=3, order=order, window=2, num_workers=2, rank=rank, world_size=4)
        found += [int(y) for batch in loader for y in batch["y"]]
    assert sorted(found) == sorted(rows.tolist())
    part: Any = data.Subset(stored, rows)  # type: ignore[arg-type]
    loader = hr.DataLoader(part, 5, shuffle=True, seed=3, order=order, window=2)
    again = loader.replay(7, epoch=0)["y"].tolist()
    assert again == [batch["y"].tolist() for batch in loader][7]
