"""Arrays in memory as a dataset: samples, columns and batches equal numpy's own indexing, whatever the strides."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import headrace as hr

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


def batches_of(dataset: hr.ArrayDataset, **options: object) -> list[object]:
    return list(hr.DataLoader(dataset, batch_size=7, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_arrives_as_it_is(dtype: str) -> None:
    values = (np.arange(60) % 2 if dtype == "?" else np.arange(60)).astype(dtype).reshape(20, 3)
    batches = batches_of(hr.from_arrays({"x": values}))
    joined = torch.cat([batch["x"] for batch in batches])
    assert joined.dtype == torch.from_numpy(values).dtype
    assert np.array_equal(joined.numpy(), values)


def test_bfloat16_tensors_keep_their_dtype() -> None:
    values = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    joined = torch.cat([x for (x,) in batches_of(hr.from_arrays([values]))])
    assert joined.dtype == torch.bfloat16
    assert torch.equal(joined, values)


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
@pytest.mark.parametrize(
    "view", [slice(None), slice(None, None, 2), slice(None, None, -1), slice(5, 40, 3)], ids=["whole", "strided", "reversed", "cut"]
)
def test_rows_with_any_stride(view: slice, threads: int) -> None:
    values = np.arange(50 * 6, dtype=np.int32).reshape(50, 6)[view]
    batches = batches_of(hr.from_arrays({"x": values, "n": np.arange(len(values))}), shuffle=True, num_workers=threads)
    rows = torch.cat([batch["n"] for batch in batches]).numpy()
    assert np.array_equal(np.sort(rows), np.arange(len(values)))
    assert np.array_equal(torch.cat([batch["x"] for batch in batches]).numpy(), values[rows])


def test_a_row_repeated_by_a_zero_stride() -> None:
    values = np.broadcast_to(np.arange(4.0), (9, 4))
    assert np.array_equal(torch.cat([x for (x,) in batches_of(hr.from_arrays([values]))]).numpy(), values)


def test_orders_and_places_are_those_of_a_dataset_on_disk(tmp_path: Path) -> None:
    columns = {"x": np.random.default_rng(0).random((100, 3)), "y": np.arange(100)}
    hr.write(tmp_path / "d", columns)
    on_disk = hr.DataLoader(hr.open(tmp_path / "d"), batch_size=8, shuffle=True, seed=3)
    in_memory = hr.DataLoader(hr.from_arrays(columns), batch_size=8, shuffle=True, seed=3)
    for ours, theirs in zip(in_memory, on_disk, strict=True):
        assert torch.equal(ours["x"], theirs["x"])
        assert torch.equal(ours["y"], theirs["y"])
    first = next(iter(hr.DataLoader(hr.from_arrays(columns), batch_size=8, shuffle=True, seed=3)))
    assert torch.equal(in_memory.replay(0, epoch=0)["y"], first["y"])


def test_state_resumes_and_tells_other_data_apart() -> None:
    columns = {"y": np.arange(50)}
    whole = [batch["y"].tolist() for batch in hr.DataLoader(hr.from_arrays(columns), batch_size=8, shuffle=True)]
    loader = hr.DataLoader(hr.from_arrays(columns), batch_size=8, shuffle=True)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    resumed = hr.DataLoader(hr.from_arrays(columns), batch_size=8, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    assert [batch["y"].tolist() for batch in resumed] == whole[3:]
    other = hr.DataLoader(hr.from_arrays({"y": np.arange(50) + 1}), batch_size=8, shuffle=True)
    with pytest.raises(hr.ChangedError, match="fingerprint"):
        other.load_state_dict(loader.state_dict())


@pytest.mark.parametrize("index", [0, -1, slice(2, 9, 3), [4, -4, 4], np.array([1, 2], dtype=np.uint8), np.arange(12) % 3 == 0])
def test_indexing_is_numpys(index: object) -> None:
    values = np.arange(36).reshape(12, 3)
    dataset = hr.from_arrays({"x": values, "y": values[:, 0]})
    assert np.array_equal(dataset[index]["x"], values[index])
    assert np.array_equal(dataset[index]["y"], values[:, 0][index])


def test_rows_choose_and_order_samples() -> None:
    values = np.arange(30)
    rows = [5, 5, -1, 0]
    dataset = hr.from_arrays((values, values * 2), rows)
    assert len(dataset) == 4
    assert [(int(a), int(b)) for a, b in dataset] == [(5, 10), (5, 10), (29, 58), (0, 0)]


def test_mapped_files_are_read_in_place(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(1000, dtype=np.float32).reshape(100, 10))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.array_equal(torch.cat([x for (x,) in batches_of(hr.from_arrays([mapped]), num_workers=2)]).numpy(), np.asarray(mapped))


def test_pickles_with_its_arrays() -> None:
    dataset = hr.from_arrays({"x": np.arange(8.0), "b": torch.arange(8).to(torch.bfloat16)}, rows=[3, 1])
    again = pickle.loads(pickle.dumps(dataset))
    assert again.fingerprint == dataset.fingerprint
    assert again[0]["x"] == 3.0
    assert again.schema.fields[1].dtype == "bfloat16"


def test_the_arrays_live_as_long_as_a_batch_under_way() -> None:
    loader = hr.DataLoader(hr.from_arrays([np.full((4096, 64), 7.0)]), batch_size=64, num_workers=2)
    iterator = iter(loader)
    first = next(iterator)[0]
    del loader, iterator
    assert bool((first == 7.0).all())


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ({}, ValueError, "at least one array"),
        ({"a": np.arange(3), "b": np.arange(4)}, ValueError, "a has 3, b has 4"),
        ([np.array([object()])], TypeError, "dtype object"),
        ([np.arange(4, dtype=">i4")], TypeError, "dtype >i4"),
        ([np.arange(24).reshape(4, 3, 2).transpose(0, 2, 1)], TypeError, "not contiguous"),
        ([torch.zeros(4, 2, requires_grad=True)], TypeError, "requires_grad=True"),
        ([torch.zeros(4, 2).to_sparse()], TypeError, "sparse"),
        ([[1, 2, 3]], TypeError, "got list"),
    ],
    ids=["none", "lengths", "object", "big endian", "transposed", "gradient", "sparse", "list"],
)
def test_what_cannot_be_read_in_place_is_refused(arrays: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        hr.from_arrays(arrays)  # type: ignore[arg-type]


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="index 9 is outside the dataset's 5 samples"):
        hr.from_arrays([np.arange(5)], rows=[0, 9])


@pytest.mark.parametrize("index", [True, False, np.True_])
def test_truth_is_no_index(index: object) -> None:
    with pytest.raises(TypeError, match=r"an index is a whole number, a slice or a sequence of them, got (True|False)"):
        hr.from_arrays([np.arange(3)])[index]  # type: ignore[index]
