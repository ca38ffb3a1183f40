"""One column in Arrow's memory: nothing is changed on the way, and nulls stay nulls."""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace._native import Dataset, Field, Schema
from headrace.writing import Writer, write
from headrace.writing.arrow_column import arrow_column
from headrace.writing.base import Place
from tests.writing.readback import fields_of, ragged, read, valid

WIDE = 2**53 + 1


@pytest.mark.parametrize(
    "column",
    [pa.array([WIDE, None, 3]), pa.chunked_array([[WIDE], [None, 3]]), pa.chunked_array([[], [WIDE, None], [], [3]], type=pa.int64())],
    ids=["array", "chunks", "empty chunks"],
)
def test_integers_beside_nulls_stay_integers(tmp_path: Path, column: Any) -> None:
    write(tmp_path / "d", {"x": column})
    field = fields_of(tmp_path / "d")["x"]
    assert (field.kind, field.dtype, field.shape, field.nullable) == ("tensor", "int64", (), True)
    assert read(tmp_path / "d", "x").tolist() == [WIDE, 0, 3]
    assert valid(tmp_path / "d", "x") == [True, False, True]


def test_columns_of_every_kind_come_back_from_slices_across_chunks(tmp_path: Path) -> None:
    rows = 1000
    cut = [0, 1, 7, 500, 500, rows]

    def chunks(array: pa.Array) -> pa.ChunkedArray:
        return pa.chunked_array([array[begin:end] for begin, end in pairwise(cut)])

    texts = [None if i % 7 == 0 else f"text {i}" for i in range(rows)]
    lists = [list(range(i % 5)) for i in range(rows)]
    columns = {
        "bool": chunks(pa.array([i % 3 == 0 for i in range(rows)])),
        "text": chunks(pa.array(texts)),
        "list": chunks(pa.array(lists, pa.list_(pa.int32()))),
        "pair": chunks(pa.array([[i, -i] for i in range(rows)], pa.list_(pa.int16(), 2))),
        "word": chunks(pa.array(texts).dictionary_encode()),
        "time": chunks(pa.array(range(rows), pa.timestamp("us", tz="UTC"))),
    }
    write(tmp_path / "d", columns, batch_rows=13)
    fields = fields_of(tmp_path / "d")
    assert {name: (field.kind, field.dtype, field.nullable) for name, field in fields.items()} == {
        "bool": ("tensor", "bool", False),
        "text": ("string", "uint8", True),
        "list": ("ragged", "int32", False),
        "pair": ("tensor", "int16", False),
        "word": ("string", "uint8", True),
        "time": ("tensor", "datetime64[us]", False),
    }
    assert fields["time"].metadata == '{"timezone": "UTC"}'
    assert read(tmp_path / "d", "bool").tolist() == [i % 3 == 0 for i in range(rows)]
    assert read(tmp_path / "d", "text") == texts
    assert ragged(tmp_path / "d", "list") == lists
    assert read(tmp_path / "d", "pair").tolist() == [[i, -i] for i in range(rows)]
    assert read(tmp_path / "d", "word") == texts
    assert read(tmp_path / "d", "time").view("int64").tolist() == list(range(rows))


def test_a_column_without_a_type_fits_a_nullable_field(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": pa.nulls(3)}, schema=Schema([Field("x", "tensor", "int16", (), True)]))
    assert valid(tmp_path / "d", "x") == [False] * 3
    with pytest.raises(ValueError, match=r"field 'x': all 3 samples seen are null"):
        write(tmp_path / "e", {"x": pa.nulls(3)})


def test_a_type_that_cannot_be_stored_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"field 'x': the Arrow type decimal cannot be stored"):
        write(tmp_path / "d", {"x": pa.array([1], pa.decimal128(5, 2))})
    assert not (tmp_path / "d").exists()


def test_memory_lives_as_long_as_the_column_and_no_longer() -> None:
    before = pa.total_allocated_bytes()
    column = arrow_column(pa.chunked_array([pa.array(np.arange(100_000)), pa.array(np.arange(100_000))]), Place("x"))
    part = column.slice(99_999, 100_001)
    del column
    gc.collect()
    assert pa.total_allocated_bytes() >= before
    assert part.encode(Field("x", "tensor", "int64"), Place("x"))[0].tolist() == [99_999, 0]
    del part
    gc.collect()
    assert pa.total_allocated_bytes() == before


def test_the_writer_takes_them_in_parts(tmp_path: Path) -> None:
    with Writer(tmp_path / "d", Schema([Field("x", "tensor", "int64", (), True)])) as writer:
        writer.extend({"x": pa.array([1, None])})
        writer.extend({"x": pa.chunked_array([[WIDE], [4]])})
        writer.extend({"x": pa.array([], pa.int64())})
    assert read(tmp_path / "d", "x").tolist() == [1, 0, WIDE, 4]
    assert len(Dataset(str(tmp_path / "d"))) == 4


def test_nulls_inside_a_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sample 1, field 'x': 1 of 2 values are null; only whole samples can be null"):
        write(tmp_path / "d", [{"x": pa.array([1, 2])}, {"x": pa.array([WIDE, None])}])
