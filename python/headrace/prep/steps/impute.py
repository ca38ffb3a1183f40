"""Nulls filled in."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from headrace.errors import HeadraceWarning
from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned, Step
from headrace.prep.summary import Summary

__all__ = ["Impute"]

_STRATEGIES = ("mean", "median", "most_frequent", "constant", "interpolate", "drop")


class Impute(Step):
    """Fill nulls (NaN, and what a field's validity says), as scikit-learn's SimpleImputer. Infinities are values and stay.

    strategy: "mean", "median" or "most_frequent" of the fitted data (the smallest of several most frequent; of more than 65,536 different values one that
        occurs at most count / 32768 times less often than the most frequent), or "constant" (fill_value).
        "interpolate": linear in the order of rows between the values before and after; at the ends the nearest one. For transform() and apply()
        only. Where there is no value at all nulls stay.
        "drop": samples with a null are left out; by Pipeline.keep(), transform() and apply().
    indicator: each field also gets `<name>_missing`, float32, 1 where it was null.
    A component without any value is filled with 0, and fit() warns.
    fields: see Step. Learned: `statistics_`, the number of each component by field.
    """

    learns = ("statistics",)

    def __init__(self, strategy: str = "mean", *, fill_value: float = 0.0, indicator: bool = False, fields: Any = None) -> None:
        if strategy not in _STRATEGIES:
            raise ValueError(f"Impute: strategy is {strategy!r}; expected one of {', '.join(_STRATEGIES)}")
        if isinstance(fill_value, bool) or not isinstance(fill_value, int | float | np.integer | np.floating):
            raise TypeError(f"Impute: fill_value is {fill_value!r}; expected a number")
        if indicator and strategy == "interpolate":
            raise ValueError("Impute: indicator=True does not go with interpolate, which fills nulls before any step sees them")
        self.strategy, self.fill_value, self.indicator, self.fields = strategy, fill_value, indicator, fields
        self.drops_rows = strategy == "drop"
        self.is_ordered = strategy == "interpolate"
        self.needs = frozenset({"mean": ["moments"], "median": ["quantiles"], "most_frequent": ["frequencies"]}.get(strategy, []))
        self.keeps = frozenset() if self.drops_rows or self.is_ordered else frozenset({"moments", "quantiles"})

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The number for each component."""
        if self.strategy == "mean":
            found = summary.mean
        elif self.strategy == "median":
            found = summary.quantile(0.5)[0]
        else:
            assert summary.frequencies is not None
            found = np.array([_most_frequent(counts) for counts in summary.frequencies])
        empty = summary.count == 0
        if empty.any():
            names = ", ".join(np.array(value.names)[empty][:5])
            warnings.warn(f"{self}: {names}: no values to learn from; nulls become 0", HeadraceWarning, stacklevel=2)
        return {"statistics": np.where(empty, 0.0, found)}

    def constants(self, value: Value, learned: Learned) -> Floats:
        """What nulls become."""
        return np.asarray(learned["statistics"]) if self.needs else np.full(value.width, float(self.fill_value))

    def pass_on(self, summary: Summary, learned: Learned) -> Summary:
        """With the nulls filled."""
        width = len(summary.count)
        return summary.fill(np.asarray(learned["statistics"]) if self.needs else np.full(width, float(self.fill_value)))

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """A fill; before it, the indicator. Rows that are dropped are masked by the pipeline."""
        value = program.read(name)
        self._indicate(program, value)
        if self.drops_rows:
            everything = np.full(value.width, np.inf)
            program.keep_inside(value, -everything, everything, nulls=False)
            program.touch(name)
        elif self.is_ordered:
            # Its rows were interpolated before they came here.
            program.touch(name)
        else:
            changed = program.change(name, "fill", value=self.constants(value, learned))
            program.set(replace(changed, nullable=False))

    def sketch(self, program: Program, name: str) -> None:
        """The indicator is there at once."""
        self._indicate(program, program.read(name))
        program.touch(name)

    def _indicate(self, program: Program, value: Value) -> None:
        if self.indicator:
            added = tuple(f"{one}_missing" for one in value.names)
            program.check_new(f"{value.name}_missing", self)
            flags = program.make(f"{value.name}_missing", "float32", value.shape, added)
            program.add("is_null", [value.register], flags.register)
            program.set(flags)


def _most_frequent(counts: Any) -> float:
    values, _ = counts.items(3)  # Equal counts by value: the smallest of them. Two of these may be infinities, which are counted too.
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(finite[0]) if len(finite) else np.nan
