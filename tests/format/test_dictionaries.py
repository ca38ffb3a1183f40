"""Dictionaries that are damaged, missing, too large, or where none may be; and both writers against both readers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import reference_schema as s
import zstandard
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema
from reference_writer import ShardImage, encode_rows, render_schema, write_dataset

import headrace
from headrace import _native as hr
from headrace.errors import CorruptDataError, HeadraceError, LimitExceededError, UnsupportedVersionError
from tests.format.native import fetch_rows

FIELD = Field("text", s.BYTES, codec=s.ZSTD, level=3, block_bytes=512, dictionary=True)
SCHEMA = Schema((FIELD,))
TEXTS = [b"the %d samples of shard %d go to the trainer; " % (i * i % 97, i % 7) * (i % 5 + 1) for i in range(600)]
ROWS = [encode_rows(FIELD, TEXTS)]
TRAINED = zstandard.train_dictionary(2048, TEXTS).as_bytes()


def test_both_readers_read_the_reference_writers_dictionary(tmp_path: Path) -> None:
    write_dataset(tmp_path, SCHEMA, ROWS, chunk_samples=100, shard_samples=300, dictionaries={0: TRAINED})
    dataset = hr.Dataset(str(tmp_path))
    assert fetch_rows(dataset, SCHEMA, range(len(TEXTS))) == ROWS
    assert list(read_dataset(tmp_path).column("text").values) == TEXTS
    assert hr.Verification(str(tmp_path), decode=True).run()["damages"] == []


@pytest.mark.parametrize("reader", ["mmap", "pread"])
def test_loader_reads_what_the_writer_trained(tmp_path: Path, reader: str) -> None:
    texts = [text.decode() for text in TEXTS * 10]
    headrace.write(tmp_path / "d", {"text": texts}, codec={"text": {"codec": "zstd", "dictionary": True}})
    dataset = hr.Dataset(str(tmp_path / "d"), reader=reader)
    assert dataset.schema.fields[0].dictionary
    assert dataset.schema.fields[0].block_bytes == 2048
    batch = dataset.fetch(range(len(texts)), [0])
    assert batch.numpy(0) == texts


def test_too_little_to_learn_from_means_no_dictionary(tmp_path: Path) -> None:
    headrace.write(tmp_path / "d", {"text": ["few words"] * 5}, codec={"text": {"codec": "zstd", "dictionary": True}})
    assert not hr.Dataset(str(tmp_path / "d")).schema.fields[0].dictionary


def extended(content: bytes, tag: int = s.DICTIONARIES) -> Any:
    def doctor(image: ShardImage) -> None:
        image.schema = render_schema(SCHEMA, [(tag, 1, content)])

    return doctor


def listed(*parts: tuple[int, bytes]) -> bytes:
    import struct

    return struct.pack("<I", len(parts)) + b"".join(struct.pack("<II", number, len(data)) + data for number, data in parts)


DAMAGES: dict[str, tuple[Any, type[HeadraceError], str]] = {
    "missing": (lambda image: setattr(image, "schema", render_schema(SCHEMA)), CorruptDataError, "needs a dictionary"),
    "an empty list": (extended(listed()), CorruptDataError, "needs a dictionary"),
    "twice": (extended(listed((0, TRAINED), (0, TRAINED))), CorruptDataError, "field number 0"),
    "of a field that is not there": (extended(listed((1, TRAINED))), CorruptDataError, "field number 1"),
    "oversized": (extended(listed((0, TRAINED + bytes(1 << 20)))), LimitExceededError, "1048576"),
    "not a dictionary": (extended(listed((0, b"x" * 2048))), CorruptDataError, "magic"),
    "damaged tables": (extended(listed((0, TRAINED[:8] + b"\xff" * 2000))), CorruptDataError, "tables"),
    "cut": (extended(listed((0, TRAINED))[:-1]), CorruptDataError, "beyond the end"),
    "longer than its list": (extended(listed((0, TRAINED)) + b"x"), CorruptDataError, "as long as"),
    "a count of 2^32 - 1": (extended(b"\xff\xff\xff\xff"), CorruptDataError, "cut"),
    "an unknown critical extension": (extended(b"", tag=9), UnsupportedVersionError, "extension 9"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_dictionaries_are_refused(tmp_path: Path, damage: str) -> None:
    doctor, error, words = DAMAGES[damage]
    write_dataset(tmp_path, SCHEMA, ROWS, dictionaries={0: TRAINED}, doctor=doctor)
    with pytest.raises(error, match=words):
        hr.Dataset(str(tmp_path))
    if damage != "damaged tables":  # The reference leaves the tables to the library, when it first decodes.
        with pytest.raises(ReferenceFormatError):
            read_dataset(tmp_path)


def test_another_dictionary_is_an_error_or_other_bytes_never_a_crash(tmp_path: Path) -> None:
    """The schema's hash holds against damage; a writer that swaps dictionaries lies with valid hashes."""
    other = zstandard.train_dictionary(2048, [bytes(reversed(text)) for text in TEXTS]).as_bytes()
    write_dataset(tmp_path, SCHEMA, ROWS, dictionaries={0: TRAINED}, doctor=extended(listed((0, other))))
    dataset = hr.Dataset(str(tmp_path))
    # What zstd notices is an error; what it cannot notice is other bytes.
    with contextlib.suppress(CorruptDataError):
        assert fetch_rows(dataset, SCHEMA, range(len(TEXTS))) != ROWS


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_only_zstd_has_dictionaries(tmp_path: Path, codec: str) -> None:
    with pytest.raises(ValueError, match="dictionary is for codec zstd"):
        headrace.write(tmp_path / "d", {"text": ["x"]}, codec={"text": {"codec": codec, "dictionary": True}})
    assert not (tmp_path / "d").exists()
