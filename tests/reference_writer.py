"""A plain writer of the headrace format, from cpp/headrace/format/FORMAT.md alone: small files, whole and damaged, for the readers' tests.

Writing has two steps. `layout_shard` decides every number and gives an image: what lies where (`at`), and beside it what the file will say
about it (`offset`, `size`, `stored`, ...). `render` turns the image into bytes and computes every hash from what it says. A test that
changes what an image says gets a file that lies with right hashes; nothing here checks anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import reference_schema as s
import zstandard
from reference_reader import ShardEntry, statistics
from reference_schema import Field, Schema, align, checksum, place

Row = bytes | None  # the stored bytes of one value; None is null
Extension = tuple[int, int, bytes]  # tag, flags, content


@dataclass
class BlockImage:
    payload: bytes
    at: int  # from the start of the page
    offset: int
    stored: int
    decoded: int
    hash: int | None = None


@dataclass
class PageImage:
    blocks: list[BlockImage]
    at: int  # from the start of the chunk
    offset: int
    size: int
    values_bytes: int
    first_block: int
    num_blocks: int
    flags: int
    minimum: int
    maximum: int
    null_count: int
    table_hash: int | None = None


@dataclass
class ChunkImage:
    pages: list[PageImage]
    at: int  # from the start of the file
    offset: int
    size: int
    num_samples: int
    reserved: int = 0


@dataclass
class ShardImage:
    uuid: bytes
    chunk_samples: int
    chunks: list[ChunkImage]
    index_at: int
    schema: bytes
    num_fields: int
    num_samples: int
    version: tuple[int, int] = (s.MAJOR, s.MINOR)
    index: bytes | None = None  # instead of the chunks' entries
    footer: dict[str, int] = field(default_factory=dict)  # instead of the true values
    trailing: bytes = b""  # between schema and footer

    def move(self, chunk: int, distance: int) -> None:
        """Leave a hole of `distance` bytes before a chunk."""
        for image in self.chunks[chunk:]:
            image.at += distance
            image.offset += distance
        self.index_at += distance


def encode_rows(field: Field, values: Iterable[Any]) -> list[Row]:
    """Stored bytes of str, bytes, or what numpy can make an array of; None stays null."""
    rows: list[Row] = []
    for value in values:
        if value is None:
            rows.append(value)
        elif isinstance(value, bytes):
            rows.append(value.ljust(field.row_bytes, b"\0") if field.dtype == s.CHARS else value)
        elif isinstance(value, str) and field.kind == s.STRING:
            rows.append(value.encode())
        else:
            rows.append(np.asarray(value, field.numpy_dtype).tobytes())
    return rows


def filter_block(field: Field, block: bytes) -> bytes:
    size = field.filter_size
    if field.filter & s.DELTA:
        words = np.frombuffer(block, f"<u{size}")
        block = np.concatenate([words[:1], words[1:] - words[:-1]]).tobytes()
    if field.filter == s.BITSHUFFLE:
        whole = len(block) // size // 8 * 8 * size  # groups of 8 elements
        elements = np.frombuffer(block[:whole], np.uint8).reshape(-1, size)
        bits = np.unpackbits(elements, axis=1, bitorder="little").T
        block = np.packbits(bits, axis=1, bitorder="little").tobytes() + block[whole:]
    if field.filter & s.SHUFFLE:
        block = np.frombuffer(block, np.uint8).reshape(-1, size).T.tobytes()
    return block


def compress(field: Field, block: bytes, dictionary: bytes | None) -> bytes:
    if field.codec == s.ZSTD:
        trained = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_FULLDICT)
        return zstandard.ZstdCompressor(
            level=field.level, dict_data=trained, write_checksum=False, write_content_size=True, write_dict_id=False
        ).compress(block)
    level = max(field.level, 3) if field.codec == s.LZ4HC else 0
    frame: bytes = lz4.frame.compress(block, compression_level=level, store_size=True, block_linked=False)
    return frame


def encode_block(field: Field, block: bytes, pack: bool, dictionary: bytes | None = None) -> bytes:
    """A frame where that is smaller and `pack` is set; else the filtered bytes."""
    filtered = filter_block(field, block)
    frame = compress(field, filtered, dictionary) if field.codec != s.NONE and pack else filtered
    return frame if len(frame) < len(filtered) else filtered


def pack_statistic(field: Field, value: int | float) -> int:
    is_float = field.dtype == s.BFLOAT16 or field.numpy_dtype.kind == "f"
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0] if is_float else int(value) & (1 << 64) - 1
    return bits


def layout_page(field: Field, rows: Sequence[Row], at: int, first_block: int, pack: bool, dictionary: bytes | None = None) -> PageImage:
    blank = bytes(field.row_bytes) if field.kind == s.TENSOR else b""
    values = b"".join(blank if row is None else row for row in rows)
    valid = np.array([row is not None for row in rows], bool)
    validity, offsets = b"", b""
    if field.nullable:
        validity = np.packbits(valid, bitorder="little").tobytes()
    if field.kind != s.TENSOR:
        ends = np.cumsum([0] + [len(row or b"") for row in rows])
        offsets = ends.astype("<u4" if len(values) < 1 << 32 else "<u8").tobytes()

    plain = Field("", block_bytes=s.PLAIN_BLOCK_BYTES)
    sections = [(plain, validity), (plain, offsets), (field, values)]
    num_blocks = sum(-(-len(data) // owner.block_bytes) for owner, data in sections)
    end, blocks = num_blocks * s.BLOCK_ENTRY_BYTES, []
    for owner, data in sections:
        end = align(end, s.PAGE_ALIGN) if data else end
        for begin in range(0, len(data), owner.block_bytes):
            part = data[begin : begin + owner.block_bytes]
            payload = encode_block(owner, part, pack, dictionary if owner is field else None)
            blocks.append(BlockImage(payload, end, end, len(payload), len(part)))
            end += len(payload)
    end = end if values else align(end, s.PAGE_ALIGN)

    known = statistics(field, values, valid if field.nullable else None)
    low, high = (pack_statistic(field, value) for value in known) if known else (0, 0)
    nulls = int((~valid).sum())
    return PageImage(blocks, at, at, end, len(values), first_block, num_blocks, int(known is not None), low, high, nulls)


def layout_shard(
    schema: Schema,
    columns: Sequence[Sequence[Row]],
    chunk_samples: int,
    uuid: bytes,
    *,
    pack: bool = True,
    empty_last_chunk: bool = False,
    extensions: Sequence[Extension] = (),
    dictionaries: Mapping[int, bytes] | None = None,
) -> ShardImage:
    """`dictionaries`: by number of the field, of those that say they have one."""
    if dictionaries:
        content = struct.pack("<I", len(dictionaries)) + b"".join(
            struct.pack("<II", number, len(data)) + data for number, data in sorted(dictionaries.items())
        )
        extensions = [(s.DICTIONARIES, 1, content), *extensions]
    num_samples = len(columns[0])
    starts = [*range(0, num_samples, chunk_samples)]
    if empty_last_chunk and num_samples % chunk_samples == 0:  # only the last chunk may hold less than the others
        starts.append(num_samples)
    chunks, end, blocks = [], s.HEADER_BYTES, 0
    for start in starts:
        pages, page_end = [], 0
        for number, (spec, rows) in enumerate(zip(schema.fields, columns, strict=True)):
            trained = (dictionaries or {}).get(number)
            page = layout_page(spec, rows[start : start + chunk_samples], align(page_end, s.PAGE_ALIGN), blocks, pack, trained)
            pages.append(page)
            page_end, blocks = page.at + page.size, blocks + page.num_blocks
        size = align(page_end, s.CHUNK_ALIGN)
        chunks.append(ChunkImage(pages, end, end, size, min(chunk_samples, num_samples - start)))
        end += size
    text = render_schema(schema, extensions)
    return ShardImage(uuid, chunk_samples, chunks, end, text, len(schema.fields), num_samples, version=version_of(schema))


def version_of(schema: Schema) -> tuple[int, int]:
    """The version that a writer states: the oldest that has all that the schema uses."""
    return s.MAJOR, int(any(field.dictionary or field.filter == s.BITSHUFFLE for field in schema.fields))


# --- Rendering -----------------------------------------------------------------------------------------------------------------------


def render_text(layout: str, text: str) -> bytes:
    return struct.pack(layout, len(text.encode())) + text.encode()


def render_extensions(extensions: Sequence[Extension]) -> bytes:
    parts = [struct.pack("<HHI", tag, flags, len(content)) + content for tag, flags, content in extensions]
    return struct.pack("<I", len(parts)) + b"".join(parts)


def render_schema(schema: Schema, extensions: Sequence[Extension] = ()) -> bytes:
    data = struct.pack("<IBxxx", len(schema.fields), schema.container) + render_text("<I", schema.metadata)
    for f in schema.fields:
        data += render_text("<H", f.name)
        data += struct.pack("<BBBBII", f.kind, f.dtype, f.nullable | f.dictionary << 1, len(f.dims), f.itemsize, f.unit)
        data += struct.pack(f"<{len(f.dims)}QBBhI", *f.dims, f.codec, f.filter, f.level, f.block_bytes)
        data += render_text("<I", f.metadata)
    return data + render_extensions(extensions)


def render_index(image: ShardImage) -> bytes:
    """The index as the image states it; hashes are of the block tables as the image states them."""
    index = bytearray()
    for number, chunk in enumerate(image.chunks):
        index += struct.pack("<QQII", chunk.offset, chunk.size, chunk.num_samples, chunk.reserved)
        for field_number, page in enumerate(chunk.pages):
            seed = place(image.uuid, s.PAGE, field_number, number)
            table_hash = checksum(render_table(page, seed), seed) if page.table_hash is None else page.table_hash
            index += struct.pack("<QQQQII", page.offset, page.size, page.values_bytes, page.first_block, page.num_blocks, page.flags)
            index += struct.pack("<QQQQ", table_hash, page.minimum, page.maximum, page.null_count)
    return bytes(index)


def render_table(page: PageImage, seed: int) -> bytes:
    table = b""
    for block in page.blocks:
        payload_hash = checksum(block.payload, seed) if block.hash is None else block.hash
        table += struct.pack("<QIIQ", block.offset, block.stored, block.decoded, payload_hash)
    return table


def render_header(image: ShardImage) -> bytes:
    header = s.SHARD_MAGIC + struct.pack("<HHI", *image.version, s.HEADER_BYTES) + image.uuid
    header = (header + struct.pack("<II", image.chunk_samples, image.num_fields)).ljust(4088, b"\0")
    return header + struct.pack("<Q", checksum(header, place(image.uuid, s.HEADER)))


def render_footer(image: ShardImage, index: bytes) -> bytes:
    schema_at = image.index_at + len(index)
    values = {
        "num_fields": image.num_fields,
        "file_bytes": schema_at + len(image.schema) + len(image.trailing) + s.FOOTER_BYTES,
        "num_chunks": len(image.chunks),
        "num_samples": image.num_samples,
        "index_at": image.index_at,
        "index_bytes": len(index),
        "schema_at": schema_at,
        "schema_bytes": len(image.schema),
        "index_hash": checksum(index, place(image.uuid, s.INDEX)),
        "schema_hash": checksum(image.schema, place(image.uuid, s.SCHEMA)),
        "num_blocks": sum(page.num_blocks for chunk in image.chunks for page in chunk.pages),
    }
    num_fields, *numbers = (values | image.footer).values()
    footer = s.FOOTER_MAGIC + struct.pack("<HHI", *image.version, num_fields) + image.uuid + struct.pack("<10Q", *numbers)
    return footer + struct.pack("<Q", checksum(footer, place(image.uuid, s.FOOTER))) + s.END_MAGIC


def render_shard(image: ShardImage) -> bytes:
    data = bytearray(image.index_at)
    data[: s.HEADER_BYTES] = render_header(image)
    for number, chunk in enumerate(image.chunks):
        for field_number, page in enumerate(chunk.pages):
            start = chunk.at + page.at
            table = render_table(page, place(image.uuid, s.PAGE, field_number, number))
            data[start : start + len(table)] = table
            for block in page.blocks:
                data[start + block.at : start + block.at + len(block.payload)] = block.payload
    index = render_index(image) if image.index is None else image.index
    return bytes(data) + index + image.schema + image.trailing + render_footer(image, index)


# --- Dataset -------------------------------------------------------------------------------------------------------------------------


@dataclass
class ManifestImage:
    uuid: bytes
    schema: bytes
    shards: list[ShardEntry]
    number: int = 1
    version: tuple[int, int] = (s.MAJOR, s.MINOR)
    extensions: Sequence[Extension] = ()
    num_samples: int | None = None
    num_shards: int | None = None
    schema_bytes: int | None = None


def stated(value: int | None, true: int) -> int:
    return true if value is None else value


def render_manifest(image: ManifestImage) -> bytes:
    num_samples = stated(image.num_samples, sum(shard.num_samples for shard in image.shards))
    data = s.MANIFEST_MAGIC + struct.pack("<HHI", *image.version, 0) + image.uuid + struct.pack("<Qq", image.number, 0)
    data += struct.pack("<QII", num_samples, stated(image.num_shards, len(image.shards)), stated(image.schema_bytes, len(image.schema)))
    data += image.schema
    for shard in image.shards:
        data += render_text("<H", shard.file_name) + shard.uuid
        data += struct.pack("<QQIIQ", shard.file_bytes, shard.num_samples, shard.chunk_samples, 0, shard.footer_hash)
    data += render_extensions(image.extensions)
    return data + struct.pack("<Q", checksum(data, place(image.uuid, s.MANIFEST, 0, image.number)))


def make_uuid(number: int) -> bytes:
    return bytes([number + 1]) * 16


def put_shard(path: Path, image: ShardImage) -> ShardEntry:
    """Write a shard and give the manifest entry that agrees with it."""
    data = render_shard(image)
    name = f"shard-{image.uuid.hex()}.hrs"
    (path / name).write_bytes(data)
    footer_hash = struct.unpack("<Q", data[-16:-8])[0]
    return ShardEntry(name, image.uuid, len(data), image.footer.get("num_samples", image.num_samples), image.chunk_samples, footer_hash)


def put_manifest(path: Path, image: ManifestImage) -> Path:
    file = path / f"manifest-{image.number:010}.hrm"
    file.write_bytes(render_manifest(image))
    return file


def write_dataset(
    path: Path,
    schema: Schema,
    columns: Sequence[Sequence[Row]],
    *,
    chunk_samples: int = 4,
    shard_samples: int | None = None,
    doctor: Callable[[ShardImage], None] | None = None,
    doctor_manifest: Callable[[ManifestImage], None] | None = None,
    **options: Any,
) -> ManifestImage:
    """A dataset of one version. `options` go to layout_shard; `doctor` may change each shard's image, `doctor_manifest` the manifest's."""
    path.mkdir(parents=True, exist_ok=True)
    num_samples, entries = len(columns[0]), []
    for number, start in enumerate(range(0, max(num_samples, 1), shard_samples or max(num_samples, 1))):
        rows = [column[start : start + (shard_samples or num_samples)] for column in columns]
        image = layout_shard(schema, rows, chunk_samples, make_uuid(number), **options)
        if doctor is not None:
            doctor(image)
        entries.append(put_shard(path, image))
    manifest = ManifestImage(make_uuid(254), render_schema(schema), entries, version=version_of(schema))
    if doctor_manifest is not None:
        doctor_manifest(manifest)
    put_manifest(path, manifest)
    return manifest
