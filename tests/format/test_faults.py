"""Faults F03 and F05 to F08 of files: damage, misplacement and lies with right hashes are refused by class, naming the place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import reference_schema as s
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema, checksum, place
from reference_writer import (
    BlockImage,
    ManifestImage,
    Row,
    ShardImage,
    make_uuid,
    put_manifest,
    render_index,
    render_schema,
    write_dataset,
)  # fmt: skip

from headrace import _native as hr
from headrace.errors import CorruptDataError, HeadraceError, NotFoundError, TruncatedError, UnsupportedVersionError
from tests.format.faults import (
    CHUNK,
    COLUMNS,
    NUM,
    RAG,
    ROWS,
    SCHEMA,
    SHARD,
    TEXT,
    WRAP,
    block,
    change,
    check_refused,
    chunk,
    damages,
    open_index,
    page,
    read_all,
    write_doctored,
    write_whole,
)  # fmt: skip
from tests.format.native import fetch_rows


def change_trailing(image: ShardImage, trailing: bytes) -> None:
    image.trailing = trailing


def change_schema(image: ShardImage, schema: bytes) -> None:
    image.schema = schema


def change_index(image: ShardImage, index: bytes) -> None:
    image.index = index
    image.footer.update(num_chunks=3)


def change_hash(image: ShardImage, which: BlockImage) -> None:
    which.hash = checksum(which.payload, place(image.uuid, s.PAGE, TEXT, 0))  # right for another chunk


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
    "tensor's decoded bytes": (lambda i: change(page(i, NUM), values_bytes=4004), ["chunk 1", "num", "4004", "1000 samples"]),
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


@pytest.mark.parametrize("lie", TABLE_LIES)
def test_block_table_that_lies_is_refused_when_read(tmp_path: Path, lie: str) -> None:
    doctor, words = TABLE_LIES[lie]
    write_doctored(tmp_path, doctor)
    check_refused(tmp_path, read_all, CorruptDataError, [SHARD, "chunk 1", "text", *words])
    dataset = hr.Dataset(str(tmp_path))
    assert fetch_rows(dataset, SCHEMA, range(CHUNK)) == [column[:CHUNK] for column in COLUMNS], "chunk 0 is whole"


# --- F03: garbage, splices, swaps ----------------------------------------------------------------------------------------------------


def check_never_wrong(path: Path) -> None:
    """Verification finds the damage; a read gives the right rows or an error (ValueError: the magic says another format)."""
    assert damages(path)
    try:
        rows = read_all(path)
    except (HeadraceError, ValueError):
        return
    assert rows == COLUMNS


@settings(max_examples=60, derandomize=True)
@given(st.data())
def test_garbage_anywhere_is_found(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder)
        write_whole(path)
        file = data.draw(st.sampled_from(sorted(path.iterdir())))
        whole = file.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        garbage = data.draw(st.binary(min_size=1, max_size=64))[: len(whole) - at]
        damaged = whole[:at] + garbage + whole[at + len(garbage) :]
        if damaged == whole:
            return
        file.write_bytes(damaged)
        with pytest.raises(ReferenceFormatError):
            read_dataset(path)
        check_never_wrong(path)


def chunk_span(path: Path, number: int, shard: int = 0) -> tuple[int, int]:
    entry = read_dataset(path).shards[shard].chunks[number]
    return entry.offset, entry.offset + entry.size


def equal_chunks(path: Path) -> tuple[Path, Path]:
    """Two shards whose chunks all hold the same rows: only their places differ."""
    schema = Schema((Field("x", codec=s.LZ4), Field("y", s.STRING)))
    write_dataset(path, schema, [[b"\7"] * 80, [b"same"] * 80], chunk_samples=10, shard_samples=40)
    first, second = sorted(path.glob("*.hrs"))
    return first, second


def check_misplaced(path: Path, chunk: int, words: str) -> None:
    with pytest.raises(ReferenceFormatError, match=f"chunk {chunk}"):
        read_dataset(path)
    with pytest.raises(CorruptDataError, match=words):
        hr.Dataset(str(path)).fetch(np.arange(40), [0, 1])
    assert f"chunk {chunk}" in damages(path)


def test_swapped_chunks_are_refused(tmp_path: Path) -> None:
    """Two chunks of one shard, equal in size and content, change places."""
    file, _ = equal_chunks(tmp_path)
    (a, b), (c, d) = chunk_span(tmp_path, 1), chunk_span(tmp_path, 2)
    whole = file.read_bytes()
    file.write_bytes(whole[:a] + whole[c:d] + whole[b:c] + whole[a:b] + whole[d:])
    check_misplaced(tmp_path, 1, "chunk 1")


def test_chunk_of_another_shard_is_refused(tmp_path: Path) -> None:
    first, second = equal_chunks(tmp_path)
    begin, end = chunk_span(tmp_path, 2)
    assert chunk_span(tmp_path, 2, shard=1) == (begin, end)
    whole, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(whole[:begin] + other[begin:end] + whole[end:])
    check_misplaced(tmp_path, 2, "chunk 2")


def test_spliced_shards_are_refused(tmp_path: Path) -> None:
    """Half of one valid shard and half of another, equal in all sizes."""
    first, second = equal_chunks(tmp_path)
    whole, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(whole[: len(whole) // 2] + other[len(other) // 2 :])
    with pytest.raises(ReferenceFormatError):
        read_dataset(tmp_path)
    with pytest.raises(CorruptDataError, match=first.name):
        open_index(tmp_path)


def test_shard_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    first, second = equal_chunks(tmp_path)
    first.write_bytes(second.read_bytes())
    with pytest.raises(ReferenceFormatError, match=first.name):
        read_dataset(tmp_path)
    with pytest.raises(HeadraceError, match=first.name):
        open_index(tmp_path)


def test_manifest_under_another_number_is_refused(tmp_path: Path) -> None:
    write_whole(tmp_path)
    (tmp_path / "manifest-0000000002.hrm").write_bytes((tmp_path / "manifest-0000000001.hrm").read_bytes())
    with pytest.raises(ReferenceFormatError, match="version 1"):
        read_dataset(tmp_path)
    with pytest.raises(CorruptDataError, match=r"manifest-0000000002\.hrm"):
        hr.Dataset(str(tmp_path))


# --- F07: nothing and next to nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SHARD, "manifest-0000000001.hrm"])
@pytest.mark.parametrize("keep", [0, 1, 8, 4096, -129, -128, -8, -1])
def test_truncated_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    write_whole(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    if keep > len(whole):
        keep = len(whole) // 2
    file.write_bytes(whole[:keep] if keep else b"")
    expected = TruncatedError if name == SHARD or keep == 0 else CorruptDataError
    with pytest.raises(ReferenceFormatError):
        read_dataset(tmp_path)
    with pytest.raises(expected, match=name):
        open_index(tmp_path)


def test_longer_file_is_refused(tmp_path: Path) -> None:
    """A polyglot: another format's bytes behind the shard."""
    write_whole(tmp_path)
    file = tmp_path / SHARD
    file.write_bytes(file.read_bytes() + b"PK\5\6" + bytes(18))
    with pytest.raises(ReferenceFormatError):
        read_dataset(tmp_path)
    with pytest.raises(CorruptDataError, match=rf"{SHARD}.*{file.stat().st_size} bytes"):
        open_index(tmp_path)
    assert SHARD in damages(tmp_path)


