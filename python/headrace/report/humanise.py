"""Numbers as a person reads them: sizes in powers of 1024, rates in powers of 1000, durations in the unit that fits.

Depends on the standard library only.
"""

from __future__ import annotations

import math

__all__ = ["byte_rate", "bytes_size", "count", "duration", "number", "percent", "rate", "ratio"]

_UNKNOWN = "-"
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL_UNITS = ("", "k", "M", "G", "T", "P")


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent, for 0 <= value < 1024."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def bytes_size(size: float) -> str:
    """34900 -> "34.1 KiB"; whole bytes below 1024."""
    if not math.isfinite(size):
        return _UNKNOWN
    sign, size = ("-", -size) if size < 0 else ("", size)
    unit = 0
    while size >= 1023.5 and unit < len(_BINARY_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{sign}{size:.0f} B" if unit == 0 else f"{sign}{_three_digits(size)} {_BINARY_UNITS[unit]}"


def count(value: int) -> str:
    """336776 -> "336,776"."""
    return f"{value:,}"


def _scaled(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return _UNKNOWN
    step = 0
    while abs(value) >= 999.5 and step < len(_DECIMAL_UNITS) - 1:
        value /= 1000
        step += 1
    prefix = _DECIMAL_UNITS[step]
    return f"{_three_digits(value)} {prefix}{unit}" if prefix or unit else _three_digits(value)


def rate(per_second: float, unit: str = "") -> str:
    """1923456 -> "1.92 M/s"; with unit "samples": "1.92 M samples/s"."""
    scaled = _scaled(per_second, "")
    if scaled == _UNKNOWN:
        return _UNKNOWN
    return f"{scaled.strip()} {unit}/s" if unit else f"{scaled.strip()}/s"


def byte_rate(bytes_per_second: float) -> str:
    """6.5e9 -> "6.50 GB/s", powers of 1000 as in a device's data sheet."""
    scaled = _scaled(bytes_per_second, "B")
    return scaled if scaled == _UNKNOWN else f"{scaled}/s"


def duration(seconds: float) -> str:
    """Seconds as "0 s", "850 us", "12.3 ms", "1.24 s", "2 min 05 s", "3 h 07 min"."""
    if not math.isfinite(seconds) or seconds < 0:
        return _UNKNOWN
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995e-3:
        return f"{_three_digits(seconds * 1e6)} us"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def ratio(value: float) -> str:
    """4.75 -> "4.75x"."""
    if not math.isfinite(value):
        return _UNKNOWN
    return f"{value:,.0f}x" if abs(value) >= 999.5 else f"{_three_digits(value) if value >= 0 else value}x"


def percent(share: float) -> str:
    """0.123 -> "12.3 %"."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else _UNKNOWN


def number(value: float | int | None, digits: int = 6) -> str:
    """A number with at most `digits` significant digits; whole numbers in full; None as "-"."""
    if value is None:
        return _UNKNOWN
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}g}"
