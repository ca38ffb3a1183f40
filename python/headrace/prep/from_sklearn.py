"""`hr.prep.from_sklearn(fitted)`: a fitted scikit-learn transformer as a native pipeline, by class name and fitted attributes; nothing is imported.

A translator takes a fitted transformer and gives a node (headrace.prep.table) that equals its transform().
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headrace.errors import HeadraceWarning
from headrace.prep.pipeline import Pipeline
from headrace.prep.step import NotFittedError
from headrace.prep.steps.translated import Translated
from headrace.prep.table import Node

__all__ = ["from_sklearn"]


def from_sklearn(fitted: Any, fields: str | Sequence[str] | None = None, *, name: str = "features", dtype: str = "float32") -> Pipeline:
    """A fitted pipeline that gives what `fitted.transform()` gives, in one field `name` of (batch, columns); other fields (the label) pass through.

    fields: where its columns come from, in order: a field of texts or single numbers is one column, a field of n numbers n of them. None: the names of the
        frame that it was fitted on. dtype: "float32" or "float64", delivered as; arithmetic is in float64 either way.
    Takes StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, SimpleImputer, OneHotEncoder, OrdinalEncoder, KBinsDiscretizer, PowerTransformer,
    QuantileTransformer, Normalizer, Binarizer, PolynomialFeatures, PCA, TruncatedSVD, LinearDiscriminantAnalysis, VarianceThreshold, SelectKBest and its
    kin, FunctionTransformer (the identity, log1p), ColumnTransformer, Pipeline, FeatureUnion. Null is what scikit-learn has as NaN or None.
    A loader cannot raise for a single category: where an encoder has handle_unknown="error", an unknown one becomes zeros (OneHotEncoder) or NaN
    (OrdinalEncoder), and a HeadraceWarning says so.
    Raises TypeError naming what it cannot translate, NotFittedError, ValueError where the fields must be named.
    """
    if fitted is None or isinstance(fitted, str):
        raise TypeError(f"from_sklearn: expected a fitted transformer, got {fitted!r}")
    node = _node_of(fitted)
    names = [str(one) for one in getattr(fitted, "feature_names_in_", [])]
    chosen = names if fields is None else [fields] if isinstance(fields, str) else list(fields)
    if not chosen:
        raise ValueError(f"from_sklearn: {_kind(fitted)} was fitted on an array; say which fields its columns are: fields=...")
    columns = _columns(fitted)
    columns = len(chosen) if columns is None else columns
    step = Translated(_kind(fitted), node, fields=chosen, columns=columns, labels=_labels(fitted), name=name, dtype=dtype)
    pipe = Pipeline([step])
    pipe.input_fields_ = []  # nothing is known of their dtypes: the step asks for what it needs
    return pipe


def _kind(fitted: Any) -> str:
    return type(fitted).__name__


def _columns(fitted: Any) -> int | None:
    """How many columns it was fitted on. A pipeline or union asks its first part, which says nothing if it is "passthrough" or "drop": then one behind it."""
    found = getattr(fitted, "n_features_in_", None)
    if found is not None:
        return int(found)
    if _kind(fitted) == "Pipeline":  # What passes columns through leaves their number.
        behind = next((one for _, one in fitted.steps if one is not None and one != "passthrough"), None)
        return None if behind is None else _columns(behind)
    parts = [_columns(one) for _, one in getattr(fitted, "transformer_list", [])]
    return next((one for one in parts if one is not None), None)


def _labels(fitted: Any) -> list[str]:
    try:
        return [str(one) for one in fitted.get_feature_names_out()]
    except (AttributeError, ValueError, TypeError):  # some of its parts have no names
        return []


def _node_of(fitted: Any) -> Node:
    if (isinstance(fitted, str) and fitted == "passthrough") or fitted is None:
        return {"node": "keep"}
    if isinstance(fitted, type):
        raise TypeError(f"from_sklearn: {fitted.__name__} is a class; expected a fitted transformer")
    if not type(fitted).__module__.startswith("sklearn.") or _kind(fitted) not in _TRANSLATORS:
        raise TypeError(f"from_sklearn cannot translate {_kind(fitted)}; it knows {', '.join(sorted(_TRANSLATORS))}")
    try:
        return _TRANSLATORS[_kind(fitted)](fitted)
    except AttributeError as error:
        raise NotFittedError(f"from_sklearn: {_kind(fitted)} has not been fitted ({error})") from error


def _refuse(fitted: Any, what: str) -> TypeError:
    return TypeError(f"from_sklearn cannot translate {_kind(fitted)} with {what}")


def _floats(values: Any) -> Any:
    return np.asarray(values, np.float64)


def _steps(*steps: tuple[str, dict[str, Any]]) -> Node:
    return {"node": "steps", "steps": [[kind, parameters] for kind, parameters in steps]}


def _divided(center: Any, scale: Any, width: int) -> tuple[str, dict[str, Any]]:
    return "affine_div", {
        "center": np.zeros(width) if center is None else _floats(center),
        "factor": np.ones(width) if scale is None else _floats(scale),
        "shift": np.zeros(width),
    }


def _clip(low: float, high: float, width: int) -> tuple[str, dict[str, Any]]:
    return "clip", {"low": np.full(width, float(low)), "high": np.full(width, float(high))}


def _standard_scaler(fitted: Any) -> Node:
    mean, scale = fitted.mean_, fitted.scale_
    return _steps(_divided(mean if fitted.with_mean else None, scale if fitted.with_std else None, fitted.n_features_in_))


def _min_max_scaler(fitted: Any) -> Node:
    width = len(fitted.scale_)
    moved = ("affine", {"center": np.zeros(width), "factor": _floats(fitted.scale_), "shift": _floats(fitted.min_)})
    low, high = fitted.feature_range
    return _steps(moved, _clip(low, high, width)) if fitted.clip else _steps(moved)


def _max_abs_scaler(fitted: Any) -> Node:
    width = len(fitted.scale_)
    divided = _divided(None, fitted.scale_, width)
    return _steps(divided, _clip(-1, 1, width)) if getattr(fitted, "clip", False) else _steps(divided)


def _robust_scaler(fitted: Any) -> Node:
    return _steps(_divided(fitted.center_, fitted.scale_, fitted.n_features_in_))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isnan(value)


def _simple_imputer(fitted: Any) -> Node:
    if fitted.missing_values is not None and not _is_nan(fitted.missing_values) and type(fitted.missing_values).__name__ != "NAType":
        raise _refuse(fitted, f"missing_values={fitted.missing_values!r}: only nulls (NaN, None) are filled")
    values = [str(one) if isinstance(one, str) else float(one) for one in fitted.statistics_.tolist()]
    # A column that had no value has NaN for its statistic, and is dropped. (Before scikit-learn 1.9, "constant" had its constant there, and kept it.)
    keeps = getattr(fitted, "keep_empty_features", False)
    at = [i for i, one in enumerate(values) if keeps or not _is_nan(one)]
    indicated = [int(i) for i in fitted.indicator_.features_] if fitted.add_indicator else []
    return {"node": "fill", "values": values, "at": at, "indicated": indicated}


def _categories(fitted: Any, column: Any) -> tuple[Any, bool]:
    """The categories that are there, as the node takes them, and whether null is one of them, the last."""
    values = list(np.asarray(column).tolist())
    nulls = [one for one in values if one is None or _is_nan(one)]
    if len(nulls) > 1:
        raise _refuse(fitted, "both None and NaN among the categories of a column")
    known = [one for one in values if one is not None and not _is_nan(one)]
    if known and all(isinstance(one, str) for one in known):
        return known, bool(nulls)
    if any(not isinstance(one, bool | int | float) for one in known):
        raise _refuse(
            fitted,
            f"categories such as {next(one for one in known if not isinstance(one, bool | int | float))!r}: expected texts or numbers",
        )
    return _floats(known), bool(nulls)


def _rare(fitted: Any, number: int, size: int) -> Any:
    """Which of a column's categories are infrequent."""
    rare = np.zeros(size, np.bool_)
    grouped = getattr(fitted, "infrequent_categories_", None)
    if grouped is not None and grouped[number] is not None:
        values, chosen = list(np.asarray(fitted.categories_[number]).tolist()), list(np.asarray(grouped[number]).tolist())
        for i, one in enumerate(values):
            rare[i] = any(one is other or one == other or (_is_nan(one) and _is_nan(other)) for other in chosen)
    return rare


