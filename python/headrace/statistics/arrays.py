"""Arrays as the native accumulators take them, and their states as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from headrace import _native

__all__ = ["as_texts", "as_validity", "as_values", "from_state", "thread_count", "to_state"]

Native = TypeVar("Native")


def as_values(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """C-contiguous numbers of this machine's byte order; a copy only where they are not. Raises TypeError for what is no number."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"values are {array.dtype}; expected bool, integers or floats of up to 8 bytes")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def as_validity(valid: npt.ArrayLike | None) -> npt.NDArray[np.bool_] | None:
    """C-contiguous bool: True where a value is there. Raises TypeError for another dtype."""
    if valid is None:
        return None
    array = np.asarray(valid)
    if array.dtype != np.bool_:
        raise TypeError(f"valid is {array.dtype}; expected bool, True where a value is there")
    return np.ascontiguousarray(array)


def as_texts(values: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_] | None] | None:
    """(bytes, offsets, valid) of texts: the pair (values, offsets), or a list or array of str, bytes and None. None for what is something else."""
    if isinstance(values, tuple) and len(values) == 2 and getattr(values[0], "dtype", None) == np.uint8:
        return np.ascontiguousarray(values[0]).reshape(-1), np.ascontiguousarray(values[1], np.int64), None
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "SUTO" or values.ndim != 1:
            return None
        values = values.tolist()
    if (
        not isinstance(values, Sequence)
        or isinstance(values, str | bytes)
        or any(not isinstance(one, str | bytes | None) for one in values)
    ):
        return None
    parts = [b"" if one is None else one.encode() if isinstance(one, str) else one for one in values]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    valid = np.array([one is not None for one in values], np.bool_) if None in values else None
    return np.frombuffer(b"".join(parts), np.uint8), offsets, valid


def both(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """True where both are; None is True everywhere."""
    return b if a is None else a if b is None else a & b


def thread_count(threads: int | None) -> int:
    """Helpers from the pool: `threads`, or as many as there are. Raises ValueError."""
    if threads is None:
        return _native.num_threads()
    if not 0 <= threads <= 1024:
        raise ValueError(f"threads is {threads}; expected 0 (the caller alone) to 1024")
    return threads


def to_state(kind: str, native: Any) -> dict[str, Any]:
    """A JSON-able dict of everything that an accumulator knows."""
    return {"kind": kind, "version": 1, "state": base64.b64encode(native.__getstate__()).decode("ascii")}


def from_state(kind: str, native: type[Native], state: Mapping[str, Any]) -> Native:
    """The native accumulator of to_state()'s dict. Raises ValueError for another kind, and for what is damaged."""
    if state.get("kind") != kind or state.get("version") != 1:
        raise ValueError(f"this is the state of {state.get('kind')!r}, version {state.get('version')!r}; expected {kind!r}, version 1")
    try:
        raw = base64.b64decode(state["state"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the state of {kind} holds no base64 text under 'state'") from error
    made = native.__new__(native)
    made.__setstate__(raw)  # type: ignore[attr-defined]
    return made
