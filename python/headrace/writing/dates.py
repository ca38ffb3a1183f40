"""Python's, numpy's and pandas' dates and durations as one array, in a unit that holds every one of them exactly."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.writing.base import Place
from headrace.writing.dtypes import Array

__all__ = ["dates_of"]

# Finest first: units of a fixed length in attoseconds. Years and months of dates are whole days; of durations they are no length at all.
_LENGTHS = {"as": 1, "fs": 10**3, "ps": 10**6, "ns": 10**9, "us": 10**12, "ms": 10**15, "s": 10**18}
_LENGTHS |= {"m": 60 * 10**18, "h": 3600 * 10**18, "D": 86400 * 10**18, "W": 7 * 86400 * 10**18}
_UNITS = list(_LENGTHS)
_NOT_A_TIME = -(2**63)
_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_PLAIN = {datetime.datetime: "us", datetime.date: "D", datetime.timedelta: "us"}


def dates_of(values: Sequence[Any], category: str, place: Place) -> Array:
    """A datetime64 ("date") or timedelta64 ("duration") array, shape (len(values),): in the finest unit of the values, nanoseconds if pandas'
    are among them, or the next coarser one that holds all. Raises ValueError naming the sample, for a time zone or if there is no such unit.
    """
    _refuse_zones(values, place)
    types = set(map(type, values))
    dtype = "datetime64" if category == "date" else "timedelta64"
    dtypes = {value.dtype for value in values} if all(issubclass(kind, np.generic) for kind in types) else set()
    if len(dtypes) == 1:
        return np.array(values)
    if len(types) == 1 and (kind := next(iter(types))) in _PLAIN and kind is not datetime.timedelta:
        return np.array(values, f"{dtype}[{_PLAIN[kind]}]")
    ticks = [_ticks(value, place, row) for row, value in enumerate(values)]
    units = {unit for _, unit in ticks if unit}
    if not units or any(kind.__module__.startswith("pandas") for kind in types):
        units.add("ns")
    first = min(map(_UNITS.index, units))
    for unit in _UNITS[first:]:
        counts = _counts(ticks, unit)
        if counts is not None:
            return counts.view(f"{dtype}[{unit}]")
    lengths = [abs(count * _LENGTHS[unit]) if unit else 0 for count, unit in ticks]
    row = lengths.index(max(lengths))
    raise ValueError(
        f"{place.sample(row)}: no unit of {dtype} holds {values[row]} and, exactly, the other samples; convert them to one unit"
    )


def _refuse_zones(values: Sequence[Any], place: Place) -> None:
    for row, value in enumerate(values):
        if getattr(value, "tzinfo", None) is not None:
            raise ValueError(
                f"{place.sample(row)}: {value} has a time zone; "
                "convert it to UTC and drop that: value.astimezone(timezone.utc).replace(tzinfo=None)"
            )


def _counts(ticks: list[tuple[int, str]], unit: str) -> Array | None:
    """int64 counts of a unit, or None if it does not hold all of them."""
    length, counts = _LENGTHS[unit], []
    for count, own in ticks:
        whole, rest = divmod(count * _LENGTHS[own], length) if own else (_NOT_A_TIME, 0)
        if rest or (own and not _NOT_A_TIME < whole < 2**63):
            return None
        counts.append(whole)
    return np.array(counts, np.int64)


def _ticks(value: Any, place: Place, row: int) -> tuple[int, str]:
    """(count, unit) of one value; the unit of not-a-time is ""."""
    exact = getattr(value, "to_datetime64", None) or getattr(
        value, "to_timedelta64", None
    )  # pandas': numpy's view of them stops at microseconds
    if exact is not None:
        value = exact()
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _numpy_ticks(value, place, row)
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // datetime.timedelta(microseconds=1), "us"
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1), "us"
    return value.toordinal() - _EPOCH_DAY, "D"


def _numpy_ticks(value: Any, place: Place, row: int) -> tuple[int, str]:
    if np.isnat(value):
        return 0, ""
    unit, steps = np.datetime_data(value.dtype)
    if unit in ("Y", "M") and isinstance(value, np.datetime64):
        value, unit, steps = value.astype("datetime64[D]"), "D", 1
    if unit not in _LENGTHS:
        raise ValueError(f"{place.sample(row)}: {value!r} has no unit of a fixed length; convert the samples to one dtype")
    return int(value.view(np.int64)) * steps, unit
