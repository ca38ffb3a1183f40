"""Each numeric step against numpy and scikit-learn on the same data: nulls, infinities, constants, tiny and huge values among it."""

from __future__ import annotations

import warnings
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import preprocessing

import headrace as hr
from headrace import prep
from headrace.errors import HeadraceWarning
from tests.prep import reference

Floats = np.ndarray[Any, np.dtype[Any]]
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}

# Columns are drawn as a kind each, so that a matrix has several of them side by side.
_VALUES = st.one_of(
    st.floats(-1e3, 1e3, width=32),
    st.just(0.0),
    st.floats(1e-6, 1e-3),
    st.integers(-5, 5).map(float),
    st.floats(1e5, 1e6, width=32),
)
_SPOILT = st.one_of(_VALUES, st.just(np.nan), st.just(np.inf), st.just(-np.inf))


@st.composite
def matrices(draw: Any, elements: Any = _SPOILT, least: int = 3, constants: bool = True) -> Floats:
    rows, width = draw(st.integers(least, 60)), draw(st.integers(1, 5))
    x: Floats = draw(arrays.arrays(np.float64, (rows, width), elements=elements))
    if constants and draw(st.booleans()):
        x[:, 0] = draw(_VALUES)  # a constant component
    return x


def prepared(steps: list[prep.Step], x: Floats, dtype: str, fit: Floats | None = None) -> Floats:
    """What the steps make of x, by the native plan, delivered in the dtype that they were computed in."""
    known = (x if fit is None else fit).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadraceWarning)  # all-null components
        pipe = prep.Pipeline([*steps, prep.Cast(dtype)]).fit({"x": known})
    made: Floats = pipe.transform({"x": x.astype(dtype)})["x"]
    assert made.dtype == dtype
    return made


