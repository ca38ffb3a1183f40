"""Metrics of predicted numbers, as functions of how often every sample counts. Depends on numpy only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headrace.evaluate.predictions import Counted, Floats, Integers, Predictions

__all__ = ["mape", "pearson", "rmse", "share_explained", "spearman"]

Kernel = Callable[[Counted], float]
_ROUNDING = 1e-28  # a mean square below this share of the values' own is what float64 makes of equal values


def rmse(of: Predictions) -> Kernel:
    """Root of the mean square, the mean over outputs."""
    squares = (of.target - of.predicted) ** 2
    return lambda counted: float(np.sqrt(counted.mean(squares)).mean())


def _spread(counted: Counted, values: Floats) -> Floats:
    """Mean square around the mean, by column; 0 exactly where only rounding is left, as of values that are all alike."""
    off = values - counted.mean(values)
    return np.asarray(_above_rounding(counted.mean(off * off), counted.mean(values * values)))


def _above_rounding(found: Floats, size: Floats) -> Floats:
    return np.where(found <= _ROUNDING * size, 0.0, found)


def share_explained(centred: bool) -> Callable[[Predictions], Kernel]:
    """1 - what is left over what there was; without any spread of the target 1 if nothing is left and else 0, as scikit-learn has it."""

    def prepare(of: Predictions) -> Kernel:
        targets, residuals = of.target - of.target[:1], of.target - of.predicted
        if len(of) < 2 and not centred:
            return lambda _: float("nan")

        def value(counted: Counted) -> float:
            whole = _spread(counted, targets)
            left = _spread(counted, residuals) if centred else counted.mean(residuals**2)
            alike = np.where(left == 0, 1.0, 0.0)
            return float(np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1.0), alike).mean())

        return value

    return prepare


def mape(of: Predictions) -> Floats:
    """Mean over outputs of the error as a share of the target, of each sample."""
    below = np.maximum(np.abs(of.target), np.finfo(np.float64).eps)
    return np.asarray((np.abs(of.target - of.predicted) / below).mean(axis=1))


def _correlation(counted: Counted, x: Floats, y: Floats) -> float:
    below = np.sqrt(_spread(counted, x) * _spread(counted, y))
    both = counted.mean((x - counted.mean(x)) * (y - counted.mean(y)))
    return float((both / below).mean()) if (below > 0).all() else float("nan")


def pearson(of: Predictions) -> Kernel:
    """Correlation; NaN where one side has no spread."""
    # From the first on: of values far from 0 the spread would be lost in their size.
    target, predicted = of.target - of.target[:1], of.predicted - of.predicted[:1]
    return lambda counted: _correlation(counted, target, predicted)


def spearman(of: Predictions) -> Kernel:
    """Correlation of ranks, ties counting their middle."""
    columns = range(of.target.shape[1])
    places = [[np.unique(values[:, i], return_inverse=True)[1].reshape(-1) for i in columns] for values in (of.target, of.predicted)]

    def ranks(place: Integers, weights: Floats) -> Floats:
        counts = np.bincount(place, weights=weights)
        return (np.cumsum(counts) - (counts - 1) / 2)[place]

    def value(counted: Counted) -> float:
        true, said = (np.stack([ranks(place, counted.weights) for place in side], axis=1) for side in places)
        return _correlation(counted, true, said)

    return value
