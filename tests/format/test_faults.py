"""Damage F03 to F08: files that lie with right hashes are refused by both readers, by class and with a message that names the place.

Over 500 lines because it is a table: each row is one lie of the format, and a lie that no row tells is one that nobody checks.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import reference_schema as s
from headrace import _native as hr
from headrace.errors import (
    CorruptDataError,
    HeadraceError,
    LimitExceededError,
    NotFoundError,
    TruncatedError,
    UnsupportedVersionError,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_reader import ReferenceDataset, read_dataset
from reference_schema import Field, ReferenceFormatError, Schema, checksum, place
from reference_writer import (
    BlockImage,
    ChunkImage,
    ManifestImage,
    PageImage,
    Row,
    ShardImage,
    encode_rows,
    layout_shard,
    make_uuid,
    put_manifest,
    put_shard,
    render_index,
    render_schema,
    write_dataset,
)

from tests.format.native import fetch_rows, native_schema

SCHEMA = Schema((
    Field("num", dtype=5, nullable=True, itemsize=4, codec=s.LZ4, filter=s.SHUFFLE, block_bytes=2048),
    Field("text", s.STRING, nullable=True, codec=s.ZSTD, level=3, block_bytes=2048),
    Field("rag", s.RAGGED, dtype=3, itemsize=2, dims=(2,), block_bytes=2048),
))  # fmt: skip
NUM, TEXT, RAG = 0, 1, 2
ROWS, CHUNK = 3000, 1000
COLUMNS: list[list[Row]] = [
    encode_rows(SCHEMA.fields[NUM], [None if i % 7 == 0 else i * i - 999 for i in range(ROWS)]),
    encode_rows(SCHEMA.fields[TEXT], [None if i % 11 == 0 else f"sämple {i % 13}" for i in range(ROWS)]),
    [bytes([i % 256] * (4 * (i % 3))) for i in range(ROWS)],
]
SHARD = f"shard-{make_uuid(0).hex()}.hrs"
WRAP = 1 << 64


def write_whole(path: Path) -> None:
    write_dataset(path, SCHEMA, COLUMNS, chunk_samples=CHUNK)


def write_doctored(path: Path, doctor: Callable[[ShardImage], None]) -> None:
    write_dataset(path, SCHEMA, COLUMNS, chunk_samples=CHUNK, doctor=doctor)


def read_all(path: Path) -> list[list[Row]]:
    dataset = hr.Dataset(str(path))
    return fetch_rows(dataset, SCHEMA, range(len(dataset)))


def damages(path: Path) -> str:
    """What Verification finds, as text; an error that stops it counts as found."""
    try:
        return "\n".join(f"{found['error']}: {found['message']}" for found in hr.Verification(str(path), decode=True).run()["damages"])
    except HeadraceError as error:
        return f"{type(error).__name__}: {error}"


def check_refused(path: Path, use: Callable[[Path], object], error: type[HeadraceError], words: list[str]) -> None:
    """`use` and Verification refuse with this class and all these words (regular expressions); the reference refuses too."""
    with pytest.raises(ReferenceFormatError):
        read_dataset(path)
    with pytest.raises(error) as caught:
        use(path)
    assert type(caught.value) is error, repr(caught.value)
    found = damages(path)
    for word in words:
        assert re.search(word, str(caught.value)), f"no {word!r} in: {caught.value}"
        assert re.search(word, found), f"no {word!r} in: {found}"


def open_index(path: Path) -> object:
    return hr.Dataset(str(path)).shards


# --- F05, F06, F07: what the index, the footer and the block tables say ---------------------------------------------------------------


def chunk(image: ShardImage, number: int = 1) -> ChunkImage:
    return image.chunks[number]


def page(image: ShardImage, field: int = TEXT, number: int = 1) -> PageImage:
    return image.chunks[number].pages[field]


def block(image: ShardImage, which: int = -1, field: int = TEXT, number: int = 1) -> BlockImage:
    return image.chunks[number].pages[field].blocks[which]


def change(owner: object, **values: int) -> None:
    for name, value in values.items():
        assert getattr(owner, name) != value
        setattr(owner, name, value)


INDEX_LIES: dict[str, tuple[Callable[[ShardImage], None], list[str]]] = {
    "chunk offset outside the file": (lambda i: change(chunk(i), offset=1 << 40), ["chunk 1"]),
    "chunk offset wraps": (lambda i: change(chunk(i), offset=WRAP - 4096), ["chunk 1"]),
    "chunk size outside the file": (lambda i: change(chunk(i, 2), size=1 << 40), ["chunk 2"]),
    "chunk size wraps": (lambda i: change(chunk(i), size=WRAP - 4096), ["chunk 1"]),
    "chunk size wraps the end onto itself": (lambda i: change(chunk(i), size=WRAP - 4096 * 2), ["chunk 1"]),
    "chunk size not aligned": (lambda i: change(chunk(i), size=chunk(i).size + 64), ["chunk 1"]),
    "chunks overlap": (lambda i: change(chunk(i, 2), offset=chunk(i, 1).offset), ["chunk 2"]),
    "chunk overlaps the next": (lambda i: change(chunk(i), size=chunk(i).size + 4096), ["chunk [12]"]),
    "hole before a chunk": (lambda i: i.move(1, 4096), ["chunk [01]"]),
    "hole before the index": (lambda i: i.move(3, 4096), ["index"]),
    "bytes after the samples": (lambda i: change(chunk(i), reserved=1), ["chunk 1"]),
    "samples of a middle chunk": (lambda i: change(chunk(i), num_samples=CHUNK - 1), ["chunk 1", "999", "1000"]),
    "samples of the last chunk": (lambda i: change(chunk(i, 2), num_samples=CHUNK + 1), ["chunk 2", "1001"]),
    "page offset wraps": (lambda i: change(page(i), offset=WRAP - 64), ["chunk 1", "text"]),
    "page offset outside the chunk": (lambda i: change(page(i), offset=1 << 30), ["chunk 1", "text"]),
    "pages overlap": (lambda i: change(page(i), offset=0), ["chunk 1", "text"]),
    "hole before a page": (lambda i: change(page(i), offset=page(i).offset + 64), ["chunk 1", "text"]),
    "page size wraps": (lambda i: change(page(i), size=WRAP - 64), ["chunk 1", "text"]),
    "page size outside the chunk": (lambda i: change(page(i, RAG), size=1 << 30), ["chunk 1", "rag"]),
    "first block": (lambda i: change(page(i), first_block=page(i).first_block + 1), ["chunk 1", "text"]),
    "tensor's decoded bytes": (lambda i: change(page(i, NUM), values_bytes=4004), ["chunk 1", "num", "4004", "4000"]),
    "number of blocks": (lambda i: change(page(i), num_blocks=page(i).num_blocks + 1), ["chunk 1", "text"]),
    "nulls of a field that has none": (lambda i: change(page(i, RAG), null_count=1), ["chunk 1", "rag"]),
    "more nulls than samples": (lambda i: change(page(i, NUM), null_count=1001), ["chunk 1", "num"]),
    "unknown page flags": (lambda i: change(page(i), flags=2), ["chunk 1", "text"]),
    "min of a field that has none": (lambda i: change(page(i), minimum=7), ["chunk 1", "text"]),
    "footer: chunks": (lambda i: i.footer.update(num_chunks=4), ["footer|index", "4"]),
    "footer: chunks wrap": (lambda i: i.footer.update(num_chunks=WRAP // 240 + 4), ["footer|index"]),
    "footer: index offset wraps": (lambda i: i.footer.update(index_at=WRAP - 720), ["footer|index"]),
    "footer: index in the header": (lambda i: i.footer.update(index_at=0), ["footer|index"]),
    "footer: schema offset": (lambda i: i.footer.update(schema_at=i.index_at), ["footer|schema"]),
    "footer: schema bytes wrap": (lambda i: i.footer.update(schema_bytes=WRAP - 1), ["footer|schema"]),
    "footer: blocks": (lambda i: i.footer.update(num_blocks=1), ["block"]),
    "footer: fields": (lambda i: i.footer.update(num_fields=2), ["footer", "2", "3"]),
    "trailing bytes before the footer": (lambda i: change_trailing(i, b"polyglot"), ["footer|schema"]),
    "trailing bytes in the schema": (lambda i: change_schema(i, i.schema + bytes(4)), ["schema"]),
    "trailing bytes in the index": (lambda i: change_index(i, render_index(i) + bytes(240)), ["footer|index"]),
}  # fmt: skip


def change_trailing(image: ShardImage, trailing: bytes) -> None:
    image.trailing = trailing


def change_schema(image: ShardImage, schema: bytes) -> None:
    image.schema = schema


def change_index(image: ShardImage, index: bytes) -> None:
    image.index = index
    image.footer.update(num_chunks=3)


@pytest.mark.parametrize("lie", INDEX_LIES)
def test_index_that_lies_is_refused_at_open(tmp_path: Path, lie: str) -> None:
    doctor, words = INDEX_LIES[lie]
    write_doctored(tmp_path, doctor)
    check_refused(tmp_path, open_index, CorruptDataError, [SHARD, *words])


TABLE_LIES: dict[str, tuple[Callable[[ShardImage], None], list[str]]] = {
    "block offset wraps": (lambda i: change(block(i), offset=WRAP - 8), []),
    "block offset outside the page": (lambda i: change(block(i), offset=1 << 30), []),
    "blocks overlap": (lambda i: change(block(i), offset=block(i, 0).offset), []),
    "stored bytes outside the page": (lambda i: change(block(i), stored=0xFFFFFFFF), []),
    "stored bytes of nothing": (lambda i: change(block(i), stored=0), []),
    "decoded bytes too many": (lambda i: change(block(i), decoded=block(i).decoded + 1), []),
    "decoded bytes too few": (lambda i: change(block(i), decoded=block(i).decoded - 1), []),
    "decoded bytes at most": (lambda i: change(block(i), decoded=0xFFFFFFFF), []),
    "validity under a codec": (lambda i: change(block(i, 0), stored=block(i, 0).stored - 1), []),
    "offsets too many": (lambda i: change(block(i, 1), decoded=block(i, 1).decoded + 4), []),
    "block's hash": (lambda i: change_hash(i, block(i)), []),
    "table's hash": (lambda i: change(page(i), table_hash=1), []),
    "decoded bytes of the section": (lambda i: change(page(i), values_bytes=page(i).values_bytes - 1), []),
}  # fmt: skip


def change_hash(image: ShardImage, which: BlockImage) -> None:
    which.hash = checksum(which.payload, place(image.uuid, s.PAGE, TEXT, 0))  # right for another chunk


@pytest.mark.parametrize("lie", TABLE_LIES)
def test_block_table_that_lies_is_refused_when_read(tmp_path: Path, lie: str) -> None:
    doctor, words = TABLE_LIES[lie]
    write_doctored(tmp_path, doctor)
    check_refused(tmp_path, read_all, CorruptDataError, [SHARD, "chunk 1", "text", *words])
    dataset = hr.Dataset(str(tmp_path))
    assert fetch_rows(dataset, SCHEMA, range(CHUNK)) == [column[:CHUNK] for column in COLUMNS], "chunk 0 is whole"


# --- Frames and values ---------------------------------------------------------------------------------------------------------------


def put_payload(which: BlockImage, payload: bytes) -> None:
    """Another payload in the place of a block, and a table that agrees; it must fit."""
    assert len(payload) <= len(which.payload), "the page has no room"
    which.payload = payload.ljust(len(which.payload), b"\0")


FRAME_LIES: dict[str, Callable[[ShardImage], None]] = {
    "lz4: garbage": lambda i: put_payload(block(i, 1, NUM), b"\xff" * len(block(i, 1, NUM).payload)),
    "zstd: garbage": lambda i: put_payload(block(i), b"\xff" * len(block(i).payload)),
    "lz4: content size": lambda i: put_payload(block(i, 1, NUM), patch(block(i, 1, NUM).payload, 6, struct.pack("<Q", 1 << 40))),
    "zstd: content size": lambda i: put_payload(block(i), zstd_with_size(block(i).payload, 1 << 14)),
    "lz4: cut": lambda i: put_payload(block(i, 1, NUM), block(i, 1, NUM).payload[:-8]),
    "zstd: cut": lambda i: put_payload(block(i), block(i).payload[:-8]),
}


def patch(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def zstd_with_size(frame: bytes, size: int) -> bytes:
    """Another content size in a frame that has it in two bytes (256 less than the size, after magic and descriptor)."""
    assert frame[4] >> 5 == 0b011, "single segment, size in two bytes"
    return patch(frame, 5, struct.pack("<H", size - 256))


@pytest.mark.parametrize("lie", FRAME_LIES)
def test_frame_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    write_doctored(tmp_path, FRAME_LIES[lie])
    check_refused(tmp_path, read_all, CorruptDataError, [SHARD, "chunk 1", "num" if lie.startswith("lz4") else "text"])


@pytest.mark.parametrize("codec", [s.LZ4, s.LZ4HC, s.ZSTD])
def test_bytes_after_a_frame_are_refused(tmp_path: Path, codec: int) -> None:
    """A block of 2048 equal bytes has room for its frame and then some; the table agrees with the frame and what follows it."""
    schema = Schema((Field("x", codec=codec, level=9, block_bytes=2048),))

    def add_byte(image: ShardImage) -> None:
        page = image.chunks[0].pages[0]
        page.blocks[0].payload += b"\0"
        page.blocks[0].stored += 1
        page.size += 1

    write_dataset(tmp_path, schema, [[b"a"] * 2048], chunk_samples=2048, doctor=add_byte)
    with pytest.raises(ReferenceFormatError, match="block 0"):
        read_dataset(tmp_path)
    with pytest.raises(CorruptDataError, match=r"chunk 0.*x"):
        hr.Dataset(str(tmp_path)).fetch(np.arange(3), [0])
    assert "chunk 0" in damages(tmp_path)


def offsets_of(image: ShardImage, change_at: int, value: int, field: int = TEXT) -> None:
    """Another number in the offsets of chunk 1."""
    which = block(image, 1 if SCHEMA.fields[field].nullable else 0, field)
    which.payload = patch(which.payload, 4 * change_at, struct.pack("<I", value))


OFFSET_LIES: dict[str, tuple[Callable[[ShardImage], None], str]] = {
    "first is not 0": (lambda i: offsets_of(i, 0, 1), "text"),
    "one decreases": (lambda i: offsets_of(i, 500, 0), "text"),
    "one is beyond the values": (lambda i: offsets_of(i, 500, 0xFFFFFFFF), "text"),
    "last is too small": (lambda i: offsets_of(i, CHUNK, 0), "text"),
    "last is too large": (lambda i: offsets_of(i, CHUNK, 0xFFFFFFFF), "text"),
    "length is no multiple of the inner sample": (lambda i: offsets_of(i, 500, 2001, RAG), "rag"),
}


@pytest.mark.parametrize("lie", OFFSET_LIES)
def test_offsets_that_lie_are_refused(tmp_path: Path, lie: str) -> None:
    doctor, field = OFFSET_LIES[lie]
    write_doctored(tmp_path, doctor)
    check_refused(tmp_path, read_all, CorruptDataError, [SHARD, "chunk 1", field])


def raw_dataset(path: Path, spec: Field, rows: list[Row], doctor: Callable[[ShardImage], None]) -> None:
    write_dataset(path, Schema((spec,)), [rows], chunk_samples=10, doctor=doctor)


def set_payload(image: ShardImage, which: int, payload: bytes) -> None:
    target = image.chunks[0].pages[0].blocks[which]
    assert len(target.payload) == len(payload)
    target.payload = payload


VALUE_LIES: dict[str, tuple[Field, list[Row], Callable[[ShardImage], None]]] = {
    "string is not UTF-8": (Field("v", s.STRING), [b"abc"] * 3, lambda i: set_payload(i, -1, b"abcab\xc3abc")),
    "string is a surrogate": (Field("v", s.STRING), [b"abc"], lambda i: set_payload(i, -1, b"\xed\xa0\x80")),
    "character cut between samples": (Field("v", s.STRING), [b"a", b"b"], lambda i: set_payload(i, -1, "ü".encode())),
    "unused validity bits": (Field("v", nullable=True), [b"\1"] * 3, lambda i: set_payload(i, 0, b"\x0f")),
    "null count": (Field("v", nullable=True), [b"\1", None, b"\2"], lambda i: change(i.chunks[0].pages[0], null_count=0)),
    "null with a value": (Field("v", nullable=True), [b"\1", None, b"\2"], lambda i: set_payload(i, 1, b"\1\5\2")),
    "null with a length": (Field("v", s.BYTES, nullable=True), [b"a", b"b"], lambda i: (set_payload(i, 0, b"\1"), change(i.chunks[0].pages[0], null_count=1))[0]),
    "bool of 2": (Field("v", dtype=s.BOOL), [b"\0", b"\1"], lambda i: set_payload(i, 0, b"\0\2")),
    "min": (Field("v"), [b"\1", b"\3"], lambda i: change(i.chunks[0].pages[0], minimum=0)),
    "max": (Field("v", dtype=12, itemsize=8), [struct.pack("<d", 1.5)], lambda i: change(i.chunks[0].pages[0], maximum=0)),
    "min and max of nothing": (Field("v", nullable=True), [None], lambda i: change(i.chunks[0].pages[0], flags=1)),
}  # fmt: skip


@pytest.mark.parametrize("lie", VALUE_LIES)
def test_verification_finds_values_that_lie(tmp_path: Path, lie: str) -> None:
    """Contents that no reader needs to look at for its own safety: verify --decode and the reference find them."""
    spec, rows, doctor = VALUE_LIES[lie]
    raw_dataset(tmp_path, spec, rows, doctor)
    with pytest.raises(ReferenceFormatError, match="chunk 0"):
        read_dataset(tmp_path)
    found = damages(tmp_path)
    assert "CorruptDataError" in found
    assert "chunk 0" in found
    assert "'v'" in found or "v" in found


def test_string_that_is_not_utf8_never_becomes_a_str(tmp_path: Path) -> None:
    spec, rows, doctor = VALUE_LIES["string is not UTF-8"]
    raw_dataset(tmp_path, spec, rows, doctor)
    with pytest.raises(CorruptDataError, match=r"v.*|.*UTF-8"):
        hr.Dataset(str(tmp_path)).fetch(np.arange(3), [0]).numpy(0)
