"""The reference reader and writer agree with each other: what makes them fit to judge the C++ core."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import reference_schema as s
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema
from reference_writer import Row, encode_rows, write_dataset

from tests.format.strategies import expected_statistics, schemas, tables


def stored_rows(spec: Field, values: object, valid: object) -> list[Row]:
    """Back to stored bytes; null where not valid."""
    rows = encode_rows(spec, list(values))  # type: ignore[call-overload]
    return rows if valid is None else [row if present else None for row, present in zip(rows, valid, strict=True)]  # type: ignore[call-overload]


@settings(max_examples=100, derandomize=True)
@given(st.data())
def test_reference_reader_gives_what_reference_writer_got(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    columns = data.draw(tables(schema))
    chunk_samples, shard_samples = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([None, 3, 8]))
    pack = data.draw(st.booleans())
    with TemporaryDirectory() as path:
        write_dataset(Path(path), schema, columns, chunk_samples=chunk_samples, shard_samples=shard_samples, pack=pack)
        dataset = read_dataset(path)
    assert dataset.schema == schema
    assert dataset.num_samples == len(columns[0])
    for spec, column in zip(schema.fields, columns, strict=True):
        values, valid = dataset.column(spec.name)
        assert stored_rows(spec, values, valid) == column
        begin = 0
        for chunk in dataset.chunk_statistics(spec.name):
            part = column[begin : begin + chunk.num_samples]
            assert chunk.min_max == expected_statistics(spec, part)
            assert chunk.null_count == part.count(None)
            begin += chunk.num_samples


def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    """No byte of a dataset is free: the padding, too, is checked."""
    schema = Schema((Field("x", dtype=s.BOOL, nullable=True, codec=s.LZ4), Field("t", s.STRING, codec=s.ZSTD, level=3)))
    columns = [encode_rows(schema.fields[0], [True, None, False]), encode_rows(schema.fields[1], ["", "a" * 99, "ü"])]
    write_dataset(tmp_path, schema, columns, chunk_samples=2)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for at in [*range(72), *range(72, len(whole) - 1024, 61), *range(len(whole) - 1024, len(whole))]:
            if at >= 0:
                file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
                with pytest.raises(ReferenceFormatError):
                    read_dataset(tmp_path)
        for size in range(0, len(whole), 97):
            file.write_bytes(whole[:size])
            with pytest.raises(ReferenceFormatError):
                read_dataset(tmp_path)
        file.write_bytes(whole)
    assert read_dataset(tmp_path).sample(1) == {"x": None, "t": "a" * 99}
