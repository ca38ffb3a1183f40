"""A pipeline as JSON: version, steps with their parameters, what they learned, and a checksum over it all. Never pickle."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import CorruptDataError, UnsupportedVersionError
from headrace.prep.step import STEPS, Step

__all__ = ["DAMAGE", "VERSION", "dump", "parse", "step_of", "step_state"]

VERSION = 1
_FORMAT = "headrace.prep"
_DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")
# What content that is no pipeline's may lead to, where it is used.
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, AssertionError, RecursionError, zlib.error)
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def dump(content: dict[str, Any]) -> str:
    """The JSON text of a pipeline's content. Floats come back bit for bit."""
    body = json.dumps(_plain(content), indent=1, allow_nan=False)
    return json.dumps(
        {"format": _FORMAT, "version": VERSION, "checksum": _checksum(_plain(content)), "content": json.loads(body)}, indent=1
    )


def parse(text: str, origin: str) -> dict[str, Any]:
    """The content of what dump() wrote. Raises CorruptDataError, UnsupportedVersionError naming the origin."""
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"{origin}: it is no JSON ({error}); expected what Pipeline.save() wrote") from None
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise CorruptDataError(f'{origin}: it has no "format": "{_FORMAT}"; expected what Pipeline.save() wrote')
    version = saved.get("version")
    if type(version) is not int or version < 1:
        raise CorruptDataError(f"{origin}: its version is {version!r}; expected a number from 1 to {VERSION}")
    if version > VERSION:
        raise UnsupportedVersionError(
            f"{origin}: it has version {version}, this headrace reads up to {VERSION}; upgrade: pip install -U headrace"
        )
    content = saved.get("content")
    if not isinstance(content, dict) or saved.get("checksum") != _checksum(content):
        raise CorruptDataError(
            f"{origin}: its checksum does not fit its content: it was changed or cut after Pipeline.save(); save the pipeline again"
        )
    try:
        found: dict[str, Any] = _revive(content)
    except DAMAGE as error:
        raise CorruptDataError(f"{origin}: it holds what Pipeline.save() does not write ({type(error).__name__}: {error})") from error
    return found


def step_state(step: Step) -> dict[str, Any]:
    """A step's class, parameters and what it learned."""
    return {"step": type(step).__name__, "params": step.get_params(), "learned": step.learned}


def step_of(saved: Any, origin: str) -> Step:
    """The step that step_state() described. Raises CorruptDataError for an unknown one, or parameters that it refuses."""
    kind = STEPS.get(saved.get("step", "")) if isinstance(saved, dict) else None
    if kind is None:
        raise CorruptDataError(f"{origin}: there is no step {str(saved)[:60]!r}; this headrace knows {', '.join(sorted(STEPS))}")
    try:
        step = kind(**saved["params"])
    except DAMAGE as error:
        raise CorruptDataError(f"{origin}: step {saved['step']}: {error}") from error
    step.learned.update(saved["learned"])
    return step


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """With arrays, tuples and numbers that JSON lacks as tagged dicts."""
    if isinstance(value, np.ndarray):
        return {"array": str(value.dtype), "shape": list(value.shape), "values": [_plain(one) for one in value.ravel().tolist()]}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": "nan" if value != value else "inf" if value > 0 else "-inf"}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not {"array", "number", "tuple", "dict"} & set(value):
            return {key: _plain(one) for key, one in value.items()}
        return {"dict": [[_plain(key), _plain(one)] for key, one in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(one) for one in value]}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be saved as JSON")


def _revive(value: Any) -> Any:
    if isinstance(value, list):
        return [_revive(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return _array(value)
    if "number" in value:
        return _SPECIAL[value["number"]]
    if "tuple" in value:
        return tuple(_revive(one) for one in value["tuple"])
    if "dict" in value:
        return {_revive(key): _revive(one) for key, one in value["dict"]}
    return {key: _revive(one) for key, one in value.items()}


def _array(saved: dict[str, Any]) -> npt.NDArray[Any]:
    """Raises ValueError for a dtype that is not of numbers, and for another number of values than the shape says: nothing is made of it then."""
    dtype, shape, values = saved["array"], saved["shape"], saved["values"]
    if dtype not in _DTYPES:
        raise ValueError(f"an array of {str(dtype)[:40]!r}; expected one of {', '.join(_DTYPES)}")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape) or not isinstance(values, list):
        raise ValueError(f"an array of shape {str(shape)[:40]}; expected a list of whole numbers, and one of values")
    if math.prod(shape) != len(values):
        raise ValueError(f"an array of shape {shape} with {len(values)} values")
    return np.array([_revive(one) for one in values], dtype=dtype).reshape(shape)
