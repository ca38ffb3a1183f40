"""Preparing fields of numbers and texts natively, while they are loaded: `DataLoader(ds, prepare=prep.Pipeline([...]).fit(train))`."""

from __future__ import annotations

from headrace.prep.from_sklearn import from_sklearn
from headrace.prep.pipeline import Pipeline, load
from headrace.prep.resample import resample
from headrace.prep.step import NotFittedError, Step
from headrace.prep.steps.buckets import Bucketize
from headrace.prep.steps.dates import DateParts
from headrace.prep.steps.encode import Frequency, Hash, OneHot, Ordinal
from headrace.prep.steps.impute import Impute
from headrace.prep.steps.outliers import Clip, Outliers
from headrace.prep.steps.project import LDA, PCA, Polynomial
from headrace.prep.steps.scale import DecimalScale, MaxAbs, MinMax, Robust, Standardize
from headrace.prep.steps.select import DropCorrelated, SelectByVariance, SelectKBest
from headrace.prep.steps.shape import Binarize, Cast, Concat, Normalize
from headrace.prep.steps.shift import Log1p, Power, Quantile
from headrace.prep.steps.texts import Clean, Cross

__all__ = [
    "LDA",
    "PCA",
    "Binarize",
    "Bucketize",
    "Cast",
    "Clean",
    "Clip",
    "Concat",
    "Cross",
    "DateParts",
    "DecimalScale",
    "DropCorrelated",
    "Frequency",
    "Hash",
    "Impute",
    "Log1p",
    "MaxAbs",
    "MinMax",
    "Normalize",
    "NotFittedError",
    "OneHot",
    "Ordinal",
    "Outliers",
    "Pipeline",
    "Polynomial",
    "Power",
    "Quantile",
    "Robust",
    "SelectByVariance",
    "SelectKBest",
    "Standardize",
    "Step",
    "from_sklearn",
    "load",
    "resample",
]
