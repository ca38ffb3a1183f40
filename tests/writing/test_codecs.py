"""The codec argument."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace._native import Field
from headrace.writing.codecs import apply_codecs

FIELDS = [Field("a", dtype="int32"), Field("b", "string"), Field("c", dtype="float32", codec="lz4", filter="shuffle")]


@pytest.mark.parametrize(
    ("codec", "expected", "auto"),
    [
        ("auto", [("none", "none"), ("none", "none"), ("lz4", "shuffle")], [True, True, False]),
        (None, [("none", "none"), ("none", "none"), ("lz4", "shuffle")], [False, False, False]),
        ("zstd", [("zstd", "none")] * 3, [False] * 3),
        ("none", [("none", "none")] * 3, [False] * 3),
        ({"b": "lz4"}, [("none", "none"), ("lz4", "none"), ("lz4", "shuffle")], [True, False, False]),
        ({"a": {"codec": "zstd", "filter": "delta"}}, [("zstd", "delta"), ("none", "none"), ("lz4", "shuffle")], [False, True, False]),
        ({"a": {"block_bytes": 4096}, "c": "auto"}, [("none", "none"), ("none", "none"), ("lz4", "shuffle")], [True, True, False]),
    ],
)
def test_codec_of_each_field(codec: Any, expected: list[tuple[str, str]], auto: list[bool]) -> None:
    fields, chosen = apply_codecs(FIELDS, codec)
    assert [(field.codec, field.filter) for field in fields] == expected
    assert chosen == auto
    assert [field.name for field in fields] == ["a", "b", "c"]


def test_levels() -> None:
    assert [field.level for field in apply_codecs(FIELDS, "zstd:9")[0]] == [9, 9, 9]
    assert apply_codecs(FIELDS, {"a": {"codec": "zstd", "level": -3}})[0][0].level == -3


@pytest.mark.parametrize(
    ("codec", "error", "message"),
    [
        ("gzip", ValueError, "codec of field 'a': unknown 'gzip'; known are auto, none, lz4, lz4hc, zstd"),
        ("zstd:fast", ValueError, "the level in 'zstd:fast' is not a whole number"),
        ({"z": "lz4"}, ValueError, r"codec names the field 'z', which is none of \['a', 'b', 'c'\]"),
        ({"a": {"kodec": "lz4"}}, ValueError, r"unknown \['kodec'\]"),
        ({"a": {"filter": "delta"}}, ValueError, "'auto' chooses the filter itself; name a codec"),
        ({"a": 3}, TypeError, "expected a name, 'name:level' or a dict, found int"),
    ],
)
def test_what_is_no_codec_is_refused(codec: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        apply_codecs(FIELDS, codec)


def test_the_writer_says_what_it_tried_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    source = {
        "noise": rng.integers(-(1 << 63), (1 << 63) - 1, 20_000, endpoint=True),
        "counter": np.arange(20_000),
        "given": np.arange(20_000),
    }
    with caplog.at_level(logging.INFO, "headrace"), hr.Writer(tmp_path / "d", codec={"given": "lz4"}) as writer:
        assert writer.choices == []
        writer.extend(source)
    noise, counter = writer.choices
    assert (noise["field"], counter["field"]) == ("noise", "counter")
    assert (noise["chosen"], noise["reason"]) == (0, "as it is: nothing made it smaller")
    chosen = counter["trials"][counter["chosen"]]
    stored = hr.open(tmp_path / "d").schema.fields[1]
    assert (chosen["codec"], chosen["filter"], chosen["level"]) == (stored.codec, stored.filter, stored.level) != ("none", "none", 0)
    assert chosen["ratio"] > 10
    assert all(trial["decode_bytes_per_second"] > 0 for trial in counter["trials"][1:])
    assert [f"field '{c['field']}': {c['reason']}" in caplog.text for c in writer.choices] == [True, True]
    assert "given" not in caplog.text
    np.testing.assert_array_equal(hr.open(tmp_path / "d")[:]["counter"], source["counter"])
