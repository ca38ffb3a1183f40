"""Comparisons equal what the papers' formulas give by hand, hold their level where nothing differs, and say what they mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import headrace as hr
from headrace.evaluate.compare import Comparison, corrected_t_test, five_by_two_f_test, mcnemar_test


def test_the_corrected_t_test_by_hand() -> None:
    """Ten folds, 90 % trained on. Mean 0.02, variance 0.0004 * 10 / 9; Nadeau and Bengio: t = 0.02 / sqrt((1/10 + 1/9) * variance)."""
    differences = np.array([0.04, 0.0] * 5)
    t, p, error = corrected_t_test(differences, 1 / 9)
    assert error**2 == pytest.approx((0.1 + 1 / 9) * 0.0004 * 10 / 9)
    assert t == pytest.approx(0.02 / math.sqrt(0.211111111111 * 0.000444444444444), rel=1e-9)
    assert p == pytest.approx(2 * stats.t(9).sf(t))
    # Without the correction it is scipy's paired t-test.
    plain = stats.ttest_1samp(differences, 0)
    assert corrected_t_test(differences, 0.0)[:2] == pytest.approx((plain.statistic, plain.pvalue))
    assert corrected_t_test(np.zeros(5), 0.25) == (0.0, 1.0, 0.0)
    assert corrected_t_test(np.full(5, 0.1), 0.25)[:2] == (math.inf, 0.0)


def test_the_5x2_f_test_by_hand() -> None:
    """Alpaydin 1999: f = sum of all squares / (2 * sum of the variances of the repeats)."""
    p = np.array([[0.02, 0.04], [0.01, 0.03], [0.05, 0.01], [0.00, 0.02], [0.03, 0.03]])
    squares = 0.0004 + 0.0016 + 0.0001 + 0.0009 + 0.0025 + 0.0001 + 0.0 + 0.0004 + 0.0009 + 0.0009
    variances = [2 * 0.01**2, 2 * 0.01**2, 2 * 0.02**2, 2 * 0.01**2, 0.0]
    f, p_value = five_by_two_f_test(p)
    assert f == pytest.approx(squares / (2 * sum(variances)))
    assert p_value == pytest.approx(stats.f(10, 5).sf(f))
    assert five_by_two_f_test(np.zeros((5, 2))) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"expected .5 repeats, 2 folds"):
        five_by_two_f_test(np.zeros((2, 5)))


def test_mcnemar_by_hand() -> None:
    """The approval of a prime minister, asked twice (Agresti 1990, page 350): 150 and 86 changed their minds, z squared is 17.36."""
    chi_squared, p = mcnemar_test(150, 86)
    assert chi_squared == pytest.approx(17.36, abs=0.005)
    exact = 2 * sum(math.comb(236, i) for i in range(87)) / 2**236
    assert p == pytest.approx(exact)
    assert mcnemar_test(0, 0) == (0.0, 1.0)
    assert mcnemar_test(1, 4)[1] == pytest.approx(2 * (1 + 5) / 32)


def evaluations(seed: int, right_a: float, right_b: float, n: int = 400) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    made = []
    for right in (right_a, right_b):
        said = np.where(rng.random(n) < right, y, 1 - y)
        made.append(hr.evaluate.assess(hr.evaluate.predictions(said, y), resamples=0))
    return made[0], made[1]


def test_fitted_classifiers_are_compared_by_mcnemar() -> None:
    a, b = evaluations(0, 0.9, 0.7)
    found = hr.evaluate.compare(a, b)
    right = [one.predictions.predicted == one.predictions.target for one in (a, b)]
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert found.better == "a"
    assert found.difference == pytest.approx(a["accuracy"] - b["accuracy"])
    assert found.effect_size == only_a / only_b
    assert found.low < found.difference < found.high
    assert "only a has right" in found.test
    assert "cross_validate() both" in found.says_not
    text = str(found)
    assert "does not say" in text
    assert "a is better by accuracy" in text
    assert hr.evaluate.compare(b, a).better == "b"
    assert hr.evaluate.compare(a, a).p_value == 1.0


@pytest.mark.parametrize("metric", [None, "f1"])
def test_the_level_holds_where_nothing_differs(metric: str | None) -> None:
    found = [hr.evaluate.compare(*evaluations(seed, 0.8, 0.8, 150), metric, resamples=200).p_value for seed in range(200)]
    # 5 % of 200, and 4 standard deviations: at most 22.
    assert sum(p < 0.05 for p in found) <= 22


def test_numbers_are_compared_by_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=300)
    noise = rng.normal(size=300)
    a, b = (hr.evaluate.assess(hr.evaluate.predictions(y + scale * noise, y), resamples=0) for scale in (0.5, 0.6))
    found = hr.evaluate.compare(a, b)
    assert found.metric == "mse"
    assert found.difference == pytest.approx((0.25 - 0.36) * np.mean(noise**2))
    assert found.better == "a"  # The lower error, although the difference is negative.
    assert found.p_value == pytest.approx(2 / 2001)
    # Errors that go together: its interval is that of the pairs, not of two samples.
    pairs = (0.25 - 0.36) * noise**2
    assert found.high - found.low == pytest.approx(2 * 1.96 * pairs.std() / np.sqrt(300), rel=0.15)


def folds(values: Any, plan: str = "p", k: int = 10, repeats: int = 1) -> Any:
    made = []
    for number, share in enumerate(values):
        y = np.zeros(100, np.int64)
        said = (np.arange(100) >= round(share * 100)).astype(np.int64)
        evaluation = hr.evaluate.assess(hr.evaluate.predictions(said, y), ["accuracy"], resamples=0)
        made.append(hr.evaluate.Fold(repeat=number // k, number=number % k, train_samples=900 if k == 10 else 100, evaluation=evaluation))
    return hr.evaluate.CrossValidation(scheme="made", k=k, repeats=repeats, folds=tuple(made), plan=plan)


def test_ways_of_fitting_are_compared_fold_by_fold() -> None:
    a, b = folds([0.9, 0.92, 0.9, 0.93, 0.9, 0.9, 0.92, 0.9, 0.91, 0.9]), folds([0.8, 0.83, 0.82, 0.8, 0.81, 0.8, 0.8, 0.82, 0.8, 0.81])
    found = hr.evaluate.compare(a, b)
    differences = a.values("accuracy") - b.values("accuracy")
    t, p, error = corrected_t_test(differences, 100 / 900)
    assert (found.statistic, found.p_value) == (t, p)
    assert found.low == pytest.approx(differences.mean() - stats.t(9).ppf(0.975) * error)
    assert found.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.better == "a"
    assert "models fitted on 900 samples" in found.says
    p = np.array([0.02, 0.04, 0.01, 0.03, 0.05, 0.01, 0.0, 0.02, 0.03, 0.03])
    twice = hr.evaluate.compare(folds(0.8 + p, k=2, repeats=5), folds(np.full(10, 0.8), k=2, repeats=5))
    assert "5x2cv" in twice.test
    assert (twice.statistic, twice.p_value) == pytest.approx(five_by_two_f_test(p.reshape(5, 2)))
    assert np.isnan(twice.low)
    assert "interval" not in str(twice)


def test_what_is_not_comparable_is_refused() -> None:
    a, _ = evaluations(0, 0.9, 0.7)
    other, _ = evaluations(3, 0.9, 0.7)
    with pytest.raises(ValueError, match="different samples"):
        hr.evaluate.compare(a, other)
    with pytest.raises(ValueError, match="other folds"):
        hr.evaluate.compare(folds([0.9, 0.8]), folds([0.9, 0.8], plan="q"))
    with pytest.raises(ValueError, match="one fold has no spread"):
        hr.evaluate.compare(folds([0.9]), folds([0.8]))
    with pytest.raises(TypeError, match="got Evaluation and CrossValidation"):
        hr.evaluate.compare(a, folds([0.9]))
    with pytest.raises(ValueError, match="resamples must be in"):
        hr.evaluate.compare(a, a, "roc_auc", resamples=0)
    assert isinstance(hr.evaluate.compare(a, a), Comparison)
