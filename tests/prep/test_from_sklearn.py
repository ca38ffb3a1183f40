"""Each translation against the fitted transformer's own transform(): to 1e-6 relative in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.feature_selection as fs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import compose, decomposition, discriminant_analysis, ensemble, impute, linear_model, pipeline, preprocessing

import headrace as hr
from headrace import prep
from headrace.errors import HeadraceWarning

Floats = np.ndarray[Any, np.dtype[Any]]
VALUES = st.one_of(
    st.floats(-1e3, 1e3, width=32),
    st.just(0.0),
    st.floats(2**-20, 2**-10, width=32),
    st.integers(-3, 3).map(float),
    st.floats(1e5, 1e8, width=32),
)
RNG = np.random.default_rng(11)


@st.composite
def matrices(draw: Any, nulls: bool = False, width: int | None = None) -> Floats:
    rows, columns = draw(st.integers(6, 40)), draw(st.integers(2, 5)) if width is None else width
    x: Floats = draw(arrays.arrays(np.float64, (rows, columns), elements=VALUES))
    if draw(st.booleans()):
        x[:, 0] = draw(VALUES)
    if nulls:
        x[draw(arrays.arrays(np.bool_, x.shape))] = np.nan
        x[0] = np.where(np.isnan(x[0]), 1.0, x[0])
    return x


def check(fitted: Any, x: Any, fields: Any = "x", **options: Any) -> prep.Pipeline:
    """The translation of a fitted transformer equals its transform(), after a way through JSON too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = fitted.transform(x)
        expected = np.asarray(expected.todense() if hasattr(expected, "todense") else expected, np.float64)
        pipe = prep.from_sklearn(fitted, fields, dtype="float64", **options)
    data = {"x": x} if fields == "x" else x
    if expected.shape[1] == 0:
        with pytest.raises(ValueError, match="no column is left"):
            pipe.transform(data)
        return pipe
    for one in (pipe, prep.Pipeline.from_json(pipe.to_json())):
        made = one.transform(data)
        made = made.to_numpy(np.float64) if isinstance(data, pd.DataFrame) else made["features"]
        scale = 1e-6 * np.nanmax(np.abs(np.where(np.isfinite(expected), expected, 0)), axis=0, initial=0.0)
        assert made.shape == expected.shape
        np.testing.assert_allclose(made, expected, rtol=1e-6, atol=np.maximum(scale * 1e-3, 1e-9).max())
    return pipe


MAKERS: dict[str, tuple[Callable[[], Any], bool]] = {  # takes nulls?
    "standard": (preprocessing.StandardScaler, True),
    "standard without mean": (lambda: preprocessing.StandardScaler(with_mean=False), True),
    "standard without std": (lambda: preprocessing.StandardScaler(with_std=False), True),
    "minmax": (lambda: preprocessing.MinMaxScaler((-1, 2), clip=True), True),
    "maxabs": (preprocessing.MaxAbsScaler, True),
    "robust": (preprocessing.RobustScaler, True),
    "robust parts": (lambda: preprocessing.RobustScaler(with_centering=False, unit_variance=True), True),
    "impute mean": (impute.SimpleImputer, True),
    "impute median": (lambda: impute.SimpleImputer(strategy="median", add_indicator=True), True),
    "impute constant": (lambda: impute.SimpleImputer(strategy="constant", fill_value=-7.5), True),
    "one-hot": (lambda: preprocessing.OneHotEncoder(handle_unknown="ignore", drop="if_binary"), True),
    "one-hot rare": (lambda: preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3, drop="first"), True),
    "ordinal": (lambda: preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), True),
    "ordinal rare": (
        lambda: preprocessing.OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, max_categories=3
        ),
        True,
    ),
    "bins": (lambda: preprocessing.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), False),
    "bins one-hot": (lambda: preprocessing.KBinsDiscretizer(3, encode="onehot-dense", strategy="quantile"), False),
    "quantile": (lambda: preprocessing.QuantileTransformer(n_quantiles=6), True),
    "quantile normal": (lambda: preprocessing.QuantileTransformer(n_quantiles=6, output_distribution="normal"), True),
    "l2": (preprocessing.Normalizer, False),
    "l1": (lambda: preprocessing.Normalizer("l1"), False),
    "max": (lambda: preprocessing.Normalizer("max"), False),
    "binarize": (lambda: preprocessing.Binarizer(threshold=0.5), False),
    "polynomial": (lambda: preprocessing.PolynomialFeatures(3), False),
    "interactions": (lambda: preprocessing.PolynomialFeatures(2, interaction_only=True, include_bias=False), False),
    "identity": (preprocessing.FunctionTransformer, True),
}


