"""Polynomial, selections, PCA and LDA against scikit-learn."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.feature_selection as fs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import decomposition, discriminant_analysis, preprocessing

import headrace as hr
from headrace import prep

Floats = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(2)


def made(step: prep.Step, data: dict[str, Any], name: str = "x") -> Floats:
    pipe = prep.Pipeline([step, prep.Cast("float64", fields=name)]).fit(data)
    out: Floats = prep.Pipeline.from_json(pipe.to_json()).transform({key: values for key, values in data.items() if key != "y"})[name]
    assert out.dtype == np.float64
    return out


def mixed(rows: int = 400, width: int = 6) -> tuple[Floats, Floats]:
    """Correlated numbers of different sizes, and classes that depend on some of them."""
    x = RNG.normal(size=(rows, width)) @ RNG.normal(size=(width, width)) * 10.0 ** RNG.integers(-1, 2, width) + RNG.normal(size=width) * 100
    y = (x[:, 0] > np.median(x[:, 0])).astype(np.int64) + (x[:, 1] > np.quantile(x[:, 1], 0.7)) + 5
    return x, y


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_polynomial(degree: int, only: bool, bias: bool) -> None:
    x, _ = mixed(50, 3)
    theirs = preprocessing.PolynomialFeatures(degree, interaction_only=only, include_bias=bias).fit(x)
    step = prep.Polynomial(degree, interaction_only=only, include_bias=bias, fields="x")
    np.testing.assert_allclose(made(step, {"x": x}), theirs.transform(x), rtol=1e-12)
    pipe = prep.Pipeline([step]).fit({"x": x})
    assert pipe.get_feature_names_out() == [
        name.replace("x0", "x_0").replace("x1", "x_1").replace("x2", "x_2") for name in theirs.get_feature_names_out()
    ]


def test_fields_side_by_side_become_one_and_nulls_spread() -> None:
    data = {"a": np.array([2.0, np.nan]), "b": np.array([[3, 4], [5, 6]], np.float32), "y": np.arange(2)}
    out = prep.Pipeline([prep.Polynomial(fields=["a", "b"])]).fit(data).transform(data)
    assert list(out) == ["y", "features"]
    assert out["features"][0].tolist() == [2, 3, 4, 4, 6, 8, 9, 12, 16]
    assert np.isnan(out["features"][1]).tolist() == [True, False, False, True, True, True, False, False, False]


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("k", [1, 4, 0.9])
def test_pca(k: float, whiten: bool) -> None:
    x, _ = mixed()
    step = prep.PCA(k, whiten=whiten, fields="x")
    out = made(step, {"x": x})
    theirs = decomposition.PCA(k, whiten=whiten, svd_solver="full").fit(x)
    expected = theirs.transform(x)
    assert out.shape == expected.shape
    signs = np.sign((out * expected).sum(axis=0))
    np.testing.assert_allclose(out * signs, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(
        step.explained_variance_ratio_["x"] if k != 0.9 else theirs.explained_variance_ratio_,
        theirs.explained_variance_ratio_,
        rtol=1e-6,
        atol=1e-9,
    )


def test_pca_leaves_rows_with_nulls_out_of_the_fit() -> None:
    x, _ = mixed()
    spoilt = x.copy()
    spoilt[::7, 2] = np.nan
    out = made(prep.PCA(2, fields="x"), {"x": spoilt})
    whole = ~np.isnan(spoilt).any(axis=1)
    expected = decomposition.PCA(2).fit_transform(x[whole])
    signs = np.sign((out[whole] * expected).sum(axis=0))
    np.testing.assert_allclose(out[whole] * signs, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert np.isnan(out[~whole]).all()


def lda_of(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], k: int | None = None) -> Any:
    """scikit-learn's, as a function of x. Earlier releases divide the scatter within classes by fewer than its newest, which divides by all samples."""
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(n_components=k).fit(x, y)
    divides_by_fewer = "n_samples - n_classes" in inspect.getsource(type(theirs)._solve_svd)
    scale = np.sqrt(len(x) / (len(x) - len(theirs.classes_))) if divides_by_fewer else 1
    return lambda values: theirs.transform(values) * scale


