"""A second reader of the headrace format, written from cpp/headrace/format/FORMAT.md alone; section numbers in comments are that page's.

Plain and complete instead of fast: `read_dataset` reads every byte of every shard, checks every "must" of the grammar, and raises
ReferenceFormatError naming the region and what is wrong. The tests compare the C++ reader with it.
"""

from __future__ import annotations

import itertools
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import reference_schema as s
import zstandard
from reference_schema import Cursor, Field, ReferenceFormatError, Schema, align, check, checksum, place

# --- 7. Manifest ---------------------------------------------------------------------------------------------------------------------


class ShardEntry(NamedTuple):
    file_name: str
    uuid: bytes
    file_bytes: int
    num_samples: int
    chunk_samples: int
    footer_hash: int


class Manifest(NamedTuple):
    uuid: bytes
    version: int
    created_ns: int
    num_samples: int
    schema: Schema
    shards: list[ShardEntry]
    newer_minor: bool


def check_version(version: tuple[int, ...], region: str) -> bool:
    """True for a newer minor version; another major is refused before anything else is believed."""
    check(version[0] == s.MAJOR, region, f"format version {version[0]}.{version[1]}, this reader knows {s.MAJOR}.x")
    return version[1] > s.MINOR


def parse_manifest(data: bytes, number: int, region: str) -> Manifest:
    check(len(data) <= 256 * s.MIB, region, f"{len(data)} bytes, the limit is 256 MiB")
    cursor = Cursor(data[:-8], region)
    check(cursor.bytes(8) == s.MANIFEST_MAGIC, region, "not a headrace manifest (magic)")
    newer_minor = check_version(cursor.ints("HH"), region)
    (zero,), uuid = cursor.ints("I"), cursor.bytes(16)
    version, created, num_samples, num_shards, schema_bytes = cursor.ints("QqQII")
    check(data[-8:] == struct.pack("<Q", checksum(data[:-8], place(uuid, s.MANIFEST, 0, version))), region, "hash differs")
    check(zero == 0, region, "the bytes after the version are not zero")
    check(version == number, region, f"is version {version}, its name says {number}")
    check(num_shards <= 1 << 20, region, f"{num_shards} shards, the limit is 2^20")
    schema = s.parse_schema(cursor.bytes(schema_bytes), f"{region}: schema")
    shards = []
    for _ in range(num_shards):
        name, shard_uuid, (size, samples, chunk_samples, zero, footer_hash) = cursor.str16(), cursor.bytes(16), cursor.ints("QQIIQ")
        check(name != "" and "/" not in name and not name.startswith("."), region, f"file name {name!r}")
        check(zero == 0, region, f"shard {name}: the bytes after chunk samples are not zero")
        shards.append(ShardEntry(name, shard_uuid, size, samples, chunk_samples, footer_hash))
    cursor.extensions()
    cursor.end()
    check(sum(shard.num_samples for shard in shards) == num_samples, region, f"shards do not add up to {num_samples} samples")
    return Manifest(uuid, version, created, num_samples, schema, shards, newer_minor)


# --- 3, 4. Shard and index -----------------------------------------------------------------------------------------------------------


class PageEntry(NamedTuple):
    offset: int
    size: int
    values_bytes: int
    first_block: int
    num_blocks: int
    flags: int
    table_hash: int
    minimum: int
    maximum: int
    null_count: int


class ChunkEntry(NamedTuple):
    offset: int
    size: int
    num_samples: int
    pages: list[PageEntry]


