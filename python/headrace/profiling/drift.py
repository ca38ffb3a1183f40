"""How a dataset's values moved against another's: PSI and the two-sample Kolmogorov-Smirnov test, field by field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.profiling.accumulate import FieldStatistics
from headrace.profiling.profile import Profile, profile
from headrace.profiling.summary import finite_or_none

__all__ = ["Drift", "FieldDrift", "drift", "kolmogorov"]

_PSI_BINS = 10
_CATEGORIES = 50  # up to so many different numbers are compared value by value
_LISTED_TEXTS = 1000
_LEAST_SHARE = 1e-4  # of an empty bin: its logarithm must exist
_SOME, _MUCH = 0.1, 0.25  # the customary bounds of PSI


@dataclass(frozen=True, kw_only=True)
class FieldDrift:
    """One field in two datasets, the reference and the other.

    psi: the population stability index, the sum over bins of (b - a) ln(b / a) with shares a of the reference and b of the other (at least 0.0001 each): over
    the reference's deciles, over values where a number has at most 50 of them, and over texts (the thousand most frequent and the rest); None where
    one side has no value. ks: the greatest distance of the distribution functions, exact where both sides' quantiles are, else within ks_error; p_value: of
    so great a distance between samples of one distribution, by Kolmogorov's limit at sqrt(n m / (n + m)) ks (scipy.stats.kstwobign); None for texts, of which
    ks compares nothing.
    """

    name: str
    kind: str
    psi: float | None
    ks: float | None
    ks_error: float
    p_value: float | None
    mean: tuple[float | None, float | None]
    null_share: tuple[float, float]

    @property
    def verdict(self) -> str:
        """ "none", "some" from a PSI of 0.1 on, "much" from 0.25 on."""
        if self.psi is None:
            return "unknown"
        return "much" if self.psi >= _MUCH else "some" if self.psi >= _SOME else "none"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What drift() found; prints as a table, the fields that moved most first."""

    reference: str
    other: str
    rows: tuple[int, int]
    fields: list[FieldDrift]  # in the reference's order
    missing: list[str]  # of the reference, not in the other
    added: list[str]  # of the other, not in the reference

    def __getitem__(self, name: str) -> FieldDrift:
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"no field {name!r} was compared; there are {', '.join(repr(one.name) for one in self.fields)}")

    @property
    def moved(self) -> list[FieldDrift]:
        """Fields with a PSI of 0.1 and more, the largest first."""
        return sorted((one for one in self.fields if one.verdict in ("some", "much")), key=lambda one: -(one.psi or 0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        fields = [
            {**asdict(one), "verdict": one.verdict, "mean": list(one.mean), "null_share": list(one.null_share)} for one in self.fields
        ]
        plain = [{name: finite_or_none(value) for name, value in one.items()} for one in fields]
        return {**asdict(self), "rows": list(self.rows), "fields": plain}

    def to_text(self, width: int | None = None) -> str:
        """The table as text of at most `width` columns; None: as wide as it is."""
        from headrace.profiling.text import describe_drift

        return describe_drift(self, width)

    def __str__(self) -> str:
        return self.to_text()


def drift(reference: Any, other: Any, *, progress: Callable[[int, int], object] | None = None, **options: Any) -> Drift:
    """Compare two datasets, or two profiles: `hr.drift(train, live)`. Fields of the same name and kind are compared.

    reference, other: what headrace.profile() takes, or what it gave. options: of profile(). Raises ValueError if no field is in both.
    """
    a, b = (one if isinstance(one, Profile) else profile(one, progress=progress, **options) for one in (reference, other))
    ours, theirs = a.statistics, b.statistics
    both = [name for name, one in ours.items() if name in theirs and theirs[name].kind == one.kind]
    if not both:
        raise ValueError(f"no field is in both: {', '.join(ours)} against {', '.join(theirs)}")
    summaries = {side: {one.name: one for one in found.fields} for side, found in (("a", a), ("b", b))}
    fields = []
    for name in both:
        before, after = summaries["a"][name], summaries["b"][name]
        ks, ks_error, p_value = _ks(ours[name], theirs[name])
        fields.append(
            FieldDrift(
                name=name,
                kind=before.kind,
                psi=_psi(ours[name], theirs[name]),
                ks=ks,
                ks_error=ks_error,
                p_value=p_value,
                mean=(before.mean, after.mean),
                null_share=(before.null_share, after.null_share),
            )
        )
    missing, added = [n for n in ours if n not in both], [n for n in theirs if n not in both]
    return Drift(reference=a.path, other=b.path, rows=(a.rows, b.rows), fields=fields, missing=missing, added=added)


def kolmogorov(x: float) -> float:
    """The probability that the limit of sqrt(n) times the greatest distance is above x (Kolmogorov 1933), by whichever of its series ends sooner."""
    if x <= 0:
        return 1.0
    if x < 1:
        terms = (math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 6))
        return 1 - math.sqrt(2 * math.pi) / x * math.fsum(terms)
    return min(1.0, 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 12)))


