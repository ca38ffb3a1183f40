"""A small dataset to damage, and the check that both readers refuse it with the right class and words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import reference_schema as s
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema
from reference_writer import BlockImage, ChunkImage, PageImage, Row, ShardImage, encode_rows, make_uuid, write_dataset

from headrace import _native as hr
from headrace.errors import HeadraceError
from tests.format.native import fetch_rows

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
    except (HeadraceError, ValueError) as error:
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
