"""The C++ core against the reference: each reads what the other wrote, for schemas and values that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import reference_schema as s
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_reader import ReferenceDataset, read_dataset
from reference_schema import Field, Schema
from reference_writer import (
    ManifestImage,
    Row,
    encode_rows,
    layout_shard,
    make_uuid,
    put_manifest,
    put_shard,
    render_schema,
    write_dataset,
)

from headrace import _native as hr
from tests.format.native import CONTAINERS, fetch_rows, native_field, native_schema, write_native
from tests.format.strategies import expected_statistics, rows, schemas, tables

READERS = ["mmap", "pread", "direct", "uring", "auto"]
common = settings(max_examples=120, derandomize=True)


def stored_rows(spec: Field, column: Any) -> list[Row]:
    """A reference column as stored bytes; null where not valid."""
    encoded = encode_rows(spec, list(column.values))
    return encoded if column.valid is None else [row if present else None for row, present in zip(encoded, column.valid, strict=True)]


def check_both_readers(path: Path, schema: Schema, columns: Sequence[Sequence[Row]], *, version: int = 0, reader: str = "auto") -> None:
    """Both readers give these rows; both see the same schema, versions and statistics, and the statistics are right."""
    reference = read_dataset(path, version or None)
    dataset = hr.Dataset(str(path), version, reader=reader)
    count = len(columns[0])
    assert len(dataset) == reference.num_samples == count
    assert dataset.version == reference.manifest.version
    assert dataset.uuid.replace("-", "") == reference.manifest.uuid.hex()
    check_schema(dataset.schema, reference.schema)
    for spec, column in zip(schema.fields, columns, strict=True):
        assert stored_rows(spec, reference.column(spec.name)) == list(column)
    assert fetch_rows(dataset, schema, range(count)) == [list(column) for column in columns]
    scattered = [index * 7919 % count for index in range(count + 3)] if count else []
    assert fetch_rows(dataset, schema, scattered) == [[column[index] for index in scattered] for column in columns]
    check_statistics(dataset, reference, schema, columns)
    found = hr.Verification(str(path), version, decode=True).run()
    assert found["damages"] == []
    assert found["samples"] == count


def check_schema(native: hr.Schema, schema: Schema) -> None:
    assert native.container == CONTAINERS[schema.container]
    assert native.metadata == schema.metadata
    assert native.fields == [native_field(spec) for spec in schema.fields]
    assert [field.itemsize for field in native.fields] == [spec.itemsize for spec in schema.fields]
    assert [field.row_bytes for field in native.fields] == [spec.row_bytes if spec.kind < s.BYTES else 1 for spec in schema.fields]


def check_statistics(dataset: hr.Dataset, reference: ReferenceDataset, schema: Schema, columns: Sequence[Sequence[Row]]) -> None:
    for number, (spec, column) in enumerate(zip(schema.fields, columns, strict=True)):
        stats, chunks = dataset.chunk_stats(number), reference.chunk_statistics(spec.name)
        assert stats["num_samples"].tolist() == [chunk.num_samples for chunk in chunks]
        begin = 0
        for index, chunk in enumerate(chunks):
            part = list(column[begin : begin + chunk.num_samples])
            expected = expected_statistics(spec, part)
            assert stats["first_sample"][index] == begin
            assert stats["null_count"][index] == chunk.null_count == part.count(None)
            assert chunk.min_max == expected
            assert bool(stats["has_min_max"][index]) == (expected is not None)
            if expected is not None:
                assert (stats["min"][index].item(), stats["max"][index].item()) == expected
            begin += chunk.num_samples
        whole = dataset.field_stats()[number]
        assert whole["null_count"] == list(column).count(None)
        expected = expected_statistics(spec, list(column))
        assert (whole["min"], whole["max"]) == (expected or (None, None))


@common
@given(st.data())
def test_both_read_what_cpp_wrote(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    columns = data.draw(tables(schema))
    cut = data.draw(st.integers(0, len(columns[0])))
    options = {
        "chunk_samples": data.draw(st.integers(1, 9)),
        "shard_bytes": data.draw(st.sampled_from([1, 16384, 1 << 30])),
        "threads": data.draw(st.integers(1, 2)),
    }
    reader = data.draw(st.sampled_from(READERS))
    with TemporaryDirectory() as path:
        parts = [[column[:cut] for column in columns], [column[cut:] for column in columns]]
        assert write_native(Path(path, "data"), schema, parts, **options) == 1
        check_both_readers(Path(path, "data"), schema, columns, reader=reader)


@common
@given(st.data())
def test_both_read_what_python_wrote(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    columns = data.draw(tables(schema))
    chunk_samples, shard_samples = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([None, 3, 8]))
    pack, empty = data.draw(st.booleans()), data.draw(st.booleans())
    reader = data.draw(st.sampled_from(READERS))
    options: dict[str, Any] = {"pack": pack, "empty_last_chunk": empty, "extensions": [(7, 0, b"skip me")]}
    with TemporaryDirectory() as path:
        write_dataset(Path(path), schema, columns, chunk_samples=chunk_samples, shard_samples=shard_samples, **options)
        check_both_readers(Path(path), schema, columns, reader=reader)


@settings(max_examples=25, derandomize=True)
@given(st.data())
def test_each_version_of_an_appended_dataset_stays_readable(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    parts = [data.draw(tables(schema, max_samples=8)) for _ in range(3)]
    with TemporaryDirectory() as folder:
        path = Path(folder, "data")
        for number, part in enumerate(parts):
            assert write_native(path, schema, [part], append=number > 0, chunk_samples=3, threads=1) == number + 1
        assert hr.Dataset(str(path)).versions == [1, 2, 3]
        for number in range(3):
            so_far = [[row for part in parts[: number + 1] for row in part[f]] for f in range(len(schema.fields))]
            check_both_readers(path, schema, so_far, version=number + 1)


@settings(max_examples=25, derandomize=True)
@given(st.data())
def test_cpp_appends_to_what_python_wrote(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    first, second = data.draw(tables(schema, max_samples=8)), data.draw(tables(schema, max_samples=8))
    with TemporaryDirectory() as path:
        write_dataset(Path(path), schema, first, chunk_samples=3)
        assert write_native(Path(path), schema, [second], append=True, chunk_samples=5, threads=1) == 2
        check_both_readers(Path(path), schema, [[*a, *b] for a, b in zip(first, second, strict=True)])
        check_both_readers(Path(path), schema, first, version=1)


def test_the_same_rows_make_the_same_shard(tmp_path: Path) -> None:
    """With no codec nothing is the writer's choice: both writers agree on every byte but uuid and hashes."""
    schema = Schema((
        Field("scalar", dtype=5, nullable=True, itemsize=4, block_bytes=8),
        Field("text", s.STRING, block_bytes=32),
        Field("ragged", s.RAGGED, dtype=3, itemsize=2, dims=(2,), filter=s.DELTA | s.SHUFFLE, block_bytes=8),
        Field("nothing", dtype=11, itemsize=4, dims=(0, 3)),
    ))  # fmt: skip
    columns: list[list[Row]] = [
        encode_rows(schema.fields[0], [3, None, -5, 7, 9]),
        encode_rows(schema.fields[1], ["", "b", "cc", "☃", "x" * 99]),
        [b"", b"\1\2\3\4", b"\5\6\7\x08" * 3, b"", b"wxyz"],
        [b""] * 5,
    ]
    write_native(tmp_path / "cpp", schema, [columns], chunk_samples=2, threads=1)
    entry = read_dataset(tmp_path / "cpp").manifest.shards[0]
    image = layout_shard(schema, columns, 2, entry.uuid)
    (tmp_path / "python").mkdir()
    put_shard(tmp_path / "python", image)
    assert (tmp_path / "cpp" / entry.file_name).read_bytes() == (tmp_path / "python" / entry.file_name).read_bytes()