@pytest.mark.parametrize("name", list(MAKERS))
@given(data=st.data())
@settings(max_examples=15)
def test_on_made_data(name: str, data: Any) -> None:
    make, nulls = MAKERS[name]
    fit = data.draw(matrices(nulls))
    then = data.draw(matrices(nulls, fit.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make().fit(fit)
    check(fitted, fit)
    check(fitted, then)


@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
@pytest.mark.parametrize("standardize", [False, True])
def test_power(method: str, standardize: bool) -> None:
    x = RNG.lognormal(size=(300, 3)) * [1, 100, 0.01]
    check(preprocessing.PowerTransformer(method, standardize=standardize).fit(x), x)


def test_projections_and_selections() -> None:
    x = RNG.normal(size=(200, 6)) @ RNG.normal(size=(6, 6)) * [1, 1e-3, 1e3, 1, 1, 1] + [0, 5, 1e4, 0, -3, 0]
    y = (x[:, 0] + RNG.normal(size=200) > 0).astype(int) + (x[:, 3] > 1)
    check(decomposition.PCA(3).fit(x), x)
    check(decomposition.PCA(4, whiten=True).fit(x), x)
    check(decomposition.TruncatedSVD(3).fit(x), x)
    for solver in ("svd", "eigen"):
        check(discriminant_analysis.LinearDiscriminantAnalysis(solver=solver).fit(x, y), x)
    for selector in (
        fs.SelectKBest(k=2),
        fs.SelectPercentile(percentile=50),
        fs.SelectFpr(),
        fs.SelectFdr(),
        fs.SelectFwe(),
        fs.VarianceThreshold(0.5),
    ):
        check(selector.fit(x, y), x)
    check(fs.SelectFromModel(ensemble.RandomForestClassifier(5, random_state=0)).fit(x, y), x)
    check(preprocessing.FunctionTransformer(np.log1p).fit(np.abs(x)), np.abs(x))


def frame(rows: int = 300) -> pd.DataFrame:
    words = np.array(["a", "b", "ß", "", "rare"], dtype=object)[RNG.choice(5, rows, p=[0.4, 0.3, 0.2, 0.09, 0.01])]
    words[::17] = np.nan  # pandas before 3 keeps None apart, which scikit-learn's imputer then does not fill
    numbers = RNG.normal(size=rows)
    numbers[::13] = np.nan
    return pd.DataFrame(
        {"w": words, "n": numbers, "m": RNG.normal(size=rows) * 1e4, "k": RNG.integers(0, 4, rows), "unused": np.arange(rows)}
    )


def prepared_frame() -> tuple[Any, pd.DataFrame]:
    known = frame()
    texts = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder(handle_unknown="ignore", min_frequency=10)
    )
    numbers = pipeline.Pipeline(
        [
            ("fill", impute.SimpleImputer(add_indicator=True)),
            ("both", pipeline.FeatureUnion([("scaled", preprocessing.StandardScaler()), ("pca", decomposition.PCA(1))])),
        ]
    )
    whole = compose.ColumnTransformer(
        [("w", texts, ["w"]), ("n", numbers, ["n", "m"]), ("k", "passthrough", ["k"]), ("no", "drop", ["unused"])],
        transformer_weights={"n": 0.5},
    )
    fitted = pipeline.make_pipeline(whole, preprocessing.MinMaxScaler())
    return fitted.fit(known), known


def test_a_pipeline_of_a_column_transformer_and_a_union_of_a_frame() -> None:
    fitted, known = prepared_frame()
    pipe = check(fitted, known, None)
    assert pipe.get_feature_names_out("features") == fitted.get_feature_names_out().tolist()
    assert "from_sklearn(Pipeline" in repr(pipe)
    later = frame()
    later.loc[3, "w"] = "never seen"
    check(fitted, later, None)


def test_a_loader_delivers_what_it_gives(tmp_path: Path) -> None:
    fitted, known = prepared_frame()
    columns: dict[str, Any] = {name: known[name].to_numpy() for name in ("n", "m", "k", "unused")}
    columns["w"] = [None if one is None or one != one else one for one in known["w"]]
    columns["y"] = np.arange(len(known))
    hr.write(tmp_path / "d", columns, chunk_samples=64)
    expected = fitted.transform(known)
    pipe = prep.from_sklearn(fitted)
    for threads in (0, 2):
        for batch in hr.DataLoader(hr.open(tmp_path / "d"), batch_size=64, shuffle=True, prepare=pipe, num_workers=threads):
            assert set(batch) == {"features", "y"}
            np.testing.assert_allclose(batch["features"].numpy(), expected[batch["y"].numpy()], rtol=1e-5, atol=1e-6)


def test_fields_in_order_and_their_number() -> None:
    x = RNG.normal(size=(20, 3))
    fitted = preprocessing.StandardScaler().fit(x)
    out = prep.from_sklearn(fitted, ["b", "a"], name="z", dtype="float64").transform({"a": x[:, 2], "b": x[:, :2]})
    np.testing.assert_allclose(out["z"], fitted.transform(x))
    with pytest.raises(ValueError, match="have 2 values a sample; it was fitted on 3"):
        prep.from_sklearn(fitted, "b").transform({"b": x[:, :2]})
    with pytest.raises(ValueError, match="say which fields"):
        prep.from_sklearn(fitted)


def test_parts_that_were_never_fitted_or_pass_through() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    nothing = compose.ColumnTransformer([("n", preprocessing.StandardScaler(), []), ("m", preprocessing.MinMaxScaler(), [2, 0])]).fit(x)
    first = pipeline.Pipeline([("a", None), ("b", "passthrough"), ("c", preprocessing.StandardScaler())]).fit(x)
    union = pipeline.FeatureUnion([("a", "drop"), ("b", "passthrough"), ("c", preprocessing.StandardScaler())]).fit(x)
    for fitted in (nothing, first, union):
        made = prep.from_sklearn(fitted, "x", dtype="float64").transform({"x": x})["features"]
        np.testing.assert_allclose(made, fitted.transform(x), rtol=1e-12)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_a_column_without_a_value(strategy: str, keep: bool) -> None:
    x = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, 2.0], [4.0, np.nan, np.nan]])
    imputer = impute.SimpleImputer(strategy=strategy, add_indicator=True, keep_empty_features=keep).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of that column
        expected = imputer.transform(x)
    np.testing.assert_allclose(prep.from_sklearn(imputer, "x", dtype="float64").transform({"x": x})["features"], expected)


