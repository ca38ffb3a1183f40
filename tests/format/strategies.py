"""Hypothesis strategies for schemas and rows of every kind, dtype, codec, filter, block and chunk size."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import reference_schema as s
from hypothesis import strategies as st
from reference_schema import Field, Schema
from reference_writer import Row

FLOATS = [0.0, -0.0, 1.5, -2.75, float("inf"), float("-inf"), float("nan")]
WORDS = ["", "a", "headrace", "ünïcödé ☃", "\U0001f30a" * 3, "x" * 300]


@st.composite
def fields(draw: st.DrawFn, name: str) -> Field:
    kind = draw(st.integers(s.TENSOR, s.IMAGE), "kind")
    nullable, codec, block_bytes = (
        draw(st.booleans(), "nullable"),
        draw(st.integers(s.NONE, s.ZSTD), "codec"),
        draw(st.integers(1, 300), "block"),
    )
    level = {s.NONE: 0, s.LZ4: 0, s.LZ4HC: 9, s.ZSTD: 3}[codec]
    if kind >= s.BYTES:
        return Field(name, kind, nullable=nullable, codec=codec, level=level, block_bytes=block_bytes)
    dtype = draw(st.integers(s.BOOL, s.UTF32), "dtype")
    itemsize, unit = np.dtype(s.NUMPY_DTYPES[dtype]).itemsize, 0
    if dtype in (s.CHARS, s.UTF32):
        itemsize = draw(st.integers(1, 5), "length") * (4 if dtype == s.UTF32 else 1)
    if dtype in (s.DATETIME, s.TIMEDELTA):
        unit = draw(st.integers(1, 13), "unit") | draw(st.sampled_from([1, 25]), "multiple") << 8
    dims = tuple(draw(st.lists(st.integers(0 if kind == s.TENSOR else 1, 3), max_size=3), "dims"))
    plain = Field(name, kind, dtype, nullable, itemsize, unit, dims, codec, 0, level, block_bytes)
    filters = [0, s.SHUFFLE, s.BITSHUFFLE] + [s.DELTA, s.DELTA | s.SHUFFLE] * (plain.filter_size in (1, 2, 4, 8))
    chosen = draw(st.sampled_from(filters if dtype not in (s.CHARS, s.UTF32) else [0]), "filter")
    blocks = block_bytes * plain.filter_size if chosen else block_bytes
    return Field(name, kind, dtype, nullable, itemsize, unit, dims, codec, chosen, level, blocks)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    container = draw(st.integers(s.DICT, s.SINGLE), "container")
    count = 1 if container == s.SINGLE else draw(st.integers(1, 4), "fields")
    return Schema(tuple(draw(fields(f"field {i} ä")) for i in range(count)), container)


def elements(spec: Field) -> st.SearchStrategy[bytes]:
    """Stored bytes of one element; edge values of its dtype beside arbitrary bits."""
    size = spec.itemsize
    if spec.dtype == s.BOOL:
        return st.sampled_from([b"\0", b"\1"])
    if spec.dtype == s.CHARS:
        return st.binary(max_size=size).map(lambda text: text.ljust(size, b"\0"))
    if spec.dtype == s.UTF32:
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=size // 4)
        return text.map(lambda text: text.encode("utf-32-le").ljust(size, b"\0"))
    if spec.numpy_dtype.kind == "f" and spec.dtype != s.BFLOAT16:
        edges = [np.array(value, spec.numpy_dtype).tobytes() for value in FLOATS]
    else:
        edges = [bytes(size), b"\xff" * size, bytes(size - 1) + b"\x80", b"\1".ljust(size, b"\0")]  # 0, -1, smallest (not-a-time), 1
    return st.sampled_from(edges) | st.binary(min_size=size, max_size=size)


def rows(spec: Field) -> st.SearchStrategy[Row]:
    value: st.SearchStrategy[Any]
    if spec.kind == s.STRING:
        value = (st.sampled_from(WORDS) | st.text(max_size=8)).map(str.encode)
    elif spec.kind >= s.BYTES:
        value = st.binary(max_size=40) | st.integers(0, 400).map(lambda size: b"z" * size)
    else:
        inner = math.prod(spec.dims)
        lengths = st.just(1) if spec.kind == s.TENSOR else st.integers(0, 3)
        few = st.builds(lambda one, count: one * (count * inner), elements(spec), lengths)
        many = lengths.flatmap(lambda count: st.lists(elements(spec), min_size=count * inner, max_size=count * inner).map(b"".join))
        value = few | many
    return st.one_of(st.none(), value) if spec.nullable else value


@st.composite
def tables(draw: st.DrawFn, schema: Schema, max_samples: int = 24) -> list[list[Row]]:
    """Columns of the schema, all of one length."""
    count = draw(st.integers(0, max_samples), "samples")
    return [draw(st.lists(rows(spec), min_size=count, max_size=count)) for spec in schema.fields]


def expected_statistics(spec: Field, column: list[Row]) -> tuple[int | float, int | float] | None:
    """min and max by plain Python, one value at a time: what numpy and C++ are compared with."""
    if spec.kind != s.TENSOR or spec.dims or spec.dtype in (13, 14, s.CHARS, s.UTF32):
        return None
    found = []
    for row in column:
        if row is None:
            continue
        if spec.dtype == s.BFLOAT16:
            value = struct.unpack("<f", b"\0\0" + row)[0]
        elif spec.numpy_dtype.kind == "f":
            value = struct.unpack({2: "<e", 4: "<f", 8: "<d"}[spec.itemsize], row)[0]
        else:
            value = int.from_bytes(row, "little", signed=spec.numpy_dtype.kind in "imM")
        is_nat = spec.dtype in (s.DATETIME, s.TIMEDELTA) and value == -(1 << 63)
        if value == value and not is_nat:
            found.append(value)
    return (min(found), max(found)) if found else None
