"""Turns whatever holds one field's values (array, tensor, list, pandas series) into a Column."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from headrace.writing.arrow_column import arrow_column, speaks_arrow
from headrace.writing.base import Column, NullColumn, Place, Valid, timezone_metadata
from headrace.writing.columns import ArrayColumn
from headrace.writing.dates import dates_of
from headrace.writing.dtypes import Array, dtype_name
from headrace.writing.lists import ListColumn
from headrace.writing.tensors import EXACT_INTEGERS, as_array, is_tensor
from headrace.writing.text import TextColumn

__all__ = ["column_of", "column_of_values"]

_NULL_NAMES = ("NoneType", "MaskedConstant", "NAType")


def column_of(data: Any, place: Place) -> Column:
    """A Column over all of `data`, first dimension samples: shares memory with arrays and tensors, keeps lists by reference.

    Raises TypeError or ValueError naming the field and the sample that does not fit.
    """
    if isinstance(data, Column):
        return data
    if isinstance(data, np.ma.MaskedArray):
        return _from_masked(data, place)
    if isinstance(data, np.ndarray):
        return _from_array(data, place)
    if is_tensor(data):
        _demand_rows(data.ndim, place)
        array, name, _ = as_array(data, place.column)
        return ArrayColumn(array, name)
    if hasattr(data, "iloc") and hasattr(data, "to_numpy"):
        return _from_series(data, place)
    if _is_pandas(data):
        return _from_series(sys.modules["pandas"].Series(data), place)
    if isinstance(data, dict):
        raise TypeError(f"{place.column}: nested dicts are not supported; flatten them to keys like '{place.field}.part'")
    if isinstance(data, (str, bytes, bytearray)):
        raise TypeError(f"{place.column}: expected one value a sample (a list or array), found a single {type(data).__name__}")
    if isinstance(data, (list, tuple)):
        return column_of_values(data, place)
    if speaks_arrow(data) and not hasattr(
        data, "__array_interface__"
    ):  # before numpy's protocol, which makes its integers floats to hold nulls
        return arrow_column(data, place)
    if hasattr(data, "__array_interface__") or hasattr(data, "__array__"):
        return _from_array(np.asarray(data), place)
    if isinstance(data, Iterable):
        return column_of_values(list(data), place)
    raise TypeError(f"{place.column}: cannot make samples of {type(data).__name__}; pass an array, a tensor or a list")


def column_of_values(values: Sequence[Any], place: Place) -> Column:
    """A Column of one Python object a sample: numbers, dates, str, bytes, arrays, lists of numbers, and None for null."""
    types = set(map(type, values))
    nulls = {kind for kind in types if kind.__name__ in _NULL_NAMES}
    categories = {_category(kind) for kind in types - nulls}
    if categories - {"no time"} in ({"date"}, {"duration"}):
        categories.discard("no time")  # pandas' NaT is of both
    if not categories:
        return NullColumn(len(values))
    if len(categories) > 1 or "other" in categories or "dict" in categories:
        _refuse_mixture(values, place)
    category = categories.pop().replace("no time", "date")
    if nulls and category != "array":
        values = [None if type(value) in nulls else value for value in values]
    if category in ("str", "bytes"):
        return TextColumn(values, "string" if category == "str" else "bytes")
    if category == "array":
        return ListColumn.of(values, place)
    return _from_scalars(values, types - nulls, category, bool(nulls), place)


def _from_array(array: Array, place: Place) -> Column:
    _demand_rows(array.ndim, place)
    if array.dtype.kind == "T":  # numpy's StringDType, whose nulls are objects of the caller's choice
        return column_of_values([text if isinstance(text, str) else None for text in array.tolist()], place)
    if array.dtype.kind == "O":
        if array.ndim != 1:
            raise TypeError(f"{place.column}: an object array of shape {array.shape} cannot be stored; convert it with .astype(...)")
        return column_of_values(_nan_to_none(array.tolist()), place)
    plain, name, _ = as_array(array, place.column)
    return ArrayColumn(plain, name)


def _from_masked(data: np.ma.MaskedArray[Any, Any], place: Place) -> Column:
    _demand_rows(data.ndim, place)
    if data.dtype.kind == "O":
        return column_of_values(data.tolist(), place)
    name = dtype_name(data.dtype, place.column)
    if data.mask is np.ma.nomask:
        return ArrayColumn(data.data, name)
    mask = np.ma.getmaskarray(data).reshape(len(data), -1)
    partly = mask.any(axis=1) & ~mask.all(axis=1)
    if bool(partly.any()):
        row = int(np.argmax(partly))
        raise ValueError(
            f"{place.sample(row)}: {int(mask[row].sum())} of {mask.shape[1]} values are masked; only whole samples can be null"
        )
    return ArrayColumn(data.data, name, valid=np.logical_not(np.asarray(mask.all(axis=1))) if mask.shape[1] else None)


def _from_series(series: Any, place: Place) -> Column:
    """A pandas Series: its missing values become nulls, except NaN in float and NaT in date columns, which stay."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _from_array(series.to_numpy(), place)
    if hasattr(series, "cat"):
        return _from_categories(series.cat, place)
    if hasattr(dtype, "pyarrow_dtype"):
        return arrow_column(series.array.__arrow_array__(), place)
    if getattr(dtype, "tz", None) is not None:
        naive = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return ArrayColumn(naive, dtype_name(naive.dtype, place.column), metadata=timezone_metadata(str(dtype.tz)))
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf":
        missing = series.isna().to_numpy()
        values = series.to_numpy(dtype=plain, na_value=plain.type(0)) if bool(missing.any()) else series.to_numpy(dtype=plain)
        return ArrayColumn(values, dtype_name(plain, place.column), valid=~missing)
    return column_of_values(series.to_numpy(dtype=object, na_value=None).tolist(), place)


