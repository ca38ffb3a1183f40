"""Schemas that break the grammar are refused, in a manifest as in a shard."""

from __future__ import annotations

from pathlib import Path

import pytest
import reference_schema as s
from reference_schema import Field, Schema
from reference_writer import (
    ManifestImage,
    layout_shard,
    make_uuid,
    put_manifest,
    put_shard,
    render_schema,
)  # fmt: skip

from headrace import _native as hr
from headrace.errors import CorruptDataError, LimitExceededError
from tests.format.faults import (
    SHARD,
    check_refused,
    open_index,
)  # fmt: skip

FIELD_LIES: dict[str, Schema] = {
    "no fields": Schema(()),
    "unknown container": Schema((Field("f"),), 3),
    "single of two": Schema((Field("f"), Field("g")), s.SINGLE),
    "names not unique": Schema((Field("f"), Field("f"))),
    "empty name": Schema((Field(""),)),
    "NUL in a name": Schema((Field("f\0"),)),
    "unknown kind": Schema((Field("f", 5),)),
    "unknown dtype": Schema((Field("f", dtype=19),)),
    "unknown codec": Schema((Field("f", codec=4),)),
    "unknown filter": Schema((Field("f", filter=5),)),
    "itemsize of a number": Schema((Field("f", dtype=5, itemsize=8),)),
    "itemsize of no bytes": Schema((Field("f", dtype=s.CHARS, itemsize=0),)),
    "itemsize of UTF-32": Schema((Field("f", dtype=s.UTF32, itemsize=6),)),
    "unit of a number": Schema((Field("f", unit=0x10A),)),
    "unknown unit": Schema((Field("f", dtype=s.DATETIME, itemsize=8, unit=0x10E),)),
    "unit zero times": Schema((Field("f", dtype=s.DATETIME, itemsize=8, unit=0x00A),)),
    "string of numbers": Schema((Field("f", s.STRING, dtype=5, itemsize=4),)),
    "string with dims": Schema((Field("f", s.STRING, dims=(1,)),)),
    "string with a filter": Schema((Field("f", s.STRING, filter=s.SHUFFLE),)),
    "ragged without bytes": Schema((Field("f", s.RAGGED, dims=(0,)),)),
    "delta of 16 bytes": Schema((Field("f", dtype=s.CHARS, itemsize=16, filter=s.DELTA),)),
    "blocks of nothing": Schema((Field("f", block_bytes=0),)),
    "blocks that cut elements": Schema((Field("f", dtype=5, itemsize=4, filter=s.SHUFFLE, block_bytes=6),)),
}  # fmt: skip


@pytest.mark.parametrize("lie", FIELD_LIES)
def test_schema_that_breaks_the_grammar_is_refused(tmp_path: Path, lie: str) -> None:
    put_manifest(tmp_path, ManifestImage(make_uuid(3), render_schema(FIELD_LIES[lie]), []))
    check_refused(tmp_path, lambda path: hr.Dataset(str(path)), CorruptDataError, [r"manifest-0000000001\.hrm", "schema"])


@pytest.mark.parametrize("dims", [(1 << 32, 1 << 32), (0, 1 << 32, 1 << 32), ((1 << 64) - 1, 2)])
def test_sample_of_2_64_bytes_is_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    put_manifest(tmp_path, ManifestImage(make_uuid(3), render_schema(Schema((Field("f", dims=dims),))), []))
    check_refused(tmp_path, open_index, LimitExceededError, [r"manifest-0000000001\.hrm", "'f'", "64 bits"])


@pytest.mark.parametrize(("what", "old", "new"), [
    ("name is not UTF-8", b"needle", b"need\xffe"),
    ("metadata is not UTF-8", b"straw", b"str\xc3\x28"),
    ("unknown field flags", b"needle\x00\x02\x00", b"needle\x00\x02\x02"),
    ("container's zeros", b"\0\0\0\0\0\0\0\0\x06\0needle", b"\0\0\0\1\0\0\0\0\x06\0needle"),
])  # fmt: skip
def test_schema_bytes_that_break_the_grammar_are_refused(tmp_path: Path, what: str, old: bytes, new: bytes) -> None:
    schema = render_schema(Schema((Field("needle", metadata="straw"),)))
    assert schema.count(old) == 1, what
    put_manifest(tmp_path, ManifestImage(make_uuid(3), schema.replace(old, new), []))
    check_refused(tmp_path, lambda path: hr.Dataset(str(path)), CorruptDataError, [r"manifest-0000000001\.hrm", "schema"])


def test_shards_own_schema_is_checked(tmp_path: Path) -> None:
    """A shard of other fields, beside a manifest that agrees with its footer."""
    image = layout_shard(Schema((Field("x", dtype=5, itemsize=4),)), [[b"abcd"]], 4, make_uuid(0))
    entry = put_shard(tmp_path, image)
    put_manifest(tmp_path, ManifestImage(make_uuid(3), render_schema(Schema((Field("x", dtype=6, itemsize=4),))), [entry]))
    check_refused(tmp_path, open_index, CorruptDataError, [SHARD, "schema|field"])
