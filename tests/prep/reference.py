"""The numeric steps in numpy and scikit-learn, in float64, on data whose infinities no statistic counts: what headrace.prep must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import preprocessing

Floats = np.ndarray[Any, np.dtype[np.float64]]


def finite(x: Floats) -> Floats:
    """NaN in place of infinities."""
    return np.where(np.isfinite(x), x, np.nan)


def scaled(scaler: Any, x: Floats) -> Floats:
    """What a scikit-learn scaler makes of x, fitted on its finite values; infinities take part in the arithmetic only."""
    scaler.fit(finite(x))
    wide = np.where(np.isfinite(x), x, 0.0)
    made = scaler.transform(np.where(np.isnan(x), np.nan, wide))
    return np.where(np.isinf(x), np.sign(x) * np.inf, made)


def imputed(x: Floats, strategy: str, fill_value: float = 0.0) -> Floats:
    """Nulls filled with a statistic of the finite values of each column."""
    known = finite(x)
    filled = np.full(x.shape[1], fill_value)
    for j, column in enumerate(known.T):
        values = column[~np.isnan(column)]
        if strategy == "constant":
            continue
        if len(values) == 0:
            filled[j] = 0.0
        elif strategy == "mean":
            filled[j] = values.mean()
        elif strategy == "median":
            filled[j] = np.median(values)
        else:
            distinct, counts = np.unique(values, return_counts=True)
            filled[j] = distinct[np.argmax(counts)]
    return np.where(np.isnan(x), filled, x)


def bounds(x: Floats, method: str, threshold: Any) -> tuple[Floats, Floats]:
    """Bounds of outliers, a column each."""
    known = finite(x)
    if method == "zscore":
        mean, spread = np.nanmean(known, axis=0), threshold * np.nanstd(known, axis=0)
        return mean - spread, mean + spread
    if method == "iqr":
        first, third = np.nanquantile(known, [0.25, 0.75], axis=0)
        return first - threshold * (third - first), third + threshold * (third - first)
    if method == "quantile":
        low, high = np.nanquantile(known, list(threshold), axis=0)
        return low, high
    middle = np.nanmedian(known, axis=0)
    spread = threshold * np.nanmedian(np.abs(known - middle), axis=0) / 0.6744897501960817
    return middle - spread, middle + spread


SCALERS = {
    "Standardize": preprocessing.StandardScaler,
    "MinMax": preprocessing.MinMaxScaler,
    "MaxAbs": preprocessing.MaxAbsScaler,
    "Robust": preprocessing.RobustScaler,
}
