"""Checks of options where they are given, so that a wrong one is met before the first batch is."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_there", "one_of", "whole_number"]


def whole_number(name: str, value: Any, low: int, end: int) -> int:
    """Return value as a plain int in [low, end). Raises TypeError for what is no integer, ValueError outside the range; both name the option."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not low <= number < end:
        raise ValueError(f"{name} must be in [{low}, {end}), got {number}")
    return int(number)


def check_there(what: str, values: npt.NDArray[Any]) -> None:
    """Raise ValueError naming the first sample whose value is missing: NaN, NaT or None."""
    if values.dtype.kind in "fmM":
        missing = np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in values.tolist()], np.bool_)
    else:
        return
    if missing.any():
        at = int(np.argmax(missing))
        raise ValueError(f"{what}: sample {at} is {'NaN' if values.dtype.kind == 'f' else values[at]}; leave such out with where()")


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return value if it is one of the choices. Raises ValueError that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, got {value!r}")
    return value