def test_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=tmp_path.name):
        hr.Dataset(str(tmp_path))
    with pytest.raises(NotFoundError, match="nowhere"):
        hr.Dataset(str(tmp_path / "nowhere"))
    write_whole(tmp_path)
    with pytest.raises(NotFoundError, match="2"):
        hr.Dataset(str(tmp_path), 2)


def test_missing_shard_is_not_found(tmp_path: Path) -> None:
    write_whole(tmp_path)
    (tmp_path / SHARD).unlink()
    with pytest.raises(NotFoundError, match=SHARD):
        open_index(tmp_path)


def test_unfinished_file_is_never_read(tmp_path: Path) -> None:
    write_whole(tmp_path)
    (tmp_path / ".manifest-0000000002.hrm.x7.tmp").write_bytes(b"unfinished")
    assert hr.Dataset(str(tmp_path)).versions == [1]
    assert read_all(tmp_path) == COLUMNS


EMPTY = Schema((
    Field("empty", dtype=11, itemsize=4, dims=(0,), nullable=True),
    Field("huge", dtype=11, itemsize=4, dims=(0, 1 << 20)),
    Field("bytes", s.BYTES, codec=s.ZSTD),
    Field("ragged", s.RAGGED, dtype=12, itemsize=8, dims=(2,), filter=s.SHUFFLE, nullable=True),
    Field("scalar"),
))  # fmt: skip
BLANK: list[list[Row]] = [[b"", None, b""], [b""] * 3, [b""] * 3, [None, b"", b""], [b"\1", b"\2", b"\3"]]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("empty_last_chunk", [False, True])
def test_empty_is_legal(tmp_path: Path, count: int, empty_last_chunk: bool) -> None:
    """No chunks, a chunk without samples, samples without bytes."""
    columns = [column[:count] for column in BLANK]
    write_dataset(tmp_path, EMPTY, columns, chunk_samples=2, empty_last_chunk=empty_last_chunk)
    dataset = hr.Dataset(str(tmp_path))
    assert len(dataset) == read_dataset(tmp_path).num_samples == count
    assert fetch_rows(dataset, EMPTY, range(count)) == columns
    assert damages(tmp_path) == ""
    with pytest.raises(IndexError):
        fetch_rows(dataset, EMPTY, [count])


