"""Steps that change the shape of a distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned, Step
from headrace.prep.steps.scale import Standardize
from headrace.prep.summary import Summary

__all__ = ["Log1p", "Power", "Quantile"]

_GOLDEN = (3 - np.sqrt(5)) / 2


class Log1p(Step):
    """log(1 + x), exact for small x; null below -1, and minus infinity at it."""

    def __init__(self, *, fields: Any = None) -> None:
        self.fields = fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One function."""
        program.change(name, "log1p")


class Power(Step):
    """Towards a normal distribution by a power, as PowerTransformer: method "yeo-johnson" (any numbers) or "box-cox" (above 0; others become null).

    standardize: zero mean and unit variance afterwards, which takes a pass of its own. The exponent of each component has the greatest likelihood: over
    all values where a component has up to 20001 of them, else over as many quantiles evenly apart (see headrace.statistics.Quantiles for their error).
    A component without spread keeps its values (exponent 1). fit() raises ValueError for values so large (about 1e150) or so much alike that no power of them
    has a variance. Learned: `lambdas_`, by field.
    """

    needs = frozenset({"quantiles"})
    learns = ("lambdas",)

    def __init__(self, method: str = "yeo-johnson", *, standardize: bool = True, fields: Any = None) -> None:
        if method not in ("yeo-johnson", "box-cox"):
            raise ValueError(f"Power: method is {method!r}; expected yeo-johnson or box-cox")
        self.method, self.standardize, self.fields = method, standardize, fields
        self._inner = [Standardize(fields=fields)] if standardize else []

    def expand(self) -> list[Step]:
        """Itself, and what standardizes its result."""
        return [self, *self._inner]

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The exponent of each component."""
        grid = summary.grid()
        return {
            "lambdas": np.array([self._best(column[~np.isnan(column)], name) for column, name in zip(grid.T, value.names, strict=True)])
        }

    def _best(self, values: Floats, name: str) -> float:
        if self.method == "box-cox" and (values <= 0).any():
            raise ValueError(f"{self}: {name} has values of {float(values.min())}; expected numbers above 0 (yeo-johnson takes any)")
        if len(values) == 0 or values[0] == values[-1]:
            return 1.0
        likelihood = _box_cox_likelihood if self.method == "box-cox" else _yeo_johnson_likelihood
        found = _greatest(lambda power: likelihood(values, power))
        if not np.isfinite(likelihood(values, found)):
            span = f"{float(values.min())} to {float(values.max())}"
            raise ValueError(f"{self}: {name} has values of {span}, whose powers have no variance in float64; scale them first (MaxAbs)")
        return found

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One function."""
        program.change(name, self.method.replace("-", "_"), **{"lambda": np.asarray(learned["lambdas"], np.float64)})


class Quantile(Step):
    """To quantiles by landmarks, as QuantileTransformer: "uniform" (0 to 1) or "normal". Nulls stay nulls.

    n_quantiles: landmarks, at most as many as there are samples. They are those of numpy's quantile while a component has few values, beyond that within the
    rank error of headrace.statistics.Quantiles. Learned: `quantiles_` (landmarks, width) and `references_`, by field.
    """

    needs = frozenset({"quantiles"})
    learns = ("quantiles", "references")

    def __init__(self, output_distribution: str = "uniform", *, n_quantiles: int = 1000, fields: Any = None) -> None:
        if output_distribution not in ("uniform", "normal"):
            raise ValueError(f"Quantile: output_distribution is {output_distribution!r}; expected uniform or normal")
        if n_quantiles % 1 != 0 or n_quantiles < 1:
            raise ValueError(f"Quantile: n_quantiles is {n_quantiles!r}; expected a whole number, at least 1")
        self.output_distribution, self.n_quantiles, self.fields = output_distribution, n_quantiles, fields

    def learn(self, value: Value, summary: Summary) -> Learned:
        """Landmarks of each component."""
        samples = int((summary.count + summary.nulls + summary.infinities).max(initial=1))
        references = np.linspace(0, 1, max(1, min(self.n_quantiles, samples)))
        marks = summary.quantile(references)
        return {"quantiles": np.maximum.accumulate(np.where(summary.count == 0, 0.0, marks), axis=0), "references": references}

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One search a value."""
        program.change(
            name,
            "quantile",
            landmarks=np.ascontiguousarray(np.asarray(learned["quantiles"], np.float64).T).ravel(),
            references=np.asarray(learned["references"], np.float64),
            normal=np.array([self.output_distribution == "normal"], np.int64),
        )


def _yeo_johnson_likelihood(values: Floats, power: float) -> float:
    """As scikit-learn's, of the exponent alone."""
    logs = np.log1p(np.abs(values))
    above = values >= 0
    with np.errstate(over="ignore", invalid="ignore"):
        made = np.where(above, _powered(logs, power), -_powered(logs, 2 - power))
        variance = made.var()
    if not np.finfo(np.float64).tiny < variance < np.inf:
        return -np.inf
    if (values >= 0).all() or (values < 0).all():
        log_variance = _log_variance(logs, power if values[0] >= 0 else 2 - power)
    else:
        log_variance = np.log(variance)
    return float(-len(values) / 2 * log_variance + (power - 1) * np.sum(np.sign(values) * logs))