def test_many_shards_with_codecs_of_their_own(tmp_path: Path) -> None:
    """Shards may differ in codec, filter, level, block bytes and metadata, and in chunk samples; empty ones may stand between."""
    plain = Field("x", dtype=12, itemsize=8, block_bytes=24)
    specs = [
        plain,
        replace(plain, codec=s.ZSTD, filter=s.SHUFFLE, level=19, block_bytes=64 << 20, metadata="{}"),
        replace(plain, codec=s.LZ4, filter=s.DELTA | s.SHUFFLE, block_bytes=800),
        replace(plain, codec=s.LZ4HC, filter=s.DELTA, level=12, block_bytes=8, metadata="[]"),
        replace(plain, codec=s.ZSTD, level=-5, block_bytes=81),
    ]
    values = np.arange(1000.0)
    entries, begin = [], 0
    for number, count in enumerate([100, 0, 700, 0, 1, 199]):
        schema = Schema((specs[number % len(specs)],), s.SINGLE, metadata="" if number else "[]")
        column = encode_rows(schema.fields[0], values[begin : begin + count])
        entries.append(put_shard(tmp_path, layout_shard(schema, [column], 64 + number, make_uuid(number))))
        begin += count
    schema = Schema((specs[0],), s.SINGLE)
    put_manifest(tmp_path, ManifestImage(make_uuid(99), render_schema(schema), entries))
    check_both_readers(tmp_path, schema, [encode_rows(specs[0], values)])
    assert [shard["chunk_samples"] for shard in hr.Dataset(str(tmp_path)).shards] == [64, 65, 66, 67, 68, 69]


