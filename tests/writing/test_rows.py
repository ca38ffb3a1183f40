"""Samples that come one at a time: generators, torch datasets."""

from __future__ import annotations

import weakref
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headrace._native import Dataset, Field, Schema
from headrace.writing import write
from tests.writing.readback import fields_of, ragged, read, size


def test_dicts_tuples_and_single_values_keep_their_container(tmp_path: Path) -> None:
    Point = namedtuple("Point", "x y")
    write(tmp_path / "dict", ({"a": i, "b": str(i)} for i in range(5)))
    write(tmp_path / "tuple", ((np.full(2, i, "f4"), i) for i in range(5)))
    write(tmp_path / "named", (Point(i, 2 * i) for i in range(5)))
    write(tmp_path / "single", iter([1.5, 2.5]))
    containers = [Dataset(str(tmp_path / name)).schema.container for name in ("dict", "tuple", "named", "single")]
    assert containers == ["dict", "tuple", "tuple", "single"]
    assert read(tmp_path / "dict", "b") == ["0", "1", "2", "3", "4"]
    assert read(tmp_path / "tuple", "0").tolist() == [[float(i)] * 2 for i in range(5)]
    assert read(tmp_path / "named", "y").tolist() == [0, 2, 4, 6, 8]
    assert read(tmp_path / "single", "value").tolist() == [1.5, 2.5]


def test_fields_name_the_parts_of_tuples_and_container_can_be_chosen(tmp_path: Path) -> None:
    write(tmp_path / "d", [(1, "a"), (2, "b")], fields=["n", "s"], container="dict")
    schema = Dataset(str(tmp_path / "d")).schema
    assert (schema.names, schema.container) == (["n", "s"], "dict")


def test_a_reused_buffer_is_copied_at_each_sample(tmp_path: Path) -> None:
    def samples() -> Iterator[dict[str, Any]]:
        array, tensor, numbers = np.zeros(3), torch.zeros(3), [0]
        for i in range(10):
            array[:] = i
            tensor[:] = i
            numbers[0] = i
            yield {"a": array, "t": tensor, "l": numbers}

    write(tmp_path / "d", samples())
    for name in "at":
        assert read(tmp_path / "d", name)[:, 0].tolist() == list(range(10))
    assert read(tmp_path / "d", "l")[:, 0].tolist() == list(range(10))


