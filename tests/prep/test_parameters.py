"""Parameters as scikit-learn keeps them, and those that make no sense: named where they are given, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.base

from headrace import prep

STEPS = [
    prep.Clean(replace={"a": None, "b": "c"}),
    prep.OneHot(3, min_frequency=0.1),
    prep.Bucketize([1, 2]),
    prep.Bucketize(n=3),
    prep.Cross("a", "b"),
    prep.Hash(3),
    prep.DateParts(["year"]),
    prep.Polynomial(2),
    prep.PCA(2),
    prep.LDA(target="y"),
    prep.SelectKBest("f", 2, target="y"),
    prep.Cast("int8"),
    prep.Concat("z"),
    prep.Clip(0, 1),
    prep.Outliers("quantile", threshold=(0.1, 0.9)),
    prep.Robust(quantile_range=(5, 95)),
    prep.Quantile("normal"),
    prep.Power("box-cox"),
    prep.Ordinal(unknown_value=np.nan, dtype="float32"),
    prep.MinMax((1, 2), clip=True),
]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_scikit_learn_clones_steps_and_pipelines(step: prep.Step) -> None:
    assert sklearn.base.clone(step) == step
    assert sklearn.base.clone(step) is not step
    assert sklearn.base.clone(prep.Pipeline([step], fields=["a", "b"])) == prep.Pipeline([step.clone()], fields=["a", "b"])
    assert prep.Pipeline.from_json(prep.Pipeline([step]).to_json()).steps == [step]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: prep.Ordinal(unknown_value=np.inf), ValueError, "unknown_value is inf; expected a whole number that int64 holds"),
        (lambda: prep.Ordinal(unknown_value=300, dtype="int8"), ValueError, "unknown_value is 300; expected a whole number that int8"),
        (lambda: prep.OneHot(2.5), ValueError, "max_categories is 2.5"),  # type: ignore[arg-type]
        (lambda: prep.Bucketize(n=2.5), ValueError, "n is 2.5"),  # type: ignore[arg-type]
        (lambda: prep.Quantile(n_quantiles=2.5), ValueError, "n_quantiles is 2.5"),  # type: ignore[arg-type]
        (lambda: prep.Hash(2.5), ValueError, "n is 2.5"),  # type: ignore[arg-type]
        (lambda: prep.MinMax("ab"), ValueError, "feature_range is 'ab'"),  # type: ignore[arg-type]
        (lambda: prep.Impute("constant", fill_value="x"), TypeError, "fill_value is 'x'"),  # type: ignore[arg-type]
        (lambda: prep.Pipeline([prep.Polynomial(12, fields="a")]).fit({"a": np.ones((3, 40))}), ValueError, "206,379,406,870 products"),
        (
            lambda: prep.Pipeline([prep.Hash(1 << 40, onehot=True, fields="a")]).fit({"a": np.ones(3)}),
            ValueError,
            "1,099,511,627,776 columns",
        ),
        (lambda: prep.Pipeline([prep.Standardize()]).set_params(steps=[5]), TypeError, r"steps\[0\] is int"),
    ],
)
def test_senseless_parameters(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_a_step_that_is_there_twice() -> None:
    scale = prep.MinMax((0, 3))
    with pytest.raises(ValueError, match=r"steps\[2\], MinMax\(feature_range=\(0, 3\)\), is an object that is there before"):
        prep.Pipeline([scale, prep.Log1p(), scale])
    made = prep.Pipeline([scale, prep.Log1p(), scale.clone()]).fit_transform({"a": np.array([0.0, 1, 2, 9])})["a"]
    np.testing.assert_allclose(made, 3 * np.log1p([0, 1 / 3, 2 / 3, 3]) / np.log1p(3), rtol=1e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [prep.Standardize(fields="a"), prep.Concat("b")],
        [prep.Impute("constant", indicator=True, fields="b")],
        [prep.PCA(1, fields=["a", "b"], name="b_missing")],
    ],
)
def test_no_step_takes_another_fields_name(steps: list[prep.Step]) -> None:
    with pytest.raises(ValueError, match=r"there is a field '.*' already; give another name"):
        prep.Pipeline(steps).fit({"a": np.arange(3.0), "b": np.ones(3), "b_missing": np.ones(3)})


def test_a_change_by_set_params_unfits() -> None:
    pipe = prep.Pipeline([prep.Standardize()]).fit({"a": np.arange(3.0)})
    pipe.set_params(**{"0__with_mean": False})
    with pytest.raises(prep.NotFittedError, match="has not been fitted"):
        pipe.transform({"a": np.ones(2)})
