"""Preparing fields of numbers and texts natively, while they are loaded: `DataLoader(ds, prepare=prep.Pipeline([...]).fit(train))`."""

from __future__ import annotations

from headrace.prep.pipeline import Pipeline, load
from headrace.prep.resample import resample
from headrace.prep.step import NotFittedError, Step
from headrace.prep.steps.impute import Impute
from headrace.prep.steps.outliers import Clip, Outliers
from headrace.prep.steps.scale import DecimalScale, MaxAbs, MinMax, Robust, Standardize
from headrace.prep.steps.shape import Binarize, Cast, Concat, Normalize
from headrace.prep.steps.shift import Log1p, Power, Quantile

__all__ = [
    "Binarize",
    "Cast",
    "Clip",
    "Concat",
    "DecimalScale",
    "Impute",
    "Log1p",
    "MaxAbs",
    "MinMax",
    "Normalize",
    "NotFittedError",
    "Outliers",
    "Pipeline",
    "Power",
    "Quantile",
    "Robust",
    "Standardize",
    "Step",
    "load",
    "resample",
]
