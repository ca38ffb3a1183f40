"""pandas and polars frames: their own kinds of missing values, their dtypes, their columns that no step looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest

from headrace import prep

# Before pandas 3, str makes None the text "None".
TEXT_DTYPES = ["string", "object", "string[pyarrow]", "category", *(["str"] if pd.__version__ >= "3" else [])]


@pytest.mark.parametrize("dtype", TEXT_DTYPES)
def test_missing_texts_of_pandas(dtype: str) -> None:
    frame = pd.DataFrame({"a": pd.array(["x", None, "y", ""], dtype=dtype)})
    made = prep.Pipeline([prep.OneHot(fields="a")]).fit_transform(frame)
    assert list(made.columns) == ["a_", "a_x", "a_y", "a_null"]
    np.testing.assert_array_equal(made.to_numpy(), [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "UInt16", "boolean"])
def test_whole_numbers_keep_their_dtype_whether_some_are_missing_or_not(dtype: str) -> None:
    train, test = (pd.DataFrame({"a": pd.array(values, dtype=dtype)}) for values in ([1, None, 0, 1], [0, 1, 1, 0]))
    pipe = prep.Pipeline([prep.Impute(fields="a"), prep.MaxAbs(fields="a")]).fit(train)
    np.testing.assert_allclose(pipe.transform(train)["a"], [1, 2 / 3, 0, 1], rtol=1e-6)
    np.testing.assert_array_equal(pipe.transform(test)["a"], [0, 1, 1, 0])


def test_large_whole_numbers_beside_missing_ones() -> None:
    frame = pd.DataFrame({"a": pd.array([2**62 + 1, None, 2**62 + 2], dtype="Int64")})
    assert prep.Pipeline([prep.Ordinal(fields="a")]).fit_transform(frame)["a"].tolist() == [0, -2, 1]


def test_columns_that_no_step_looks_at_come_back_as_they_are() -> None:
    frame = pd.DataFrame(
        {"x": [1.0, np.nan, 3.0], "n": pd.array([1, None, 3], dtype="Int64"), "s": pd.array(["a", None, "c"], dtype="string")},
        index=[7, 8, 9],
    )
    made = prep.Pipeline([prep.Impute("drop", fields="x")]).fit_transform(frame)
    assert list(made.columns) == ["x", "n", "s"]
    pd.testing.assert_frame_equal(made[["n", "s"]], frame.loc[[7, 9], ["n", "s"]])


def test_times_of_a_zone_are_those_of_its_clocks() -> None:
    frame = pd.DataFrame({"t": pd.date_range("2020-03-28 22:00", periods=4, freq="h", tz="Europe/Berlin")})
    made = prep.Pipeline([prep.DateParts(["day", "hour"])]).fit_transform(frame)
    assert made["t_hour"].tolist() == frame["t"].dt.hour.tolist()
    assert made["t_day"].tolist() == frame["t"].dt.day.tolist()


def test_polars() -> None:
    frame = polars.DataFrame(
        {"i": [1, None, 3], "b": [True, None, False], "s": ["a", None, "é"], "f": [1.5, None, float("nan")], "k": [1, None, 2]}
    )
    steps = [prep.Impute(fields=["i", "b", "f"]), prep.OneHot(fields="s")]
    made = prep.Pipeline(steps).fit_transform(frame)
    assert made["i"].to_list() == [1, 2, 3]
    assert made["b"].to_list() == [1, 0.5, 0]
    assert made["f"].to_list() == [1.5, 1.5, 1.5]
    assert [made[name].to_list() for name in ("s_a", "s_é", "s_null")] == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert made["k"].to_list() == [1, None, 2]


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), ValueError, "two columns of the frame are called 'a'"),
        (pd.DataFrame({"a": ["\udc80"]}, dtype=object), ValueError, "field 'a': .* is no text that UTF-8 has"),
        (pd.DataFrame({"a": ["x", 1]}, dtype=object), TypeError, "field 'a': 1 among its values"),
    ],
)
def test_what_no_field_can_hold_is_named(frame: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        prep.Pipeline([prep.Standardize()]).fit(frame)
