"""Quantiles of each column in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.statistics.arrays import as_validity, as_values, from_state, thread_count, to_state

__all__ = ["Quantiles"]

Floats = npt.NDArray[np.float64]


class Quantiles:
    """Quantiles of `width` columns, from batches of rows: exact up to 65,536 values a column (4 million in all, and at least 2,862), then KLL sketches.

    `rank_error`: a quantile's rank is off by at most that share of the values, with probability 0.99 for each quantile asked for (Karnin, Lang, Liberty
    2016; the constants are Apache DataSketches'). Memory: about 30 bytes / rank_error a column. The same rows in the same order give the same sketches,
    however they were cut into batches and whatever the number of threads; `seed` keys the sketches' coins. Nulls, NaN and infinities are left out.
    One thread at a time.
    """

    def __init__(self, width: int, rank_error: float = 0.001, seed: int = 0) -> None:
        self._native = _native.Quantiles(width, rank_error, seed)

    @property
    def width(self) -> int:
        """Columns."""
        return self._native.width

    @property
    def rank_error(self) -> float:
        """The bound that was asked for; where is_exact, the error is 0."""
        return self._native.rank_error

    @property
    def is_exact(self) -> bool:
        """Whether every value of every column is still there."""
        return self._native.is_exact

    @property
    def count(self) -> npt.NDArray[np.int64]:
        """Finite values of each column, shape (width,)."""
        return self._native.count

    def update(self, values: npt.ArrayLike, valid: npt.ArrayLike | None = None, *, threads: int | None = None) -> Quantiles:
        """Add rows, as Moments.update() takes them."""
        self._native.update(as_values(values), as_validity(valid), thread_count(threads))
        return self

    def merge(self, other: Quantiles) -> Quantiles:
        """Add what another one saw, within the same error. Raises ValueError for another width or rank_error."""
        self._native.merge(other._native)
        return self

    def quantile(self, q: float | npt.ArrayLike) -> Floats:
        """Values below which a share q of all lies, as numpy.quantile (linear): shape (width,), or (len(q), width). Least and greatest are exact.

        NaN for a column without values. Raises ValueError unless 0 <= q <= 1.
        """
        asked = np.asarray(q, np.float64)
        if asked.ndim > 1:
            raise ValueError(f"q has {asked.ndim} dimensions; expected a number or a list of them")
        found = self._native.quantiles(np.ascontiguousarray(asked.reshape(-1)))
        return found[0] if asked.ndim == 0 else found

    def cumulative(self, values: npt.ArrayLike, column: int = 0) -> Floats:
        """The share of a column's values that are at most each of `values` (its distribution function), shape (len(values),), float64."""
        below, equal = self._native.rank(column, np.ascontiguousarray(values, np.float64).reshape(-1))
        count = int(self.count[column])
        return (below + equal) / count if count else np.full(len(below), np.nan)

    def counts_below(self, values: npt.ArrayLike, column: int = 0) -> npt.NDArray[np.int64]:
        """How many of a column's values are below each of `values`, shape (len(values),), int64."""
        below, _ = self._native.rank(column, np.ascontiguousarray(values, np.float64).reshape(-1))
        return below

    def points(self, column: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Where a column's distribution function steps: (values, ascending, with repeats; how many of the column's values are at most each)."""
        return self._native.points(column)

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("Quantiles", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Quantiles:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native = from_state("Quantiles", _native.Quantiles, state)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Quantiles.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"Quantiles(width={self.width}, rank_error={self.rank_error:g}, is_exact={self.is_exact})"