def _ks(a: FieldStatistics, b: FieldStatistics) -> tuple[float | None, float, float | None]:
    n, m = int(a.quantiles.count[0]), int(b.quantiles.count[0])
    if a.kind == "text" or n == 0 or m == 0:
        return None, 0.0, None
    (x, below_x), (y, below_y) = a.quantiles.points(), b.quantiles.points()
    at = np.concatenate([x, y])
    distance = float(np.abs(_function(x, below_x, at) / n - _function(y, below_y, at) / m).max())
    error = sum(0.0 if one.quantiles.is_exact else one.quantiles.rank_error for one in (a, b))
    return distance, error, kolmogorov(math.sqrt(n * m / (n + m)) * distance)


def _function(values: npt.NDArray[np.float64], at_most: npt.NDArray[np.int64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    steps: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), at_most])[np.searchsorted(values, at, side="right")]
    return steps


def _psi(a: FieldStatistics, b: FieldStatistics) -> float | None:
    shares = _value_shares(a, b)
    if shares is None:
        if not a.quantiles.count[0] or not b.quantiles.count[0]:
            return None
        edges = np.unique(a.quantiles.quantile(np.arange(1, _PSI_BINS) / _PSI_BINS)[:, 0])
        shares = tuple(np.diff(np.concatenate([[0.0], one.quantiles.cumulative(edges), [1.0]])) for one in (a, b))  # type: ignore[assignment]
        assert shares is not None
    before, after = (np.maximum(one, _LEAST_SHARE) for one in shares)
    return float(((after - before) * np.log(after / before)).sum())


Shares = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _value_shares(a: FieldStatistics, b: FieldStatistics) -> Shares | None:
    """Shares of single values on both sides; None for what is compared by deciles."""
    if a.frequencies is None or b.frequencies is None or not a.frequencies.count or not b.frequencies.count:
        return None
    is_text = a.kind == "text"
    if not is_text and not (a.frequencies.is_exact and b.frequencies.is_exact and len(a.frequencies) <= _CATEGORIES):
        return None
    listed = []
    for one in (a.frequencies, b.frequencies):
        values, counts = one.items()
        listed.append(dict(zip(values if isinstance(values, list) else values.tolist(), counts.tolist(), strict=True)))
    # The reference's values; what is new is one more.
    known = list(listed[0])[:_LISTED_TEXTS]
    out = []
    for counts_of, total in zip(listed, (a.frequencies.count, b.frequencies.count), strict=True):
        shares = [counts_of.get(value, 0) / total for value in known]
        out.append(np.array([*shares, max(0.0, 1 - math.fsum(shares))]))
    if not any(side[-1] > 0 for side in out):
        out = [side[:-1] for side in out]
    return out[0], out[1]
