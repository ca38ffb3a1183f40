"""Frames, offsets and values that lie with right hashes: what only decoding can find."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import pytest
import reference_schema as s
import xxhash
import zstandard
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema
from reference_writer import Row, ShardImage, compress, write_dataset

from headrace import _native as hr
from headrace.errors import CorruptDataError
from tests.format.faults import CHUNK, RAG, SCHEMA, SHARD, TEXT, block, change, check_refused, damages, page, read_all, write_doctored

FRAMED = [s.LZ4, s.LZ4HC, s.ZSTD]
CODES = np.frombuffer(b"abcdefgh", np.uint8)[np.arange(2048) ** 2 % 8].tobytes()


def patch(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def resized(frame: bytes, size: int) -> bytes:
    """The frame with another content size: 8 bytes at 6 in LZ4, 2 bytes at 5 (of the size less 256) in a small Zstandard frame."""
    if frame[:4] == b"\x04\x22\x4d\x18":
        header = patch(frame[:14], 6, struct.pack("<Q", size))
        return header + bytes([xxhash.xxh32_intdigest(header[4:]) >> 8 & 0xFF]) + frame[15:]
    assert frame[4] == 0x60, "one segment, size in two bytes"
    return patch(frame, 5, struct.pack("<H", size - 256))


def with_checksum(frame: bytes) -> bytes:
    if frame[:4] == b"\x04\x22\x4d\x18":
        return lz4.frame.compress(CODES, store_size=True, block_linked=False, content_checksum=True)  # type: ignore[no-any-return]
    return zstandard.ZstdCompressor(write_checksum=True).compress(CODES)


def without_size(frame: bytes) -> bytes:
    if frame[:4] == b"\x04\x22\x4d\x18":
        return lz4.frame.compress(CODES, store_size=False, block_linked=False)  # type: ignore[no-any-return]
    return zstandard.ZstdCompressor(write_content_size=False).compress(CODES)


FRAME_LIES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda frame: b"\xff" * len(frame),
    "garbage inside": lambda frame: frame[:15] + b"\xff" * (len(frame) - 15),
    "cut": lambda frame: frame[:-5],
    "cut to one byte": lambda frame: frame[:1],
    "cut to nothing": lambda frame: b"",
    "a byte behind it": lambda frame: frame + b"\0",
    "a frame behind it": lambda frame: frame + frame,
    "a frame before it": lambda frame: zstandard.ZstdCompressor().compress(b"") + frame,
    "a larger content size": lambda frame: resized(frame, 2049),
    "a smaller content size": lambda frame: resized(frame, 2047),
    "a huge content size": lambda frame: resized(frame, 65000),
    "a checksum": with_checksum,
    "no content size": without_size,
    "another codec": lambda frame: b"\x28\xb5\x2f\xfd" + frame[4:] if frame[0] == 4 else b"\x04\x22\x4d\x18" + frame[4:],
}  # fmt: skip


def fetch_some(path: Path) -> hr.Batch:
    return hr.Dataset(str(path)).fetch(np.arange(3), [0])


def set_frame(image: ShardImage, frame: bytes) -> None:
    page = image.chunks[0].pages[0]
    page.size += len(frame) - page.blocks[0].stored
    page.blocks[0].payload, page.blocks[0].stored = frame, len(frame)


@pytest.mark.parametrize("codec", FRAMED)
@pytest.mark.parametrize("lie", FRAME_LIES)
def test_frame_that_breaks_the_grammar_is_refused(tmp_path: Path, codec: int, lie: str) -> None:
    """Every hash is right; page and table agree with the frame."""
    schema = Schema((Field("x", codec=codec, level=9, block_bytes=2048),))
    columns: list[list[Row]] = [[CODES[i : i + 1] for i in range(2048)]]

    def doctor(image: ShardImage) -> None:
        set_frame(image, FRAME_LIES[lie](image.chunks[0].pages[0].blocks[0].payload))

    write_dataset(tmp_path, schema, columns, chunk_samples=2048, doctor=doctor)
    words = ["shard-", "chunk 0", "'x'"] + ["block 0"] * (lie != "cut to nothing")  # the index alone betrays a page without values
    check_refused(tmp_path, fetch_some, CorruptDataError, words)


@pytest.mark.parametrize("codec", FRAMED)
def test_frame_of_another_encoder_is_legal(tmp_path: Path, codec: int) -> None:
    """Frames that headrace's own writer would not make: another level, more and smaller LZ4 blocks, some of them stored."""
    schema = Schema((Field("x", codec=codec, level=9, block_bytes=200000),))
    noise = np.random.default_rng(7).integers(0, 256, 100000, dtype=np.uint8).tobytes()
    values = noise + bytes(100000)
    if codec == s.ZSTD:
        frame = zstandard.ZstdCompressor(level=-7, write_checksum=False).compress(values)
    else:
        frame = lz4.frame.compress(values, store_size=True, block_linked=False, block_size=lz4.frame.BLOCKSIZE_MAX64KB)
    column: list[Row] = [values[i : i + 1] for i in range(200000)]
    write_dataset(tmp_path, schema, [column], chunk_samples=200000, doctor=lambda image: set_frame(image, frame))
    assert read_dataset(tmp_path).column("x").values.tobytes() == values
    assert hr.Dataset(str(tmp_path)).fetch(np.arange(200000), [0]).numpy(0).tobytes() == values
    assert damages(tmp_path) == ""


