"""Profiles as tables in files: one line a field, and one a component."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import import_extra
from headrace.profiling.accumulate import SHARES
from headrace.profiling.summary import FieldProfile

__all__ = ["COLUMNS", "lines", "to_csv", "to_parquet"]

_FIGURES = ("rows", "nulls", "infinities", "values", "distinct", "distinct_error", "mean", "deviation", "skew", "min", "max")
COLUMNS = (
    "field",
    "kind",
    "dtype",
    "of",
    *_FIGURES,
    *(f"q{share:g}" for share in SHARES),
    "rank_error",
    "most_frequent",
    "most_frequent_count",
)
_WHOLE = {"rows", "nulls", "infinities", "values", "most_frequent_count"}
_TEXT = {"field", "kind", "dtype", "of", "most_frequent"}


def lines(fields: Sequence[FieldProfile]) -> list[dict[str, Any]]:
    """One dict of COLUMNS for each field, and after it for each of its components."""
    return [_line(one) for field in fields for one in (field, *field.components)]


def _line(field: FieldProfile) -> dict[str, Any]:
    out: dict[str, Any] = {"field": field.name, "kind": field.kind, "dtype": field.dtype, "of": field.of}
    out.update({name: getattr(field, name) for name in _FIGURES})
    out.update({f"q{share:g}": field.quantiles.get(share) for share in SHARES})
    out["rank_error"] = field.rank_error
    out["most_frequent"] = str(field.frequent[0][0]) if field.frequent else None
    out["most_frequent_count"] = field.frequent[0][1] if field.frequent else None
    return out


def to_csv(fields: Sequence[FieldProfile], path: Path) -> None:
    """UTF-8, a header line, empty where there is no figure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines(fields))


def to_parquet(fields: Sequence[FieldProfile], path: Path) -> None:
    """Figures as float64, counts as int64, null where there is none."""
    arrow = import_extra("pyarrow", "arrow", "Profile.to_parquet()")
    parquet = import_extra("pyarrow.parquet", "arrow", "Profile.to_parquet()")
    found = lines(fields)
    types = {name: arrow.int64() if name in _WHOLE else arrow.string() if name in _TEXT else arrow.float64() for name in COLUMNS}
    arrays = []
    for name in COLUMNS:
        values = [line[name] for line in found]
        if name not in _WHOLE | _TEXT:
            values = [None if value is None else float(value) for value in values]
        arrays.append(arrow.array(values, types[name]))
    parquet.write_table(arrow.table(dict(zip(COLUMNS, arrays, strict=True))), path)
