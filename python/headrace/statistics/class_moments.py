"""How columns vary together: covariances, and the scatter inside classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.statistics.arrays import as_validity, as_values, from_state, thread_count, to_state

__all__ = ["ClassMoments", "CoMoments"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class _Scatter:
    """What both share: the native accumulator and its answers."""

    _native: _native.ClassMoments
    _totals: dict[str, Any] | None

    def _of(self, name: str) -> Any:
        if self._totals is None:
            self._totals = self._native.totals()
        return self._totals[name]

    @property
    def width(self) -> int:
        """Columns."""
        return self._native.width

    @property
    def left_out(self) -> int:
        """Rows with a null, a NaN, an infinity, or without a class."""
        return int(self._of("left_out"))


class CoMoments(_Scatter):
    """Means and covariances of `width` columns (at most 16,384), from batches of rows, in float64. Rows with any null, NaN or infinity are left out.

    The same rows in the same order give the same bits, however they were cut into batches and whatever the number of threads. One thread at a time.
    """

    def __init__(self, width: int) -> None:
        self._native = _native.ClassMoments(width, 1)
        self._totals = None

    def update(self, values: npt.ArrayLike, valid: npt.ArrayLike | None = None, *, threads: int | None = None) -> CoMoments:
        """Add rows, as Moments.update() takes them."""
        self._totals = None
        self._native.update(as_values(values), None, as_validity(valid), thread_count(threads))
        return self

    def merge(self, other: CoMoments) -> CoMoments:
        """Add what another one counted. Raises ValueError for another width."""
        self._totals = None
        self._native.merge(other._native)
        return self

    @property
    def count(self) -> int:
        """Complete rows."""
        return int(self._of("count")[0])

    @property
    def mean(self) -> Floats:
        """Means over complete rows, shape (width,); NaN without one."""
        return np.array(self._of("mean")[0]) if self.count else np.full(self.width, np.nan)

    @property
    def scatter(self) -> Floats:
        """Sums of (x_i - mean_i) (x_j - mean_j), shape (width, width)."""
        return np.array(self._of("within"))

    def covariance(self, ddof: int = 0) -> Floats:
        """Covariances, shape (width, width), as numpy.cov(rows, rowvar=False, ddof=ddof); NaN where count - ddof is not above 0."""
        left = self.count - ddof
        return self.scatter / left if left > 0 else np.full((self.width, self.width), np.nan)

    def correlation(self) -> Floats:
        """Pearson's correlations, shape (width, width), as numpy.corrcoef; NaN for constant columns."""
        scatter = self.scatter
        with np.errstate(all="ignore"):
            deviation = np.sqrt(np.diagonal(scatter))
            found = np.clip(scatter / deviation[:, None] / deviation[None, :], -1.0, 1.0)
        np.fill_diagonal(found, 1.0)
        return np.where((deviation[:, None] > 0) & (deviation[None, :] > 0), found, np.nan)

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("CoMoments", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CoMoments:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native, made._totals = from_state("CoMoments", _native.ClassMoments, state), None
        if made._native.classes != 1:
            raise ValueError(f"this state has {made._native.classes} classes; CoMoments has one")
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return CoMoments.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"CoMoments(width={self.width}, count={self.count})"


class ClassMoments(_Scatter):
    """Count and mean of each class, and the scatter of `width` columns (at most 16,384) inside the classes: for discriminant analysis and the F test.

    Rows with any null, NaN or infinity are left out, and rows labelled -1. Bits and threads as CoMoments.
    """

    def __init__(self, width: int, classes: int) -> None:
        self._native = _native.ClassMoments(width, classes)
        self._totals = None

    @property
    def classes(self) -> int:
        """How many classes there may be."""
        return self._native.classes

    def update(
        self, values: npt.ArrayLike, labels: npt.ArrayLike, valid: npt.ArrayLike | None = None, *, threads: int | None = None
    ) -> ClassMoments:
        """Add rows, as Moments.update() takes them. labels: integers, shape (rows,), from 0 to classes - 1; -1 leaves a row out.

        Raises ValueError naming the first row with another label; nothing is added then.
        """
        whole = np.asarray(labels)
        if whole.dtype.kind not in "biu":
            raise TypeError(f"labels are {whole.dtype}; expected integers, the numbers of classes")
        self._totals = None
        self._native.update(as_values(values), np.ascontiguousarray(whole, np.int64), as_validity(valid), thread_count(threads))
        return self

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Add what another one counted. Raises ValueError for another width or number of classes."""
        self._totals = None
        self._native.merge(other._native)
        return self

    @property
    def count(self) -> Counts:
        """Complete rows of each class, shape (classes,), int64."""
        return np.array(self._of("count"))

    @property
    def mean(self) -> Floats:
        """Means in each class, shape (classes, width); NaN for a class without rows."""
        return np.where(self._of("count")[:, None] > 0, self._of("mean"), np.nan)

    @property
    def within(self) -> Floats:
        """The sum over rows of (x - mean of its class) (x - mean of its class) transposed, shape (width, width)."""
        return np.array(self._of("within"))

    @property
    def between(self) -> Floats:
        """The sum over classes of count (mean - overall mean) (mean - overall mean) transposed, shape (width, width)."""
        count = self._of("count")
        if count.sum() == 0:
            return np.zeros((self.width, self.width))
        overall = (count[:, None] * self._of("mean")).sum(axis=0) / count.sum()
        away = np.sqrt(count)[:, None] * (self._of("mean") - overall)
        found: Floats = away.T @ away
        return found

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("ClassMoments", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ClassMoments:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native, made._totals = from_state("ClassMoments", _native.ClassMoments, state), None
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return ClassMoments.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"ClassMoments(width={self.width}, classes={self.classes}, count={int(self.count.sum())})"
