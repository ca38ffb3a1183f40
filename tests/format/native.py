"""The C++ core through its extension, in the reference's terms: schemas as dataclasses, values as stored bytes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reference_schema as s
from reference_schema import Field, Schema
from reference_writer import Row

from headrace import _native as hr

KINDS = ("tensor", "ragged", "bytes", "string", "image")
CODECS = ("none", "lz4", "lz4hc", "zstd")
FILTERS = ("none", "shuffle", "delta", "delta+shuffle", "bitshuffle")
CONTAINERS = ("dict", "tuple", "single")
INTS = [name for bits in (8, 16, 32, 64) for name in (f"int{bits}", f"uint{bits}")]
FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
DTYPES = ["bool", *INTS, *FLOATS, "datetime64", "timedelta64"]


def dtype_name(spec: Field) -> str:
    if spec.dtype == s.CHARS:
        return f"S{spec.itemsize}"
    if spec.dtype == s.UTF32:
        return f"U{spec.itemsize // 4}"
    name = DTYPES[spec.dtype]
    if spec.dtype in (s.DATETIME, s.TIMEDELTA) and spec.unit & 0xFF:
        multiple = spec.unit >> 8
        name += f"[{multiple if multiple > 1 else ''}{s.UNITS[spec.unit & 0xFF]}]"
    return name


def native_field(spec: Field) -> hr.Field:
    return hr.Field(
        spec.name,
        KINDS[spec.kind],
        dtype_name(spec),
        spec.dims,
        spec.nullable,
        CODECS[spec.codec],
        FILTERS[spec.filter],
        level=spec.level,
        block_bytes=spec.block_bytes,
        metadata=spec.metadata,
        dictionary=spec.dictionary,
    )


def native_schema(schema: Schema) -> hr.Schema:
    return hr.Schema([native_field(spec) for spec in schema.fields], CONTAINERS[schema.container], schema.metadata)


def columns_for_extend(schema: Schema, columns: Sequence[Sequence[Row]]) -> list[tuple[Any, Any, Any]]:
    """What DatasetWriter.extend takes, from stored bytes."""
    result: list[tuple[Any, Any, Any]] = []
    for spec, rows in zip(schema.fields, columns, strict=True):
        blank = bytes(spec.row_bytes) if spec.kind == s.TENSOR else b""
        values = b"".join(blank if row is None else row for row in rows)
        offsets = None
        if spec.kind != s.TENSOR:
            offsets = np.cumsum([0] + [len(row or b"") for row in rows], dtype=np.uint64)
        valid = np.array([row is not None for row in rows], bool) if spec.nullable else None
        result.append((values, offsets, valid))
    return result


def write_native(path: Path, schema: Schema, parts: Sequence[Sequence[Sequence[Row]]], **options: Any) -> int:
    """Write each part with its own extend(), then commit."""
    writer = hr.DatasetWriter(str(path), native_schema(schema), **options)
    for columns in parts:
        writer.extend(columns_for_extend(schema, columns), len(columns[0]))
    return writer.commit()


def fetch_rows(dataset: hr.Dataset, schema: Schema, indices: Sequence[int]) -> list[list[Row]]:
    """Stored bytes of samples in this order, one list a field; the arrays' dtypes and shapes are checked on the way."""
    batch = dataset.fetch(np.array(indices, np.int64), range(len(schema.fields)), ragged="offsets")
    assert len(batch) == len(indices)
    assert batch.indices.tolist() == list(indices)
    columns = []
    for number, spec in enumerate(schema.fields):
        rows = batch_rows(batch, number, spec)
        valid = batch.valid(number) if spec.nullable else [True] * len(indices)
        columns.append([row if present else None for row, present in zip(rows, valid, strict=True)])
    return columns


def batch_rows(batch: hr.Batch, number: int, spec: Field) -> list[bytes]:
    values = batch.numpy(number)
    if spec.kind == s.TENSOR:
        assert values.dtype == spec.numpy_dtype
        assert values.shape == (len(batch), *spec.dims)
        return [values[i : i + 1].tobytes() for i in range(len(values))]  # a row by itself would lose the zeros at the end of S and U
    if spec.kind == s.RAGGED:
        flat, offsets = values
        assert flat.dtype == spec.numpy_dtype
        assert flat.shape == (offsets[-1], *spec.dims), (flat.shape, offsets, spec)
        assert offsets.dtype == np.int64
        return [flat[begin:end].tobytes() for begin, end in itertools.pairwise(offsets)]
    return [text.encode() if isinstance(text, str) else text or b"" for text in values]
