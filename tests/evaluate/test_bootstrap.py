"""The .632+ bootstrap: the paper's formulas by hand, and closer to the truth than what it corrects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeRegressor

import headrace as hr
from headrace.evaluate.bootstrap import no_information, six_three_two_plus
from headrace.evaluate.predictions import predictions


def test_the_formula_by_hand() -> None:
    # One nearest neighbour and labels that mean nothing (Efron and Tibshirani 1997, section 3): apparent 0, left out and no information 0.5.
    assert six_three_two_plus(0.0, 0.5, 0.5) == pytest.approx((0.5, 0.316, 1.0))
    # No overfitting: the .632 estimate.
    assert six_three_two_plus(0.2, 0.2, 0.5) == pytest.approx((0.2, 0.2, 0.0))
    # In between, by the other form of the estimate: weight w = .632 / (1 - .368 R), (1 - w) apparent + w left out.
    value, plain, overfitting = six_three_two_plus(0.1, 0.3, 0.5)
    assert overfitting == pytest.approx(0.5)
    weight = 0.632 / (1 - 0.368 * 0.5)
    assert value == pytest.approx((1 - weight) * 0.1 + weight * 0.3)
    assert plain == pytest.approx(0.368 * 0.1 + 0.632 * 0.3)
    # Worse than no information counts as such.
    assert six_three_two_plus(0.0, 0.7, 0.5)[2] == 1.0


@pytest.mark.parametrize("loss", ["error", "log_loss", "brier"])
def test_no_information_is_the_mean_of_all_pairs(loss: str) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 40), rng.dirichlet([1, 1, 1], 40)
    said = p.argmax(axis=1)
    pairs = {
        "error": [float(a != b) for a in y for b in said],
        "log_loss": [-np.log(row[a]) for a in y for row in p],
        "brier": [((row - np.eye(3)[a]) ** 2).sum() for a in y for row in p],
    }[loss]
    assert no_information(loss, predictions(p, y)) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_no_information_of_numbers(loss: str) -> None:
    rng = np.random.default_rng(1)
    y, f = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 0.3
    apart = y[:, None, :] - f[None, :, :]
    expected = (apart**2).mean() if loss == "mse" else np.abs(apart).mean()
    assert no_information(loss, predictions(f, y, task="regression")) == pytest.approx(expected)


def nearest(train: Any) -> Any:
    x, y = train[:]
    model = KNeighborsClassifier(1).fit(x, y)
    return lambda x: model.predict(x.numpy())


def test_an_overfitting_classifier_is_found_out() -> None:
    """One nearest neighbour: always right on what it saw. The truth is the error on 20,000 other samples, the mean over 12 datasets."""
    rng = np.random.default_rng(2)

    def draw(n: int) -> tuple[Any, Any]:
        x = rng.normal(size=(n, 2))
        return x, (x[:, 0] + rng.normal(size=n) > 0).astype(np.int64)

    x_far, y_far = draw(20_000)
    truths, plus, plain = [], [], []
    for seed in range(12):
        x, y = draw(80)
        found = hr.evaluate.bootstrap(nearest, hr.from_arrays((x, y)), 20, seed=seed)
        assert found.apparent == 0.0
        truths.append(1 - KNeighborsClassifier(1).fit(x, y).score(x_far, y_far))
        plus.append(found.value)
        plain.append(found.six_three_two)
    assert np.mean(plus) == pytest.approx(np.mean(truths), abs=0.07)  # It corrects most of what is missing, and not all.
    assert abs(np.mean(plus) - np.mean(truths)) < abs(np.mean(plain) - np.mean(truths))


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_threads_and_numbers(jobs: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(90, 2))
    dataset = hr.from_arrays((x, x[:, 0] * 2 + rng.normal(size=90)))

    def tree(train: Any, seed: int) -> Any:
        model = DecisionTreeRegressor(max_depth=4, random_state=seed).fit(*train[:])
        return lambda x: model.predict(x.numpy())

    found = hr.evaluate.bootstrap(tree, dataset, 12, loss="mse", jobs=jobs)
    assert found == hr.evaluate.bootstrap(tree, dataset, 12, loss="mse")
    assert found.apparent < found.value < found.no_information
    assert "(.632+ of 12 resamples of 90 samples)" in str(found)


def test_left_out_is_averaged_by_sample_first() -> None:
    """Efron and Tibshirani's leave-one-out bootstrap: a sample that more resamples left out counts no more than others."""
    from headrace.datasets.splits import bootstrap_rows

    y = np.array([0, 0, 1, 1, 0, 1, 1, 0, 0, 0])
    dataset = hr.from_arrays((np.arange(10.0)[:, None], y))

    def most(train: Any) -> Any:
        common = int(np.bincount(train[:][1]).argmax())
        return lambda x: np.full(len(x), common)

    found = hr.evaluate.bootstrap(most, dataset, 15, seed=4)
    wrong: list[list[float]] = [[] for _ in y]
    for drawn, left in bootstrap_rows(10, 15, seed=4):
        for row in left:
            wrong[row].append(float(np.bincount(y[drawn]).argmax() != y[row]))
    assert found.left_out == pytest.approx(np.mean([np.mean(one) for one in wrong if one]))


def test_other_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="loss is 'f1'; expected a mean over samples: error, log_loss"):
        hr.evaluate.bootstrap(nearest, hr.from_arrays((np.zeros((4, 1)), np.array([0, 1, 0, 1]))), loss="f1")


@pytest.mark.parametrize(("loss", "y"), [("mse", np.array([0, 1] * 20)), ("error", np.arange(40) / 7)])
def test_losses_of_another_task_are_refused(loss: str, y: Any) -> None:
    told = "regression; expected one of mse, mae" if loss == "error" else "binary; expected one of error, log_loss, brier"
    with pytest.raises(ValueError, match=f"{loss!r} is no mean over samples of {told}"):
        hr.evaluate.bootstrap(lambda _: lambda x: x[:, 0], hr.from_arrays((np.full((40, 1), 0.25), y)), 3, loss=loss)
