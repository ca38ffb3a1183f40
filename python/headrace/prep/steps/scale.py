"""Each component moved and stretched: scikit-learn's scalers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned, Step
from headrace.prep.summary import Summary

__all__ = ["DecimalScale", "MaxAbs", "MinMax", "Robust", "Standardize"]

_EPSILON = float(np.finfo(np.float64).eps)


class _Scaler(Step):
    """(x - center) / scale + shift. Nulls stay nulls; infinities go through the arithmetic. A component without values, or without spread, has scale 1."""

    needs = frozenset({"moments"})
    keeps = frozenset({"moments"})

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """Center, scale and shift of each component."""
        raise NotImplementedError

    def pass_on(self, summary: Summary, learned: Learned) -> Summary:
        """Moved and stretched likewise."""
        center, scale, shift = self.terms(learned)
        return summary.scale(center, 1 / scale, shift)

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One affine step; a division where the reciprocal is beyond the type's normal numbers."""
        center, scale, shift = self.terms(learned)
        info = np.finfo(np.dtype(program.read(name).type))
        with np.errstate(over="ignore", divide="ignore"):
            factor = 1 / scale
        is_usual = bool(np.all((np.abs(factor) <= info.max) & (np.abs(factor) >= info.tiny)))
        program.change(name, "affine" if is_usual else "affine_div", center=center, factor=factor if is_usual else scale, shift=shift)


def _usable(scale: Floats, constant: npt.NDArray[np.bool_] | None = None) -> Floats:
    """As scikit-learn: what is constant, or too small to divide by, is divided by 1. NaN (no values) too."""
    mask = scale < 10 * _EPSILON if constant is None else constant
    return np.where(mask | ~np.isfinite(scale), 1.0, scale)


class Standardize(_Scaler):
    """Zero mean and unit variance, as StandardScaler. Learned: `mean_`, `var_`, `scale_`, by field.

    A variance beyond float64 (of values beyond about 1e154) counts as none: such a field is only centered, where scikit-learn gives NaN for all of it.
    """

    learns = ("mean", "var", "scale")

    def __init__(self, *, with_mean: bool = True, with_std: bool = True, fields: Any = None) -> None:
        self.with_mean, self.with_std, self.fields = with_mean, with_std, fields

    def learn(self, value: Value, summary: Summary) -> Learned:
        """Moments of each component."""
        count = summary.count.astype(np.float64)
        mean = np.where(count > 0, summary.mean, 0.0)
        var = np.where(count > 0, summary.variance(), 0.0)
        constant = var <= count * _EPSILON * var + (count * mean * _EPSILON) ** 2
        return {"mean": mean, "var": var, "scale": _usable(np.sqrt(var), constant)}

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """Mean and deviation, as far as asked for."""
        mean, scale = np.asarray(learned["mean"]), np.asarray(learned["scale"])
        zero = np.zeros_like(mean)
        return (mean if self.with_mean else zero), (scale if self.with_std else zero + 1), zero


class MinMax(_Scaler):
    """The least value becomes feature_range[0], the greatest feature_range[1], as MinMaxScaler. clip: what lies beyond them, too.

    Learned: `data_min_`, `data_max_`, by field.
    """

    learns = ("data_min", "data_max")

    def __init__(self, feature_range: tuple[float, float] = (0, 1), *, clip: bool = False, fields: Any = None) -> None:
        low, high = feature_range
        if any(isinstance(end, str) for end in (low, high)) or not low < high:
            raise ValueError(f"MinMax: feature_range is {feature_range!r}; expected (low, high) with low < high")
        self.feature_range, self.clip, self.fields = feature_range, clip, fields
        self.keeps = frozenset() if clip else frozenset({"moments"})

    def learn(self, value: Value, summary: Summary) -> Learned:
        """Least and greatest of each component."""
        empty = summary.count == 0
        return {"data_min": np.where(empty, 0.0, summary.min), "data_max": np.where(empty, 0.0, summary.max)}

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """From the range that was found to the one asked for."""
        low, high = self.feature_range
        least, greatest = np.asarray(learned["data_min"]), np.asarray(learned["data_max"])
        return least, _usable(greatest - least) / (high - low), np.full_like(least, low)

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """The affine step, then a clip if asked for."""
        super().emit(program, name, learned)
        if self.clip:
            width = program.values[name].width
            low, high = self.feature_range
            program.change(name, "clip", low=np.full(width, float(low)), high=np.full(width, float(high)))


class MaxAbs(_Scaler):
    """Divided by the largest magnitude, as MaxAbsScaler. Learned: `max_abs_`, by field."""

    learns = ("max_abs",)

    def __init__(self, *, fields: Any = None) -> None:
        self.fields = fields

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The largest magnitude of each component."""
        size = np.fmax(np.abs(summary.min), np.abs(summary.max))
        return {"max_abs": np.where(summary.count == 0, 0.0, size)}

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """Scale alone."""
        size = np.asarray(learned["max_abs"])
        return np.zeros_like(size), _usable(size), np.zeros_like(size)


class DecimalScale(MaxAbs):
    """Divided by the smallest power of ten, 1 at least, that brings every fitted magnitude below 1. Learned: `max_abs_`, by field."""

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """A power of ten."""
        size = np.asarray(learned["max_abs"])
        power = np.maximum(np.floor(np.log10(np.where(size > 0, size, 0.1))) + 1, 0)
        return np.zeros_like(size), 10.0**power, np.zeros_like(size)


class Robust(_Scaler):
    """Median to zero and a range of quantiles to one, as RobustScaler. quantile_range in percent. Learned: `center_`, `scale_`, by field.

    Exact while a component has few values, beyond that within the rank error of headrace.statistics.Quantiles (0.001).
    """

    needs = frozenset({"quantiles"})
    learns = ("center", "scale")

    def __init__(
        self,
        *,
        with_centering: bool = True,
        with_scaling: bool = True,
        quantile_range: tuple[float, float] = (25.0, 75.0),
        fields: Any = None,
    ) -> None:
        low, high = quantile_range
        if not 0 <= low <= high <= 100:
            raise ValueError(f"Robust: quantile_range is {quantile_range!r}; expected 0 <= low <= high <= 100")
        self.with_centering, self.with_scaling, self.quantile_range, self.fields = with_centering, with_scaling, quantile_range, fields

    def learn(self, value: Value, summary: Summary) -> Learned:
        """Median and range of each component."""
        low, middle, high = summary.quantile([self.quantile_range[0] / 100, 0.5, self.quantile_range[1] / 100])
        empty = summary.count == 0
        return {"center": np.where(empty, 0.0, middle), "scale": _usable(np.where(empty, 1.0, high - low))}

    def terms(self, learned: Learned) -> tuple[Floats, Floats, Floats]:
        """As far as asked for."""
        center, scale = np.asarray(learned["center"]), np.asarray(learned["scale"])
        zero = np.zeros_like(center)
        return (center if self.with_centering else zero), (scale if self.with_scaling else zero + 1), zero
