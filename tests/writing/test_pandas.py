"""Data frames: every kind of column, without pyarrow's help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.writing import Writer, write
from tests.writing.readback import fields_of, ragged, read, valid


def test_columns_of_every_kind(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [0.5, np.nan, 1.5],
            "s": ["a", None, "c"],
            "o": np.array(["x", np.nan, "z"], dtype=object),
            "c": pd.Categorical(["b", None, "a"]),
            "n": pd.array([1, None, 3], dtype="Int32"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "t": pd.to_datetime(["2013-01-01", None, "2013-01-03"]).as_unit("ns"),
            "z": pd.to_datetime(["2013-01-01", None, "2013-01-03"]).tz_localize("Europe/Berlin").as_unit("s"),
            "d": pd.to_timedelta([1, 2, 3], unit="s").as_unit("us"),
        }
    )
    write(tmp_path / "d", frame)
    fields = fields_of(tmp_path / "d")
    assert {name: (field.kind if field.kind != "tensor" else field.dtype, field.nullable) for name, field in fields.items()} == {
        "i": ("int64", False),
        "f": ("float64", False),
        "s": ("string", True),
        "o": ("string", True),
        "c": ("string", True),
        "n": ("int32", True),
        "b": ("bool", True),
        "t": ("datetime64[ns]", False),
        "z": ("datetime64[s]", False),
        "d": ("timedelta64[us]", False),
    }
    for name in "so":
        assert read(tmp_path / "d", name)[1] is None
    assert read(tmp_path / "d", "c") == ["b", None, "a"]
    assert read(tmp_path / "d", "n").tolist() == [1, 0, 3]
    assert valid(tmp_path / "d", "b") == [True, False, True]
    np.testing.assert_array_equal(read(tmp_path / "d", "f"), frame["f"].to_numpy())
    np.testing.assert_array_equal(read(tmp_path / "d", "t"), frame["t"].to_numpy())
    assert read(tmp_path / "d", "z")[0] == np.datetime64("2012-12-31T23:00:00")
    assert json.loads(fields["z"].metadata) == {"timezone": "Europe/Berlin"}
    assert read(tmp_path / "d", "d").astype("i8").tolist() == [10**6, 2 * 10**6, 3 * 10**6]


def test_writer_extend_takes_frames(tmp_path: Path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.extend(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}))
        writer.extend(pd.DataFrame({"b": [2.5], "a": [3]}))
    assert read(tmp_path / "d", "a").tolist() == [1, 2, 3]
    assert read(tmp_path / "d", "b").tolist() == [0.5, 1.5, 2.5]


def test_categories_keep_their_dtype_and_their_nulls(tmp_path: Path) -> None:
    columns = {
        "wide": pd.Categorical([2**53 + 1, None, 3, 3]),
        "flag": pd.Categorical([True, None, False, True]),
        "text": pd.Categorical(["b", None, "a", "b"]),
        "float": pd.Categorical([0.5, None, 1.5, 0.5]),
        "time": pd.Categorical(pd.to_datetime(["2013-01-01", None, "2013-01-03", "2013-01-01"]).as_unit("s")),
        "arrow": pd.Categorical(pd.array([2**53 + 1, None, 3, 3], dtype="int64[pyarrow]")),
    }
    expected = {
        "wide": ("int64", [2**53 + 1, 0, 3, 3]),
        "flag": ("bool", [True, False, False, True]),
        "text": ("uint8", ["b", None, "a", "b"]),
        "float": ("float64", [0.5, 0.0, 1.5, 0.5]),
        "time": ("datetime64[s]", [1356998400, 0, 1357171200, 1356998400]),
        "arrow": ("int64", [2**53 + 1, 0, 3, 3]),
    }
    for target, source in (("frame", pd.DataFrame(columns)), ("columns", columns)):
        write(tmp_path / target, source)
        for name, field in fields_of(tmp_path / target).items():
            values = read(tmp_path / target, name)
            listed = values.view("int64") if name == "time" else values
            assert (field.dtype, list(listed), field.nullable) == (*expected[name], True)
            assert valid(tmp_path / target, name) == [True, False, True, True]
    with pytest.raises(ValueError, match=r"field 'c': all 2 samples seen are null"):
        write(tmp_path / "null", pd.DataFrame({"c": pd.Categorical([None, None])}))


def test_what_is_missing_in_an_object_column_is_null(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "flag": np.array([True, np.nan, False], dtype=object),
            "array": pd.Series([np.array([1, 2]), np.nan, np.array([3])], dtype=object),
            "number": np.array([1, np.nan, 2.5], dtype=object),
        }
    )
    write(tmp_path / "d", frame)
    assert {name: (field.dtype, field.nullable) for name, field in fields_of(tmp_path / "d").items()} == {
        "flag": ("bool", True),
        "array": ("int64", True),
        "number": ("float64", False),
    }
    assert read(tmp_path / "d", "flag").tolist() == [True, False, False]
    assert valid(tmp_path / "d", "flag") == [True, False, True]
    assert ragged(tmp_path / "d", "array") == [[1, 2], [], [3]]
    assert np.array_equal(read(tmp_path / "d", "number"), [1, np.nan, 2.5], equal_nan=True)


def test_columns_of_arrow_are_read_as_such(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "t": pd.Series(pd.to_datetime(["2013-01-01", None]), dtype="timestamp[us, UTC][pyarrow]"),
            "i": pd.Series([2**53 + 1, None], dtype="int64[pyarrow]"),
            "s": pd.Series(["a", None], dtype="string[pyarrow]"),
            "l": pd.Series([[1], [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
        }
    )
    write(tmp_path / "d", frame)
    fields = fields_of(tmp_path / "d")
    assert (fields["t"].dtype, fields["t"].nullable, json.loads(fields["t"].metadata)) == ("datetime64[us]", True, {"timezone": "UTC"})
    assert read(tmp_path / "d", "t").view("int64").tolist() == [1356998400 * 10**6, 0]
    assert read(tmp_path / "d", "i").tolist() == [2**53 + 1, 0]
    assert valid(tmp_path / "d", "i") == [True, False]
    assert read(tmp_path / "d", "s") == ["a", None]
    assert (fields["l"].kind, fields["l"].dtype) == ("ragged", "int8")
    assert ragged(tmp_path / "d", "l") == [[1], [2, 3]]


def test_arrays_and_indexes_of_pandas_are_columns_too(tmp_path: Path) -> None:
    write(tmp_path / "d", {"n": pd.array([2**53 + 1, None], dtype="Int64"), "i": pd.Index([4, 5])})
    assert read(tmp_path / "d", "n").tolist() == [2**53 + 1, 0]
    assert valid(tmp_path / "d", "n") == [True, False]
    assert read(tmp_path / "d", "i").tolist() == [4, 5]


def test_columns_of_one_name_are_refused_not_lost(tmp_path: Path) -> None:
    alike = pd.DataFrame([[1, 2, 3]], columns=[1, "1", "x"])
    with pytest.raises(ValueError, match=r"two columns are named '1' \(of the labels \[1, '1'\]\); rename one"):
        write(tmp_path / "d", alike)
    twice = pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    with pytest.raises(ValueError, match=r"two columns are named 'a'"):
        write(tmp_path / "d", twice)
    write(tmp_path / "d", twice, fields=["b"])
    assert read(tmp_path / "d", "b").tolist() == [3]
