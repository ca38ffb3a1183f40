"""`headrace.profile`: what a dataset's fields hold."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.shards import open as open_dataset
from headrace.profiling import export
from headrace.profiling.accumulate import FieldStatistics, Rows
from headrace.profiling.passes import count_all
from headrace.profiling.summary import FieldProfile, finite_or_none

if TYPE_CHECKING:
    from headrace.profiling.drift import Drift

__all__ = ["Profile", "profile"]

_CORRELATED_FIELDS = 64  # columns that are compared with each other
_NEAR_DUPLICATE = 0.9999


class Profile:
    """What a pass over a dataset counted; made by `headrace.profile()`. Prints as a table.

    Exact: rows, nulls, mean, deviation, skew, min, max (float64 arithmetic, as numpy's), and whatever has no error beside it. Quantiles and histograms are
    exact up to 65,536 values a field, distinct values up to 4,096 numbers or 65,536 texts; beyond, each says its error. Picklable.
    """

    def __init__(
        self, path: str, fields: Sequence[FieldStatistics], rows: Rows, *, label: str | None = None, bins: int = 40, most: int = 10
    ) -> None:
        self.path = path
        self.label = label
        self._statistics = list(fields)
        self._rows = rows
        self._bins, self._most = bins, most
        self._summaries: list[FieldProfile] | None = None

    @property
    def rows(self) -> int:
        """Samples that were read."""
        return self._rows.rows

    @property
    def fields(self) -> list[FieldProfile]:
        """One entry a field, in the dataset's order."""
        if self._summaries is None:
            self._summaries = [one.summary(self._bins, self._most) for one in self._statistics]
        return self._summaries

    def __getitem__(self, name: str) -> FieldProfile:
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"no field {name!r} was profiled; there are {', '.join(repr(one.name) for one in self.fields)}")

    @property
    def statistics(self) -> dict[str, FieldStatistics]:
        """The accumulators, by field: what drift() compares."""
        return {one.name: one for one in self._statistics}

    @property
    def correlated_names(self) -> list[str]:
        """The lines of `correlation`: numbers without dimensions, at most 64 of them."""
        return list(self._rows.names)

    @property
    def correlation(self) -> npt.NDArray[np.float64]:
        """Pearson's correlations over rows that are complete in these fields, shape (n, n); NaN for constants."""
        names = self._rows.names
        return np.ones((len(names), len(names))) if self._rows.together is None else self._rows.together.correlation()

    @property
    def correlation_rows(self) -> int:
        """Rows behind the correlations."""
        return 0 if self._rows.together is None else self._rows.together.count

    def correlated(self, at_least: float = 0.9) -> list[tuple[str, str, float]]:
        """Pairs of fields whose |correlation| is at least so much, the strongest first."""
        names, matrix = self.correlated_names, self.correlation
        pairs = [
            (names[i], names[j], float(matrix[i, j]))
            for i in range(len(names))
            for j in range(i + 1, len(names))
            if abs(matrix[i, j]) >= at_least
        ]
        return sorted(pairs, key=lambda pair: -abs(pair[2]))

    @property
    def near_duplicates(self) -> list[tuple[str, str, float]]:
        """Pairs of fields that say the same up to a factor and an offset: |correlation| of at least 0.9999."""
        return self.correlated(_NEAR_DUPLICATE)

    @property
    def constants(self) -> list[str]:
        """Fields with one value only."""
        return [one.name for one in self.fields if one.is_constant]

    @property
    def duplicate_rows(self) -> int:
        """Rows that repeat an earlier one (in the profiled fields); an estimate where duplicate_rows_error is not 0."""
        return self._rows.duplicates[0]

    @property
    def duplicate_rows_error(self) -> float:
        """Standard error of duplicate_rows; 0 up to half a million different rows."""
        return self._rows.duplicates[1]

    @property
    def classes(self) -> list[tuple[Any, int, float]]:
        """(value, rows, share of the rows that have a label) of the label field, the most frequent first; empty without a label."""
        if self.label is None:
            return []
        frequencies = self.statistics[self.label].frequencies
        if frequencies is None:
            return []
        listed = self.statistics[self.label].summary(self._bins, len(frequencies)).frequent
        total = max(1, frequencies.count)
        return [(value, count, count / total) for value, count in listed]

    @property
    def imbalance(self) -> float | None:
        """Rows of the most frequent class / rows of the rarest; None without a label."""
        classes = self.classes
        return classes[0][1] / classes[-1][1] if classes else None

    def merge(self, other: Profile) -> Profile:
        """The profile of both datasets' rows together, as one pass over all would have made it. Raises ValueError for other fields.

        Exact figures differ from one pass's in the last bits at most, sketches within their errors.
        """
        mine, theirs = ([(one.name, one.kind, one.dtype, one.shape) for one in side._statistics] for side in (self, other))
        if mine != theirs or self.label != other.label:
            differing = [f"{a} and {b}" for a, b in zip(mine, theirs, strict=False) if a != b] or ["their number, or the label"]
            raise ValueError(f"these profiles are of other fields: {differing[0]}")
        path = self.path if self.path == other.path else f"{self.path} + {other.path}"
        both = Profile(path, copy.deepcopy(self._statistics), copy.deepcopy(self._rows), label=self.label, bins=self._bins, most=self._most)
        for ours, others in zip(both._statistics, other._statistics, strict=True):
            ours.merge(others)
        both._rows.merge(other._rows)
        return both

    def drift(self, other: Profile) -> Drift:
        """How the fields' values moved from this profile to another one, field by field."""
        from headrace.profiling.drift import drift

        return drift(self, other)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON types."""
        matrix = [[finite_or_none(value) for value in row] for row in self.correlation.tolist()]
        return {
            "path": self.path,
            "rows": self.rows,
            "duplicate_rows": self.duplicate_rows,
            "duplicate_rows_error": self.duplicate_rows_error,
            "constants": self.constants,
            "near_duplicates": [list(pair) for pair in self.near_duplicates],
            "label": self.label,
            "classes": [{"value": finite_or_none(value), "rows": rows, "share": share} for value, rows, share in self.classes],
            "correlation": {"fields": self.correlated_names, "rows": self.correlation_rows, "matrix": matrix},
            "fields": [one.to_dict() for one in self.fields],
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """to_dict() as JSON text, also written to `path` if one is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line a field and component."""
        export.to_csv(self.fields, Path(path))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the same as a Parquet file. Raises MissingExtraError without pyarrow."""
        export.to_parquet(self.fields, Path(path))

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the fields' histograms and their correlations; the ending of `path` chooses PNG or SVG. Raises MissingExtraError without matplotlib."""
        from headrace.profiling.plot import draw

        draw(self, Path(path))

    def to_text(self, width: int | None = None) -> str:
        """The table as text of at most `width` columns; None: as wide as it is."""
        from headrace.profiling.text import describe

        return describe(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"Profile({self.path!r}, rows={self.rows}, fields={[one.name for one in self._statistics]})"


def profile(
    dataset: Any,
    *,
    fields: Sequence[str] | None = None,
    label: str | None = None,
    rank_error: float = 0.001,
    components: int = 64,
    bins: int = 40,
    most: int = 10,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Profile:
    """Read a dataset once, in row order and on all cores, and say what its fields hold. Memory is bounded whatever the number of rows.

    dataset: what headrace.open(), from_arrays(), ImageFolder() or a view of them gives, or the path of a dataset. fields: only these. label: the field whose
    balance is looked at: numbers or texts without dimensions. rank_error: of quantiles, beyond 65,536 values a field. components: fields of up to so many
    numbers are also profiled number by number; of wider ones no distinct and frequent values are counted. bins: of histograms. most: frequent values that
    are listed. progress: called as progress(done, total) after each batch. The result does not depend on the number of threads.
    A dataset without rows has a profile without figures. Raises KeyError for an unknown field, ValueError for bad options, and what reading raises.
    """
    if isinstance(dataset, str | os.PathLike):
        dataset = open_dataset(dataset)
    if not hasattr(dataset, "native") or not hasattr(dataset, "field_numbers"):
        raise TypeError(
            f"expected a dataset of headrace's or the path of one, got {type(dataset).__name__}; arrays: headrace.from_arrays()"
        )
    for name, value, least, greatest in (("components", components, 0, 4096), ("bins", bins, 1, 10_000), ("most", most, 0, 65536)):
        if not least <= value <= greatest:
            raise ValueError(f"{name} is {value}; expected {least} to {greatest}")
    names = dataset.schema.names
    chosen = list(range(len(names))) if fields is None else [_place(names, name) for name in fields]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError("fields must name at least one field, and none twice")
    kept = [dataset.schema.fields[number] for number in chosen]
    # Keyed by name: a field's sketch is the same whichever others are profiled.
    keys = [_native.xxh3_64(field.name.encode(), seed) for field in kept]
    statistics = [FieldStatistics(field, rank_error, key, components) for field, key in zip(kept, keys, strict=True)]
    if label is not None:
        _check_label(label, [field.name for field in kept], statistics)
    together = [one.name for one in statistics if one.kind == "number" and one.width == 1][:_CORRELATED_FIELDS]
    rows = Rows(together)
    count_all(dataset, chosen, statistics, rows, progress)
    return Profile(getattr(dataset, "path", "memory"), statistics, rows, label=label, bins=bins, most=most)


def _place(names: list[str], name: str) -> int:
    if name not in names:
        raise KeyError(f"there is no field {name!r}; the dataset has {', '.join(map(repr, names))}")
    return names.index(name)


def _check_label(label: str, names: list[str], statistics: list[FieldStatistics]) -> None:
    found = statistics[_place(names, label)]
    if found.kind not in ("number", "text") or math.prod(found.shape) != 1 or found.dtype.startswith("complex"):
        held = found.dtype if found.dtype.startswith("complex") else found.kind
        raise ValueError(f"label={label!r}: the field holds {held} of shape {found.shape}; expected one real number or text a sample")
