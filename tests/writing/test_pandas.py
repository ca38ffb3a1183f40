"""Data frames: every kind of column, without pyarrow's help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from headrace.writing import Writer, write
from tests.writing.readback import fields_of, read, valid


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
