"""What is known of a field after a pass over the data: moments, quantiles, how often each value occurs. It can be carried through simple steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.statistics import Frequencies, Moments, Quantiles

if TYPE_CHECKING:
    from headrace.prep import categories
    from headrace.prep.rows import Counted

__all__ = ["Collector", "Summary"]

Floats = npt.NDArray[np.float64]
_LIMIT = 1 << 16  # values of a component that are counted
_RANK_ERROR = 0.001
_MOST_MARKS = 20001  # quantiles that stand for all values where there are more


@dataclass(frozen=True)
class Summary:
    """Statistics of the finite values of one field, an entry a component. Infinities are counted and left out; NaN and nulls are null.

    What no pass was asked for is None. m2 is the sum of squared distances from the mean.
    """

    count: npt.NDArray[np.int64]  # finite values
    nulls: npt.NDArray[np.int64]
    infinities: npt.NDArray[np.int64]
    mean: Floats
    m2: Floats
    min: Floats
    max: Floats
    sketch: Quantiles | None = None
    filled: tuple[Floats, Floats] | None = None  # (how many, with what): nulls replaced since the sketch was made
    frequencies: tuple[Frequencies, ...] | None = None
    categories: tuple[categories.Counted, ...] | None = None

    @property
    def has(self) -> frozenset[str]:
        """What is known."""
        known = (
            {"moments"}
            | ({"quantiles"} if self.sketch is not None else set())
            | ({"frequencies"} if self.frequencies is not None else set())
        )
        return frozenset(known)

    def quantile(self, shares: npt.ArrayLike) -> Floats:
        """(len(shares), width): as numpy's quantile with linear interpolation, NaN where there are no values; see Quantiles for what is exact."""
        at = np.atleast_1d(np.asarray(shares, np.float64))
        assert self.sketch is not None
        if self.filled is None:
            return np.asarray(self.sketch.quantile(at), np.float64).reshape(len(at), -1)
        added, constants = self.filled
        grid, size = self.grid(), np.maximum(self.count - added, 0)
        columns = [
            _with_copies(grid[: min(len(grid), int(n)), j], 0 if n == 0 else round(k * min(len(grid), int(n)) / n), c, at)
            if n or k
            else np.full(len(at), np.nan)
            for j, (n, k, c) in enumerate(zip(size, added, constants, strict=True))
        ]
        return np.stack(columns, axis=1)

    def grid(self, most: int = _MOST_MARKS) -> Floats:
        """(rows, width), rising: all values where there are at most `most` of them, else quantiles evenly apart. Shorter components end in NaN."""
        assert self.sketch is not None
        added = np.zeros(len(self.count), np.int64) if self.filled is None else self.filled[0]
        sizes = np.minimum(np.maximum(self.count - added, 0), most).astype(np.int64)
        out = np.full((int(sizes.max(initial=0)), len(sizes)), np.nan)
        for size in np.unique(sizes[sizes > 0]):
            marks = np.asarray(self.sketch.quantile(np.linspace(0, 1, size)), np.float64).reshape(size, -1)
            out[:size, sizes == size] = marks[:, sizes == size]
        return out

    def mad(self, middle: Floats) -> Floats:
        """Median distance from `middle`, a component: exact where grid() holds all values, else from evenly spaced quantiles."""
        out = np.full(len(self.count), np.nan)
        sizes = np.minimum(self.count, _MOST_MARKS)
        for size in np.unique(sizes[sizes > 0]):
            marks = self.quantile(np.linspace(0, 1, int(size)))[:, sizes == size]
            out[sizes == size] = np.median(np.abs(marks - middle[sizes == size]), axis=0)
        return out

    def variance(self) -> Floats:
        """Of the population, as scikit-learn's scalers have it; NaN where there are no values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.m2 / np.where(self.count > 0, self.count, np.nan))

    def fill(self, constants: Floats) -> Summary:
        """With all nulls replaced by a number a component."""
        added = np.where(np.isfinite(constants), self.nulls, 0)
        total = self.count + added
        with np.errstate(invalid="ignore", divide="ignore"):
            base = np.where(self.count > 0, self.mean, constants)
            delta = np.where(added > 0, constants - base, 0.0)
            share = added / np.where(total > 0, total, 1)
            mean = base + delta * share
            m2 = np.where(self.count > 0, self.m2, 0.0) + delta * delta * self.count * share
        filled = (added.astype(np.float64), np.asarray(constants, np.float64)) if self.filled is None else self.filled
        low = np.where(added > 0, np.fmin(self.min, constants), self.min)
        high = np.where(added > 0, np.fmax(self.max, constants), self.max)
        return replace(self, count=total, nulls=self.nulls - added, mean=mean, m2=m2, min=low, max=high, filled=filled, frequencies=None)

    def scale(self, center: Floats, factor: Floats, shift: Floats) -> Summary:
        """After (x - center) * factor + shift."""
        ends = [(end - center) * factor + shift for end in (self.min, self.max)]
        mean = (self.mean - center) * factor + shift
        m2 = np.square(np.sqrt(self.m2) * factor)  # Infinite stays so, where the factor's square is 0.
        return replace(self, mean=mean, m2=m2, min=np.fmin(*ends), max=np.fmax(*ends), sketch=None, filled=None, frequencies=None)


def _with_copies(values: Floats, copies: int, constant: float, shares: Floats) -> Floats:
    """Quantiles of rising values and so many copies of a number, without making them."""
    if len(values) == 0:
        return np.full(len(shares), constant)
    before, total = int(np.searchsorted(values, constant)), len(values) + copies
    at = shares * (total - 1)
    low = np.floor(at).astype(np.int64)

    def value(index: npt.NDArray[np.int64]) -> Floats:
        own = np.where(index < before, index, index - copies)
        inside = (index >= before) & (index < before + copies)
        return np.where(inside, constant, values[np.clip(own, 0, len(values) - 1)])

    first = value(low)
    return np.asarray(first + (at - low) * (value(np.minimum(low + 1, total - 1)) - first))


class Collector:
    """Takes the values of one field, batch by batch in the order of rows; summary() says what it knows. needs: as Step.needs."""

    def __init__(self, width: int, needs: frozenset[str]) -> None:
        self.moments = Moments(width)
        self.quantiles = Quantiles(width, rank_error=_RANK_ERROR) if "quantiles" in needs else None
        self.frequencies = tuple(Frequencies(_LIMIT) for _ in range(width)) if "frequencies" in needs else None

    def update(self, values: npt.NDArray[Any], threads: int | None = None) -> None:
        """values: (rows, width), floats with NaN where null."""
        self.moments.update(values, threads=threads)
        if self.quantiles is not None:
            self.quantiles.update(values, threads=threads)
        for component, counts in enumerate(self.frequencies or ()):
            counts.update(np.ascontiguousarray(values[:, component]))

    def add(self, counted: Counted) -> None:
        """What the engine counted of a batch. Where only moments are needed."""
        self.moments.add(counted.batch, counted.field)

    def summary(self) -> Summary:
        """Of all values so far."""
        found = self.moments
        return Summary(
            np.asarray(found.count),
            np.asarray(found.nulls),
            np.asarray(found.infinities),
            np.asarray(found.mean, np.float64),
            np.asarray(found.variance(0), np.float64) * np.asarray(found.count),
            np.asarray(found.min, np.float64),
            np.asarray(found.max, np.float64),
            self.quantiles,
            frequencies=self.frequencies,
        )
