"""Constants, seeds and the schema of the headrace format, for the reference reader and writer; from FORMAT.md alone, like them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash

MAJOR, MINOR = 1, 1
SHARD_MAGIC, MANIFEST_MAGIC = b"\x89HRS\r\n\x1a\n", b"\x89HRM\r\n\x1a\n"
FOOTER_MAGIC, END_MAGIC = b"HRSFOOT\n", b"\x89HRSEND\n"
HEADER_BYTES, FOOTER_BYTES, CHUNK_HEAD_BYTES, PAGE_ENTRY_BYTES, BLOCK_ENTRY_BYTES = 4096, 128, 24, 72, 24
CHUNK_ALIGN, PAGE_ALIGN, PLAIN_BLOCK_BYTES = 4096, 64, 16384
HEADER, PAGE, INDEX, SCHEMA, FOOTER, MANIFEST = 1, 2, 3, 4, 5, 6  # regions of place()
DICT, TUPLE, SINGLE = 0, 1, 2  # containers
TENSOR, RAGGED, BYTES, STRING, IMAGE = 0, 1, 2, 3, 4  # kinds
NONE, LZ4, LZ4HC, ZSTD = 0, 1, 2, 3  # codecs
SHUFFLE, DELTA, BITSHUFFLE = 1, 2, 4  # 3 is delta, then shuffle
DICTIONARIES = 1  # tag of the extension
BOOL, UINT8, BFLOAT16, DATETIME, TIMEDELTA, CHARS, UTF32 = 0, 2, 10, 15, 16, 17, 18  # dtypes that need a rule of their own
# numpy's names of dtype 0 to 18
NUMPY_DTYPES = "? i1 u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <u2 <f4 <f8 <c8 <c16 <M8 <m8 S <U".split()  # noqa: SIM905
UNITS = ("generic", "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
MIB = 1 << 20


class ReferenceFormatError(ValueError):
    """The bytes break the grammar. `region` names the structure, for instance "shard-….hrs: chunk 3, field 'x', block 0"."""

    def __init__(self, region: str, problem: str) -> None:
        super().__init__(f"{region}: {problem}")
        self.region = region


def check(condition: bool, region: str, problem: str) -> None:
    if not condition:
        raise ReferenceFormatError(region, problem)


def checksum(data: bytes | memoryview, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(data, seed)


def place(uuid: bytes, region: int, field: int = 0, chunk: int = 0) -> int:
    return checksum(uuid + struct.pack("<IIQ", region, field, chunk), 0)


def align(size: int, boundary: int) -> int:
    return -(-size // boundary) * boundary


# --- 6. Schema -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    name: str
    kind: int = TENSOR
    dtype: int = UINT8
    nullable: bool = False
    itemsize: int = 1
    unit: int = 0
    dims: tuple[int, ...] = ()
    codec: int = NONE
    filter: int = 0
    level: int = 0
    block_bytes: int = 65536
    metadata: str = ""
    dictionary: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of a tensor sample, or of one inner sample of a ragged field."""
        return self.itemsize * math.prod(self.dims)

    @property
    def filter_size(self) -> int:
        return self.itemsize // 2 if self.dtype in (13, 14) else self.itemsize

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """dtype of the decoded values; bfloat16 is read as its uint16 bits."""
        if self.dtype in (DATETIME, TIMEDELTA) and self.unit & 0xFF:
            return np.dtype(f"{NUMPY_DTYPES[self.dtype]}[{self.unit >> 8}{UNITS[self.unit & 0xFF]}]")
        length = {CHARS: str(self.itemsize), UTF32: str(self.itemsize // 4)}.get(self.dtype, "")
        return np.dtype(NUMPY_DTYPES[self.dtype] + length)

    def check(self, region: str) -> None:
        region = f"{region}, field {self.name!r}"
        check(0 < len(self.name.encode()) <= 1024, region, "a name has 1 to 1024 bytes")
        check(
            self.kind <= IMAGE and self.dtype <= UTF32 and self.codec <= ZSTD and self.filter <= BITSHUFFLE,
            region,
            "unknown kind, dtype, codec or filter",
        )
        if self.dtype in (CHARS, UTF32):
            check(
                0 < self.itemsize <= MIB and self.itemsize % (4 if self.dtype == UTF32 else 1) == 0, region, f"itemsize is {self.itemsize}"
            )
        else:
            check(self.itemsize == np.dtype(NUMPY_DTYPES[self.dtype]).itemsize, region, f"itemsize is {self.itemsize}")
        if self.dtype in (DATETIME, TIMEDELTA):
            check(self.unit & 0xFF < len(UNITS) and self.unit >> 8 > 0, region, f"unit is {self.unit:#x}")
        else:
            check(self.unit == 0, region, "only dates have a unit")
        if self.kind >= BYTES:
            check(
                self.dtype == UINT8 and not self.dims and self.filter == 0,
                region,
                "kinds 2 to 4 are uint8 without dims and filter",
            )
        check(self.kind != RAGGED or 0 not in self.dims, region, "a ragged field has no dim of 0")
        check(self.itemsize * math.prod(dim for dim in self.dims if dim) < 1 << 64, region, "itemsize times dims is 2^64 or more")
        check(not self.filter & DELTA or self.filter_size in (1, 2, 4, 8), region, f"delta of {self.filter_size} byte elements")
        check(not self.dictionary or self.codec == ZSTD, region, "a dictionary for another codec than Zstandard")
        check(0 < self.block_bytes <= 64 * MIB, region, f"block bytes is {self.block_bytes}")
        check(self.filter == 0 or self.block_bytes % self.filter_size == 0, region, f"block bytes is no multiple of {self.filter_size}")


@dataclass(frozen=True)
class Schema:
    fields: tuple[Field, ...]
    container: int = DICT
    metadata: str = ""

    def check(self, region: str) -> None:
        check(1 <= len(self.fields) <= 4096, region, f"{len(self.fields)} fields, 1 to 4096 are allowed")
        check(self.container <= SINGLE, region, f"unknown container {self.container}")
        check(self.container != SINGLE or len(self.fields) == 1, region, "container 2 has exactly one field")
        check(len({field.name for field in self.fields}) == len(self.fields), region, "names are not unique")
        for field in self.fields:
            field.check(region)

    def essence(self) -> tuple[int, tuple[Field, ...]]:
        """What all shards of a dataset share (section 7)."""
        return self.container, tuple(
            replace(f, codec=0, filter=0, level=0, block_bytes=1, metadata="", dictionary=False) for f in self.fields
        )


class Cursor:
    """Reads a structure from first byte to last; never past its end."""

    def __init__(self, data: bytes, region: str) -> None:
        self.data, self.region, self.at = data, region, 0

    def bytes(self, size: int) -> bytes:
        check(size <= len(self.data) - self.at, self.region, f"{size} bytes at {self.at} of {len(self.data)} run over the end")
        self.at += size
        return self.data[self.at - size : self.at]

    def ints(self, layout: str) -> tuple[int, ...]:
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def text(self, size: int, limit: int) -> str:
        check(size <= limit, self.region, f"text of {size} bytes at {self.at}, the limit is {limit}")
        try:
            return self.bytes(size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReferenceFormatError(self.region, f"text before {self.at} is not UTF-8: {error}") from error

    def str16(self) -> str:
        text = self.text(self.ints("H")[0], 1024)
        check("\0" not in text, self.region, f"NUL in the name before {self.at}")
        return text

    def extensions(self, known: int | None = None) -> list[bytes]:
        """Contents of the extensions with the tag `known`; others are skipped unless they are critical."""
        contents = []
        for _ in range(*self.ints("I")):
            tag, flags, size = self.ints("HHI")
            check(not flags & 1 or tag == known, self.region, f"extension {tag} is critical and not known")
            content = self.bytes(size)
            if tag == known:
                contents.append(content)
        return contents

    def end(self) -> None:
        check(self.at == len(self.data), self.region, f"ends at {self.at}, expected {len(self.data)}")


def parse_field(cursor: Cursor) -> Field:
    name = cursor.str16()
    kind, dtype, flags, ndim, itemsize, unit = cursor.ints("BBBBII")
    check(flags <= 3, cursor.region, f"field {name!r} has unknown flags {flags:#x}")
    check(ndim <= 32, cursor.region, f"field {name!r} has {ndim} dims, at most 32 are allowed")
    dims = cursor.ints(f"{ndim}Q")
    codec, filter_, level, block_bytes, metadata_bytes = cursor.ints("BBhII")
    metadata = cursor.text(metadata_bytes, 16 * MIB)
    return Field(name, kind, dtype, bool(flags & 1), itemsize, unit, dims, codec, filter_, level, block_bytes, metadata, bool(flags & 2))


def parse_schema(data: bytes, region: str, dictionaries: dict[int, bytes] | None = None) -> Schema:
    """With `dictionaries`, of a shard: those of its fields are put there."""
    cursor = Cursor(data, region)
    count, container, *zero, metadata_bytes = cursor.ints("IB3BI")
    check(count <= 4096, region, f"{count} fields, at most 4096 are allowed")
    check(not any(zero), region, "the bytes after the container are not zero")
    metadata = cursor.text(metadata_bytes, 16 * MIB)
    schema = Schema(tuple(parse_field(cursor) for _ in range(count)), container, metadata)
    schema.check(region)
    if dictionaries is None:
        cursor.extensions()
    else:
        for content in cursor.extensions(DICTIONARIES):
            parse_dictionaries(Cursor(content, region), schema, dictionaries)
        expected = [number for number, field in enumerate(schema.fields) if field.dictionary]
        check(sorted(dictionaries) == expected, region, f"dictionaries for fields {sorted(dictionaries)}, expected {expected}")
    cursor.end()
    return schema


def parse_dictionaries(cursor: Cursor, schema: Schema, dictionaries: dict[int, bytes]) -> None:
    for _ in range(*cursor.ints("I")):
        number, size = cursor.ints("II")
        check(number < len(schema.fields) and number not in dictionaries, cursor.region, f"a dictionary for field {number}")
        check(size <= MIB, cursor.region, f"a dictionary of {size} bytes, the limit is 1 MiB")
        dictionaries[number] = cursor.bytes(size)
        check(dictionaries[number][:4] == b"\x37\xa4\x30\xec", cursor.region, f"the dictionary of field {number} has another magic")
    cursor.end()