class Shard:
    """One shard file: the constructor checks header, footer, schema and index, `read_page` checks and decodes a page."""

    def __init__(self, data: bytes, region: str) -> None:
        self.data, self.region = data, region
        check(len(data) >= s.HEADER_BYTES + s.FOOTER_BYTES, region, f"truncated: {len(data)} bytes")
        header, footer = data[: s.HEADER_BYTES], data[-s.FOOTER_BYTES :]
        check(header[:8] == s.SHARD_MAGIC, f"{region}: header", "not a headrace shard (magic)")
        *header_version, header_bytes = struct.unpack_from("<HHI", header, 8)
        self.newer_minor = check_version((header_version[0], header_version[1]), f"{region}: header")
        self.uuid = header[16:32]
        self.chunk_samples, num_fields = struct.unpack_from("<II", header, 32)
        self.check_hash("header", header[:4088], struct.unpack_from("<Q", header, 4088)[0], s.HEADER)
        check(header_bytes == s.HEADER_BYTES and not any(header[40:4088]), f"{region}: header", "header bytes or zeros differ")
        check(1 <= self.chunk_samples <= 1 << 24, f"{region}: header", f"chunk samples is {self.chunk_samples}, 1 to 2^24 are allowed")

        where = f"{region}: footer"
        check(footer[:8] == s.FOOTER_MAGIC and footer[120:] == s.END_MAGIC, where, "truncated or never finished (magic)")
        *footer_version, footer_fields = struct.unpack_from("<HHI", footer, 8)
        file_bytes, num_chunks, self.num_samples, index_at, index_bytes, schema_at, schema_bytes = struct.unpack_from("<7Q", footer, 32)
        index_hash, schema_hash, num_blocks, self.footer_hash = struct.unpack_from("<4Q", footer, 88)
        self.check_hash("footer", footer[:112], self.footer_hash, s.FOOTER)
        check(footer_version == header_version and footer_fields == num_fields, where, "version or fields differ from the header's")
        check(footer[16:32] == self.uuid, where, "uuid differs from the header's")
        check(file_bytes == len(data), where, f"file of {file_bytes} bytes, found {len(data)}")
        check(index_bytes <= 1 << 30, where, f"index of {index_bytes} bytes, the limit is 1 GiB")
        expected = num_chunks * (s.CHUNK_HEAD_BYTES + s.PAGE_ENTRY_BYTES * num_fields)
        check(index_bytes == expected, where, f"index of {index_bytes} bytes, expected {expected}")
        check(index_at >= s.HEADER_BYTES and index_at + index_bytes == schema_at, where, "the schema does not start at the index's end")
        check(schema_at + schema_bytes == len(data) - s.FOOTER_BYTES, where, "the footer does not start at the schema's end")

        index, schema = data[index_at:schema_at], data[schema_at : -s.FOOTER_BYTES]
        self.check_hash("schema", schema, schema_hash, s.SCHEMA)
        self.dictionaries: dict[int, bytes] = {}
        self.schema = s.parse_schema(schema, f"{region}: schema", self.dictionaries)
        check(len(self.schema.fields) == num_fields, f"{region}: schema", f"{len(self.schema.fields)} fields, the footer says {num_fields}")
        self.check_hash("index", index, index_hash, s.INDEX)
        self.chunks = self.parse_index(index, num_chunks)
        self.check_index(index_at, num_blocks)

    def check_hash(self, name: str, data: bytes, expected: int, region: int, field: int = 0, chunk: int = 0) -> None:
        found = checksum(data, place(self.uuid, region, field, chunk))
        check(found == expected, f"{self.region}: {name}", f"hash is {found:#x}, expected {expected:#x}")

    def parse_index(self, index: bytes, num_chunks: int) -> list[ChunkEntry]:
        cursor, chunks = Cursor(index, f"{self.region}: index"), []
        for chunk in range(num_chunks):
            offset, size, num_samples, zero = cursor.ints("QQII")
            check(zero == 0, f"{self.region}: index, chunk {chunk}", "the bytes after the samples are not zero")
            chunks.append(ChunkEntry(offset, size, num_samples, [PageEntry(*cursor.ints("QQQQIIQQQQ")) for _ in self.schema.fields]))
        cursor.end()
        return chunks

    def check_index(self, index_at: int, num_blocks: int) -> None:
        end, blocks, samples = s.HEADER_BYTES, 0, 0
        for number, chunk in enumerate(self.chunks):
            region = f"{self.region}: index, chunk {number}"
            last = number == len(self.chunks) - 1
            full = chunk.num_samples == self.chunk_samples
            check(full or (last and chunk.num_samples < self.chunk_samples), region, f"{chunk.num_samples} samples")
            check(
                chunk.offset == end and chunk.size % s.CHUNK_ALIGN == 0, region, f"{chunk.size} bytes at {chunk.offset}, expected at {end}"
            )
            end, samples, page_end, decoded = end + chunk.size, samples + chunk.num_samples, 0, 0
            check(end <= index_at, region, f"ends at {end}, the index is at {index_at}")
            for field, page in zip(self.schema.fields, chunk.pages, strict=True):
                self.check_page_entry(field, chunk, page, align(page_end, s.PAGE_ALIGN), blocks, f"{region}, field {field.name!r}")
                page_end, blocks, decoded = page.offset + page.size, blocks + page.num_blocks, decoded + page.values_bytes
            check(chunk.size == align(page_end, s.CHUNK_ALIGN), region, f"{chunk.size} bytes, its pages end at {page_end}")
            limit = 16 << 30 if chunk.num_samples == 1 else 256 * s.MIB
            check(decoded <= limit, region, f"decodes to {decoded} bytes, the limit is {limit}")
        check(end == index_at, f"{self.region}: index", f"the last chunk ends at {end}, the index is at {index_at}")
        check(blocks == num_blocks, f"{self.region}: index", f"{blocks} blocks, the footer says {num_blocks}")
        check(samples == self.num_samples, f"{self.region}: index", f"{samples} samples, the footer says {self.num_samples}")

    def check_page_entry(self, field: Field, chunk: ChunkEntry, page: PageEntry, at: int, blocks: int, region: str) -> None:
        check(page.offset == at, region, f"page at {page.offset}, expected {at}")
        check(page.size <= chunk.size - page.offset, region, f"{page.size} bytes at {page.offset} run over the chunk's {chunk.size}")
        check(page.first_block == blocks, region, f"{page.first_block} blocks before the page, expected {blocks}")
        expected = sum(section.num_blocks for section in sections(field, chunk.num_samples, page.values_bytes))
        check(page.num_blocks == expected, region, f"{page.num_blocks} blocks, expected {expected}")
        check(page.num_blocks * s.BLOCK_ENTRY_BYTES <= page.size, region, f"{page.num_blocks} blocks do not fit in {page.size} bytes")
        tensor_bytes = chunk.num_samples * field.row_bytes
        check(
            field.kind != s.TENSOR or page.values_bytes == tensor_bytes, region, f"decodes to {page.values_bytes}, expected {tensor_bytes}"
        )
        check(page.null_count <= (chunk.num_samples if field.nullable else 0), region, f"{page.null_count} samples are null")
        check(page.flags <= 1, region, f"unknown flags {page.flags:#x}")
        check(page.flags == 1 or page.minimum == page.maximum == 0, region, "min and max are not known and not 0")

    # --- 5. Page ---------------------------------------------------------------------------------------------------------------------

    def read_page(self, number: int, index: int) -> tuple[bytes, list[int] | None, npt.NDArray[np.bool_] | None]:
        """(decoded values, offsets, valid) of one field in one chunk."""
        chunk, field, entry = self.chunks[number], self.schema.fields[index], self.chunks[number].pages[index]
        name = f"chunk {number}, field {field.name!r}"
        region = f"{self.region}: {name}"
        at = chunk.offset + entry.offset
        page, table_bytes = self.data[at : at + entry.size], entry.num_blocks * s.BLOCK_ENTRY_BYTES
        self.check_hash(f"{name}, block table", page[:table_bytes], entry.table_hash, s.PAGE, index, number)
        blocks, end, decoded = struct.iter_unpack("<QIIQ", page[:table_bytes]), table_bytes, {}
        for section in sections(field, chunk.num_samples, entry.values_bytes):
            start = align(end, s.PAGE_ALIGN) if section.size else end
            check(not any(page[end:start]), region, f"padding before {section.name} is not zero")
            parts, end = [], start
            for begin in range(0, section.size, section.block_bytes):
                offset, stored, declared, expected_hash = next(blocks)
                block = f"{name}, {section.name} block {begin // section.block_bytes}"
                where = f"{self.region}: {block}"
                size = min(section.block_bytes, section.size - begin)
                check(offset == end, where, f"at {offset}, expected {end}")
                check(declared == size, where, f"decodes to {declared} bytes, expected {size}")
                check(stored <= entry.size - offset, where, f"{stored} bytes at {offset} run over the page's {entry.size}")
                payload, end = page[offset : offset + stored], offset + stored
                self.check_hash(block, payload, expected_hash, s.PAGE, index, number)
                parts.append(decode_block(field, section.name, payload, size, where, self.dictionaries.get(index)))
            decoded[section.name] = b"".join(parts)
        page_end = end if entry.values_bytes else align(end, s.PAGE_ALIGN)  # only values have no padding after them
        check(page_end == entry.size, region, f"page of {entry.size} bytes, its sections end at {page_end}")
        after = chunk.pages[index + 1].offset if index + 1 < len(chunk.pages) else chunk.size
        check(not any(self.data[at + end : chunk.offset + after]), region, "padding after the page is not zero")
        valid = unpack_validity(decoded["validity"], chunk.num_samples, entry, region) if field.nullable else None
        offsets = None if field.kind == s.TENSOR else unpack_offsets(field, decoded["offsets"], entry.values_bytes, valid, region)
        check_values(field, decoded["values"], offsets, valid, region)
        check_statistics(field, entry, decoded["values"], valid, region)
        return decoded["values"], offsets, valid