def _warn_of_unknown(fitted: Any, what: str) -> None:
    warnings.warn(
        f"from_sklearn: {_kind(fitted)} has handle_unknown='error', which a loader cannot do: unknown categories become {what}",
        HeadraceWarning,
        stacklevel=5,
    )


def _one_hot_encoder(fitted: Any) -> Node:
    if fitted.handle_unknown == "error":
        _warn_of_unknown(fitted, "all zeros")
    columns = []
    for number, column in enumerate(fitted.categories_):
        categories, has_null = _categories(fitted, column)
        rare = _rare(fitted, number, len(column))
        last = int((~rare).sum())
        codes = np.where(rare, last, np.cumsum(~rare) - 1)
        unknown = last if rare.any() and fitted.handle_unknown in ("infrequent_if_exist", "warn") else -1
        size = last + int(rare.any())
        dropped = None if fitted.drop_idx_ is None else fitted.drop_idx_[number]
        if dropped is not None:
            gone = int(codes[int(dropped)])
            moved = np.array([-1 if code == gone else code - (code > gone) for code in [*codes, unknown]])
            codes, unknown, size = moved[:-1], int(moved[-1]) if unknown >= 0 else -1, size - 1
        null = int(codes[-1]) if has_null else unknown
        known = codes[:-1] if has_null else codes
        if size:
            columns.append((number, {"categories": categories, "codes": known, "unknown": unknown, "null": null, "size": size}))
    at = [number for number, _ in columns]
    return {"node": "chain", "nodes": [{"node": "take", "at": at}, {"node": "encode", "columns": [how for _, how in columns]}]}