def _from_categories(data: Any, place: Place) -> Column:
    """The accessor `.cat` of a Series: codes and categories apart, since together they have no dtype that holds integers and nulls."""
    codes, categories = data.codes.to_numpy(), data.categories
    if len(categories) == 0:
        return NullColumn(len(codes))
    present = codes >= 0
    column = _from_series(categories.to_series(), place)
    if isinstance(column, ArrayColumn):
        valid = None if bool(present.all()) else present
        return ArrayColumn(column.values[np.where(present, codes, 0)], column.dtype, valid=valid, metadata=column.metadata)
    listed = categories.to_numpy(dtype=object).tolist()
    return column_of_values([listed[code] if code >= 0 else None for code in codes.tolist()], place)


def _is_pandas(data: Any) -> bool:
    """Whether this is an array or index of pandas, which numpy would read as objects or floats."""
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "dtype") and hasattr(data, "isna")


def _demand_rows(ndim: int, place: Place) -> None:
    if ndim == 0:
        raise ValueError(f"{place.column}: expected an array whose first dimension is samples, found a single value")


def _nan_to_none(values: list[Any]) -> list[Any]:
    """pandas marks what is missing in an object column with a float NaN, whatever the others are."""
    types = set(map(type, values))
    others = {_category(kind) for kind in types - {float} if kind.__name__ not in _NULL_NAMES}
    if float in types and others and "number" not in others:
        return [None if type(value) is float and value != value else value for value in values]
    return values


def _category(kind: type) -> str:
    if kind.__name__ == "NaTType":
        return "no time"
    if issubclass(kind, (np.datetime64, datetime.date)):
        return "date"
    if issubclass(kind, (np.timedelta64, datetime.timedelta)):
        return "duration"
    for name, types in (("str", (str,)), ("bytes", (bytes, bytearray, memoryview)), ("bool", (bool, np.bool_))):
        if issubclass(kind, types):
            return name
    if issubclass(kind, (int, float, complex, np.number)):
        return "number"
    if issubclass(kind, dict):
        return "dict"
    probe = issubclass(kind, (np.ndarray, list, tuple, range)) or hasattr(kind, "__array_interface__") or hasattr(kind, "__array__")
    return "array" if probe else "other"


def _refuse_mixture(values: Sequence[Any], place: Place) -> NoReturn:
    """Raises TypeError naming the first value of no known kind, or of another kind than the first."""
    seen: dict[str, str] = {}
    for row, value in enumerate(values):
        name = type(value).__name__
        if name in _NULL_NAMES:
            continue
        category = _category(type(value)).replace("no time", "date")
        if category == "dict":
            raise TypeError(f"{place.sample(row)}: nested dicts are not supported; flatten them to keys like '{place.field}.part'")
        if category == "other":
            raise TypeError(
                f"{place.sample(row)}: cannot store {name}; supported are numbers, dates, str, bytes, arrays and lists of numbers"
            )
        seen.setdefault(category, name)
        if len(seen) > 1:
            first = next(iter(seen.values()))
            raise TypeError(
                f"{place.sample(row)}: expected {first} as in the samples before, found {name}; a field holds one kind of value"
            )
    raise TypeError(f"{place.column}: cannot store these values")


def _from_scalars(values: Sequence[Any], types: set[type], category: str, nulls: bool, place: Place) -> Column:
    valid: Valid | None = None
    if nulls:
        valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
        filler = next(value for value in values if value is not None)
        values = [filler if value is None else value for value in values]
    if category in ("date", "duration"):
        array = dates_of(values, category, place)
        return ArrayColumn(array, dtype_name(array.dtype, place.column), valid=valid)
    weak = all(kind.__module__ != "numpy" for kind in types)
    if category == "number":
        array = _numbers(values, types, place)
    else:
        array = np.array(values, dtype=np.bool_)
    return ArrayColumn(array, dtype_name(array.dtype, place.column), valid=valid, weak=weak)


def _numbers(values: Sequence[Any], types: set[type], place: Place) -> Array:
    dtypes = {_number_dtype(kind) for kind in types}
    dtype = np.result_type(*dtypes) if len(dtypes) > 1 else dtypes.pop()
    try:
        array = np.array(values, dtype=dtype)
    except OverflowError:
        return _wide_integers(values, place)
    if dtype.kind in "fc" and any(issubclass(kind, (int, np.integer)) for kind in types):
        for row, value in enumerate(values):
            if isinstance(value, (int, np.integer)) and abs(int(value)) > EXACT_INTEGERS:
                raise ValueError(
                    f"{place.sample(row)}: the integer {value} among floats is not exact as {dtype}; convert the samples to one dtype"
                )
    return array


def _number_dtype(kind: type) -> np.dtype[Any]:
    if issubclass(kind, np.generic):
        return np.dtype(kind)
    return np.dtype(np.int64 if issubclass(kind, int) else np.float64 if issubclass(kind, float) else np.complex128)


def _wide_integers(values: Sequence[Any], place: Place) -> Array:
    """Python integers of which some are beyond int64."""
    if all(0 <= value < 2**64 for value in values):
        return np.array(values, dtype=np.uint64)
    row = next(row for row, value in enumerate(values) if not -(2**63) <= value < 2**63)
    raise ValueError(f"{place.sample(row)}: the integer {values[row]} fits neither int64 nor, with the other samples, uint64")