@pytest.mark.parametrize("count", [16384 * 8 - 1, 16384 * 8, 16384 * 8 + 1])
def test_validity_and_offsets_of_several_blocks(tmp_path: Path, count: int) -> None:
    """One chunk whose bitmap fills one block of 16384 bytes, or just not, or just more; its offsets need 32."""
    schema = Schema((Field("b", s.BYTES, nullable=True, codec=s.LZ4, block_bytes=1 << 20), Field("x", nullable=True)))
    column: list[Row] = [None if number % 5 == 0 else bytes([number % 251]) for number in range(count)]
    write_native(tmp_path / "cpp", schema, [[column, column]], chunk_samples=count, threads=1)
    check_both_readers(tmp_path / "cpp", schema, [column, column])
    write_dataset(tmp_path / "python", schema, [column, column], chunk_samples=count)
    check_both_readers(tmp_path / "python", schema, [column, column])


@pytest.mark.parametrize("ragged", ["offsets", "padded"])
def test_ragged_values_arrive_either_way(tmp_path: Path, ragged: str) -> None:
    spec = Field("r", s.RAGGED, dtype=5, itemsize=4, dims=(2,), codec=s.ZSTD, filter=s.SHUFFLE, level=1, block_bytes=12)
    values = [np.arange(2 * count, dtype="<i4").reshape(count, 2) - 3 for count in (3, 0, 1, 5)]
    write_dataset(tmp_path, Schema((spec,)), [encode_rows(spec, values)], chunk_samples=3)
    batch = hr.Dataset(str(tmp_path)).fetch(np.array([3, 1, 0]), [0], ragged=ragged)
    expected = [values[3], values[1], values[0]]
    assert batch.lengths(0).tolist() == [5, 0, 3]
    if ragged == "offsets":
        flat, offsets = batch.numpy(0)
        assert offsets.tolist() == [0, 5, 5, 8]
        assert np.array_equal(flat, np.concatenate(expected))
    else:
        padded = batch.numpy(0)
        assert padded.shape == (3, 5, 2)
        for row, value in zip(padded, expected, strict=True):
            assert np.array_equal(row[: len(value)], value)
            assert not row[len(value) :].any()


@settings(max_examples=20, derandomize=True)
@given(st.data())
def test_extend_in_any_cuts_writes_the_same_shards(data: st.DataObject) -> None:
    """How rows arrive does not matter: one call or one a row, one thread or two."""
    schema = data.draw(schemas())
    count = data.draw(st.integers(1, 12))
    columns = [data.draw(st.lists(rows(spec), min_size=count, max_size=count)) for spec in schema.fields]
    with TemporaryDirectory() as folder:
        single = [[[column[i]] for column in columns] for i in range(count)]
        write_native(Path(folder, "a"), schema, [columns], chunk_samples=4, threads=1)
        write_native(Path(folder, "b"), schema, single, chunk_samples=4, threads=2)
        one, two = read_dataset(Path(folder, "a")), read_dataset(Path(folder, "b"))
        for a, b in zip(one.shards, two.shards, strict=True):
            assert [(c.offset, c.size, c.num_samples) for c in a.chunks] == [(c.offset, c.size, c.num_samples) for c in b.chunks]
        for spec, column in zip(schema.fields, columns, strict=True):
            assert stored_rows(spec, two.column(spec.name)) == column


def test_schema_metadata_comes_back(tmp_path: Path) -> None:
    schema = Schema((Field("α", metadata='{"unit": "µm"}'), Field("β", s.IMAGE, metadata="{}")), s.TUPLE, '{"source": "☃"}')
    write_native(tmp_path / "d", schema, [[[b"\1"], [b"\xff\xd8"]]], threads=1)
    assert read_dataset(tmp_path / "d").schema.metadata == '{"source": "☃"}'
    dataset = hr.Dataset(str(tmp_path / "d"))
    assert dataset.schema.metadata == '{"source": "☃"}'
    assert [field.metadata for field in dataset.schema.fields] == ['{"unit": "µm"}', "{}"]
    assert native_schema(schema).names == ["α", "β"]
