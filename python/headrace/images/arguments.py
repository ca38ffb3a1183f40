"""Arguments of transforms as torchvision takes them, checked and put into one form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "dtype_name",
    "fill",
    "interpolation",
    "jitter_range",
    "nearest",
    "padding",
    "padding_mode",
    "pair",
    "plain",
    "probability",
    "size",
    "triple",
]

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_PILLOW_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
DTYPES = ("uint8", "float16", "bfloat16", "float32")
_MAX_SIDE = 1 << 16


def side(name: str, value: Any) -> int:
    """A whole number of pixels, at least 1. Raises ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= int(value) <= _MAX_SIDE:
        raise ValueError(f"{name} is {value!r}; expected a whole number of pixels from 1 to {_MAX_SIDE}")
    return int(value)


def size(name: str, value: Any) -> tuple[int, int]:
    """(height, width); one number makes a square."""
    sides = list(value) if isinstance(value, Sequence) else [value]
    if len(sides) not in (1, 2):
        raise ValueError(f"{name} is {value!r}; expected one number, or (height, width)")
    return side(name, sides[0]), side(name, sides[-1])


def probability(value: Any) -> float:
    """Raises ValueError outside of [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"p is {value!r}; expected a probability from 0 to 1")
    return float(value)


def pair(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Two numbers in [low, high], in order. Raises ValueError."""
    numbers = tuple(float(x) for x in value) if isinstance(value, Sequence) else ()
    if len(numbers) != 2 or not low <= numbers[0] <= numbers[1] <= high:
        raise ValueError(f"{name} is {value!r}; expected two numbers in order, from {low:g} to {high:g}")
    return numbers[0], numbers[1]


def interpolation(value: Any) -> str:
    """A filter's name: of a name, of torchvision's InterpolationMode, or of Pillow's number. Raises ValueError."""
    value = getattr(value, "value", value)
    name = _PILLOW_FILTERS.get(value) if isinstance(value, int) else str(value)
    name = "nearest" if name == "nearest-exact" else name  # Pillow's nearest is the exact one.
    if name not in FILTERS:
        raise ValueError(f"interpolation is {value!r}; expected one of {', '.join(FILTERS)}")
    return str(name)


def nearest(value: Any) -> str:
    """Raises ValueError for any other interpolation."""
    if (name := interpolation(value)) != "nearest":
        raise ValueError(f"interpolation is {name!r}; these operations take the nearest pixel, as torchvision does by default")
    return name


def padding_mode(value: Any) -> str:
    """Raises ValueError."""
    if value not in PADDING_MODES:
        raise ValueError(f"padding_mode is {value!r}; expected one of {', '.join(PADDING_MODES)}")
    return str(value)


def padding(value: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one number, (x, y) or all four. Raises ValueError."""
    numbers = list(value) if isinstance(value, Sequence) else [value]
    if len(numbers) not in (1, 2, 4) or any(
        isinstance(n, bool) or not hasattr(n, "__index__") or not 0 <= int(n) <= _MAX_SIDE for n in numbers
    ):
        raise ValueError(
            f"padding is {value!r}; expected one, two (x, y) or four (left, top, right, bottom) whole numbers of pixels, not negative"
        )
    left, top, right, bottom = (int(n) for n in (numbers * (4 // len(numbers))))
    return left, top, right, bottom


def fill(value: Any) -> tuple[int, int, int]:
    """A level 0 to 255 for each channel, of one number or three. Raises ValueError."""
    numbers = list(value) if isinstance(value, Sequence) else [value]
    if len(numbers) not in (1, 3) or any(not 0 <= n <= 255 for n in numbers):
        raise ValueError(f"fill is {value!r}; expected a level from 0 to 255, or three")
    red, green, blue = (int(n) for n in (numbers * (3 // len(numbers))))
    return red, green, blue


def triple(name: str, value: Any) -> tuple[float, float, float]:
    """A number for each channel, of one number or three. Raises ValueError."""
    numbers = list(value) if isinstance(value, Sequence) else [value]
    if len(numbers) not in (1, 3) or not all(math.isfinite(float(n)) for n in numbers):
        raise ValueError(f"{name} is {value!r}; expected a number, or one for each of three channels")
    red, green, blue = (float(n) for n in (numbers * (3 // len(numbers))))
    return red, green, blue


def jitter_range(name: str, value: Any) -> tuple[float, float] | None:
    """The range of a factor as ColorJitter reads it: a number is how far from 1 (hue: from 0), None or no distance is none. Raises ValueError."""
    low, high, center = (-0.5, 0.5, 0.0) if name == "hue" else (0.0, math.inf, 1.0)
    if value is None:
        return None
    if not isinstance(value, Sequence):
        if not value >= 0:
            raise ValueError(f"{name} is {value!r}; expected a number that is not negative, or a range")
        value = (center - value if name == "hue" else max(0.0, center - value), center + value)
    limits = pair(name, value, low, high)
    return None if limits == (center, center) else limits


def dtype_name(value: Any) -> str:
    """Of a name, a numpy or a torch dtype. Raises ValueError for what images are not delivered as."""
    name = str(getattr(value, "name", None) or getattr(value, "__name__", None) or value).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype is {value!r}; expected one of {', '.join(DTYPES)}")
    return name


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples as lists."""
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
