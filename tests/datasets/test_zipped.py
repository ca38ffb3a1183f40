"""Stacks of datasets on disk, and of anything recognised beside them: the engine's batches equal torch's own, bit for bit."""

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
from headrace import _native
from tests.datasets.test_subset import assert_same, columns
from tests.loader.samples import damage, numbered, pool_of

ROWS = 130


@pytest.fixture(scope="module", params=["mmap", "pread"])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("zip") / "images"
    hr.write(path, columns(0, ROWS), chunk_samples=32, codec="zstd")
    return hr.open(path, reader=request.param)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("zip") / "labels"
    hr.write(path, {"label": np.arange(ROWS) * 7, "weight": np.linspace(0, 1, ROWS)}, chunk_samples=16)
    return hr.open(path)


def tensors() -> data.TensorDataset:
    return data.TensorDataset(torch.arange(ROWS), torch.arange(2.0 * ROWS).view(ROWS, 2))


Make = Callable[[hr.Dataset, hr.Dataset], Any]
STACKS: dict[str, Make] = {
    "tuple": lambda a, b: data.StackDataset(a, b),
    "dict": lambda a, b: data.StackDataset(image=a, target=b),
    "tuples and single values": lambda a, b: data.StackDataset(a.select(["name"]), b.as_tuple(), b.select(["label"])),
    "texts": lambda a, b: data.StackDataset(a.as_tuple("name", "y"), b, a.as_tuple("name")),
    "some fields": lambda a, b: data.StackDataset(a.select(["y", "x"]), b.select(["weight"])),
    "with tensors": lambda a, b: data.StackDataset(a, tensors(), torch.arange(ROWS) * 3),
    "with arrays": lambda a, b: data.StackDataset(left=a, right=hr.from_arrays((np.arange(ROWS), np.arange(ROWS) * 0.5))),
    "the same twice": lambda a, b: data.StackDataset(a, a),
    "of subsets": lambda a, b: data.StackDataset(data.Subset(a, range(0, 60, 2)), b.subset(np.arange(30)[::-1])),
    "of stacks": lambda a, b: data.StackDataset(one=data.StackDataset(a, b), two=tensors()),
    "Subset": lambda a, b: data.Subset(data.StackDataset(a, b), [5, 5, 90, 3, *range(40, 60)]),
    "Subset with tensors": lambda a, b: data.Subset(data.StackDataset(tensors(), b), [5, -1, 90, 3, *range(40, 60)]),
    "ConcatDataset": lambda a, b: data.ConcatDataset([data.StackDataset(a, b), data.Subset(data.StackDataset(a, b), [9, 4, 4])]),
    "tensors of other rows": lambda a, b: data.StackDataset(data.Subset(tensors(), range(20)), data.Subset(tensors(), range(20, 40))),
}


@pytest.mark.parametrize("workers", [0, 1, 8])
@pytest.mark.parametrize("name", STACKS)
def test_batches_equal_torchs(name: str, workers: int, images: hr.Dataset, labels: hr.Dataset) -> None:
    torch.manual_seed(3)
    theirs = list(data.DataLoader(STACKS[name](images, labels), batch_size=16, shuffle=True))
    torch.manual_seed(3)
    loader = hr.DataLoader(STACKS[name](images, labels), batch_size=16, shuffle=True, num_workers=workers)
    assert loader.is_native, loader.fallback_reason
    ours = list(loader)
    assert len(ours) == len(theirs) == len(loader)
    for one, two in zip(ours, theirs, strict=True):
        assert_same(one, two)


def test_a_pass_resumes_and_so_does_another_process_copy(images: hr.Dataset, labels: hr.Dataset) -> None:
    def make() -> hr.DataLoader:
        return hr.DataLoader(data.StackDataset(images, labels), 8, shuffle=True, seed=5, num_workers=2)

    whole = [batch[1]["label"].tolist() for batch in make()]
    loader = make()
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    copied = pickle.loads(pickle.dumps(make()))
    copied.load_state_dict(state)
    assert [batch[1]["label"].tolist() for batch in copied] == whole[3:]
    assert make().replay(5)[1]["label"].tolist() == whole[5]


