"""Bootstrap intervals: keyed by a seed, whole groups together, and as often right as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.evaluate import assess, predictions
from headrace.evaluate.intervals import draws, percentiles


def test_resamples_are_keyed_by_the_seed_and_drawn_alike() -> None:
    counts = np.array(list(draws(50, 4000, 7)))
    assert (counts.sum(axis=1) == 50).all()
    assert np.array_equal(counts, np.array(list(draws(50, 4000, 7))))
    assert not np.array_equal(counts[:10], np.array(list(draws(50, 10, 8))))
    # Multinomial: mean 1, variance 1 - 1/50, of 4000 draws each.
    assert np.abs(counts.mean(axis=0) - 1).max() < 5 * np.sqrt(0.98 / 4000)
    assert counts.var(axis=0).mean() == pytest.approx(0.98, abs=0.02)


def test_groups_are_drawn_whole() -> None:
    groups = np.array(["a", "b", "a", "c", "b", "a"])
    for counts in draws(6, 50, 1, groups):
        for name in "abc":
            assert len(set(counts[groups == name])) == 1
        assert sum(counts[groups == name][0] for name in "abc") == 3


def test_95_percent_intervals_hold_the_truth_as_often() -> None:
    """Accuracy of 0.8, and an AUC of 0.7602 (normal scores one standard deviation apart), 200 times 100 samples."""
    rng, trials = np.random.default_rng(11), 200
    truth = {"accuracy": 0.8, "roc_auc": 0.7602499389065233}
    held = dict.fromkeys(truth, 0)
    for trial in range(trials):
        y = rng.integers(0, 2, 100)
        right = rng.random(100) < 0.8
        found = {"accuracy": assess(predictions(np.where(right, y, 1 - y), y, task="binary", classes="01"), ["accuracy"], resamples=200)}
        scores = 1 / (1 + np.exp(-(rng.normal(size=100) + y)))
        found["roc_auc"] = assess(predictions(scores, y), ["roc_auc"], resamples=200, seed=trial)
        for name, evaluation in found.items():
            inside = evaluation.figures[name].interval
            assert inside is not None
            held[name] += inside.low <= truth[name] <= inside.high
    for name, count in held.items():
        # Percentile intervals of 100 samples are a little short; 4 standard deviations of 200 trials are 0.06.
        assert 0.88 <= count / trials <= 0.99, (name, count)


def test_an_interval_of_groups_is_wider() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 30)
    right = np.repeat(rng.random(20) < 0.7, 30)  # All samples of a patient are right, or none.
    y = rng.integers(0, 2, 600)
    of = predictions(np.where(right, y, 1 - y), y)
    alone = assess(of, ["accuracy"]).figures["accuracy"].interval
    together = assess(of, ["accuracy"], groups=groups).figures["accuracy"].interval
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_undefined_resamples_are_left_out() -> None:
    found = percentiles(np.array([np.nan, 1.0, 2.0, 3.0]), 0.5)
    assert (found.low, found.high, found.resamples) == (1.5, 2.5, 3)
    assert np.isnan(percentiles(np.array([np.nan, np.nan, np.nan, 1.0]), 0.9).low)
