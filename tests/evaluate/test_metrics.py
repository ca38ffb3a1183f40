"""Metrics equal scikit-learn's, and torchmetrics' to the digits that it has; so do weighted ones, which intervals are made of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torchmetrics.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headrace.evaluate import metrics as known
from headrace.evaluate.curves import precision_recall, reliability, roc
from headrace.evaluate.predictions import Counted, Predictions, predictions

N = 700


def value(name: str, of: Predictions, weights: Any = None) -> float:
    return known.named(name, of).prepare(of)(Counted(of, weights))


@pytest.fixture(params=["continuous", "tied"])
def binary(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, N)
    s = np.clip(0.3 * y + 0.7 * rng.random(N), 0, 1)
    return y, np.round(s, 1) if request.param == "tied" else s


@pytest.fixture
def three() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    y = rng.choice(3, N, p=[0.6, 0.3, 0.1])
    p = rng.dirichlet([1, 1, 1], N) + np.eye(3)[y] * rng.random((N, 1))
    return y, p / p.sum(axis=1, keepdims=True)


WEIGHTS = np.random.default_rng(3).poisson(1.0, N).astype(np.float64)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["once", "resampled"])
def test_of_two_classes(binary: tuple[Any, Any], weights: Any) -> None:
    y, s = binary
    of, said = predictions(s, y), (s > 0.5).astype(int)
    w = {"sample_weight": weights}
    expected = {
        "accuracy": sk.accuracy_score(y, said, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said, **w),
        "precision": sk.precision_score(y, said, **w),
        "recall": sk.recall_score(y, said, **w),
        "f1": sk.f1_score(y, said, **w),
        "f1_macro": sk.f1_score(y, said, average="macro", **w),
        "f1_weighted": sk.f1_score(y, said, average="weighted", **w),
        "precision_micro": sk.precision_score(y, said, average="micro", **w),
        "mcc": sk.matthews_corrcoef(y, said, **w),
        "kappa": sk.cohen_kappa_score(y, said, **w),
        "roc_auc": sk.roc_auc_score(y, s, **w),
        "average_precision": sk.average_precision_score(y, s, **w),
        "log_loss": sk.log_loss(y, s, **w),
        "brier": sk.brier_score_loss(y, s, **w),
        "error": sk.zero_one_loss(y, said, **w),
    }
    for name, other in expected.items():
        assert value(name, of, weights) == pytest.approx(other, rel=1e-12, abs=1e-13), name


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["once", "resampled"])
def test_of_three_classes(three: tuple[Any, Any], weights: Any) -> None:
    y, p = three
    of, said = predictions(p, y), p.argmax(axis=1)
    w = {"sample_weight": weights}
    expected = {"accuracy": sk.accuracy_score(y, said, **w), "balanced_accuracy": sk.balanced_accuracy_score(y, said, **w)}
    for average in ("macro", "micro", "weighted"):
        expected[f"precision_{average}"] = sk.precision_score(y, said, average=average, **w)
        expected[f"recall_{average}"] = sk.recall_score(y, said, average=average, **w)
        expected[f"f1_{average}"] = sk.f1_score(y, said, average=average, **w)
    expected |= {
        "f1": sk.f1_score(y, said, average="macro", **w),
        "mcc": sk.matthews_corrcoef(y, said, **w),
        "kappa": sk.cohen_kappa_score(y, said, **w),
        "roc_auc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro", **w),
        "average_precision": sk.average_precision_score(np.eye(3)[y], p, average="macro", **w),
        "log_loss": sk.log_loss(y, p, **w),
        "brier": np.average(((p - np.eye(3)[y]) ** 2).sum(axis=1), weights=weights),  # scikit-learn before 1.7 knows two classes
        "top_2_accuracy": sk.top_k_accuracy_score(y, p, k=2, **w),
    }
    for name, other in expected.items():
        assert value(name, of, weights) == pytest.approx(other, rel=1e-12, abs=1e-13), name


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["once", "resampled"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_of_numbers(weights: Any, outputs: int) -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=(N, outputs)) + 3
    s = y + rng.normal(size=(N, outputs)) * 0.5
    of, w = predictions(s, y, task="regression"), {"sample_weight": weights}
    expected = {
        "mse": sk.mean_squared_error(y, s, **w),
        "rmse": sk.root_mean_squared_error(y, s, **w),
        "mae": sk.mean_absolute_error(y, s, **w),
        "mape": sk.mean_absolute_percentage_error(y, s, **w),
        "r2": sk.r2_score(y, s, **w),
        "explained_variance": sk.explained_variance_score(y, s, **w),
    }
    rows = np.arange(N) if weights is None else np.repeat(np.arange(N), weights.astype(int))
    expected["pearson"] = np.mean([stats.pearsonr(y[rows, i], s[rows, i])[0] for i in range(outputs)])
    expected["spearman"] = np.mean([stats.spearmanr(y[rows, i], s[rows, i])[0] for i in range(outputs)])
    for name, other in expected.items():
        assert value(name, of, weights) == pytest.approx(other, rel=1e-11), name


@pytest.mark.parametrize("at", [0.1, 0.0, 1e9 + 0.1])
@pytest.mark.parametrize("off", [0.0, 1e-3, 1.0])
def test_a_target_without_spread(at: float, off: float) -> None:
    y = np.full(31, at)
    for said, is_off_by_the_same in ((y + off, True), (y + off * np.arange(31), off == 0)):
        of = predictions(said, y, task="regression")
        # As scikit-learn defines them; of 31 times 0.1 it computes a spread of 1e-34, and then -1e30.
        assert value("r2", of) == (1.0 if off == 0 else 0.0)
        assert value("explained_variance", of) == (1.0 if is_off_by_the_same else 0.0)
        assert np.isnan(value("pearson", of))
        assert np.isnan(value("spearman", of))
    assert sk.r2_score([2.0, 2.0], [2.0, 2.0 + off]) == (1.0 if off == 0 else 0.0)
    both = predictions(np.stack([y + off, np.arange(31.0)], axis=1), np.stack([y, np.arange(31.0)], axis=1), task="regression")
    assert value("r2", both) == (1.0 if off == 0 else 0.5)
    assert np.isnan(value("r2", predictions([at + off], [at], task="regression")))


def test_a_small_spread_far_from_zero_is_one() -> None:
    y = 1e6 + np.random.default_rng(5).normal(size=200) * 1e-3
    said = y + np.random.default_rng(6).normal(size=200) * 1e-4
    of = predictions(said, y, task="regression")
    # What float64 keeps of such values is 1e-7 of their spread.
    assert value("r2", of) == pytest.approx(sk.r2_score(y, said), rel=1e-6)
    assert value("pearson", of) == pytest.approx(stats.pearsonr(y, said)[0], rel=1e-6)


def test_calibration_is_that_of_torchmetrics(binary: tuple[Any, Any], three: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(5)
    y, s = binary[0], rng.random(N)
    theirs = tm.BinaryCalibrationError(n_bins=15)(torch.tensor(s), torch.tensor(y))
    assert value("calibration_error", predictions(s, y)) == pytest.approx(float(theirs), rel=1e-5)
    y, p = three
    theirs = tm.MulticlassCalibrationError(3, n_bins=15)(torch.tensor(p), torch.tensor(y))
    assert value("calibration_error", predictions(p, y)) == pytest.approx(float(theirs), rel=1e-5)


def test_curves_are_those_of_scikit_learn(binary: tuple[Any, Any]) -> None:
    y, s = binary
    of = predictions(s, y)
    (curve,) = roc(of)
    x, rate, thresholds = sk.roc_curve(y, s, drop_intermediate=False)
    assert np.allclose(curve.x, x, rtol=0, atol=1e-15)
    assert np.allclose(curve.y, rate, rtol=0, atol=1e-15)
    assert np.array_equal(curve.thresholds, thresholds)
    assert curve.area == pytest.approx(sk.roc_auc_score(y, s), rel=1e-13)
    (curve,) = precision_recall(of)
    precision, recall, thresholds = sk.precision_recall_curve(y, s)
    assert np.allclose(curve.y[::-1], precision[:-1], rtol=0, atol=1e-15)
    assert np.allclose(curve.x[::-1], recall[:-1], rtol=0, atol=1e-15)
    assert np.array_equal(curve.thresholds[::-1], thresholds)


def test_reliability_counts_every_sample(binary: tuple[Any, Any]) -> None:
    y, s = binary
    said, came_true, counts = reliability(predictions(s, y))
    assert counts.sum() == N
    assert (said * counts).sum() == pytest.approx(s.sum())
    assert (came_true * counts).sum() == pytest.approx(y.sum())


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_area_is_the_share_of_pairs_in_order(data: Any) -> None:
    n = data.draw(st.integers(2, 30))
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    s = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))) / 5
    w = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.float64)
    pairs = [(w[i] * w[j], (s[i] > s[j]) + 0.5 * (s[i] == s[j])) for i in range(n) for j in range(n) if y[i] == 1 and y[j] == 0]
    found = value("roc_auc", predictions(s, y, classes=["a", "b"]), w)
    if sum(weight for weight, _ in pairs) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(sum(a * b for a, b in pairs) / sum(a for a, _ in pairs))


def test_classes_that_do_not_occur() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    of = predictions(p, y, classes=["a", "b", "never"])
    said = p.argmax(axis=1)
    assert value("f1", of) == pytest.approx(sk.f1_score(y, said, average="macro"))
    assert value("roc_auc", of) == pytest.approx(np.mean([sk.roc_auc_score(y == i, p[:, i]) for i in range(2)]))
    # Predicted and never true: precision 0, and counted, as scikit-learn does.
    of = predictions(np.array([0, 2, 1, 1]), y, classes=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert value("recall", of) == pytest.approx(sk.recall_score(y, [0, 2, 1, 1], average="macro"))
    assert np.isnan(value("roc_auc", predictions(np.array([0.1, 0.2]), np.array([0, 0]))))
    assert value("r2", predictions(np.array([1.0, 2.0]), np.array([0.5, 0.5]))) == sk.r2_score([0.5, 0.5], [1.0, 2.0]) == 0


def test_logits() -> None:
    rng = np.random.default_rng(6)
    y, z = rng.integers(0, 2, N), rng.normal(size=N) * 300
    of = predictions(z, y, outputs="logits")
    # A sigmoid that overflows nowhere, and a class that is wrong by 700 logits costs what the smallest number can say.
    assert np.array_equal(of.predicted, (z > 0).astype(int))
    assert np.isfinite(value("log_loss", of))
    z3 = rng.normal(size=(N, 3))
    y3 = rng.integers(0, 3, N)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(z3), torch.tensor(y3))
    assert value("log_loss", predictions(z3, y3, outputs="logits")) == pytest.approx(float(theirs), rel=1e-12)
    two = predictions(np.stack([np.zeros(N), z / 300], axis=1), y, outputs="logits")
    assert np.allclose(two.scores, predictions(z / 300, y, outputs="logits").scores, atol=1e-15)


@pytest.mark.parametrize(
    ("output", "target", "options", "message"),
    [
        ([0.1, 1.5], [0, 1], {}, r"sample 1: 1\.5 are no probabilities.*outputs='logits'"),
        ([[0.5, 0.1, 0.1]], [0], {}, "sample 0: .* add up to 1"),
        ([0.1, float("nan")], [0, 1], {}, "the prediction of sample 1 is nan"),
        ([0.1, 0.2], [0, 3], {}, "the label of sample 1 is 3: give task='regression'"),
        ([[0.2, 0.3, 0.5]], [3], {}, "the label of sample 0 is 3; there are 3 classes"),
        ([0.1], [0, 1], {}, "there are 1 predictions for 2 labels"),
        ([], [], {}, "there are no samples"),
        ([0, 1], [0, 1], {"classes": ["a", "b", "c"], "task": "binary"}, None),
        (["a", "x"], ["a", "b"], {"classes": ["a", "b"]}, "'x', which is none of the classes"),
        ([0, 1], [0.5, 1], {"task": "multiclass"}, "the label of sample 0 is 0.5; expected the number of a class"),
        ([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], {}, "predictions have shape .2, 1., labels .2, 2."),
        ([object()], [0], {}, "predictions are object"),
        ([0, 1], [0, 1], {"task": "ranking"}, "task must be"),
        ([0, 10**12], [0, 1], {}, "the largest class is 1000000000000; at most 16384 are counted"),
        ([0.1, 0.2], [0, 1], {"threshold": float("nan")}, "threshold is nan"),
    ],
)
def test_what_does_not_fit_is_named(output: Any, target: Any, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert predictions(output, target, **options).classes == ("a", "b", "c")
        return
    with pytest.raises(ValueError, match=message):
        predictions(output, target, **options)


def test_metrics_that_do_not_fit_are_refused() -> None:
    of = predictions(np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="roc_auc needs probabilities"):
        known.named("roc_auc", of)
    with pytest.raises(ValueError, match=r"there is no metric 'mse' of binary; expected .*accuracy.*top_<k>_accuracy"):
        known.named("mse", of)