def test_streaming_holds_a_bounded_number_of_samples(tmp_path: Path) -> None:
    class Sample:
        def __init__(self, number: int) -> None:
            self.number = number

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            return np.full(4, self.number)

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def samples() -> Iterator[Any]:
        nonlocal most
        for i in range(2000):
            sample = Sample(i)
            alive.add(sample)
            most = max(most, len(alive))
            yield (sample,)

    write(tmp_path / "d", samples(), batch_rows=50)
    assert size(tmp_path / "d") == 2000
    assert most <= 110
    assert read(tmp_path / "d", "0")[:, 0].tolist() == list(range(2000))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"x": np.zeros(4, "f4"), "y": 1},
            r"sample 37, field 'x': expected float32 of shape \(3,\), found float32 of shape \(4,\).*Field\('x', 'ragged'",
        ),
        ({"x": np.zeros(3, "f8"), "y": 1}, "sample 37, field 'x': expected float32, found float64"),
        ({"x": np.zeros(3, "f4"), "y": "a"}, "sample 37, field 'y': expected int as in the samples before, found str"),
        ({"x": np.zeros(3, "f4"), "y": None}, "sample 37, field 'y': expected int64, found null"),
        ({"x": np.zeros(3, "f4")}, r"sample 37: expected a dict with keys \['x', 'y'\], found one with missing \['y'\]"),
        ({"x": np.zeros(3, "f4"), "y": 1, "z": 2}, r"sample 37: .* found one with unexpected \['z'\]"),
        ((1, 2), "sample 37: expected a dict with keys .*, found a tuple of 2 values"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(tmp_path: Path, bad: Any, message: str) -> None:
    def samples() -> Iterator[Any]:
        for i in range(60):
            yield bad if i == 37 else {"x": np.zeros(3, "f4"), "y": i}

    with pytest.raises((ValueError, TypeError), match=message):
        write(tmp_path / "d", samples(), batch_rows=30)
    assert not (tmp_path / "d").exists()


def test_an_error_of_the_source_leaves_nothing(tmp_path: Path) -> None:
    def samples() -> Iterator[int]:
        yield from range(10000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "d", samples(), batch_rows=10)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_source_needs_a_schema(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no samples.*pass schema="):
        write(tmp_path / "d", iter([]))
    assert write(tmp_path / "d", iter([]), schema=Schema([Field("x", dtype="int64")])) == 1
    assert size(tmp_path / "d") == 0


def test_progress_counts_samples(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, str]] = []
    write(tmp_path / "a", (i for i in range(25)), batch_rows=10, progress=lambda *call: calls.append(call))
    assert calls == [(10, None, "samples"), (20, None, "samples"), (25, None, "samples")]
    calls.clear()
    write(tmp_path / "b", {"x": np.arange(25)}, batch_rows=20, progress=lambda *call: calls.append(call))
    assert calls == [(20, 25, "samples"), (25, 25, "samples")]


class MapStyle(torch.utils.data.Dataset[Any]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return torch.full((2,), index, dtype=torch.float32), index


class Fetching(MapStyle):
    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.calls: list[int] = []

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("__getitems__ is there")

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.calls.append(len(indices))
        return [MapStyle.__getitem__(self, index) for index in indices]


def test_map_style_datasets_are_read_in_order_and_many_at_once_where_they_can(tmp_path: Path) -> None:
    write(tmp_path / "a", MapStyle(300))
    many = Fetching(300)
    write(tmp_path / "b", many)
    for name in "ab":
        assert read(tmp_path / name, "0")[:, 1].tolist() == [float(i) for i in range(300)]
        assert read(tmp_path / name, "1").tolist() == list(range(300))
    assert many.calls == [256, 44]


def test_an_index_error_inside_a_dataset_is_not_the_end(tmp_path: Path) -> None:
    class Broken(MapStyle):
        def __getitem__(self, index: int) -> Any:
            if index == 7:
                raise IndexError("boom")
            return super().__getitem__(index)

    with pytest.raises(IndexError, match="boom") as caught:
        write(tmp_path / "d", Broken(10))
    assert caught.value.__notes__ == ["while reading sample 7 of 10 from Broken"]


def test_iterable_and_tensor_datasets(tmp_path: Path) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([{"x": torch.tensor(i)} for i in range(3)])

    write(tmp_path / "a", Stream())
    assert read(tmp_path / "a", "x").tolist() == [0, 1, 2]
    features, labels = torch.arange(12.0).reshape(4, 3), torch.arange(4)
    write(tmp_path / "b", torch.utils.data.TensorDataset(features, labels))
    assert Dataset(str(tmp_path / "b")).schema.container == "tuple"
    np.testing.assert_array_equal(read(tmp_path / "b", "0"), features.numpy())
    np.testing.assert_array_equal(read(tmp_path / "b", "1"), labels.numpy())


def test_subset_of_tensors_reads_samples(tmp_path: Path) -> None:
    dataset = torch.utils.data.Subset(torch.utils.data.TensorDataset(torch.arange(10), torch.arange(10) * 2), [3, 1])
    write(tmp_path / "d", dataset)
    assert read(tmp_path / "d", "1").tolist() == [6, 2]


def test_tensors_of_every_dtype(tmp_path: Path) -> None:
    names = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool", "complex64"]
    columns: dict[str, Any] = {name: torch.arange(6).reshape(3, 2).to(getattr(torch, name)) for name in names}
    columns["grad"] = torch.ones(3, requires_grad=True)
    columns["strided"] = torch.arange(12).reshape(3, 4)[:, ::2]
    write(tmp_path / "d", columns)
    for name in [*names, "grad", "strided"]:
        expected = columns[name].detach().numpy()
        assert read(tmp_path / "d", name).dtype == expected.dtype
        np.testing.assert_array_equal(read(tmp_path / "d", name), expected)


def test_bfloat16_tensors_keep_their_bits(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, -2.5], [3.14, 0.0], [7.0, 9.0]], dtype=torch.bfloat16)
    bits = values.view(torch.int16).numpy().view("u2")
    write(tmp_path / "a", {"x": values})
    write(tmp_path / "b", ({"x": row} for row in values))
    write(tmp_path / "c", {"x": values[:, ::2]})
    for name in "ab":
        field = fields_of(tmp_path / name)["x"]
        assert (field.dtype, tuple(field.shape)) == ("bfloat16", (2,))
        np.testing.assert_array_equal(read(tmp_path / name, "x"), bits)
    np.testing.assert_array_equal(read(tmp_path / "c", "x"), bits[:, ::2])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, device="meta"), r"field 'x': the tensor is on meta; pass it as tensor.cpu\(\)"),
        (torch.eye(2).to_sparse(), r"layout torch.sparse_coo cannot be stored; pass it as tensor.to_dense\(\)"),
        (torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn cannot be stored; convert it"),
    ],
)
def test_tensors_that_cannot_be_stored(tmp_path: Path, tensor: torch.Tensor, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        write(tmp_path / "d", {"x": tensor})


def test_ragged_from_a_stream(tmp_path: Path) -> None:
    lists = [[i] * (i % 4) for i in range(40)]
    write(tmp_path / "d", ({"x": values} for values in lists), batch_rows=8)
    assert ragged(tmp_path / "d", "x") == lists


def test_structured_arrays_and_plain_arrays(tmp_path: Path) -> None:
    array = np.zeros(4, [("a", "i4"), ("in", [("b", "f8", (2,)), ("c", "S3")])])
    array["a"] = range(4)
    array["in"]["b"][2] = [1, 2]
    write(tmp_path / "d", array)
    assert list(fields_of(tmp_path / "d")) == ["a", "in.b", "in.c"]
    np.testing.assert_array_equal(read(tmp_path / "d", "in.b"), array["in"]["b"])
    write(tmp_path / "e", np.arange(6).reshape(3, 2))
    assert Dataset(str(tmp_path / "e")).schema.container == "single"
    assert read(tmp_path / "e", "value").tolist() == [[0, 1], [2, 3], [4, 5]]
    write(tmp_path / "f", (np.arange(3), np.arange(3.0)), fields=["x", "y"])
    assert read(tmp_path / "f", "y").tolist() == [0.0, 1.0, 2.0]


def test_images_that_offer_an_array(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.arange(12, dtype="u1").reshape(2, 2, 3))
    write(tmp_path / "d", [(picture, 1), (picture, 0)])
    np.testing.assert_array_equal(read(tmp_path / "d", "0")[1], np.arange(12).reshape(2, 2, 3))


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot write a int; pass a dict of arrays"):
        write(tmp_path / "d", 3)
