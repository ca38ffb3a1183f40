"""Values far from the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned, Step
from headrace.prep.summary import Summary

__all__ = ["Clip", "Outliers"]

_METHODS = {"zscore": 3.0, "iqr": 1.5, "mad": 3.5, "quantile": (0.01, 0.99)}
_NORMAL_MAD = 0.6744897501960817  # median absolute deviation of a standard normal


class Outliers(Step):
    """Values beyond bounds that are learned for each component.

    method: "zscore": mean -+ threshold standard deviations (of the population; threshold 3 by default). "iqr": threshold (1.5) interquartile ranges
        beyond the quartiles. "mad": threshold (3.5) in the modified z score, 0.6745 (x - median) / MAD. "quantile": threshold is the pair of shares
        (0.01, 0.99) between which values lie.
    action: "clip" them to the bound, make them "null", or "drop" the sample (by Pipeline.keep(), transform() and apply()). Nulls stay nulls; an infinity
        is an outlier. Bounds that are equal, as of a constant component, change nothing but what differs from it; a component without values has none.
    fields: see Step. Learned: `low_`, `high_`, by field.
    """

    learns = ("low", "high")

    def __init__(self, method: str = "iqr", *, threshold: Any = None, action: str = "clip", fields: Any = None) -> None:
        if method not in _METHODS:
            raise ValueError(f"Outliers: method is {method!r}; expected one of {', '.join(_METHODS)}")
        if action not in ("clip", "null", "drop"):
            raise ValueError(f"Outliers: action is {action!r}; expected clip, null or drop")
        self.method, self.threshold, self.action, self.fields = method, threshold, action, fields
        self._bound = _METHODS[method] if threshold is None else threshold
        if method == "quantile":
            low, high = self._bound  # type: ignore[misc]
            if not 0 <= low <= high <= 1:
                raise ValueError(f"Outliers: threshold is {threshold!r}; expected two shares, 0 <= low <= high <= 1")
        elif not float(self._bound) > 0:  # type: ignore[arg-type]
            raise ValueError(f"Outliers: threshold is {threshold!r}; expected a number above 0")
        self.drops_rows = action == "drop"
        self.needs = frozenset({"moments" if method == "zscore" else "quantiles"})

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The bounds of each component."""
        low, high = self._bounds(summary)
        empty = summary.count == 0
        return {"low": np.where(empty, -np.inf, low), "high": np.where(empty, np.inf, high)}

    def _bounds(self, summary: Summary) -> tuple[Floats, Floats]:
        bound: Any = self._bound
        if self.method == "zscore":
            spread = bound * np.sqrt(summary.variance())
            return summary.mean - spread, summary.mean + spread
        if self.method == "iqr":
            first, third = summary.quantile([0.25, 0.75])
            return first - bound * (third - first), third + bound * (third - first)
        if self.method == "quantile":
            low, high = summary.quantile(list(bound))
            return low, high
        middle = summary.quantile(0.5)[0]
        spread = bound * summary.mad(middle) / _NORMAL_MAD
        return middle - spread, middle + spread

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """A clip or a comparison."""
        value = program.read(name)
        low, high = np.asarray(learned["low"], np.float64), np.asarray(learned["high"], np.float64)
        if self.action == "drop":
            program.keep_inside(value, low, high, nulls=True)
            program.touch(name)
        else:
            program.change(name, "clip" if self.action == "clip" else "null_outside", low=low, high=high)


class Clip(Step):
    """Values cut at two given bounds: numpy's clip. None: no bound. Nulls stay nulls."""

    def __init__(self, low: float | None = None, high: float | None = None, *, fields: Any = None) -> None:
        if low is not None and high is not None and not low <= high:
            raise ValueError(f"Clip: low is {low!r}, high is {high!r}; expected low <= high")
        self.low, self.high, self.fields = low, high, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One clip."""
        width = program.values[name].width
        low, high = -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high
        program.change(name, "clip", low=np.full(width, low, np.float64), high=np.full(width, high, np.float64))
