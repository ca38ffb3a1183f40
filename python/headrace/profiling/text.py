"""A profile as a table with small histograms, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.profiling.columns import time_text
from headrace.profiling.summary import FieldProfile, Histogram
from headrace.report import humanise
from headrace.report.table import Column, table
from headrace.report.terminal import printable

if TYPE_CHECKING:
    from headrace.profiling.drift import Drift
    from headrace.profiling.profile import Profile

__all__ = ["bars", "describe", "describe_drift"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_BARS = 12
_MOST_COMPONENTS = 8  # lines of a vector field; files hold all
_MOST_CLASSES = 12
_CLASS_LETTERS = 40
_MOST_PAIRS = 6

_COLUMNS = (
    Column(title="field", cut=True),
    Column(title="type", cut=True),
    Column(title="nulls", right=True),
    Column(title="distinct", right=True, drop=True),
    Column(title="mean", right=True, drop=True),
    Column(title="sd", right=True, drop=True),
    Column(title="min", right=True),
    Column(title="median", right=True),
    Column(title="max", right=True),
    Column(title="skew", right=True, drop=True),
    Column(title="histogram"),
    Column(title="most frequent", cut=True, drop=True),
)


def bars(histogram: Histogram | None, columns: int = _BARS) -> str:
    """A histogram as `columns` block characters: the fullest bin is the tallest, a blank is an empty one."""
    if histogram is None:
        return ""
    if len(histogram.counts) == 1:
        return _BLOCKS[-1]
    begins = np.linspace(0, len(histogram.counts), min(columns, len(histogram.counts)) + 1).astype(int)
    heights = np.add.reduceat(histogram.counts, begins[:-1]) / np.diff(begins)
    most = max(1e-300, float(heights.max()))
    return "".join(" " if height <= 0 else _BLOCKS[min(7, int(8 * height / most))] for height in heights.tolist())


def _figure(value: float | None, field: FieldProfile) -> str:
    if value is None:
        return ""
    if field.kind == "time":
        return time_text(field, value)
    # Bounds of large integers are kept as such, and too long for a table.
    return humanise.number(float(value) if abs(value) >= 1e8 else value, 4)


def _distinct(field: FieldProfile) -> str:
    if field.distinct is None:
        return ""
    return humanise.count(int(field.distinct)) if field.distinct_error == 0 else f"~{humanise.number(field.distinct, 3)}"


def _kind(field: FieldProfile) -> str:
    shape = f"[{', '.join(map(str, field.shape))}]" if field.shape else ""
    if field.of == "lengths":
        return f"{field.kind}{shape}, lengths"
    return f"{field.dtype}{shape}"


def _cells(field: FieldProfile) -> list[str]:
    most = field.frequent[0] if field.frequent and field.frequent[0][1] > 1 else None
    shown = "" if most is None else str(most[0]) if field.kind != "time" else time_text(field, most[0])
    spread = "" if field.deviation is None or field.kind == "time" else humanise.number(field.deviation, 4)
    return [
        field.name,
        _kind(field),
        humanise.percent(field.null_share) if field.nulls else "",
        _distinct(field),
        _figure(field.mean, field),
        spread,
        _figure(field.min, field),
        _figure(field.median, field),
        _figure(field.max, field),
        "" if field.skew is None or field.kind == "time" else humanise.number(field.skew, 3),
        bars(field.histogram),
        "" if most is None else f"{shown} ({humanise.percent(most[1] / max(1, field.nulls + field.infinities + field.values))})",
    ]


def _lines(field: FieldProfile) -> list[list[str]]:
    shown = field.components[:_MOST_COMPONENTS]
    found = [_cells(field), *(_cells(one) for one in shown)]
    if len(shown) < len(field.components):
        found.append([f"{field.name}[...]: {len(field.components) - len(shown)} more", *[""] * (len(_COLUMNS) - 1)])
    return found


def _pairs(pairs: list[tuple[str, str, float]]) -> str:
    listed = ", ".join(f"{a} and {b} ({value:+.3f})" for a, b, value in pairs[:_MOST_PAIRS])
    return listed + (f", and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else "")


def describe(profile: Profile, width: int | None) -> str:
    """The table, and a line for each thing worth knowing about whole rows."""
    out = [f"{profile.path}: {humanise.count(profile.rows)} samples, {len(profile.fields)} fields", ""]
    out.append(table(_COLUMNS, [line for field in profile.fields for line in _lines(field)], width=width))
    out.append("")
    repeats, error = profile.duplicate_rows, profile.duplicate_rows_error
    out.append(f"duplicate rows: {humanise.count(repeats)}" + (f" (estimated, +- {humanise.number(error, 2)})" if error else ""))
    if profile.constants:
        out.append("constant fields: " + ", ".join(profile.constants))
    near = profile.near_duplicates
    if near:
        out.append("near-duplicate fields: " + _pairs(near))
    others = [pair for pair in profile.correlated(0.8) if pair not in near]
    if others:
        out.append("correlated fields: " + _pairs(others))
    out += _classes(profile)
    sketched = sorted({field.rank_error for field in profile.fields if field.rank_error})
    if sketched:
        out.append(
            f"medians and histograms are sketched: ranks to {humanise.number(sketched[-1], 2)} of the values; counts with ~ to 0.8 %"
        )
    return "\n".join(out)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _CLASS_LETTERS else text[: _CLASS_LETTERS - 3] + "..."


def _classes(profile: Profile) -> list[str]:
    classes: list[tuple[Any, int, float]] = profile.classes
    if not classes:
        return []
    shown = ", ".join(f"{_short(value)} {humanise.percent(share)}" for value, _, share in classes[:_MOST_CLASSES])
    more = f", and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""
    ratio = classes[0][1] / classes[-1][1]
    return [
        printable(f"classes of {profile.label}: {shown}{more}") + f"; the most frequent has {humanise.ratio(ratio)} the rows of the rarest"
    ]


_DRIFT_COLUMNS = (
    Column(title="field", cut=True),
    Column(title="PSI", right=True),
    Column(title="drift"),
    Column(title="KS", right=True),
    Column(title="p", right=True),
    Column(title="mean before", right=True, drop=True),
    Column(title="after", right=True, drop=True),
    Column(title="nulls before", right=True, drop=True),
    Column(title="after", right=True, drop=True),
)


def describe_drift(drift: Drift, width: int | None) -> str:
    """The table of fields, the most moved first."""
    cells = [
        [
            one.name,
            humanise.number(one.psi, 3),
            one.verdict,
            "" if one.ks is None else humanise.number(one.ks, 3),
            "" if one.p_value is None else humanise.number(one.p_value, 2),
            *("" if mean is None or one.kind == "time" else humanise.number(mean, 4) for mean in one.mean),
            *(humanise.percent(share) for share in one.null_share),
        ]
        for one in sorted(drift.fields, key=lambda one: -(one.psi or 0))
    ]
    out = [f"{drift.other} ({humanise.count(drift.rows[1])} samples) against {drift.reference} ({humanise.count(drift.rows[0])})", ""]
    out.append(table(_DRIFT_COLUMNS, cells, width=width))
    if drift.missing or drift.added:
        out.append("")
    if drift.missing:
        out.append("only in the reference: " + ", ".join(drift.missing))
    if drift.added:
        out.append("only in the other: " + ", ".join(drift.added))
    return "\n".join(out)
