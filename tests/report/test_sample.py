import io
import json

import numpy as np
import pytest
from PIL import Image

from headrace.report.sample import describe_type, describe_value, json_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.1"),
        (np.int64(-7), "-7"),
        (np.bool_(True), "true"),
        (np.datetime64("2013-01-01T05:15", "m"), "2013-01-01 05:15"),
        (np.datetime64("NaT", "s"), "NaT"),
        (np.complex64(1 - 2j), "1-2j"),
        (np.str_("a\nb"), '"a\\nb"'),
        (np.array([1.5, np.nan]), "[1.5, nan]"),
        (np.arange(4).reshape(2, 2), "[[0, 1], [2, 3]]"),
        (np.zeros((0, 3)), "empty, shape 0x3"),
        (np.arange(100, dtype=np.uint8).reshape(4, 25), "shape 4x25  min 0  mean 49.5  max 99"),
        (np.array([np.nan] * 8 + [1.0, 3.0]), "shape 10  min 1  mean 2  max 3  nan 8"),
        (np.full(10, np.nan), "shape 10  nan 10"),
        (np.arange("2013-01-01", "2013-01-21", dtype="datetime64[D]"), "shape 20  min 2013-01-01  max 2013-01-20"),
    ],
)
def test_tensors_are_shown_inline_when_small_and_summed_up_when_big(value, text):
    assert describe_value(value, kind="tensor") == text


def test_bfloat16_bits_are_decoded():
    bits = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert describe_value(bits, kind="tensor", dtype="bfloat16") == "[1.5, -2]"
    assert json_value(bits, kind="tensor", dtype="bfloat16") == [1.5, -2.0]


def test_strings_are_quoted_cut_and_harmless():
    assert describe_value('say "hi"', kind="string") == '"say \\"hi\\""'
    assert describe_value("\x1b[31m", kind="string") == '"\\x1b[31m"'
    assert describe_value("x" * 500, kind="string") == f'"{"x" * 120}"... (500 characters)'


def test_images_say_format_and_size():
    buffer = io.BytesIO()
    Image.new("RGB", (500, 375)).save(buffer, "JPEG")
    size = len(buffer.getvalue())
    assert describe_value(buffer.getvalue(), kind="image") == f"JPEG 500x375, {size / 1024:.2f} KiB"
    assert json_value(buffer.getvalue(), kind="image") == {"bytes": size, "format": "JPEG", "width": 500, "height": 375}
    assert describe_value(b"\x01\x02", kind="image") == "unknown image, 2 B, 01 02"


def test_bytes_show_their_beginning():
    assert describe_value(b"", kind="bytes") == "0 B"
    assert describe_value(bytes(range(20)), kind="bytes") == "20 B, 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f ..."


@pytest.mark.parametrize("kind", ["tensor", "ragged", "bytes", "string", "image"])
def test_null_is_null(kind):
    assert describe_value(None, kind=kind) == "null"
    assert json_value(None, kind=kind) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(np.inf), "inf"),
        (np.array([np.nan, 1.0]), ["nan", 1.0]),
        (np.complex128(complex(1, np.nan)), [1.0, "nan"]),
        (np.datetime64("2013-01-01", "ns"), "2013-01-01T00:00:00.000000000"),
        (np.array([b"ab"], "S2"), ["6162"]),
        (np.array([True, False]), [True, False]),
        (np.zeros((3, 64, 64), np.uint8), {"dtype": "uint8", "shape": [3, 64, 64], "min": 0, "mean": 0.0, "max": 0}),
    ],
)
def test_json_values_are_valid_json(value, expected):
    document = json_value(value, kind="tensor")
    assert document == expected
    assert json.loads(json.dumps(document, allow_nan=False)) == expected


def test_types_are_named_in_a_word():
    assert describe_type("tensor", "float32", (3, 64, 64)) == "float32[3, 64, 64]"
    assert describe_type("tensor", "int64", (), nullable=True) == "int64 or null"
    assert describe_type("ragged", "int32", (2,)) == "ragged int32[.., 2]"
    assert describe_type("string", "uint8", ()) == "string"
