"""Curves of classification, as points: ROC, precision and recall, reliability. Depends on numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.evaluate.metrics import CALIBRATION_BINS, Ranked, average_precision, confidence_of, roc_area
from headrace.evaluate.predictions import Floats, Predictions

__all__ = ["Curve", "precision_recall", "reliability", "roc"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of one class, float64, all of the same length."""

    name: str
    x: Floats
    y: Floats
    thresholds: Floats  # of the score, at and above which a sample is taken to be of the class
    area: float  # NaN where the class, or any other, does not occur


def _ranked(of: Predictions) -> list[tuple[str, Floats, Floats, Floats]]:
    scores = of.class_scores
    numbers = [1] if of.task == "binary" else range(scores.shape[1])
    out = []
    for number in numbers:
        ranked = Ranked(scores[:, number], (of.target == number).astype(np.int64))
        out.append((of.classes[number], *ranked.counts(np.ones(len(of))), ranked.thresholds))
    return out


def roc(of: Predictions) -> list[Curve]:
    """Share of the others above each threshold (x), and of the class (y), from (0, 0) on; of class 1, or of each where there are more than two."""
    return [
        Curve(
            name=name,
            x=np.concatenate([[0.0], np.cumsum(others) / max(1.0, others.sum())]),
            y=np.concatenate([[0.0], np.cumsum(true) / max(1.0, true.sum())]),
            thresholds=np.concatenate([[np.inf], thresholds]),
            area=roc_area(true, others),
        )
        for name, true, others, thresholds in _ranked(of)
    ]


def precision_recall(of: Predictions) -> list[Curve]:
    """Recall (x) and precision (y) at each threshold, the highest first; classes as in roc(). `area` is the average precision."""
    return [
        Curve(
            name=name,
            x=np.cumsum(true) / max(1.0, true.sum()),
            y=np.cumsum(true) / np.cumsum(true + others),
            thresholds=thresholds,
            area=average_precision(true, others),
        )
        for name, true, others, thresholds in _ranked(of)
    ]


def reliability(of: Predictions, bins: int = CALIBRATION_BINS) -> tuple[Floats, Floats, Floats]:
    """(mean probability, share that came true, samples) of each bin of equal width that has samples."""
    said, came_true = confidence_of(of)
    numbers = np.minimum((said * bins).astype(np.int64), bins - 1)
    count = np.bincount(numbers, minlength=bins).astype(np.float64)
    there = count > 0
    means = [np.bincount(numbers, weights=values, minlength=bins)[there] / count[there] for values in (said, came_true)]
    return means[0], means[1], count[there]
