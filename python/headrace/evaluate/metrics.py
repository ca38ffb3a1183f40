"""Metrics of predictions, each as a function of how often every sample counts: the figure itself is that of once each, an interval that of resamples.

In float64, and equal to scikit-learn's, which the tests hold. What can be sorted or looked up once is, when a metric is prepared; a resample then
costs one or two passes over the samples. Depends on numpy only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.evaluate.predictions import Counted, Floats, Integers, Predictions
from headrace.evaluate.regression import mape, pearson, rmse, share_explained, spearman

__all__ = ["DEFAULTS", "LOSSES", "Kernel", "Metric", "check_names", "is_of_scores", "losses_of", "named"]

Kernel = Callable[[Counted], float]
CALIBRATION_BINS = 15

DEFAULTS = {
    "binary": ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc"),
    "multiclass": ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc"),
    "regression": ("mse", "rmse", "mae", "r2"),
}
DEFAULTS_OF_SCORES = ("roc_auc", "average_precision", "log_loss", "brier", "calibration_error")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric by name. `prepare` looks at the predictions once and returns the figure as a function of their counts; NaN where it is not defined."""

    name: str
    prepare: Callable[[Predictions], Kernel]
    is_better_high: bool | None = True  # None: not known
    tasks: frozenset[str] = frozenset({"binary", "multiclass"})
    needs_scores: bool = False
    # Of a resample the bins of a calibration deviate by chance a second time: its percentiles would lie above the figure itself.
    has_interval: bool = True


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole; 0 where both are, as scikit-learn has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


# -- of the confusion matrix -------------------------------------------------------------------------------------------------------


def accuracy(c: Floats) -> float:
    """Share of the samples whose class was found."""
    return float(np.trace(c) / c.sum())


def balanced_accuracy(c: Floats) -> float:
    """Mean over the classes that there are of the share found."""
    there = c.sum(axis=1) > 0
    return float((np.diag(c)[there] / c.sum(axis=1)[there]).mean())


def mcc(c: Floats) -> float:
    """Matthews's correlation, in Gorodkin's form for several classes; 0 where one class alone is true, or predicted."""
    n, true, said = c.sum(), c.sum(axis=1), c.sum(axis=0)
    below = (n * n - (said * said).sum()) * (n * n - (true * true).sum())
    return float((np.trace(c) * n - true @ said) / np.sqrt(below)) if below > 0 else 0.0


def kappa(c: Floats) -> float:
    """Cohen's: agreement beyond that of chance."""
    n, by_chance = c.sum(), c.sum(axis=1) @ c.sum(axis=0)
    return float((np.trace(c) * n - by_chance) / (n * n - by_chance)) if n * n > by_chance else float("nan")


