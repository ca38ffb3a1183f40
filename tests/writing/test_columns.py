"""Columns of a dict: arrays, tensors, lists, nulls, dates, text."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace._native import Field, Schema
from headrace.writing import write
from tests.writing.readback import fields_of, ragged, read, size, valid

NUMBERS = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_arrays_of_every_dtype_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.arange(7 * int(np.prod(shape))).reshape(7, *shape) % 5).astype(dtype)
    assert write(tmp_path / "d", {"x": values}) == 1
    field = fields_of(tmp_path / "d")["x"]
    assert (field.kind, field.dtype, tuple(field.shape), field.nullable) == ("tensor", dtype, shape, False)
    np.testing.assert_array_equal(read(tmp_path / "d", "x"), values)


@pytest.mark.parametrize(
    "values",
    [
        np.array(["2013-01-01", "NaT", "1960-05-05"], "M8[D]"),
        np.array(["2013-01-01T10:00:00.5", "NaT"], "M8[ms]"),
        np.array([1, -5], "m8[us]"),
        np.array([b"ab", b"", b"abc"]),
        np.array(["äö", "", "xyz"]),
        np.arange(5, dtype=">i4"),
        np.arange(20, dtype="f8")[::3],
        np.asfortranarray(np.arange(12, dtype="f4").reshape(4, 3)),
        np.array(["2013-01-01"], ">M8[s]"),
        np.zeros((0, 4), "f4"),
    ],
)
def test_dates_fixed_text_and_odd_layouts_come_back(tmp_path: Path, values: np.ndarray[Any, Any]) -> None:
    write(tmp_path / "d", {"x": values})
    result = read(tmp_path / "d", "x")
    assert result.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(result, values)


@given(data=st.data())
def test_any_supported_array_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    dtype = data.draw(hnp.integer_dtypes(endianness="?") | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)) | hnp.boolean_dtypes())
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5))
    values = data.draw(hnp.arrays(dtype, shape))
    path = tmp_path_factory.mktemp("any") / "d"
    write(path, {"x": values})
    assert read(path, "x").tobytes() == values.astype(dtype.newbyteorder("<")).tobytes()


def test_memory_map_is_written_and_not_changed(tmp_path: Path) -> None:
    source = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype="f4", shape=(1000, 8))
    source[:] = np.arange(8000).reshape(1000, 8)
    write(tmp_path / "d", {"x": source}, batch_rows=7)
    np.testing.assert_array_equal(read(tmp_path / "d", "x"), np.arange(8000, dtype="f4").reshape(1000, 8))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2, 3], "int64", [1, 2, 3]),
        ([1.5, 2, 3], "float64", [1.5, 2.0, 3.0]),
        ([True, False], "bool", [True, False]),
        ([2**63, 1], "uint64", [2**63, 1]),
        ([np.float32(1.5), np.float32(2)], "float32", [1.5, 2.0]),
        ([np.int8(1), np.int16(300)], "int16", [1, 300]),
        ([1j, 2], "complex128", [1j, 2 + 0j]),
        (range(3), "int64", [0, 1, 2]),
    ],
)
def test_lists_of_numbers_get_the_dtype_of_their_kind(tmp_path: Path, values: Any, dtype: str, expected: list[Any]) -> None:
    write(tmp_path / "d", {"x": values})
    assert fields_of(tmp_path / "d")["x"].dtype == dtype
    assert read(tmp_path / "d", "x").tolist() == expected


def test_python_dates_are_microseconds_and_days(tmp_path: Path) -> None:
    moments = [datetime.datetime(2013, 1, 1, 12, 30, 0, 5), None]
    write(tmp_path / "d", {"t": moments, "d": [datetime.date(2013, 1, 1)] * 2, "l": [datetime.timedelta(seconds=1)] * 2})
    assert {name: field.dtype for name, field in fields_of(tmp_path / "d").items()} == {
        "t": "datetime64[us]",
        "d": "datetime64[D]",
        "l": "timedelta64[us]",
    }
    assert read(tmp_path / "d", "t")[0] == np.datetime64("2013-01-01T12:30:00.000005")
    assert valid(tmp_path / "d", "t") == [True, False]


def test_a_date_with_a_time_zone_is_refused(tmp_path: Path) -> None:
    moment = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(ValueError, match=r"sample 0, field 't': .* has a time zone; convert it to UTC"):
        write(tmp_path / "d", {"t": [moment]})


def test_none_makes_a_field_nullable(tmp_path: Path) -> None:
    columns = {
        "i": [1, None, 3],
        "f": [None, 1.5, 2.5],
        "s": ["a", None, ""],
        "b": [None, b"x", b""],
        "v": [np.zeros(2), None, np.ones(2)],
        "r": [[1, 2], None, [3]],
        "m": np.ma.array([1, 2, 3], mask=[False, True, False]),
        "n": np.ma.array([1, 2, 3]),
    }
    write(tmp_path / "d", columns)
    fields = fields_of(tmp_path / "d")
    assert {name: field.nullable for name, field in fields.items()} == {**dict.fromkeys("ifsbvrm", True), "n": False}
    assert valid(tmp_path / "d", "i") == valid(tmp_path / "d", "m") == [True, False, True]
    assert read(tmp_path / "d", "i").tolist() == [1, 0, 3]
    assert read(tmp_path / "d", "f").tolist() == [0.0, 1.5, 2.5]
    assert read(tmp_path / "d", "s") == ["a", None, ""]
    assert read(tmp_path / "d", "b") == [None, b"x", b""]
    assert read(tmp_path / "d", "v").tolist() == [[0, 0], [0, 0], [1, 1]]
    assert fields["r"].kind == "ragged"
    assert ragged(tmp_path / "d", "r") == [[1, 2], [], [3]]


def test_object_columns_of_text_take_none_and_nan_for_null(tmp_path: Path) -> None:
    write(tmp_path / "d", {"s": np.array(["a", None, float("nan"), "b"], dtype=object)})
    assert read(tmp_path / "d", "s") == ["a", None, None, "b"]


def test_text_and_bytes(tmp_path: Path) -> None:
    write(tmp_path / "d", {"s": ["", "grüße", "日本語"], "b": [b"", b"\0\xff", bytearray(b"xy")]})
    assert read(tmp_path / "d", "s") == ["", "grüße", "日本語"]
    assert read(tmp_path / "d", "b") == [b"", b"\0\xff", b"xy"]


@given(texts=st.lists(st.none() | st.text(), min_size=1, max_size=30))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]) -> None:
    path = tmp_path_factory.mktemp("text") / "d"
    schema = Schema([Field("s", "string", nullable=True)])
    write(path, {"s": texts}, schema=schema)
    assert read(path, "s") == texts


def test_a_surrogate_is_refused_with_its_sample(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sample 1, field 's': not encodable as UTF-8 at character 1"):
        write(tmp_path / "d", {"s": ["a", "x\ud800"]})
    assert not (tmp_path / "d").exists()


def test_lists_of_equal_arrays_are_tensors_and_of_others_ragged(tmp_path: Path) -> None:
    columns = {
        "same": [np.ones(3, "f4"), np.zeros(3, "f4")],
        "vary": [np.ones((2, 3), "i2"), np.zeros((5, 3), "i2")],
        "lists": [[1, 2], []],
        "floats": [[1, 2], [0.5]],
    }
    write(tmp_path / "d", columns)
    fields = fields_of(tmp_path / "d")
    assert [(f.kind, f.dtype, tuple(f.shape)) for f in fields.values()] == [
        ("tensor", "float32", (3,)),
        ("ragged", "int16", (3,)),
        ("ragged", "int64", ()),
        ("ragged", "float64", ()),
    ]
    assert ragged(tmp_path / "d", "vary") == [[[1, 1, 1]] * 2, [[0, 0, 0]] * 5]
    assert ragged(tmp_path / "d", "lists") == [[1, 2], []]
    assert ragged(tmp_path / "d", "floats") == [[1.0, 2.0], [0.5]]


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), dtype=st.sampled_from(["u1", "i4", "f8"]), step=st.integers(1, 7))
def test_any_ragged_column_comes_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], dtype: str, step: int) -> None:
    path = tmp_path_factory.mktemp("ragged") / "d"
    values = [np.arange(n).astype(dtype) for n in lengths]
    write(path, {"x": values}, schema=Schema([Field("x", "ragged", np.dtype(dtype).name)]), batch_rows=step)
    assert ragged(path, "x") == [value.tolist() for value in values]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1, "a"], TypeError, "sample 1, field 'x': expected int as in the samples before, found str"),
        (np.array([1, 2, "a"], dtype=object), TypeError, "sample 2, field 'x': expected int"),
        ([True, 1], TypeError, "sample 1, field 'x': expected bool as in the samples before, found int"),
        ([{"a": 1}], TypeError, r"sample 0, field 'x': nested dicts are not supported; flatten them to keys like 'x\.part'"),
        ({"a": [1]}, TypeError, "field 'x': nested dicts"),
        ([object()], TypeError, "sample 0, field 'x': cannot store object"),
        ([["a", "b"]], TypeError, "sample 0, field 'x': a list that holds arrays, strings"),
        ([np.ones((2, 3)), np.ones((2, 4))], ValueError, r"sample 1, field 'x': shape \(2, 4\) after \(2, 3\); only the first dimension"),
        ([np.ones(2, "f4"), np.ones(2, "f8")], ValueError, "sample 1, field 'x': expected float32, found float64"),
        ([1, -1, 2**70], ValueError, "sample 2, field 'x': the integer 1180591620717411303424 fits neither int64"),
        ([2**53 + 1, 0.5], ValueError, "sample 0, field 'x': the integer 9007199254740993 among floats is not exact"),
        (np.zeros(3, np.longdouble), TypeError, r"field 'x': dtype float128 cannot be stored; convert it with .astype\('float64'\)"),
        (np.zeros(3, np.clongdouble), TypeError, r"complex256 cannot be stored; convert it with .astype\('complex128'\)"),
        ([None, None], ValueError, "field 'x': all 2 samples seen are null, so its type is unknown; pass schema="),
        (np.float32(3), ValueError, "expected an array whose first dimension is samples"),
        ("abc", TypeError, "expected one value a sample"),
        (np.ma.array([[1, 2]], mask=[[True, False]]), ValueError, "sample 0, field 'x': 1 of 2 values are masked"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path: Path, values: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path / "d", {"x": values})
    assert not (tmp_path / "d").exists()


def test_columns_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="field 'b' has 2 samples, but field 'a' has 3"):
        write(tmp_path / "d", {"a": [1, 2, 3], "b": [1, 2]})


def test_fields_choose_and_order(tmp_path: Path) -> None:
    write(tmp_path / "d", {"a": [1], "b": [2], "c": [3]}, fields=["c", "a"])
    assert list(fields_of(tmp_path / "d")) == ["c", "a"]
    with pytest.raises(ValueError, match=r"fields names 'z', which is none of \['a'\]"):
        write(tmp_path / "e", {"a": [1]}, fields=["z"])


def test_a_given_schema_casts_what_loses_nothing(tmp_path: Path) -> None:
    schema = Schema(
        [
            Field("i", dtype="int16"),
            Field("f", dtype="float32"),
            Field("w", dtype="float64"),
            Field("t", dtype="U4"),
            Field("b", dtype="bfloat16"),
        ]
    )
    write(tmp_path / "d", {"i": [1, -2], "f": [0.1, 2], "w": np.array([1, 2], "f4"), "t": ["ab", "cdef"], "b": [1.0, -2.5]}, schema=schema)
    assert read(tmp_path / "d", "i").tolist() == [1, -2]
    assert read(tmp_path / "d", "f").tolist() == [np.float32(0.1), 2.0]
    assert read(tmp_path / "d", "w").tolist() == [1.0, 2.0]
    assert read(tmp_path / "d", "t").tolist() == ["ab", "cdef"]
    assert read(tmp_path / "d", "b").tolist() == [0x3F80, 0xC020]


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (Field("x", dtype="int8"), [1, 200], r"field 'x': a value that int8 cannot hold: 200 at \(1,\)"),
        (Field("x", dtype="uint64"), [-1], "a value that uint64 cannot hold: -1"),
        (Field("x", dtype="float32"), np.zeros(2, "f8"), "expected float32, found float64"),
        (Field("x", dtype="int64"), [1.5], "expected int64, found float64"),
        (Field("x", shape=(3,)), np.zeros((2, 4), "u1"), r"expected uint8 of shape \(3,\), found uint8 of shape \(4,\)"),
        (Field("x", "string"), [1], "expected str, found int64"),
        (Field("x", "bytes"), ["a"], "expected bytes, found str"),
        (Field("x", dtype="int64"), [1, None], r"sample 1, field 'x': expected int64, found null; pass schema= with nullable=True"),
        (Field("x", dtype="U2"), ["abc"], "expected at most 2 for U2, found length 3"),
        (Field("x", "ragged", "int64"), [1, 2], "expected int64 of shape"),
        (Field("x", dtype="datetime64[D]"), np.array(["2013-01-01T05"], "M8[h]"), r"a value that does not fit datetime64\[D\]"),
    ],
)
def test_a_given_schema_refuses_what_would_change(tmp_path: Path, field: Field, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "d", {"x": values}, schema=Schema([field]))
    assert not (tmp_path / "d").exists()


def test_arrays_of_equal_length_fit_a_ragged_field_and_bytes_an_image(tmp_path: Path) -> None:
    schema = Schema([Field("r", "ragged", "int32"), Field("i", "image"), Field("u", "image")])
    write(
        tmp_path / "d",
        {"r": np.arange(6, dtype="i4").reshape(3, 2), "i": [b"a", b"bc", b""], "u": [np.frombuffer(b"xyz", "u1")] * 3},
        schema=schema,
    )
    assert ragged(tmp_path / "d", "r") == [[0, 1], [2, 3], [4, 5]]
    assert read(tmp_path / "d", "i") == [b"a", b"bc", b""]
    assert read(tmp_path / "d", "u") == [b"xyz"] * 3


def test_masked_rows_of_an_array_in_a_nullable_ragged_field(tmp_path: Path) -> None:
    values = np.ma.array(np.arange(6).reshape(3, 2), mask=[[False] * 2, [True] * 2, [False] * 2])
    write(tmp_path / "d", {"r": values}, schema=Schema([Field("r", "ragged", "int64", nullable=True)]))
    assert ragged(tmp_path / "d", "r") == [[0, 1], [], [4, 5]]
    assert valid(tmp_path / "d", "r") == [True, False, True]


def test_an_empty_column_makes_an_empty_dataset(tmp_path: Path) -> None:
    assert write(tmp_path / "d", {"x": np.zeros(0, "f4")}) == 1
    assert size(tmp_path / "d") == 0
