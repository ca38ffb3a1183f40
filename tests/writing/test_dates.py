"""Dates and durations of several kinds in one column: the unit holds all of them, to the last digit."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.writing import write
from tests.writing.readback import fields_of, read

D, TD = np.datetime64, np.timedelta64


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([pd.Timestamp("3000-01-01")], "datetime64[us]", [32503680000 * 10**6]),
        ([pd.Timestamp("2013-01-01")], "datetime64[ns]", [1356998400 * 10**9]),
        ([pd.Timestamp("2013-01-01 00:00:00.123456789")], "datetime64[ns]", [1356998400123456789]),
        ([pd.NaT, pd.Timestamp("2013-01-01")], "datetime64[ns]", [-(2**63), 1356998400 * 10**9]),
        ([pd.NaT, pd.Timedelta(5, "s")], "timedelta64[ns]", [-(2**63), 5 * 10**9]),
        ([pd.NaT, pd.NaT], "datetime64[ns]", [-(2**63)] * 2),
        ([pd.Timestamp("2013-01-01"), datetime.datetime(3000, 1, 1)], "datetime64[us]", [1356998400 * 10**6, 32503680000 * 10**6]),
        ([D("2020-01-01"), D("2020-01-01T00:00:00.500")], "datetime64[ms]", [1577836800000, 1577836800500]),
        ([D("2020-01-01T00:00:00.500"), D("1970-01-02")], "datetime64[ms]", [1577836800500, 86400000]),
        ([D("5000-01-01"), D("2020-01-01", "ns")], "datetime64[us]", [95617584000 * 10**6, 1577836800 * 10**6]),
        ([D("2020"), D("2020-03"), D("2020-01-03")], "datetime64[D]", [18262, 18322, 18264]),
        ([D("NaT", "ns"), D("1970-01-02")], "datetime64[D]", [-(2**63), 1]),
        ([datetime.date(1970, 1, 2), datetime.datetime(1970, 1, 1, 0, 0, 1)], "datetime64[us]", [86400 * 10**6, 10**6]),
        ([datetime.date(1970, 1, 2), datetime.date(9999, 12, 31)], "datetime64[D]", [1, 2932896]),
        ([datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)], "datetime64[us]", [-62135596800 * 10**6, 253402214400 * 10**6]),
        ([TD(1, "s"), TD(1, "ms")], "timedelta64[ms]", [1000, 1]),
        ([datetime.timedelta(microseconds=3)], "timedelta64[us]", [3]),
        ([datetime.timedelta(days=999999999)], "timedelta64[ms]", [999999999 * 86400 * 10**3]),
    ],
)
def test_the_unit_holds_every_value(tmp_path: Path, values: list[Any], dtype: str, expected: list[int]) -> None:
    write(tmp_path / "d", {"t": values})
    assert fields_of(tmp_path / "d")["t"].dtype == dtype
    assert read(tmp_path / "d", "t").view(np.int64).tolist() == expected


def test_what_no_unit_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sample 1, field 't': no unit of datetime64 holds 5000-01-01.* and, exactly, the other samples"):
        write(tmp_path / "d", {"t": [D("2020-01-01T00:00:00.000000001"), D("5000-01-01")]})
    with pytest.raises(ValueError, match=r"sample 0, field 't': .* has no unit of a fixed length"):
        write(tmp_path / "d", {"t": [TD(1, "Y"), TD(1, "s")]})
    with pytest.raises(TypeError, match=r"sample 1, field 't': expected str as in the samples before, found NaTType"):
        write(tmp_path / "d", {"t": ["x", pd.NaT]})


def test_nulls_stay_beside_not_a_time(tmp_path: Path) -> None:
    write(tmp_path / "d", {"t": [None, pd.NaT, pd.Timestamp("1970-01-01 00:00:01")]})
    assert fields_of(tmp_path / "d")["t"].nullable
    assert read(tmp_path / "d", "t").view(np.int64).tolist() == [0, -(2**63), 10**9]