def test_what_it_cannot_translate_is_named() -> None:
    x = RNG.normal(size=(20, 3))
    with pytest.raises(TypeError, match="cannot translate LinearRegression"):
        prep.from_sklearn(linear_model.LinearRegression().fit(x, x[:, 0]), "x")
    with pytest.raises(TypeError, match="cannot translate SplineTransformer"):
        prep.from_sklearn(pipeline.make_pipeline(preprocessing.SplineTransformer()).fit(x), "x")
    with pytest.raises(TypeError, match="missing_values=0"):
        prep.from_sklearn(impute.SimpleImputer(missing_values=0).fit(x), "x")
    with pytest.raises(TypeError, match="func="):
        prep.from_sklearn(preprocessing.FunctionTransformer(np.sqrt).fit(x), "x")
    with pytest.raises(prep.NotFittedError, match="StandardScaler has not been fitted"):
        prep.from_sklearn(preprocessing.StandardScaler(), "x")
    with pytest.raises(TypeError, match="cannot translate dict"):
        prep.from_sklearn({}, "x")
    for nothing in (None, "passthrough"):
        with pytest.raises(TypeError, match="expected a fitted transformer, got"):
            prep.from_sklearn(nothing, "x")
    encoder = preprocessing.OneHotEncoder().fit([["a"], ["b"]])
    with pytest.warns(HeadraceWarning, match="handle_unknown='error'"):
        pipe = prep.from_sklearn(encoder, "x")
    assert pipe.transform({"x": ["b", "?"]})["features"].tolist() == [[0, 1], [0, 0]]
    with pytest.raises(TypeError, match="fitted on texts, and its column holds numbers"):
        pipe.transform({"x": np.arange(2)})