@pytest.mark.parametrize("codec", FRAMED)
def test_frame_that_is_not_shorter_is_refused(tmp_path: Path, codec: int) -> None:
    schema = Schema((Field("x", codec=codec, level=9, block_bytes=2048),))
    noise = np.random.default_rng(7).integers(0, 256, 2048, dtype=np.uint8).tobytes()

    def doctor(image: ShardImage) -> None:
        frame = compress(schema.fields[0], noise, None)
        assert len(frame) > len(noise)
        set_frame(image, frame)

    write_dataset(tmp_path, schema, [[noise[i : i + 1] for i in range(2048)]], chunk_samples=2048, doctor=doctor)
    check_refused(tmp_path, fetch_some, CorruptDataError, ["shard-", "chunk 0", "'x'"])


def offsets_of(image: ShardImage, change_at: int, value: int, field: int = TEXT) -> None:
    """Another number in the offsets of chunk 1."""
    which = block(image, 1 if SCHEMA.fields[field].nullable else 0, field)
    which.payload = patch(which.payload, 4 * change_at, struct.pack("<I", value))


OFFSET_LIES: dict[str, tuple[Callable[[ShardImage], None], str]] = {
    "first is not 0": (lambda i: offsets_of(i, 0, 1), "text"),
    "one decreases": (lambda i: offsets_of(i, 500, 0), "text"),
    "one is beyond the values": (lambda i: offsets_of(i, 500, 0xFFFFFFFF), "text"),
    "last leaves a byte over": (lambda i: offsets_of(i, CHUNK, page(i).values_bytes - 1), "text"),
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


def set_null(image: ShardImage, bitmap: bytes) -> None:
    set_payload(image, 0, bitmap)
    image.chunks[0].pages[0].null_count = 1


VALUE_LIES: dict[str, tuple[Field, list[Row], Callable[[ShardImage], None]]] = {
    "string is not UTF-8": (Field("v", s.STRING), [b"abc"] * 3, lambda i: set_payload(i, -1, b"abcab\xc3abc")),
    "string is a surrogate": (Field("v", s.STRING), [b"abc"], lambda i: set_payload(i, -1, b"\xed\xa0\x80")),
    "character cut between samples": (Field("v", s.STRING), [b"a", b"b"], lambda i: set_payload(i, -1, "ü".encode())),
    "unused validity bits": (Field("v", nullable=True), [b"\1"] * 3, lambda i: set_payload(i, 0, b"\x0f")),
    "null count": (Field("v", nullable=True), [b"\1", None, b"\2"], lambda i: change(i.chunks[0].pages[0], null_count=0)),
    "null with a value": (Field("v", nullable=True), [b"\1", None, b"\2"], lambda i: set_payload(i, 1, b"\1\5\2")),
    "null with a length": (Field("v", s.BYTES, nullable=True), [b"a", b"b"], lambda i: set_null(i, b"\1")),
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