def _ordinal_encoder(fitted: Any) -> Node:
    unknown = math.nan if fitted.handle_unknown == "error" else float(fitted.unknown_value)
    if fitted.handle_unknown == "error":
        _warn_of_unknown(fitted, "NaN")
    columns = []
    for number, column in enumerate(fitted.categories_):
        categories, has_null = _categories(fitted, column)
        is_missing = has_null and _is_nan(column[-1])
        rare = _rare(fitted, number, len(column))[: len(column) - is_missing]
        codes = np.where(rare, int((~rare).sum()), np.cumsum(~rare) - 1)
        # None is a category like any other to it; NaN is what is missing.
        null = float(fitted.encoded_missing_value if is_missing else codes[-1]) if has_null else unknown
        codes = codes[: len(categories)]
        columns.append({"categories": categories, "codes": codes, "unknown": unknown, "null": null, "size": 0})
    return {"node": "encode", "columns": columns}


def _k_bins_discretizer(fitted: Any) -> Node:
    edges = [_floats(edges)[1:-1] for edges in fitted.bin_edges_]
    return {"node": "bucketize", "edges": edges, "onehot": fitted.encode != "ordinal"}


def _power_transformer(fitted: Any) -> Node:
    powers = ("yeo_johnson" if fitted.method == "yeo-johnson" else "box_cox", {"lambda": _floats(fitted.lambdas_)})
    if not fitted.standardize:
        return _steps(powers)
    return {"node": "chain", "nodes": [_steps(powers), _standard_scaler(fitted._scaler)]}


def _quantile_transformer(fitted: Any) -> Node:
    marks = np.ascontiguousarray(_floats(fitted.quantiles_).T).ravel()
    is_normal = np.array([fitted.output_distribution == "normal"], np.int64)
    return _steps(("quantile", {"landmarks": marks, "references": _floats(fitted.references_), "normal": is_normal}))