def _box_cox_likelihood(values: Floats, power: float) -> float:
    """As scipy's boxcox_llf."""
    logs = np.log(values)
    with np.errstate(over="ignore", invalid="ignore"):
        variance = _powered(logs, power).var()
    if not np.finfo(np.float64).tiny < variance < np.inf:
        return -np.inf
    return float((power - 1) * np.sum(logs) - len(values) / 2 * _log_variance(logs, power))


def _log_variance(logs: Floats, power: float) -> float:
    """Of the powers. Where most of them are next to -1 / power, their own variance is what rounding left of it."""
    if abs(power) < np.finfo(np.float64).eps:
        return float(np.log(logs.var()))
    scaled = power * logs
    most = scaled.max()
    return float(2 * (most - np.log(abs(power))) + np.log(np.expm1(scaled - most).var()))


def _powered(logs: Floats, power: float) -> Floats:
    return logs if abs(power) < np.finfo(np.float64).eps else np.asarray(np.expm1(power * logs) / power)


def _greatest(function: Any) -> float:
    """Where a function with one maximum has it: a search outwards from [-2, 2], then Brent's parabolas with golden sections."""
    low, high = -2.0, 2.0
    for _ in range(6):
        points = np.linspace(low, high, 33)
        best = int(np.argmax([function(point) for point in points]))
        if 0 < best < len(points) - 1:
            break
        low, high = (low * 2, high * 2)
    low, high = points[max(best - 1, 0)], points[min(best + 1, len(points) - 1)]
    return _brent(lambda x: -function(x), float(low), float(high))


def _brent(function: Any, low: float, high: float) -> float:
    """The minimum between two points (Brent 1973, chapter 5)."""
    x = w = v = low + _GOLDEN * (high - low)
    fx = fw = fv = function(x)
    step = before = 0.0
    for _ in range(200):
        middle, tolerance = (low + high) / 2, 1.5e-8 * abs(x) + 1e-11
        if abs(x - middle) <= 2 * tolerance - (high - low) / 2:
            break
        p = q = 0.0
        if abs(before) > tolerance:
            r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
            p, q = (x - v) * q - (x - w) * r, 2 * (q - r)
            p, q = (-p, q) if q > 0 else (p, -q)
        if q != 0 and abs(p) < abs(0.5 * q * before) and q * (low - x) < p < q * (high - x):
            before, step = step, p / q
        else:
            before = (high if x < middle else low) - x
            step = _GOLDEN * before
        u = x + (step if abs(step) >= tolerance else tolerance if step > 0 else -tolerance)
        fu = function(u)
        if fu <= fx:
            low, high = (x, high) if u >= x else (low, x)
            v, fv, w, fw, x, fx = w, fw, x, fx, u, fu
        else:
            low, high = (u, high) if u < x else (low, u)
            if fu <= fw or w == x:
                v, fv, w, fw = w, fw, u, fu
            elif fu <= fv or v in (x, w):
                v, fv = u, fu
    return float(x)
