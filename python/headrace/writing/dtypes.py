"""Names of element types, and exact casts between them. bfloat16 travels as uint16 beside its name."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "cast", "dtype_name", "numpy_dtype"]

Array = npt.NDArray[Any]

_REMEDY = {
    "float128": "convert it with .astype('float64')",
    "float96": "convert it with .astype('float64')",
    "complex256": "convert it with .astype('complex128')",
    "complex192": "convert it with .astype('complex128')",
}


def dtype_name(dtype: np.dtype[Any], where: str) -> str:
    """The format's name of a numpy dtype, whatever its byte order. Raises TypeError, starting with `where`, if it has none."""
    name = _name(dtype)
    if name is not None:
        return name
    if dtype.names is not None:
        raise TypeError(f"{where}: structured elements cannot be stored in one field; pass their parts as fields of their own")
    remedy = _REMEDY.get(dtype.name, "convert it to a number, date or string dtype with .astype(...)")
    raise TypeError(f"{where}: dtype {dtype} cannot be stored; {remedy}")


@lru_cache(maxsize=1024)  # numpy makes the name anew each time, which was most of the cost of a small array
def _name(dtype: np.dtype[Any]) -> str | None:
    if dtype.name == "bfloat16":  # ml_dtypes
        return "bfloat16"
    if dtype.kind in "biufc" and dtype.name not in _REMEDY and dtype.itemsize <= 16:
        return dtype.name
    if dtype.kind in "Mm":
        return dtype.newbyteorder("=").name
    if dtype.kind == "S":
        return f"S{max(dtype.itemsize, 1)}"
    return f"U{max(dtype.itemsize // 4, 1)}" if dtype.kind == "U" else None


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The little-endian numpy dtype that holds elements of the format's dtype `name`; uint16 for bfloat16."""
    return np.dtype("<u2") if name == "bfloat16" else np.dtype(name).newbyteorder("<")


def cast(values: Array, source: str, target: str, *, weak: bool, where: str) -> Array:
    """`values` (of dtype `source`) as a C-contiguous little-endian array of dtype `target`; a view where nothing changes.

    Only casts that lose nothing are made. With `weak` (values that were Python numbers) any dtype of the same kind
    that holds the values is right, and floats may be rounded. Raises ValueError, starting with `where`.
    """
    if source != target:
        values = _convert(values, source, target, weak, where)
    wanted = numpy_dtype(target)
    if source == target == "bfloat16":
        values = values.view("u2") if values.dtype.kind != "u" else values
    if values.dtype == wanted and values.flags.c_contiguous:
        return values
    # astype, as ascontiguousarray would make 0-d arrays 1-d.
    return values.astype(wanted, order="C")


def _convert(values: Array, source: str, target: str, weak: bool, where: str) -> Array:
    problem = ValueError(f"{where}: expected {target}, found {source}")
    if "bfloat16" in (source, target):
        if weak and source in ("float64", "int64"):
            return _finite(values, _round_to_bfloat16(values), target, where)
        raise problem
    old, new = np.dtype(source), np.dtype(target)
    kinds = old.kind + new.kind
    numbers = old.kind in "iufc" and new.kind in "iufc"
    if kinds in ("ff", "fc", "cc") and weak:
        with np.errstate(over="ignore"):
            return _finite(values, values.astype(new), target, where)
    if numbers and ((weak and new.kind in "iufc") or np.can_cast(old, new, "safe")) and not (old.kind in "fc" and new.kind in "iu"):
        return _exact(values, new, where, f"a value that {target} cannot hold") if old.kind in "iu" else values.astype(new)
    if kinds in ("SS", "UU", "MM", "mm"):
        return _exact(values, new, where, f"a value that does not fit {target}")
    raise problem


def _finite(values: Array, converted: Array, target: str, where: str) -> Array:
    """`converted`, which may be rounded. Raises ValueError for a number that became infinite."""
    infinite = (converted & 0x7FFF) == 0x7F80 if target == "bfloat16" else np.isinf(converted)
    wrong = infinite & ~np.isinf(values)
    if bool(np.any(wrong)):
        first = tuple(int(i) for i in np.argwhere(wrong)[0]) if values.ndim else ()
        raise ValueError(f"{where}: {values[first]!s} is beyond what {target} holds{f', at {first}' if first else ''}; use a wider dtype")
    return converted


def _exact(values: Array, new: np.dtype[Any], where: str, what: str) -> Array:
    with np.errstate(all="ignore"):
        converted = values.astype(new)
        back = converted.astype(values.dtype)
    same = back == values
    # Not-a-time equals nothing; a sign that flips (-1 -> 2**64 - 1 -> -1) survives the way back.
    if new.kind in "Mm":
        same |= np.isnat(values) & np.isnat(converted)
    elif new.kind in "iu" and values.dtype.kind in "iu":
        same &= (values < 0) == (converted < 0)
    if not bool(np.all(same)):
        first = tuple(int(i) for i in np.argwhere(~same)[0]) if values.ndim else ()
        at = f" at {first}" if first else ""
        raise ValueError(f"{where}: {what}: {values[first]!s}{at}; expected {new.name}, found {values.dtype.name}")
    return converted


def _round_to_bfloat16(values: Array) -> Array:
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype="<f4")
    bits = single.view("<u4")
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
    quiet_nan = ((bits >> np.uint32(16)) | np.uint32(0x40)).astype("<u2")
    result: Array = np.where(np.isnan(single), quiet_nan, rounded)
    return result