@pytest.mark.parametrize("order", ["global", "window"])
def test_headraces_own_orders_are_of_the_stacks_samples(order: str, images: hr.Dataset, labels: hr.Dataset) -> None:
    def run(threads: int) -> list[list[int]]:
        with pool_of(threads):
            loader = hr.DataLoader(
                data.StackDataset(images, labels), 8, shuffle=True, seed=5, order=order, window=2, num_workers=threads, rank=1, world_size=2
            )
            batches = list(loader)
        for image, label in batches:
            assert torch.equal(image["y"] * 7, label["label"])
        return [image["y"].tolist() for image, _ in batches]

    assert run(1) == run(2) == run(8)


def test_collate_fn_gets_the_stacks_samples(images: hr.Dataset, labels: hr.Dataset) -> None:
    def shape(samples: list[Any]) -> list[Any]:
        return [(image["name"], int(label["label"])) for image, label in samples]

    stack = data.StackDataset(images, labels)
    loader = hr.DataLoader(stack, 7, collate_fn=shape)
    assert loader.is_native
    assert list(loader) == list(data.DataLoader(stack, 7, collate_fn=shape))


@pytest.mark.parametrize("policy", ["raise", "skip", "replace"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_one_part_cannot_read_is_left_out_of_all(policy: str, workers: int, tmp_path: Path) -> None:
    first = numbered(tmp_path / "a", 200, chunk_samples=20)
    second = numbered(tmp_path / "b", 200, chunk_samples=20)
    damage(tmp_path / "b", 0, [25])
    first, second = hr.open(first.path), hr.open(second.path)
    loader = hr.DataLoader(data.StackDataset(first, second), 10, on_error=policy, num_workers=workers)
    if policy == "raise":
        with pytest.raises(hr.CorruptDataError, match="sample 2"):
            list(loader)
        return
    batches = list(loader)
    for one, two in batches:
        assert torch.equal(one["id"], two["id"])
    left_out = loader.state_dict()["skipped"]
    assert 25 in left_out
    assert not set(left_out) & {i for one, _ in batches for i in one["id"].tolist()}
    assert sum(len(one["id"]) for one, _ in batches) == (200 if policy == "replace" else 200 - len(left_out))


def test_a_tensor_beside_a_dataset_that_moves_ends_the_pass(labels: hr.Dataset) -> None:
    tensor = torch.arange(ROWS)
    loader = hr.DataLoader(data.StackDataset(labels, tensor), 10)
    iterator = iter(loader)
    next(iterator)
    tensor.share_memory_()
    with pytest.raises(hr.ChangedError, match="moved"):
        next(iterator)
    assert [batch[1].tolist() for batch in loader] == [list(range(i, min(i + 10, ROWS))) for i in range(0, ROWS, 10)]


def test_what_is_not_recognised_runs_as_torch_runs_it(labels: hr.Dataset) -> None:
    stack = data.StackDataset(labels, list(range(ROWS)))
    loader = hr.DataLoader(stack, 10)
    assert not loader.is_native
    for one, two in zip(loader, data.DataLoader(stack, 10), strict=True):
        assert_same(one, two)


def test_images_are_prepared_of_one_dataset_only(labels: hr.Dataset) -> None:
    with pytest.raises(ValueError, match="prepare"):
        hr.DataLoader(data.StackDataset(labels, labels), 10, prepare=hr.images.Compose([hr.images.Resize((8, 8))]))


def test_native_zips_say_what_does_not_fit(images: hr.Dataset, labels: hr.Dataset) -> None:
    pair = _native.Dataset.zip([images.native, labels.native])
    assert pair.schema.names[0] == "0.x"
    assert pair.schema.names[-1] == "1.weight"
    assert len(pair) == ROWS
    with pytest.raises(ValueError, match="zip itself"):
        _native.Dataset.zip([pair, labels.native])
    with pytest.raises(ValueError, match="has 3 samples"):
        _native.Dataset.zip([images.native, labels.subset([1, 2, 3]).native])
    with pytest.raises(ValueError, match="at least one"):
        _native.Dataset.zip([])
    with pytest.raises(ValueError, match="no views"):
        pair.view([0], rows=np.arange(3))
    with pytest.raises(ValueError, match="zip"):
        _native.Dataset.concat([pair])