class Section(NamedTuple):
    name: str
    size: int
    block_bytes: int

    @property
    def num_blocks(self) -> int:
        return -(-self.size // self.block_bytes)


def sections(field: Field, num_samples: int, values_bytes: int) -> list[Section]:
    validity_bytes = -(-num_samples // 8) if field.nullable else 0
    offsets_bytes = 0 if field.kind == s.TENSOR else (num_samples + 1) * (4 if values_bytes < 1 << 32 else 8)
    return [
        Section("validity", validity_bytes, s.PLAIN_BLOCK_BYTES),
        Section("offsets", offsets_bytes, s.PLAIN_BLOCK_BYTES),
        Section("values", values_bytes, field.block_bytes),
    ]


def decode_block(field: Field, section: str, payload: bytes, size: int, region: str, dictionary: bytes | None = None) -> bytes:
    if section != "values" or field.codec == s.NONE:
        check(len(payload) == size, region, f"{len(payload)} stored bytes, expected {size}: the block has no codec")
    elif len(payload) != size:
        check(0 < len(payload) < size, region, f"a frame of {len(payload)} bytes for a block of {size}")
        payload = decode_zstd(payload, size, region, dictionary) if field.codec == s.ZSTD else decode_lz4(payload, size, region)
    return unfilter(field, payload) if section == "values" else payload


def decode_lz4(frame: bytes, size: int, region: str) -> bytes:
    check(size <= 255 * len(frame) + 65536, region, f"{len(frame)} bytes of LZ4 cannot decode to {size}")
    try:
        info = lz4.frame.get_frame_info(frame)
        check(not info["skippable"] and info["content_size"] == size, region, f"a frame of {info['content_size']} bytes, expected {size}")
        extras = info["block_linked"] or info["content_checksum"] or info["block_checksum"]
        check(not extras, region, "the frame's blocks are linked or have checksums")
        check(not frame[4] & 1, region, "the frame needs a dictionary")
        decoder = lz4.frame.LZ4FrameDecompressor()
        content: bytes = decoder.decompress(frame, max_length=size)
        check(decoder.eof and not decoder.unused_data, region, "the frame does not end with the block")
    except RuntimeError as error:
        raise ReferenceFormatError(region, f"not an LZ4 frame: {error}") from error
    check(len(content) == size, region, f"decodes to {len(content)} bytes, expected {size}")
    return content


def decode_zstd(frame: bytes, size: int, region: str, dictionary: bytes | None) -> bytes:
    try:
        info = zstandard.get_frame_parameters(frame)
        check(info.content_size == size, region, f"the frame holds {info.content_size} bytes, expected {size}")
        check(info.window_size <= 128 * s.MIB, region, f"a window of {info.window_size} bytes, the limit is 128 MiB")
        check(not info.has_checksum and info.dict_id == 0, region, "the frame has a checksum or a dictionary id")
        trained = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_FULLDICT)
        content = zstandard.ZstdDecompressor(dict_data=trained).decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ReferenceFormatError(region, f"not one Zstandard frame: {error}") from error
    check(len(content) == size, region, f"decodes to {len(content)} bytes, expected {size}")
    return content


def unfilter(field: Field, block: bytes) -> bytes:
    size = field.filter_size
    if field.filter == s.BITSHUFFLE:
        whole = len(block) // size // 8 * 8 * size  # groups of 8 elements
        rows = np.frombuffer(block[:whole], np.uint8).reshape(8 * size, -1)
        bits = np.unpackbits(rows, axis=1, bitorder="little").T
        block = np.packbits(bits, axis=1, bitorder="little").tobytes() + block[whole:]
    if field.filter & s.SHUFFLE:
        block = np.frombuffer(block, np.uint8).reshape(size, -1).T.tobytes()
    if field.filter & s.DELTA:
        words = np.frombuffer(block, f"<u{size}")
        block = np.cumsum(words, dtype=words.dtype).tobytes()
    return block


def unpack_validity(bitmap: bytes, num_samples: int, entry: PageEntry, region: str) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little").astype(bool)
    check(not bits[num_samples:].any(), region, "unused validity bits are not zero")
    nulls = num_samples - int(bits.sum())
    check(nulls == entry.null_count, region, f"{nulls} nulls, the index says {entry.null_count}")
    return bits[:num_samples]


def unpack_offsets(field: Field, data: bytes, values_bytes: int, valid: npt.NDArray[np.bool_] | None, region: str) -> list[int]:
    offsets: list[int] = np.frombuffer(data, "<u4" if values_bytes < 1 << 32 else "<u8").tolist()
    ends = [offsets[0], offsets[-1]]
    check(ends == [0, values_bytes], region, f"offsets run from {ends[0]} to {ends[1]}, expected 0 to {values_bytes}")
    for sample, (begin, end) in enumerate(itertools.pairwise(offsets)):
        check(begin <= end, region, f"sample {sample}: offsets decrease from {begin} to {end}")
        check((end - begin) % field.row_bytes == 0, region, f"sample {sample}: {end - begin} bytes, no multiple of {field.row_bytes}")
        check(valid is None or bool(valid[sample]) or begin == end, region, f"sample {sample} is null and has {end - begin} bytes")
    return offsets


def check_values(field: Field, values: bytes, offsets: list[int] | None, valid: npt.NDArray[np.bool_] | None, region: str) -> None:
    if offsets is None and valid is not None and field.row_bytes:
        rows = np.frombuffer(values, np.uint8).reshape(-1, field.row_bytes)
        check(not rows[~valid].any(), region, "the value of a null sample is not zero bytes")
    if field.kind == s.STRING and offsets is not None:
        for sample, (begin, end) in enumerate(itertools.pairwise(offsets)):
            try:
                values[begin:end].decode("utf-8")
            except UnicodeDecodeError as error:
                raise ReferenceFormatError(region, f"sample {sample} is not UTF-8: {error}") from error
    if field.dtype == s.BOOL:
        check(max(values, default=0) <= 1, region, "a bool is neither 0 nor 1")


# --- 6. Statistics -------------------------------------------------------------------------------------------------------------------


def widen_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def statistics(field: Field, values: bytes, valid: npt.NDArray[np.bool_] | None) -> tuple[Any, Any] | None:
    """(min, max) that a writer stores for a page of these values, or None if there are none."""
    if field.kind != s.TENSOR or field.dims or field.dtype in (13, 14, s.CHARS, s.UTF32):
        return None
    array = np.frombuffer(values, field.numpy_dtype)
    array = array if valid is None else array[valid]
    if field.dtype == s.BFLOAT16:
        array = widen_bfloat16(array)
    if field.dtype in (s.DATETIME, s.TIMEDELTA):
        array = array.view("<i8")[~np.isnat(array)]
    elif array.dtype.kind == "f":
        array = array[~np.isnan(array)].astype(np.float64)
    return (array.min().item(), array.max().item()) if array.size else None


def unpack_statistic(field: Field, bits: int) -> int | float:
    kind = "f" if field.dtype == s.BFLOAT16 else field.numpy_dtype.kind
    layout = {"f": "<d", "b": "<Q", "u": "<Q"}.get(kind, "<q")
    value: int | float = struct.unpack(layout, struct.pack("<Q", bits))[0]
    return value


def check_statistics(field: Field, entry: PageEntry, values: bytes, valid: npt.NDArray[np.bool_] | None, region: str) -> None:
    if entry.flags & 1:
        found = (unpack_statistic(field, entry.minimum), unpack_statistic(field, entry.maximum))
        expected = statistics(field, values, valid)
        check(found == expected, region, f"min and max are {found} in the index, {expected} in the values")


# --- 2. Dataset ----------------------------------------------------------------------------------------------------------------------


class ChunkStatistics(NamedTuple):
    num_samples: int
    null_count: int
    min_max: tuple[int | float, int | float] | None


class Column(NamedTuple):
    """tensor: an array (samples, *dims); ragged: a list of arrays; else a list of bytes or str, None where null. `valid` if nullable."""

    values: Any
    valid: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class ReferenceDataset:
    manifest: Manifest
    shards: list[Shard]
    columns: dict[str, Column]

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def num_samples(self) -> int:
        return self.manifest.num_samples

    def column(self, name: str) -> Column:
        return self.columns[name]

    def sample(self, index: int) -> Any:
        """As the container says: dict, tuple or the single value; None for null."""
        values = {name: c.values[index] if c.valid is None or c.valid[index] else None for name, c in self.columns.items()}
        if self.schema.container == s.DICT:
            return values
        return tuple(values.values()) if self.schema.container == s.TUPLE else next(iter(values.values()))

    def chunk_statistics(self, name: str) -> list[ChunkStatistics]:
        index = [field.name for field in self.schema.fields].index(name)
        field, result = self.schema.fields[index], []
        for chunk in (chunk for shard in self.shards for chunk in shard.chunks):
            page = chunk.pages[index]
            known = (unpack_statistic(field, page.minimum), unpack_statistic(field, page.maximum)) if page.flags & 1 else None
            result.append(ChunkStatistics(chunk.num_samples, page.null_count, known))
        return result


def read_column(shards: list[Shard], index: int, field: Field) -> Column:
    pages = [shard.read_page(number, index) for shard in shards for number in range(len(shard.chunks))]
    parts = [valid for _, _, valid in pages if valid is not None]
    valid = (np.concatenate(parts) if parts else np.zeros(0, bool)) if field.nullable else None
    if field.kind == s.TENSOR:
        num_samples = sum(shard.num_samples for shard in shards)
        joined = np.frombuffer(b"".join(values for values, _, _ in pages), field.numpy_dtype)
        return Column(joined.reshape(num_samples, *field.dims), valid)
    spans = [v[begin:end] for v, offsets, _ in pages if offsets is not None for begin, end in itertools.pairwise(offsets)]
    if field.kind == s.RAGGED:
        return Column([np.frombuffer(span, field.numpy_dtype).reshape(-1, *field.dims) for span in spans], valid)
    texts = [span.decode("utf-8") if field.kind == s.STRING else span for span in spans]
    return Column([text if valid is None or valid[i] else None for i, text in enumerate(texts)], valid)


def read_shard(path: Path, entry: ShardEntry, schema: Schema) -> Shard:
    region = path.name
    check(path.is_file(), region, "the manifest names a file that does not exist")
    shard = Shard(path.read_bytes(), region)
    found = ShardEntry(path.name, shard.uuid, len(shard.data), shard.num_samples, shard.chunk_samples, shard.footer_hash)
    check(found == entry, region, f"is {found}, the manifest says {entry}")
    check(shard.schema.essence() == schema.essence(), f"{region}: schema", "differs from the manifest's")
    return shard


def read_dataset(path: str | Path, version: int | None = None) -> ReferenceDataset:
    """Read and check all of one version of a dataset; None is the newest."""
    files = [file for file in Path(path).iterdir() if re.fullmatch(r"manifest-\d{10}\.hrm", file.name)]
    numbers = {int(file.name[9:19]): file for file in files}
    check(bool(numbers), str(path), "no manifest")
    number = max(numbers) if version is None else version
    check(number in numbers, str(path), f"no version {number}, there are {sorted(numbers)}")
    manifest = parse_manifest(numbers[number].read_bytes(), number, numbers[number].name)
    shards = [read_shard(Path(path, entry.file_name), entry, manifest.schema) for entry in manifest.shards]
    if manifest.newer_minor or any(shard.newer_minor for shard in shards):
        warnings.warn(f"{path}: written by a newer minor version than {s.MAJOR}.{s.MINOR}", stacklevel=2)
    # A shard's own field decides how its pages are read; the manifest's names what they mean.
    columns = {field.name: read_column(shards, index, field) for index, field in enumerate(manifest.schema.fields)}
    return ReferenceDataset(manifest, shards, columns)
