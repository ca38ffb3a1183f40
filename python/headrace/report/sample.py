"""One sample's values as a person wants to see them, and as JSON.

Depends on numpy, `humanise`, `image_header` and `terminal`. Copies only what it shows, apart from the statistics of big floats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.report import humanise
from headrace.report.image_header import read_image_header
from headrace.report.terminal import printable

__all__ = ["JSON_ELEMENTS", "describe_type", "describe_value", "json_value"]

INLINE_ELEMENTS = 8
JSON_ELEMENTS = 64
_STRING_CHARACTERS = 120
_BYTES_SHOWN = 16


def describe_type(kind: str, dtype: str, shape: tuple[int, ...], nullable: bool = False) -> str:
    """The type of a field in a word: "float32[3, 64, 64]", "int64 or null", "ragged int32[.., 2]", "string"."""
    if kind == "tensor":
        text = dtype + (f"[{', '.join(map(str, shape))}]" if shape else "")
    elif kind == "ragged":
        text = f"ragged {dtype}[{', '.join(['..', *map(str, shape)])}]"
    else:
        text = kind
    return f"{text} or null" if nullable else text


def describe_value(value: Any, *, kind: str, dtype: str = "") -> str:
    """One value as one line of printable text.

    value: None for null; bytes for kinds "bytes" and "image"; str for "string"; else an array or numpy scalar, bfloat16 as uint16 bits.
    """
    if value is None:
        return "null"
    if kind == "image":
        return _image(bytes(value))
    if kind == "bytes":
        return _bytes(bytes(value))
    if kind == "string":
        return _string(str(value))
    return _tensor(_decoded(value, dtype))


def json_value(value: Any, *, kind: str, dtype: str = "") -> Any:
    """The same value as plain JSON types. Not-finite floats become strings; tensors of more than JSON_ELEMENTS elements a summary."""
    if value is None:
        return None
    if kind == "image":
        return _json_image(bytes(value))
    if kind == "bytes":
        return {"bytes": len(value), "begins_hex": bytes(value[:_BYTES_SHOWN]).hex()}
    if kind == "string":
        return str(value)
    array = _decoded(value, dtype)
    if array.size <= JSON_ELEMENTS:
        return _json_elements(array)
    summary: dict[str, Any] = {"dtype": dtype or str(array.dtype), "shape": list(array.shape)}
    summary.update({name: _json_elements(np.asarray(number)) for name, number in _statistics(array).items()})
    return summary


def _decoded(value: Any, dtype: str) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if dtype == "bfloat16" and array.dtype == np.uint16:
        # The bits of a bfloat16 are the upper half of a float32's.
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _image(encoded: bytes) -> str:
    header = read_image_header(encoded)
    size = humanise.bytes_size(len(encoded))
    return f"{header.format} {header.width}x{header.height}, {size}" if header else f"unknown image, {size}, {_hex(encoded)}"


def _json_image(encoded: bytes) -> dict[str, Any]:
    header = read_image_header(encoded)
    described: dict[str, Any] = {"bytes": len(encoded)}
    if header:
        described.update(header._asdict())
    return described


def _hex(raw: bytes) -> str:
    return raw[:_BYTES_SHOWN].hex(" ") + (" ..." if len(raw) > _BYTES_SHOWN else "")


def _bytes(raw: bytes) -> str:
    return f"{humanise.bytes_size(len(raw))}, {_hex(raw)}" if raw else "0 B"


def _string(text: str) -> str:
    cut = text[:_STRING_CHARACTERS].replace("\\", "\\\\").replace('"', '\\"')
    more = f"... ({humanise.count(len(text))} characters)" if len(text) > _STRING_CHARACTERS else ""
    return f'"{printable(cut)}"{more}'


def _scalar(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return "NaT" if np.isnat(value) else str(value).replace("T", " ")
    if isinstance(value, np.timedelta64):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, complex | np.complexfloating):
        return f"{value.real:.6g}{value.imag:+.6g}j"
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return str(value)


def _tensor(array: npt.NDArray[Any]) -> str:
    if array.ndim == 0:
        return _scalar(array[()])
    if array.size == 0:
        return f"empty, shape {_shape(array)}"
    if array.size <= INLINE_ELEMENTS:
        return _nested(array)
    statistics = "  ".join(f"{name} {_scalar(value)}" for name, value in _statistics(array).items())
    return f"shape {_shape(array)}" + (f"  {statistics}" if statistics else "")


def _nested(array: npt.NDArray[Any]) -> str:
    parts = (_scalar(part) if array.ndim == 1 else _nested(part) for part in array)
    return f"[{', '.join(parts)}]"


def _shape(array: npt.NDArray[Any]) -> str:
    return "x".join(map(str, array.shape))


def _statistics(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Smallest, mean and largest of the elements that are numbers or dates, and how many are not; nothing for text and complex numbers."""
    kind = array.dtype.kind
    if kind not in "biufmM":
        return {}
    present = array[~(np.isnat(array) if kind in "mM" else np.isnan(array))] if kind in "fmM" else array
    missing = {"nan": array.size - present.size} if present.size != array.size else {}
    if present.size == 0:
        return missing
    smallest, largest = present.min(), present.max()
    if kind in "mM":
        return {"min": smallest, "max": largest, **missing}
    return {"min": smallest, "mean": np.float64(present.mean(dtype=np.float64)), "max": largest, **missing}


def _json_elements(array: npt.NDArray[Any]) -> Any:
    if array.ndim:
        return [_json_elements(np.asarray(part)) for part in array]
    element: Any = array[()]
    if isinstance(element, np.datetime64 | np.timedelta64):
        return str(element)
    if isinstance(element, bytes):
        return element.hex()
    plain: Any = element.item() if isinstance(element, np.generic) else element
    if isinstance(plain, complex):
        return [_json_float(plain.real), _json_float(plain.imag)]
    return _json_float(plain) if isinstance(plain, float) else plain


def _json_float(value: float) -> float | str:
    # JSON has no word for these; Python's own "NaN" would make the output invalid.
    return value if math.isfinite(value) else str(value)