def _normalizer(fitted: Any) -> Node:
    return _steps(("normalize", {"norm": np.array([("l1", "l2", "max").index(fitted.norm)], np.int64)}))


def _binarizer(fitted: Any) -> Node:
    return _steps(("binarize", {"threshold": np.full(fitted.n_features_in_, float(fitted.threshold))}))


def _polynomial_features(fitted: Any) -> Node:
    return {"node": "products", "powers": np.asarray(fitted.powers_, np.int64)}


def _linear(center: Any, matrix: Any) -> Node:
    return {"node": "linear", "center": _floats(center), "matrix": _floats(matrix), "shift": np.zeros(np.shape(matrix)[1])}


def _pca(fitted: Any) -> Node:
    matrix = _floats(fitted.components_).T
    if fitted.whiten:
        scale = np.sqrt(_floats(fitted.explained_variance_))
        matrix = matrix / np.maximum(scale, np.finfo(np.float64).eps)
    return _linear(fitted.mean_, matrix)


def _truncated_svd(fitted: Any) -> Node:
    matrix = _floats(fitted.components_).T
    return _linear(np.zeros(len(matrix)), matrix)


def _linear_discriminant_analysis(fitted: Any) -> Node:
    if fitted.solver == "lsqr":
        raise _refuse(fitted, "solver='lsqr', which has no transform()")
    matrix = _floats(fitted.scalings_)[:, : fitted._max_components]
    return _linear(fitted.xbar_ if fitted.solver == "svd" else np.zeros(len(matrix)), matrix)


def _selector(fitted: Any) -> Node:
    return {"node": "take", "at": [int(i) for i in fitted.get_support(indices=True)]}


def _function_transformer(fitted: Any) -> Node:
    if fitted.func is None:
        return {"node": "keep"}
    if getattr(fitted.func, "__name__", "") == "log1p" and not fitted.kw_args:
        return _steps(("log1p", {}))
    raise _refuse(fitted, f"func={fitted.func!r}: only the identity and log1p have native steps")


def _column_transformer(fitted: Any) -> Node:
    indices = fitted._transformer_to_input_indices
    parts = []
    for name, inner, _ in fitted.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        at = [int(i) for i in indices[name]]
        if at:  # One without columns was never fitted.
            parts.append({"at": at, "of": _node_of(inner), "weight": (fitted.transformer_weights or {}).get(name)})
    return {"node": "parts", "parts": parts}


def _pipeline(fitted: Any) -> Node:
    return {"node": "chain", "nodes": [_node_of(inner) for _, inner in fitted.steps]}


def _feature_union(fitted: Any) -> Node:
    parts = []
    for name, inner in fitted.transformer_list:
        if isinstance(inner, str) and inner == "drop":
            continue
        weight = (fitted.transformer_weights or {}).get(name)
        parts.append({"at": None, "of": _node_of(inner), "weight": weight})
    return {"node": "parts", "parts": parts}


_SELECTORS = (
    "VarianceThreshold",
    "SelectKBest",
    "SelectPercentile",
    "SelectFpr",
    "SelectFdr",
    "SelectFwe",
    "GenericUnivariateSelect",
    "SelectFromModel",
)
_TRANSLATORS: dict[str, Callable[[Any], Node]] = {
    "Binarizer": _binarizer,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "FunctionTransformer": _function_transformer,
    "KBinsDiscretizer": _k_bins_discretizer,
    "LinearDiscriminantAnalysis": _linear_discriminant_analysis,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "Normalizer": _normalizer,
    "OneHotEncoder": _one_hot_encoder,
    "OrdinalEncoder": _ordinal_encoder,
    "PCA": _pca,
    "Pipeline": _pipeline,
    "PolynomialFeatures": _polynomial_features,
    "PowerTransformer": _power_transformer,
    "QuantileTransformer": _quantile_transformer,
    "RobustScaler": _robust_scaler,
    "SimpleImputer": _simple_imputer,
    "StandardScaler": _standard_scaler,
    "TruncatedSVD": _truncated_svd,
    **dict.fromkeys(_SELECTORS, _selector),
}
