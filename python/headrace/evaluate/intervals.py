"""Bootstrap intervals of metrics: the samples are drawn again, all metrics from the same draws.

Depends on numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.evaluate.metrics import Kernel
from headrace.evaluate.predictions import Counted, Floats, Predictions

__all__ = ["Interval", "draws", "intervals", "percentiles"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a metric lies with probability `level`; NaN where too few resamples define it."""

    low: float
    high: float
    level: float
    resamples: int  # that define the metric


def draws(size: int, resamples: int, seed: int, groups: npt.NDArray[Any] | None = None) -> Any:
    """Yield how often each of `size` samples counts, float64, shape (size,), for each resample: drawn with replacement, whole groups if there are any."""
    generator = np.random.default_rng(seed)
    numbers = None if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    several = size if numbers is None else int(numbers.max()) + 1
    for _ in range(resamples):
        counts = np.bincount(generator.integers(0, several, several), minlength=several).astype(np.float64)
        yield counts if numbers is None else counts[numbers]


def percentiles(values: Floats, level: float) -> Interval:
    """The middle part of the values of resamples, NaNs left out; at least half of them must be numbers."""
    there = values[~np.isnan(values)]
    if 2 * len(there) < len(values) or len(there) == 0:
        return Interval(low=float("nan"), high=float("nan"), level=level, resamples=len(there))
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level, resamples=len(there))


def intervals(
    of: Predictions,
    kernels: Mapping[str, Kernel],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    groups: npt.NDArray[Any] | None = None,
) -> dict[str, Interval]:
    """Percentile intervals (Efron 1979) of each metric, by its name.

    groups: one a sample; samples of one are not independent, so whole groups are drawn. Costs resamples * samples * 10 to 50 ns a metric.
    """
    values = np.empty((resamples, len(kernels)))
    for number, weights in enumerate(draws(len(of), resamples, seed, groups)):
        counted = Counted(of, weights)
        values[number] = [kernel(counted) for kernel in kernels.values()]
    return {name: percentiles(values[:, i], level) for i, name in enumerate(kernels)}