def test_no_shards_is_legal(tmp_path: Path) -> None:
    put_manifest(tmp_path, ManifestImage(make_uuid(3), render_schema(EMPTY), []))
    dataset = hr.Dataset(str(tmp_path))
    assert len(dataset) == read_dataset(tmp_path).num_samples == 0
    assert fetch_rows(dataset, EMPTY, []) == [[]] * len(EMPTY.fields)
    assert damages(tmp_path) == ""


# --- F08: magic and versions ---------------------------------------------------------------------------------------------------------


def change_version(image: ShardImage | ManifestImage, version: tuple[int, int]) -> None:
    image.version = version


@pytest.mark.parametrize("name", [SHARD, "manifest-0000000001.hrm"])
@pytest.mark.parametrize("content", [b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n"])
def test_file_of_another_format_is_not_a_headrace_file(tmp_path: Path, name: str, content: bytes) -> None:
    write_whole(tmp_path)
    file = tmp_path / name
    file.write_bytes(content * (file.stat().st_size // len(content)))
    with pytest.raises(ReferenceFormatError, match="not a headrace"):
        read_dataset(tmp_path)
    with pytest.raises(ValueError, match=rf"{name}.*not a headrace"):
        open_index(tmp_path)


@pytest.mark.parametrize("damage", [b"\x89HRS\n\x1a\n\0", b"\x09HRS\r\n\x1a\n"])
def test_magic_damaged_in_transfer_is_named(tmp_path: Path, damage: bytes) -> None:
    """Line ends rewritten, or the eighth bit lost: footer and end still say what the file was."""
    write_whole(tmp_path)
    file = tmp_path / SHARD
    file.write_bytes(damage + file.read_bytes()[8:])
    check_refused(tmp_path, open_index, CorruptDataError, [SHARD, "magic|header"])


@pytest.mark.parametrize("major", [0, 2, 65535])
@pytest.mark.parametrize("where", ["shard", "manifest"])
def test_other_major_is_refused_and_named(tmp_path: Path, where: str, major: int) -> None:
    def doctor(image: ShardImage | ManifestImage) -> None:
        change_version(image, (major, 3))

    if where == "shard":
        write_dataset(tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, doctor=doctor)
    else:
        write_dataset(tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, doctor_manifest=doctor)
    name = SHARD if where == "shard" else "manifest-0000000001.hrm"
    check_refused(tmp_path, open_index, UnsupportedVersionError, [name, rf"{major}\.3", r"1\.x"])


def test_newer_minor_is_read_and_said(tmp_path: Path) -> None:
    extensions = [(9, 2, b"a newer writer's hint"), (10, 0, b"")]
    write_dataset(
        tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, extensions=extensions,
        doctor=lambda image: change_version(image, (1, 7)), doctor_manifest=lambda image: change_version(image, (1, 7)),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="newer minor"):
        assert read_dataset(tmp_path).num_samples == ROWS
    dataset = hr.Dataset(str(tmp_path))
    assert dataset.newer_minor
    assert fetch_rows(dataset, SCHEMA, range(ROWS)) == COLUMNS


def test_this_minor_is_not_newer(tmp_path: Path) -> None:
    write_whole(tmp_path)
    assert not hr.Dataset(str(tmp_path)).newer_minor


@pytest.mark.parametrize("where", ["shard", "manifest"])
def test_critical_extension_is_refused(tmp_path: Path, where: str) -> None:
    critical = [(77, 1, b"?")]
    if where == "shard":
        write_dataset(tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, extensions=critical)
    else:
        write_dataset(tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, doctor_manifest=lambda image: setattr(image, "extensions", critical))
    check_refused(tmp_path, open_index, UnsupportedVersionError, ["extension", "77"])


# --- Manifests and schemas that lie --------------------------------------------------------------------------------------------------


def first_entry(image: ManifestImage, **values: object) -> None:
    image.shards[0] = image.shards[0]._replace(**values)  # type: ignore[arg-type]


MANIFEST_LIES: dict[str, Callable[[ManifestImage], None]] = {
    "samples": lambda m: setattr(m, "num_samples", ROWS + 1),
    "shards too many": lambda m: setattr(m, "num_shards", 2),
    "shards too few": lambda m: setattr(m, "num_shards", 0),
    "schema bytes": lambda m: setattr(m, "schema_bytes", len(m.schema) - 1),
    "shard's samples": lambda m: (first_entry(m, num_samples=ROWS - 1), setattr(m, "num_samples", ROWS - 1))[0],
    "shard's bytes": lambda m: first_entry(m, file_bytes=m.shards[0].file_bytes + 1),
    "shard's uuid": lambda m: first_entry(m, uuid=make_uuid(9)),
    "shard's chunk samples": lambda m: first_entry(m, chunk_samples=CHUNK + 1),
    "shard's footer hash": lambda m: first_entry(m, footer_hash=1),
    "path in a file name": lambda m: first_entry(m, file_name=f"../{m.shards[0].file_name}"),
    "absolute file name": lambda m: first_entry(m, file_name=f"/{m.shards[0].file_name}"),
    "hidden file name": lambda m: first_entry(m, file_name=".hidden"),
    "empty file name": lambda m: first_entry(m, file_name=""),
    "NUL in a file name": lambda m: first_entry(m, file_name=f"{m.shards[0].file_name}\0"),
    "samples wrap": lambda m: (m.shards.append(m.shards[0]._replace(num_samples=WRAP - ROWS)), setattr(m, "num_samples", 0))[0],
    "another field": lambda m: setattr(m, "schema", render_schema(Schema((Field("other"), *SCHEMA.fields[1:])))),
    "another container": lambda m: setattr(m, "schema", render_schema(replace(SCHEMA, container=s.TUPLE))),
    "another nullability": lambda m: setattr(m, "schema", render_schema(Schema((Field("num", dtype=5, itemsize=4), *SCHEMA.fields[1:])))),
    "another order": lambda m: setattr(m, "schema", render_schema(Schema(SCHEMA.fields[::-1]))),
}  # fmt: skip


@pytest.mark.parametrize("lie", MANIFEST_LIES)
def test_manifest_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    write_dataset(tmp_path, SCHEMA, COLUMNS, chunk_samples=CHUNK, doctor_manifest=MANIFEST_LIES[lie])
    with pytest.raises(ReferenceFormatError):
        read_dataset(tmp_path)
    with pytest.raises(HeadraceError, match=r"manifest-0000000001\.hrm|shard-") as caught:
        open_index(tmp_path)
    assert isinstance(caught.value, ValueError | RuntimeError), repr(caught.value)
    assert damages(tmp_path)