def by_class(c: Floats) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class."""
    hits = np.diag(c).copy()
    return _ratio(hits, c.sum(axis=0)), _ratio(hits, c.sum(axis=1)), _ratio(2 * hits, c.sum(axis=0) + c.sum(axis=1))


def _averaged(which: int, average: str) -> Callable[[Floats], float]:
    def value(c: Floats) -> float:
        if average == "micro":
            return accuracy(c)  # A prediction that is wrong for one class is so for another.
        figures = by_class(c)[which]
        if average == "one":
            return float(figures[1])
        true = c.sum(axis=1)
        if average == "weighted":
            return float(figures @ true / true.sum())
        return float(figures[(true > 0) | (c.sum(axis=0) > 0)].mean())

    return value


def _of_confusion(value: Callable[[Floats], float]) -> Callable[[Predictions], Kernel]:
    return lambda _predictions: lambda counted: value(counted.confusion)


def _one_or_macro(which: int) -> Callable[[Predictions], Kernel]:
    """Of class 1 where there are two, else the mean over classes."""

    def prepare(of: Predictions) -> Kernel:
        value = _averaged(which, "one" if of.task == "binary" else "macro")
        return lambda counted: value(counted.confusion)

    return prepare


# -- of an order of scores ---------------------------------------------------------------------------------------------------------


class Ranked:
    """Samples in falling order of a score, equal scores together; is_true: which of them are of the class."""

    def __init__(self, scores: Floats, is_true: Integers) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.is_true = is_true[self.order].astype(np.float64)
        self.thresholds = ordered[self.starts]

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """(of the class, of others) among samples of each different score."""
        ordered = weights[self.order]
        true = np.add.reduceat(ordered * self.is_true, self.starts)
        return true, np.add.reduceat(ordered, self.starts) - true


def roc_area(true: Floats, others: Floats) -> float:
    """Probability that a sample of the class has the higher score, ties counting half."""
    both = true.sum() * others.sum()
    return float((others * (np.cumsum(true) - true / 2)).sum() / both) if both > 0 else float("nan")


def average_precision(true: Floats, others: Floats) -> float:
    """Sum of precision times the growth of recall, without interpolation."""
    if true.sum() == 0:
        return float("nan")
    hits = np.cumsum(true)
    return float((true * _ratio(hits, hits + np.cumsum(others))).sum() / hits[-1])


def _of_ranks(area: Callable[[Floats, Floats], float]) -> Callable[[Predictions], Kernel]:
    def prepare(of: Predictions) -> Kernel:
        scores = of.class_scores
        numbers = [1] if of.task == "binary" else range(scores.shape[1])
        ranked = [Ranked(scores[:, number], (of.target == number).astype(np.int64)) for number in numbers]

        def value(counted: Counted) -> float:
            areas = np.array([area(*one.counts(counted.weights)) for one in ranked])
            there = areas[~np.isnan(areas)]
            return float(there.mean()) if len(there) else float("nan")

        return value

    return prepare


# -- means over samples ------------------------------------------------------------------------------------------------------------


def _log_losses(of: Predictions) -> Floats:
    own = np.take_along_axis(of.class_scores, of.target[:, None], axis=1)[:, 0]
    tiny = of.clip or np.finfo(np.float64).tiny
    return -np.log(np.clip(own, tiny, 1 - of.clip))


def _brier_losses(of: Predictions) -> Floats:
    if of.task == "binary" and of.scores is not None:
        return np.asarray(np.square(of.scores - of.target))
    scores = of.class_scores
    own = np.take_along_axis(scores, of.target[:, None], axis=1)[:, 0]
    return np.asarray(np.square(scores).sum(axis=1) - 2 * own + 1)


LOSSES: dict[str, Callable[[Predictions], Floats]] = {
    "error": lambda of: (of.target != of.predicted).astype(np.float64),
    "log_loss": _log_losses,
    "brier": _brier_losses,
    "mse": lambda of: ((of.target - of.predicted) ** 2).mean(axis=1),
    "mae": lambda of: np.abs(of.target - of.predicted).mean(axis=1),
}


def losses_of(name: str, of: Predictions) -> Floats:
    """What each sample adds to a loss that is a mean over samples, float64, shape (n,). Raises ValueError for another metric, or one of another task."""
    fitting = [loss for loss in LOSSES if of.task in _METRICS[loss].tasks]
    if name not in fitting:
        raise ValueError(f"{name!r} is no mean over samples of {of.task}; expected one of {', '.join(fitting)}")
    return LOSSES[name](of)


def _mean_of(losses: Callable[[Predictions], Floats]) -> Callable[[Predictions], Kernel]:
    def prepare(of: Predictions) -> Kernel:
        values = losses(of)
        return lambda counted: float(counted.mean(values))

    return prepare


def _top(k: int) -> Callable[[Predictions], Floats]:
    def found(of: Predictions) -> Floats:
        own = np.take_along_axis(of.class_scores, of.target[:, None], axis=1)
        return np.asarray((of.class_scores > own).sum(axis=1) < k, dtype=np.float64)

    return found


def confidence_of(of: Predictions) -> tuple[Floats, Floats]:
    """(probability, whether it came true) of each sample: of class 1 where there are two, else of the class that was predicted."""
    if of.task == "binary" and of.scores is not None:
        return of.scores, of.target.astype(np.float64)
    own = np.take_along_axis(of.class_scores, of.predicted[:, None], axis=1)[:, 0]
    return own, (of.predicted == of.target).astype(np.float64)


def _calibration_error(of: Predictions) -> Kernel:
    """Mean over bins of equal width of |mean probability - share that came true|, by samples (Naeini et al. 2015)."""
    said, came_true = confidence_of(of)
    bins = np.minimum((said * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gap = said - came_true

    def value(counted: Counted) -> float:
        return float(np.abs(np.bincount(bins, weights=counted.weights * gap, minlength=CALIBRATION_BINS)).sum() / counted.total)

    return value


_REGRESSION = frozenset({"regression"})
_METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", prepare=_of_confusion(accuracy)),
        Metric(name="error", prepare=_mean_of(LOSSES["error"]), is_better_high=False),
        Metric(name="balanced_accuracy", prepare=_of_confusion(balanced_accuracy)),
        *(Metric(name=name, prepare=_one_or_macro(which)) for which, name in enumerate(("precision", "recall", "f1"))),
        *(
            Metric(name=f"{name}_{average}", prepare=_of_confusion(_averaged(which, average)))
            for which, name in enumerate(("precision", "recall", "f1"))
            for average in ("macro", "micro", "weighted")
        ),
        Metric(name="mcc", prepare=_of_confusion(mcc)),
        Metric(name="kappa", prepare=_of_confusion(kappa)),
        Metric(name="roc_auc", prepare=_of_ranks(roc_area), needs_scores=True),
        Metric(name="average_precision", prepare=_of_ranks(average_precision), needs_scores=True),
        Metric(name="log_loss", prepare=_mean_of(_log_losses), is_better_high=False, needs_scores=True),
        Metric(name="brier", prepare=_mean_of(_brier_losses), is_better_high=False, needs_scores=True),
        Metric(name="calibration_error", prepare=_calibration_error, is_better_high=False, needs_scores=True, has_interval=False),
        Metric(name="mse", prepare=_mean_of(LOSSES["mse"]), is_better_high=False, tasks=_REGRESSION),
        Metric(name="rmse", prepare=rmse, is_better_high=False, tasks=_REGRESSION),
        Metric(name="mae", prepare=_mean_of(LOSSES["mae"]), is_better_high=False, tasks=_REGRESSION),
        Metric(name="mape", prepare=_mean_of(mape), is_better_high=False, tasks=_REGRESSION),
        Metric(name="r2", prepare=share_explained(centred=False), tasks=_REGRESSION),
        Metric(name="explained_variance", prepare=share_explained(centred=True), tasks=_REGRESSION),
        Metric(name="pearson", prepare=pearson, tasks=_REGRESSION),
        Metric(name="spearman", prepare=spearman, tasks=_REGRESSION),
    )
}


def _of_name(name: str) -> Metric | None:
    top = re.fullmatch(r"top_([1-9]\d{0,5})_accuracy", name)
    return Metric(name=name, prepare=_mean_of(_top(int(top[1]))), needs_scores=True) if top else _METRICS.get(name)


def check_names(metrics: Iterable[Any] | None) -> None:
    """Raise TypeError for a text in place of a list, ValueError for a name of no metric at all: before anything is fitted or run in order to be measured."""
    if isinstance(metrics, str):
        raise TypeError(f"metrics is {metrics!r}; expected a list: metrics=[{metrics!r}]")
    for name in metrics or ():
        if isinstance(name, str) and _of_name(name) is None:
            raise ValueError(
                f"there is no metric {name!r}; expected a torchmetrics.Metric, a function or one of {', '.join(_METRICS)}, top_<k>_accuracy"
            )


def is_of_scores(name: str) -> bool:
    """Whether a metric needs probabilities."""
    metric = _of_name(name)
    return metric is not None and metric.needs_scores


def named(name: str, of: Predictions) -> Metric:
    """The metric of a name, if it fits these predictions: `top_5_accuracy` with any number. Raises ValueError that lists those that do."""
    metric = _of_name(name)
    if metric is None or of.task not in metric.tasks:
        fitting = [one.name for one in _METRICS.values() if of.task in one.tasks] + (["top_<k>_accuracy"] if of.classes else [])
        raise ValueError(
            f"there is no metric {name!r} of {of.task}; expected a torchmetrics.Metric, a function or one of {', '.join(fitting)}"
        )
    if metric.needs_scores and of.scores is None:
        raise ValueError(f"{name} needs probabilities, and the model answers classes; let predict return its scores")
    return metric


def default_names(of: Predictions) -> tuple[str, ...]:
    """What is worth knowing of such predictions."""
    return DEFAULTS[of.task] + (DEFAULTS_OF_SCORES if of.scores is not None else ())
