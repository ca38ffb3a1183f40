"""`hr.open`: indexing of every sort, views, versions, pickling; the same in every process and for every reader."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from tests.loader.samples import ROWS, STORAGES, answer_of, assert_same, check_sample, ids_of, numbered, write_all_kinds


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of field, in each storage."""
    folder = tmp_path_factory.mktemp("shards")
    for storage in STORAGES:
        write_all_kinds(folder / storage, storage)
    return {storage: folder / storage for storage in STORAGES}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples, in several shards."""
    return numbered(tmp_path_factory.mktemp("shards") / "numbered", 100, chunk_samples=8, shard_bytes=1)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("reader", ["mmap", "pread", "direct", "uring"])
@pytest.mark.parametrize("verify", ["once", "always", "never"])
def test_a_sample_is_what_was_written(kinds: dict[str, Path], storage: str, reader: str, verify: str) -> None:
    opened = hr.open(kinds[storage], reader=reader, verify=verify)
    assert len(opened) == ROWS
    for i in random.Random(7).sample(range(ROWS), 40):
        check_sample(opened[i], i)


def test_indices_of_every_sort(dataset: hr.Dataset) -> None:
    ids = np.arange(100)
    for index in (0, 99, -1, -100, np.int64(5), np.uint8(7), torch.tensor(9)):
        assert int(dataset[index]["id"]) == ids[int(index)]
    mask = ids % 7 == 3
    several: list[Any] = [
        [3, 1, 1],
        [-1, -100],
        (5, 6),
        np.array([9, 2], np.uint16),
        torch.tensor([4, 8]),
        [],
        range(90, 100),
        mask,
        mask.tolist(),
    ]
    several += [slice(None), slice(10, 20), slice(None, None, -7), slice(-5, None), slice(50, 10), slice(90, 1000)]
    for index in several:
        want = (
            ids[list(index)]
            if isinstance(index, (tuple, range))
            else ids[np.asarray(index, dtype=None if len(index) else int)]
            if not isinstance(index, slice)
            else ids[index]
        )
        columns = dataset[index]
        assert columns["id"].tolist() == want.tolist(), index
        assert columns["x"].tolist() == [[float(i), -2.0 * i, 3.0 * i] for i in want]
        assert columns["name"] == [f"n{i}" for i in want]


WRONG = {
    "beyond the end": (100, IndexError, "index 100 is outside the dataset's 100 samples"),
    "before the start": (-101, IndexError, "index -101 is outside"),
    "beyond 64 bits": (1 << 80, IndexError, "is outside the dataset's 100 samples"),
    "one of many": ([1, 2, 100], IndexError, "index 100 is outside"),
    "many, huge": ([1, 1 << 70], IndexError, "is outside"),
    "unsigned": (np.array([2**64 - 1], np.uint64), IndexError, "index 18446744073709551615 is outside"),
    "a fraction": (1.5, TypeError, "one-dimensional sequence of integers, got shape .* of float64"),
    "fractions": ([0.5], TypeError, "of float64"),
    "a name": ("id", TypeError, "one-dimensional sequence of integers"),
    "nothing": (None, TypeError, "one-dimensional sequence of integers"),
    "two dimensions": ([[1, 2]], TypeError, r"got shape \(1, 2\)"),
    "a short mask": ([True, False], IndexError, r"a boolean index needs shape \(100,\), got \(2,\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_indices_are_refused(dataset: hr.Dataset, what: str) -> None:
    index, kind, message = WRONG[what]
    with pytest.raises(kind, match=message):
        dataset[index]


def test_many_samples_are_the_single_ones(kinds: dict[str, Path]) -> None:
    opened = hr.open(kinds["zstd"])
    rows = [0, 299, 7, 7, -1]
    assert_same(opened.__getitems__(rows), [opened[i] for i in rows])
    assert opened.__getitems__([]) == []
    for i, one in enumerate(opened):
        if i % 50 == 0:
            check_sample(one, i)
    assert i == ROWS - 1


def test_views_read_what_they_name(dataset: hr.Dataset) -> None:
    view = dataset.select(["name", "id"])
    assert view.schema.names == ["name", "id"]
    assert view[3] == {"name": "n3", "id": 3}
    assert list(view.select(["id"])[3]) == ["id"]
    assert view.native is dataset.native
    name, number = view.as_tuple()[4]
    assert (name, int(number)) == ("n4", 4)
    assert_same(dataset.as_tuple("id", "x")[-1], (np.int64(99), np.array([99, -198, 297], np.float32)))
    assert dataset.as_tuple("id").select(["name"])[5] == ("n5",)
    assert dataset.schema.names == ["id", "x", "name"]
    batch = next(iter(hr.DataLoader(dataset.as_tuple("name", "id"), 3)))
    assert_same(batch, (["n0", "n1", "n2"], torch.arange(3)))


def test_wrong_views_are_refused(dataset: hr.Dataset) -> None:
    with pytest.raises(KeyError, match="has no field 'ID'; it has 'id', 'x', 'name'"):
        dataset.select(["id", "ID"])
    with pytest.raises(TypeError, match="expected a list of names"):
        dataset.select("id")
    with pytest.raises(ValueError, match="the name is there twice"):
        dataset.as_tuple("id", "id")
    with pytest.raises(ValueError, match="there are no fields"):
        dataset.select([])


def test_single_values_stay_single(tmp_path: Path) -> None:
    write_all_kinds(tmp_path / "d", container="single", rows=10, names=["matrix"])
    opened = hr.open(tmp_path / "d")
    assert opened[3].shape == (3, 5)
    assert opened[2:5].shape == (3, 3, 5)
    assert next(iter(hr.DataLoader(opened, 4))).shape == (4, 3, 5)
    assert opened.select(["matrix"])[3].shape == (3, 5)
    assert pickle.loads(pickle.dumps(opened))[3].shape == (3, 5)


def test_versions_are_read_side_by_side(tmp_path: Path) -> None:
    first = numbered(tmp_path / "d", 10)
    with hr.Writer(tmp_path / "d", append=True) as writer:
        writer.extend({"id": np.arange(10, 15), "x": np.zeros((5, 3), np.float32), "name": ["new"] * 5})
    newest = hr.open(tmp_path / "d")
    assert (len(first), first.version, len(newest), newest.version) == (10, 1, 15, 2)
    assert first.versions == newest.versions == [1, 2]
    assert first.fingerprint == hr.open(tmp_path / "d", version=1).fingerprint != newest.fingerprint
    assert newest[14]["name"] == "new"
    assert len(pickle.loads(pickle.dumps(first))) == 10
    with pytest.raises(hr.NotFoundError, match="3"):
        hr.open(tmp_path / "d", version=3)
    with pytest.raises(hr.NotFoundError):
        hr.open(tmp_path / "nothing")


def test_datasets_and_views_pickle_as_path_and_version(dataset: hr.Dataset) -> None:
    for one in (dataset, dataset.select(["x", "id"]), dataset.as_tuple("name")):
        data = pickle.dumps(one)
        assert len(data) < 1000
        again = pickle.loads(data)
        assert repr(again) == repr(one)
        assert again.fingerprint == one.fingerprint
        assert_same(again[[3, 99]], one[[3, 99]])
    opened = hr.open(dataset.path, reader="pread", verify="always")
    again = pickle.loads(pickle.dumps(opened))
    assert (again.reader, again.verify, again.native.reader) == ("pread", "always", "pread")


def test_a_pickle_of_what_was_replaced_since_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps(numbered(tmp_path / "d", 10))
    numbered(tmp_path / "other", 10)
    (tmp_path / "d").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "d")
    with pytest.raises(hr.ChangedError, match="version 1 is not the dataset that was pickled: it was replaced since"):
        pickle.loads(data)
    (tmp_path / "d").rename(tmp_path / "gone")
    with pytest.raises(hr.NotFoundError):
        pickle.loads(data)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_torch_deliver_the_same_samples_in_the_same_order(dataset: hr.Dataset, method: str) -> None:
    dataset[0]  # Its threads and descriptors are this process's.
    options: dict[str, Any] = {"batch_size": 9, "shuffle": True, "drop_last": True}
    view = dataset.select(["name", "id"])
    here = torch.utils.data.DataLoader(view, generator=torch.Generator().manual_seed(5), **options)
    there = torch.utils.data.DataLoader(
        view,
        generator=torch.Generator().manual_seed(5),
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(method),
        **options,
    )
    expected = list(here)
    assert_same(list(there), expected)
    assert ids_of(hr.DataLoader(view, generator=torch.Generator().manual_seed(5), **options)) == ids_of(expected)


def test_a_pickle_opens_in_another_process(dataset: hr.Dataset) -> None:
    code = "import json, pickle, sys; ds = pickle.loads(bytes.fromhex(sys.argv[1])); print(json.dumps([len(ds), *ds[7]]))"
    assert answer_of(code, pickle.dumps(dataset.as_tuple("name")).hex()) == [100, "n7"]


def test_threads_share_a_dataset(kinds: dict[str, Path]) -> None:
    opened = hr.open(kinds["lz4"])

    def read(seed: int) -> int:
        rows = random.Random(seed).choices(range(ROWS), k=30)
        for i in rows:
            check_sample(opened[i], i)
        return len(rows)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(read, range(16))) == 480


def test_arrays_outlive_the_dataset(tmp_path: Path) -> None:
    opened = numbered(tmp_path / "d", 50)
    columns = opened[:]
    one = opened[7]
    one["x"][:] = -1  # Nobody else's memory.
    del opened
    assert columns["id"].tolist() == list(range(50))
    assert columns["x"][7].tolist() == [7, -14, 21]


def test_a_dataset_says_what_it_is(dataset: hr.Dataset) -> None:
    assert repr(dataset) == f"Dataset({dataset.path!r}, version=1, samples=100, fields=['id', 'x', 'name'])"
    assert [field.dtype for field in dataset.schema.fields[:2]] == ["int64", "float32"]


@pytest.mark.parametrize("reader", ["mmap", "pread"])
def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    numbered(tmp_path / "d", 100, chunk_samples=8, shard_bytes=1)
    monkeypatch.chdir(tmp_path)
    dataset = hr.open("d", reader=reader)
    assert dataset.path == str(tmp_path / "d")
    monkeypatch.chdir("/")
    assert dataset[[99, 0, 50]]["id"].tolist() == [99, 0, 50]
    assert dataset.versions == [1]
    assert len(pickle.loads(pickle.dumps(dataset))) == 100
    with pytest.raises(hr.NotFoundError):
        hr.open("")