@pytest.mark.parametrize("k", [None, 1])
def test_lda(k: int | None) -> None:
    x, y = mixed()
    step = prep.LDA(k, target="y", fields="x")
    out = made(step, {"x": x, "y": y})
    expected = lda_of(x, y, k)(x)
    assert out.shape == expected.shape
    signs = np.sign((out * expected).sum(axis=0))
    np.testing.assert_allclose(out * signs, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    matrix = step.matrix_["x"]
    assert (matrix[np.argmax(np.abs(matrix), axis=0), np.arange(matrix.shape[1])] > 0).all()


def test_lda_of_named_classes_and_classes_that_are_null() -> None:
    x, y = mixed()
    names = [None if i % 50 == 0 else f"class {c}" for i, c in enumerate(y)]
    pipe = prep.Pipeline(
        [prep.Ordinal(null_value=np.nan, dtype="float64", fields="y"), prep.LDA(target="y", fields="x"), prep.Cast("float64", fields="x")]
    )
    out = pipe.fit({"x": x, "y": names}).transform({"x": x, "y": names})
    there = np.array([name is not None for name in names])
    expected = lda_of(x[there], y[there])(x)
    signs = np.sign((out["x"] * expected).sum(axis=0))
    np.testing.assert_allclose(out["x"] * signs, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert pipe.steps[1].classes_["x"].tolist() == [0, 1, 2]


@given(threshold=st.sampled_from([0.0, 0.1, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_select_by_variance(threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 6)) * [0, 1e-8, 0.2, 1, 3, 0] + [0.1, 5, 0, 0, 0, 1e6]
    x[:, 1:5][rng.random((30, 4)) < 0.1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = fs.VarianceThreshold(threshold).fit(x)
    out = made(prep.SelectByVariance(threshold, fields="x"), {"x": x})
    np.testing.assert_array_equal(out, theirs.transform(x))
    with pytest.raises(ValueError, match="none of the 6 numbers is left"):
        made(prep.SelectByVariance(1e9, fields="x"), {"x": x})


def test_drop_correlated_keeps_the_first_of_each() -> None:
    x = RNG.normal(size=(500, 3))
    wide = np.stack([x[:, 0], x[:, 1], -2 * x[:, 0] + 0.01 * x[:, 2], np.full(500, 3.0), x[:, 2], x[:, 1] + x[:, 2] * 0.1], axis=1)
    step = prep.DropCorrelated(0.9, fields="x")
    np.testing.assert_array_equal(made(step, {"x": wide}), wide[:, [0, 1, 3, 4]])
    fitted = prep.Pipeline([step]).fit({"x": wide})
    assert fitted.get_feature_names_out() == ["x_0", "x_1", "x_3", "x_4"]
    np.testing.assert_allclose(step.correlations_["x"][:3, :3], np.corrcoef(wide[:, :3], rowvar=False), rtol=1e-9)


SCORES = {"f": fs.f_classif, "chi2": fs.chi2, "f_regression": fs.f_regression}


@pytest.mark.parametrize("score", list(SCORES))
@pytest.mark.parametrize("k", [1, 3, 6])
def test_select_k_best_has_scikit_learns_scores(score: str, k: int) -> None:
    x, y = mixed()
    x = np.abs(x) if score == "chi2" else x
    step = prep.SelectKBest(score, k, target="y", fields="x")
    out = made(step, {"x": x, "y": y})
    theirs = fs.SelectKBest(SCORES[score], k=k).fit(x, y)
    np.testing.assert_allclose(fitted_scores(step, x, y), theirs.scores_, rtol=1e-6)
    np.testing.assert_array_equal(out, theirs.transform(x))


def fitted_scores(step: prep.Step, x: Floats, y: Floats) -> Floats:
    prep.Pipeline([step]).fit({"x": x, "y": y})
    scores: Floats = step.scores_["x"]
    return scores


@pytest.mark.parametrize(
    ("score", "function"), [("mutual_info", fs.mutual_info_classif), ("mutual_info_regression", fs.mutual_info_regression)]
)
def test_mutual_information_is_scikit_learns_on_the_sample(score: str, function: Any) -> None:
    x, y = mixed(300)
    step = prep.SelectKBest(score, 2, target="y", sample=1000, seed=4, fields="x")
    scores = fitted_scores(step, x, y)
    # All rows are in the sample, in the order of their keys; the scores of another order differ by the noise that scikit-learn adds.
    np.testing.assert_allclose(scores, function(x, y, random_state=4), atol=0.1)
    bounded = prep.SelectKBest(score, 2, target="y", sample=100, fields="x")
    assert (fitted_scores(bounded, x, y) == fitted_scores(bounded, x, y)).all()


def test_chunks_and_threads_change_nothing(tmp_path: Path) -> None:
    x, y = mixed(3000)
    whole = {"x": x.astype(np.float32), "y": y}
    results = []
    for chunk in (100, 1000):
        hr.write(tmp_path / str(chunk), whole, chunk_samples=chunk)
        for threads in (0, 1, 2, 8):
            pipe = prep.Pipeline(
                [prep.SelectKBest("f", 4, target="y", fields="x"), prep.PCA(3, fields="x"), prep.LDA(2, target="y", fields="x")]
            )
            pipe.fit(hr.open(tmp_path / str(chunk)), num_threads=threads)
            assert pipe.passes_ == 3
            results.append([step.learned for step in pipe.steps])
            loader = hr.DataLoader(hr.open(tmp_path / str(chunk)), batch_size=500, prepare=pipe, num_workers=threads)
            results[-1].append({"out": np.concatenate([batch["x"].numpy() for batch in loader])})
    for other in results[1:]:
        np.testing.assert_equal(other, results[0])


def test_what_they_refuse() -> None:
    x, y = mixed(30)
    data = {"x": x, "y": y, "names": [str(one) for one in y], "one": np.zeros(30)}
    with pytest.raises(KeyError, match="no field 'z', its target"):
        prep.Pipeline([prep.LDA(target="z", fields="x")]).fit(data)
    with pytest.raises(TypeError, match="'names' is not one number a sample"):
        prep.Pipeline([prep.LDA(target="names", fields="x")]).fit(data)
    with pytest.raises(ValueError, match="samples of 1 classes"):
        prep.Pipeline([prep.LDA(target="one", fields="x")]).fit(data)
    with pytest.raises(ValueError, match="chi2 takes none below 0"):
        prep.Pipeline([prep.SelectKBest("chi2", 2, target="y", fields="x")]).fit(data)
    with pytest.raises(ValueError, match="its fields have 6 numbers"):
        prep.Pipeline([prep.SelectKBest("f", 7, target="y", fields="x")]).fit(data)
    with pytest.raises(ValueError, match="and as many as components"):
        prep.Pipeline([prep.PCA(7, fields="x")]).fit(data)
    with pytest.raises(ValueError, match="there are no fields for it"):
        prep.Pipeline([prep.PCA(2)]).fit(data)
    with pytest.raises(ValueError, match="score is 'g'"):
        prep.SelectKBest("g", target="y")
