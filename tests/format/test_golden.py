"""Datasets that earlier releases wrote read as the values written out in golden.py, for ever, with both readers (fault F08)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_schema as s
from reference_reader import read_dataset
from reference_schema import Field
from reference_writer import encode_rows

from headrace import _native as hr
from tests.format.golden import COLUMNS, SCHEMA, STATISTICS, VERSION_1_SAMPLES, stored_columns
from tests.format.native import fetch_rows, native_field

DATA = Path(__file__).parent.parent / "data"
VERSIONS = [(1, VERSION_1_SAMPLES), (2, 5)]


@pytest.fixture(params=["format-1.0"])
def golden(request: pytest.FixtureRequest) -> Path:
    return DATA / str(request.param)


@pytest.mark.parametrize(("version", "count"), VERSIONS)
def test_cpp_reads_the_golden_values(golden: Path, version: int, count: int) -> None:
    dataset = hr.Dataset(str(golden), version)
    assert len(dataset) == count
    assert dataset.schema.fields == [native_field(spec) for spec in SCHEMA.fields]
    assert dataset.schema.metadata == SCHEMA.metadata
    assert fetch_rows(dataset, SCHEMA, range(count)) == stored_columns(0, count)


@pytest.mark.parametrize(("version", "count"), VERSIONS)
def test_reference_reads_the_golden_values(golden: Path, version: int, count: int) -> None:
    dataset = read_dataset(golden, version)
    assert dataset.num_samples == count
    assert dataset.schema == SCHEMA
    for index in range(count):
        for spec in SCHEMA.fields:
            assert stored(spec, dataset.sample(index)[spec.name]) == stored(spec, COLUMNS[spec.name][index]), (index, spec.name)


def stored(spec: Field, value: object) -> bytes | None:
    return encode_rows(spec, [value])[0]


def test_golden_values_arrive_as_numpy_knows_them(golden: Path) -> None:
    """A few of them through numpy alone, so that no encoder of ours stands between."""
    batch = hr.Dataset(str(golden)).fetch(np.array([4, 0]), range(len(SCHEMA.fields)))
    numbers = {spec.name: number for number, spec in enumerate(SCHEMA.fields)}
    assert batch.numpy(numbers["uint64"]).tolist() == [2, 2**64 - 1]
    assert batch.numpy(numbers["time"]).tolist() == [0, 1357017420 * 10**9]
    assert batch.numpy(numbers["span"]).dtype == np.dtype("m8[25s]")
    assert batch.numpy(numbers["chars"]).tolist() == [b"yy", b"abc"]
    assert batch.numpy(numbers["text"]).tolist() == ["a", "né"]
    assert batch.numpy(numbers["complex"]).tolist() == [[2, 2], [1 + 2j, 0]]
    assert batch.numpy(numbers["tensor"])[0].tolist() == [[0, 100, 200], [300, 400, 500]]
    assert batch.numpy(numbers["string"]) == ["x" * 200, "ü"]
    assert batch.numpy(numbers["bytes"]) == [b"\xff" * 3, b""]


def test_golden_statistics(golden: Path) -> None:
    native, reference = hr.Dataset(str(golden)), read_dataset(golden)
    for number, spec in enumerate(SCHEMA.fields):
        stats = native.chunk_stats(number)
        expected = STATISTICS.get(spec.name, [None] * 3)
        assert [chunk.min_max for chunk in reference.chunk_statistics(spec.name)] == expected
        known = zip(stats["has_min_max"], stats["min"], stats["max"], strict=True)
        assert [(low.item(), high.item()) if has else None for has, low, high in known] == expected
        nulls = [
            sum(value is None for value in column) for column in (COLUMNS[spec.name][:2], COLUMNS[spec.name][2:3], COLUMNS[spec.name][3:])
        ]
        assert stats["null_count"].tolist() == (nulls if spec.nullable else [0, 0, 0])


def test_golden_dataset_is_whole(golden: Path) -> None:
    for version, count in VERSIONS:
        found = hr.Verification(str(golden), version, decode=True).run()
        assert found["damages"] == []
        assert found["samples"] == count


def test_golden_dataset_covers_the_format() -> None:
    """Every kind, codec and filter is in it, and an old reader's every branch with them."""
    assert {spec.kind for spec in SCHEMA.fields} == set(range(5))
    assert {spec.codec for spec in SCHEMA.fields} == set(range(4))
    assert {spec.filter for spec in SCHEMA.fields} == set(range(4))
    assert {s.DATETIME, s.TIMEDELTA, s.CHARS, s.UTF32, s.BFLOAT16, s.BOOL} <= {spec.dtype for spec in SCHEMA.fields}
