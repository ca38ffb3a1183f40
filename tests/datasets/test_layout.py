"""What a native batch becomes: torch tensors over its memory, numpy columns, samples; for every kind of field and each container."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from headrace import Field, Schema, _native
from headrace.datasets.layout import BatchLayout, bfloat16_to_float32
from tests.loader.samples import FIELDS, ROWS, STORAGES, assert_same, sample, torch_batch, write_all_kinds

SHUFFLED = [17, 299, 0, 1, 17, 128, 127, 31, 32, 256, 64]


@pytest.fixture(scope="module", params=STORAGES)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """Every kind of field, in one storage."""
    path = tmp_path_factory.mktemp("layout") / request.param
    write_all_kinds(path, request.param)
    return hr.open(path)


def native(dataset: hr.Dataset, rows: list[int], ragged: str = "offsets") -> Any:
    return dataset.native.fetch(np.array(rows, np.int64), dataset.field_numbers, ragged)


@pytest.mark.parametrize("ragged", ["padded", "offsets"])
@pytest.mark.parametrize("rows", [SHUFFLED, [5], list(range(ROWS))], ids=["shuffled", "one", "all"])
def test_tensors_are_those_that_torch_makes_of_the_samples(dataset: hr.Dataset, rows: list[int], ragged: str) -> None:
    assert_same(dataset.layout.to_torch(native(dataset, rows, ragged)), torch_batch(rows, ragged))


def test_no_samples_make_empty_tensors(dataset: hr.Dataset) -> None:
    batch = dataset.layout.to_torch(native(dataset, []))
    assert batch["matrix"].shape == (0, 3, 5)
    assert batch["ragged"][1].tolist() == [0]
    assert batch["text"] == []
    assert dataset.layout.to_samples(native(dataset, [])) == []


def test_columns_are_the_samples_side_by_side(dataset: hr.Dataset) -> None:
    columns = dataset.layout.to_numpy(native(dataset, SHUFFLED))
    want = [sample(i) for i in SHUFFLED]
    assert set(columns) == set(want[0])
    for name, column in columns.items():
        values = [s[name] for s in want]
        if isinstance(column, np.ndarray):
            assert_same(column, np.array(values, dtype=column.dtype), name)
        else:
            assert_same(column, values, name)


@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_samples_hold_what_was_written(dataset: hr.Dataset, ragged: str) -> None:
    for got, i in zip(dataset.layout.to_samples(native(dataset, SHUFFLED, ragged)), SHUFFLED, strict=True):
        assert set(got) == set(sample(i))
        for name, value in sample(i).items():
            assert_same(got[name], value, f"sample {i}, {name}")


def test_tensors_share_one_leased_slab_and_outlive_the_batch(dataset: hr.Dataset) -> None:
    batch = native(dataset, SHUFFLED)
    first, again = dataset.layout.to_torch(batch), dataset.layout.to_torch(batch)
    assert first["float64"].data_ptr() == again["float64"].data_ptr()
    assert first["float64"].data_ptr() % 64 == 0
    first["float64"][0] = 1e9
    assert again["float64"][0] == 1e9
    kept = again["matrix"]
    del batch, first, again
    gc.collect()
    others = [dataset.layout.to_torch(native(dataset, [i] * 11)) for i in range(20)]
    assert_same(kept, torch_batch(SHUFFLED)["matrix"])
    assert len(others) == 20


@pytest.mark.parametrize("container", ["tuple", "single"])
def test_tuples_pair_a_value_with_its_validity_and_length(tmp_path: Path, container: str) -> None:
    names = ["maybe_ragged"] if container == "single" else ["int32", "maybe", "ragged", "maybe_ragged", "maybe_text"]
    write_all_kinds(tmp_path / "d", "raw", container, rows=20, names=names)
    dataset = hr.open(tmp_path / "d")
    rows = [3, 6, 12]
    for ragged in ("padded", "offsets"):
        want = torch_batch(rows, ragged, names)
        parts = []
        for name in names:
            extra = [want[key] for key in (f"{name}.length", f"{name}.valid") if key in want]
            parts.append((want[name], *extra) if extra else want[name])
        assert_same(dataset.layout.to_torch(native(dataset, rows, ragged)), parts[0] if container == "single" else tuple(parts))
    got = dataset.layout.to_samples(native(dataset, rows))
    for row, one in zip(rows, got, strict=True):
        pairs = tuple((sample(row)[n], sample(row)[f"{n}.valid"]) if f"{n}.valid" in sample(row) else sample(row)[n] for n in names)
        assert_same(one, pairs[0] if container == "single" else pairs)


def test_assembly_keeps_the_schemas_order() -> None:
    fields = [Field("a"), Field("b", "ragged"), Field("c", nullable=True)]
    parts: tuple[list[Any], list[Any], list[Any]] = ([1, 2, 3], [None, None, 4], [None, 5, None])
    assert list(BatchLayout(fields, "dict").assemble(*parts).items()) == [("a", 1), ("b", 2), ("b.length", 5), ("c", 3), ("c.valid", 4)]
    assert BatchLayout(fields, "tuple").assemble(*parts) == (1, (2, 5), (3, 4))
    assert BatchLayout(fields[:1], "single").assemble([1], [None], [None]) == 1


def test_ragged_text_of_fixed_width_has_no_torch_form(tmp_path: Path) -> None:
    path = str(tmp_path / "d")
    writer = _native.DatasetWriter(path, Schema([Field("words", "ragged", "S4")]))
    writer.extend([(b"ab\0\0cdef", np.array([0, 4, 8], np.uint64), None)], 2)
    writer.commit()
    with pytest.raises(TypeError, match=r"field 'words': ragged S4 has no torch form; read it with dataset\[i\]"):
        list(hr.DataLoader(hr.open(path), 2))
    assert hr.open(path)[1]["words"].tolist() == [b"cdef"]


def test_bfloat16_widens_exactly_for_all_bit_patterns() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    want = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).to(torch.float32)
    np.testing.assert_array_equal(bfloat16_to_float32(bits).view(np.uint32), want.view(torch.int32).numpy().view(np.uint32))


def test_every_kind_of_field_is_here() -> None:
    kinds = {(spec.get("kind", "tensor"), bool(spec.get("nullable"))) for spec in FIELDS.values()}
    assert {kind for kind, _ in kinds} == {"tensor", "ragged", "bytes", "string", "image"}
    assert {kind for kind, nullable in kinds if nullable} >= {"tensor", "ragged", "string"}
