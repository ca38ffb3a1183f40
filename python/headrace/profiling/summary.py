"""What a profile says of one field: plain values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FieldProfile", "Histogram", "finite_or_none"]


@dataclass(frozen=True)
class Histogram:
    """Counts of values in equal bins from the least on: len(edges) == len(counts) + 1; a bin holds its lower edge, the last both.

    The last edge is the greatest value; bins of integers hold as many integers each, and the last edge is above the greatest.

    From the quantile sketch: exact where the field's quantiles are, else each count is within twice the rank error of all values.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FieldProfile:
    """Figures of a field, of one component of a vector field, or of the lengths of texts.

    None stands for what is not defined (no value, one value, a constant's skew) or not of this kind. Exact unless an error stands beside it.
    """

    name: str
    kind: str  # "number", "time", "text", "bytes", "ragged"
    dtype: str
    shape: tuple[int, ...]
    of: str  # "values", or "lengths": what mean to histogram are about
    rows: int
    nulls: int  # rows (of vectors: values) that are null or NaN
    infinities: int
    values: int  # finite values, or lengths, behind the figures
    distinct: float | None  # different values (of ragged fields and bytes: not counted)
    distinct_error: float  # relative standard error; 0: exact
    mean: float | None
    deviation: float | None  # over count, as numpy.std
    skew: float | None
    min: float | None
    max: float | None
    quantiles: dict[float, float]  # share of the values below -> value
    rank_error: float  # of those, as a share of the values, with probability 0.99; 0: exact
    histogram: Histogram | None
    frequent: list[tuple[Any, int]]  # the most frequent values and their counts
    frequent_error: int  # how much a count may be too low; 0: exact
    components: list[FieldProfile] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """The quantile at one half."""
        return self.quantiles.get(0.5)

    @property
    def is_constant(self) -> bool:
        """Whether all values that are there are the same."""
        if self.kind == "text":
            return self.distinct_error == 0 and self.distinct == 1
        return self.values > 0 and self.min == self.max and (self.of == "values" or self.kind == "ragged") and not self.infinities

    @property
    def null_share(self) -> float:
        """Nulls of all values, 0 to 1."""
        total = self.nulls + self.infinities + self.values
        return self.nulls / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        out = asdict(self)
        out["shape"] = list(self.shape)
        out["quantiles"] = [{"share": share, "value": value} for share, value in self.quantiles.items()]
        out["frequent"] = [{"value": finite_or_none(value), "count": count} for value, count in self.frequent]
        out["histogram"] = (
            None if self.histogram is None else {"edges": self.histogram.edges.tolist(), "counts": self.histogram.counts.tolist()}
        )
        out["is_constant"] = self.is_constant
        out["components"] = [component.to_dict() for component in self.components]
        for name in ("mean", "deviation", "skew", "min", "max"):
            out[name] = finite_or_none(out[name])
        return out


def finite_or_none(value: Any) -> Any:
    """`value` for JSON, which has no infinities: those as text, NaN as None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
