"""Count, mean, variance, skew, least and greatest of each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.statistics.arrays import as_validity, as_values, from_state, thread_count, to_state

__all__ = ["Moments"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Moments:
    """Moments of `width` columns, from batches of rows, in float64.

    The same rows in the same order give the same bits, however they were cut into batches and whatever the number of threads. A value is null where `valid`
    says so, and where it is NaN. Infinities are counted apart and are no part of mean, variance, skew, min and max. Answers are new arrays of shape
    (width,); NaN where no finite value was met. Integers beyond 2^53 are rounded to float64. merge() and a state begin a new block of rows, so what is
    added afterwards may differ in the last bits from one pass. One thread at a time.
    """

    def __init__(self, width: int) -> None:
        self._native = _native.Moments(width)
        self._totals: dict[str, Any] | None = None

    @property
    def width(self) -> int:
        """Columns."""
        return self._native.width

    def update(self, values: npt.ArrayLike, valid: npt.ArrayLike | None = None, *, threads: int | None = None) -> Moments:
        """Add rows: shape (rows, width), or (rows,) if width is 1; bool, integers or floats, read in place where C-contiguous.

        valid: bool, shape (rows,) or (rows, width), True where a value is there. threads: helpers from the pool; None: all. Raises ValueError for another
        shape, TypeError for another dtype.
        """
        self._totals = None
        self._native.update(as_values(values), as_validity(valid), thread_count(threads))
        return self

    def add(self, batch: _native.Batch, field: int) -> Moments:
        """Add the rows of a batch's field that the engine counted. Raises ValueError unless what was added before ends with a span of rows."""
        self._totals = None
        self._native.add(batch, field, thread_count(None))
        return self

    def merge(self, other: Moments) -> Moments:
        """Add what another one counted. Raises ValueError for another width."""
        self._totals = None
        self._native.merge(other._native)
        return self

    def _of(self, name: str) -> Any:
        if self._totals is None:
            self._totals = self._native.totals()
        return self._totals[name]

    @property
    def count(self) -> Counts:
        """Finite values, int64."""
        return np.array(self._of("count"))

    @property
    def nulls(self) -> Counts:
        """Nulls and NaN, int64."""
        return np.array(self._of("nulls"))

    @property
    def infinities(self) -> Counts:
        """Values that are inf or -inf, int64."""
        return np.array(self._of("infinities"))

    @property
    def mean(self) -> Floats:
        """Mean, as numpy.mean."""
        return np.where(self._of("count") > 0, self._of("mean"), np.nan)

    def variance(self, ddof: int = 0) -> Floats:
        """Mean square distance from the mean, over count - ddof, as numpy.var; NaN where that is not above 0."""
        left = self._of("count") - ddof
        return np.where(left > 0, self._of("m2") / np.maximum(left, 1), np.nan)

    def deviation(self, ddof: int = 0) -> Floats:
        """Standard deviation, as numpy.std."""
        return np.sqrt(self.variance(ddof))

    @property
    def skew(self) -> Floats:
        """Third standardised moment (biased, as scipy.stats.skew); NaN for constants."""
        count, m2, m3 = self._of("count"), self._of("m2"), self._of("m3")
        with np.errstate(all="ignore"):
            found: Floats = np.sqrt(count) * m3 / m2**1.5
        return np.where((count > 0) & (m2 > 0), found, np.nan)

    @property
    def min(self) -> Floats:
        """Least finite value."""
        return np.where(self._of("count") > 0, self._of("min"), np.nan)

    @property
    def max(self) -> Floats:
        """Greatest finite value."""
        return np.where(self._of("count") > 0, self._of("max"), np.nan)

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("Moments", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Moments:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native, made._totals = from_state("Moments", _native.Moments, state), None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Moments.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"Moments(width={self.width}, rows={int((self.count + self.nulls + self.infinities).max())})"
