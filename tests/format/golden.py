"""What the golden datasets hold, written out: files in tests/data that are kept for ever and never written again.

`python -m tests.format.golden NEW_DIRECTORY` (with tests/ on PYTHONPATH) made tests/data/format-1.0 with the first writer of format 1.0.
A later format version adds a directory; it never touches an old one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import reference_schema as s
from reference_schema import Field, Schema
from reference_writer import encode_rows

from tests.format.native import write_native

NS = 10 | 1 << 8  # unit: ns
SCHEMA = Schema(
    (
        Field("flag", dtype=s.BOOL, nullable=True),
        Field("int8", dtype=1, filter=s.SHUFFLE, codec=s.LZ4),
        Field("int32", dtype=5, itemsize=4, nullable=True, codec=s.ZSTD, level=3, filter=s.DELTA | s.SHUFFLE, block_bytes=16),
        Field("uint64", dtype=8, itemsize=8, codec=s.LZ4HC, level=9, filter=s.DELTA),
        Field("half", dtype=9, itemsize=2),
        Field("brain", dtype=s.BFLOAT16, itemsize=2),
        Field("double", dtype=12, itemsize=8, codec=s.ZSTD, level=1, filter=s.SHUFFLE, metadata='{"unit": "µm"}'),
        Field("complex", dtype=13, itemsize=8, dims=(2,), filter=s.SHUFFLE, codec=s.LZ4),
        Field("time", dtype=s.DATETIME, itemsize=8, unit=NS, nullable=True),
        Field("span", dtype=s.TIMEDELTA, itemsize=8, unit=7 | 25 << 8),
        Field("chars", dtype=s.CHARS, itemsize=3),
        Field("text", dtype=s.UTF32, itemsize=8),
        Field("tensor", dtype=11, itemsize=4, dims=(2, 3), codec=s.ZSTD, level=3, filter=s.SHUFFLE, block_bytes=24),
        Field("nothing", dtype=3, itemsize=2, dims=(0, 4)),
        Field("ragged", s.RAGGED, dtype=5, itemsize=4, dims=(2,), nullable=True, codec=s.LZ4, filter=s.SHUFFLE, block_bytes=16),
        Field("bytes", s.BYTES, codec=s.ZSTD, level=19, block_bytes=64),
        Field("string", s.STRING, nullable=True, codec=s.LZ4, block_bytes=64),
        Field("image", s.IMAGE),
    ),
    s.DICT,
    '{"source": "golden ☃"}',
)
GIF = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
COLUMNS: dict[str, list[Any]] = {
    "flag": [True, None, False, True, True],
    "int8": [-128, 127, 0, -1, 1],
    "int32": [None, -(2**31), 2**31 - 1, 7, None],
    "uint64": [2**64 - 1, 0, 2**63, 1, 2],
    "half": [1.5, float("nan"), -65504.0, float("inf"), 0.0],
    "brain": [0x3F80, 0xC000, 0x7FC0, 0x4049, 0x0000],  # 1, -2, not a number, 3.140625, 0
    "double": [0.1, -1e300, float("nan"), float("-inf"), 2.5],
    "complex": [[1 + 2j, 0], [-1, 3j], [0, 0], [5 - 5j, 1], [2, 2]],
    "time": [np.datetime64("2013-01-01T05:17:00", "ns"), None, np.datetime64("NaT", "ns"), np.datetime64(-1, "ns"), np.datetime64(0, "ns")],
    "span": [np.timedelta64(count, "25s") for count in (0, 4, -4, 1000, 7)],
    "chars": [b"abc", b"", b"x", b"\xff\x00z", b"yy"],
    "text": ["né", "", "☃", "\U0001f30a!", "a"],
    "tensor": [np.arange(6).reshape(2, 3) * scale for scale in (0, 1, -1, 0.5, 100)],
    "nothing": [np.empty((0, 4))] * 5,
    "ragged": [[[1, 2], [3, 4]], None, np.empty((0, 2)), [[-5, 6]], [[i, -i] for i in range(9)]],
    "bytes": [b"", b"\x00", b"head" * 40, b"race", b"\xff" * 3],
    "string": ["ü", None, "", "snow ☃ man", "x" * 200],
    "image": [GIF, b"\xff\xd8\xff", GIF, GIF, b"\x89PNG"],
}
# min and max of each chunk of version 2: samples 0 and 1, 2, 3 and 4. Fields that are not here have none.
STATISTICS: dict[str, list[tuple[int | float, int | float] | None]] = {
    "flag": [(1, 1), (0, 0), (1, 1)],
    "int8": [(-128, 127), (0, 0), (-1, 1)],
    "int32": [(-(2**31), -(2**31)), (2**31 - 1, 2**31 - 1), (7, 7)],
    "uint64": [(0, 2**64 - 1), (2**63, 2**63), (1, 2)],
    "half": [(1.5, 1.5), (-65504.0, -65504.0), (0.0, float("inf"))],
    "brain": [(-2.0, 1.0), None, (0.0, 3.140625)],
    "double": [(-1e300, 0.1), None, (float("-inf"), 2.5)],
    "time": [(1357017420 * 10**9, 1357017420 * 10**9), None, (-1, 0)],
    "span": [(0, 4), (-4, -4), (7, 1000)],
}
VERSION_1_SAMPLES = 3


def stored_columns(begin: int, end: int) -> list[list[bytes | None]]:
    """Stored bytes of samples [begin, end), one list a field."""
    return [encode_rows(spec, COLUMNS[spec.name][begin:end]) for spec in SCHEMA.fields]


def write_golden(path: Path) -> None:
    """Version 1 has three samples in chunks of two, version 2 two more in a shard of its own."""
    write_native(path, SCHEMA, [stored_columns(0, VERSION_1_SAMPLES)], chunk_samples=2, threads=1)
    write_native(path, SCHEMA, [stored_columns(VERSION_1_SAMPLES, 5)], append=True, chunk_samples=2, threads=1)


if __name__ == "__main__":
    write_golden(Path(sys.argv[1]))