def check(made: Floats, expected: Floats, dtype: str) -> None:
    np.testing.assert_allclose(made, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@given(x=matrices())
@settings(max_examples=12)
def test_impute(strategy: str, dtype: str, x: Floats) -> None:
    given_dtype = x.astype(dtype).astype(np.float64)
    expected = reference.imputed(given_dtype, strategy, 7.5)
    check(prepared([prep.Impute(strategy, fill_value=7.5)], x, dtype), expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", list(reference.SCALERS))
@given(x=matrices())
@settings(max_examples=12)
def test_scalers(name: str, dtype: str, x: Floats) -> None:
    known = x.astype(dtype).astype(np.float64)
    known[:, ~np.isfinite(known).any(axis=0)] = np.nan  # scikit-learn has no answer there; ours is below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.scaled(reference.SCALERS[name](), known)
    made = prepared([getattr(prep, name)()], known, dtype)
    some = np.isfinite(known).any(axis=0)
    check(made[:, some], expected[:, some], dtype)
    assert np.isnan(made[:, ~some]).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("action", ["clip", "null"])
@pytest.mark.parametrize(("method", "threshold"), [("zscore", 1.5), ("iqr", 1.0), ("mad", 2.0), ("quantile", (0.1, 0.8))])
@given(x=matrices())
@settings(max_examples=10)
def test_outliers(method: str, threshold: Any, action: str, dtype: str, x: Floats) -> None:
    known = x.astype(dtype).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low, high = reference.bounds(known, method, threshold)
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    made = prepared([prep.Outliers(method, threshold=threshold, action=action)], x, dtype)
    slack = TOLERANCE[dtype] * (1 + np.abs(low) + np.abs(high))
    with np.errstate(invalid="ignore"):  # infinite values and bounds
        near = (np.abs(known - low) <= slack) | (np.abs(known - high) <= slack)  # either side is right
    expected = np.clip(known, low, high) if action == "clip" else np.where((known >= low) & (known <= high), known, np.nan)
    expected = np.where(np.isnan(known), np.nan, expected)
    check(np.where(near, 0, made), np.where(near, 0, expected), dtype)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(x=matrices(_VALUES))
@settings(max_examples=10)
def test_normalize(norm: str, dtype: str, x: Floats) -> None:
    expected = preprocessing.Normalizer(norm).transform(x.astype(dtype).astype(np.float64))
    check(prepared([prep.Normalize(norm)], x, dtype), expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@given(x=matrices(st.one_of(_VALUES, st.just(np.nan)), least=5))
@settings(max_examples=12)
def test_quantile(distribution: str, dtype: str, x: Floats) -> None:
    known = x.astype(dtype).astype(np.float64)
    known[:, np.isnan(known).all(axis=0)] = 1.0
    theirs = preprocessing.QuantileTransformer(n_quantiles=min(20, len(x)), output_distribution=distribution, subsample=10**9).fit(known)
    step = prep.Quantile(distribution, n_quantiles=20)
    made = prepared([step], known, "float64")
    np.testing.assert_allclose(step.quantiles_["x"], theirs.quantiles_, rtol=1e-9, atol=1e-9)
    theirs.quantiles_ = step.quantiles_["x"]  # Where landmarks are equal, the last bit of one decides which of them a value meets.
    check(made, theirs.transform(known), "float64")


@given(x=matrices(st.floats(-20, 50, width=32), least=8, constants=False))
@settings(max_examples=12)
def test_yeo_johnson(x: Floats) -> None:
    check_power(x, "yeo-johnson")


@given(x=matrices(st.floats(0.0625, 50, width=32), least=8, constants=False))
@settings(max_examples=12)
def test_box_cox(x: Floats) -> None:
    check_power(x, "box-cox")


def test_an_exponent_far_from_one_is_the_most_likely_one() -> None:
    """About -14: there the powers are a fourteenth, but for the 13th digit."""
    x = np.array([11, 9, 10, 12] + [8.0] * 13)[:, None]
    check_power(x, "box-cox")
    found = {}
    for name, method, values in (("box-cox", "box-cox", x), ("above", "yeo-johnson", x - 1), ("below", "yeo-johnson", 1 - x)):
        step = prep.Power(method, standardize=False)
        prepared([step], values, "float64")
        found[name] = float(step.lambdas_["x"][0])
    assert found["above"] == pytest.approx(found["box-cox"], rel=1e-6)
    assert found["below"] == pytest.approx(2 - found["box-cox"], rel=1e-6)


def check_power(x: Floats, method: str) -> None:
    """The exponent by its likelihood, which is flat: ours must be as likely; the values by scikit-learn's, given the exponent."""
    x = x[:, [len(np.unique(column)) > 4 for column in x.T]]  # with few values the likelihood has no maximum
    if x.shape[1] == 0:
        return
    step = prep.Power(method, standardize=False)
    made = prepared([step], x, "float64")
    lambdas = step.lambdas_["x"]
    theirs = preprocessing.PowerTransformer(method, standardize=False).fit(x)
    for column, ours, other in zip(x.T, lambdas, theirs.lambdas_, strict=True):
        found, expected = likelihood(column, ours, method), likelihood(column, other, method)
        assert found >= expected - 1e-6 * (1 + abs(expected))
    theirs.lambdas_ = lambdas
    check(made, theirs.transform(x), "float64")


def likelihood(x: Floats, power: float, method: str) -> float:
    """In 120 digits: in float64, scipy's own is noise where powers are next to each other, with maxima that are none."""
    with localcontext(prec=120):
        p, values = Decimal(power), [Decimal(float(value)) for value in x]
        if method == "box-cox":
            logs = [value.ln() for value in values]
            made = [powered(log, p) for log in logs]
        else:
            logs = [(abs(value) + 1).ln() for value in values]
            made = [powered(log, p) if value >= 0 else -powered(log, 2 - p) for value, log in zip(values, logs, strict=True)]
            logs = [log if value >= 0 else -log for value, log in zip(values, logs, strict=True)]
        mean = sum(made) / len(made)
        variance = sum((value - mean) ** 2 for value in made) / len(made)
        return float((p - 1) * sum(logs) - variance.ln() * len(made) / 2)


def powered(log: Decimal, power: Decimal) -> Decimal:
    return log if power == 0 else ((power * log).exp() - 1) / power


def test_power_finds_scikit_learns_exponent_where_it_is_sharp() -> None:
    x = np.random.default_rng(3).lognormal(size=(4000, 3)) * [1, 10, 0.1]
    for method in ("yeo-johnson", "box-cox"):
        step = prep.Power(method)
        made = prepared([step], x, "float64")
        theirs = preprocessing.PowerTransformer(method).fit(x)
        np.testing.assert_allclose(step.lambdas_["x"], theirs.lambdas_, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made, theirs.transform(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1e150, 1e300])
def test_power_of_values_beyond_its_arithmetic_is_an_error(size: float) -> None:
    x = np.random.default_rng(0).normal(size=200)
    with pytest.raises(ValueError, match=r"x has values of -.*e\+\d+ to .*; scale them first \(MaxAbs\)"):
        prep.Pipeline([prep.Power(fields="x")]).fit(hr.from_arrays({"x": x * size}))
    scaled = prep.Pipeline([prep.MaxAbs(fields="x"), prep.Power(fields="x")]).fit(hr.from_arrays({"x": x * size}))
    alone = prep.Pipeline([prep.MaxAbs(fields="x"), prep.Power(fields="x")]).fit(hr.from_arrays({"x": x}))
    np.testing.assert_allclose(scaled.transform({"x": x * size})["x"], alone.transform({"x": x})["x"], rtol=1e-6)


def test_log1p_binarize_clip_and_decimals() -> None:
    x = np.array([[-2.0, -1, 0, 1e-12, 1, 1e300, np.inf, np.nan, 0.5]]).T
    with np.errstate(all="ignore"):
        check(prepared([prep.Log1p()], x, "float64"), np.log1p(x), "float64")
    assert prepared([prep.Binarize(0.5)], x, "float64")[:7, 0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert prepared([prep.Clip(-1, 1)], x, "float64")[:7, 0].tolist() == [-1, -1, 0, 1e-12, 1, 1, 1]
    decimals = prepared([prep.DecimalScale()], np.array([[986.0, 0.3, 10.0], [-917.0, 0.2, 1.0]]), "float64")
    assert decimals.tolist() == [[0.986, 0.3, 0.1], [-0.917, 0.2, 0.01]]


def test_tiny_scales_are_divided_by_not_multiplied_with_an_infinite_reciprocal() -> None:
    x = np.array([[1e-310], [3e-310], [2e-310]])
    step = prep.Standardize()
    made = prepared([step], x, "float64")
    assert np.isfinite(made).all()


def test_a_component_without_values_is_filled_with_zero_and_said() -> None:
    x = np.array([[1.0, np.nan], [3.0, np.nan]])
    with pytest.warns(HeadraceWarning, match="x_1: no values"):
        pipe = prep.Pipeline([prep.Impute()]).fit({"x": x})
    assert pipe.transform({"x": x})["x"].tolist() == [[1, 0], [3, 0]]


def test_the_indicator_says_what_was_null() -> None:
    x = np.array([[1.0, np.nan], [np.nan, 2.0]])
    made = prep.Pipeline([prep.Impute("constant", indicator=True)]).fit({"x": x}).transform({"x": x})
    assert made["x_missing"].tolist() == [[0, 1], [1, 0]]
    assert made["x"].tolist() == [[1, 0], [0, 2]]
