"""The .632+ bootstrap: how wrong what a way of fitting makes will be, from fits on samples drawn with replacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headrace.datasets.splits import bootstrap_rows
from headrace.evaluate.fitting import Fitting, fold_seed, in_threads, said_in
from headrace.evaluate.metrics import LOSSES, losses_of
from headrace.evaluate.predictions import Floats, Integers, Predictions
from headrace.evaluate.result import number
from headrace.report.table import key_values
from headrace.sampling.options import whole_number

__all__ = ["BootstrapEstimate", "bootstrap", "no_information", "six_three_two_plus"]


@dataclass(frozen=True, kw_only=True)
class BootstrapEstimate:
    """What `bootstrap()` found of a loss; lower is better. `value` is the .632+ estimate."""

    loss: str
    value: float
    apparent: float  # on the samples that it was fitted on: too low
    left_out: float  # on those that a resample did not draw: too high, since fits see 63 % of the samples
    no_information: float  # if inputs and labels had nothing to do with each other
    overfitting: float  # from 0 (apparent and left_out agree) to 1 (as bad as no information)
    six_three_two: float  # 0.368 apparent + 0.632 left_out
    resamples: int
    samples: int

    def __str__(self) -> str:
        pairs = [
            (self.loss, f"{number(self.value)} (.632+ of {self.resamples} resamples of {self.samples} samples)"),
            ("on samples fitted on", number(self.apparent)),
            ("on samples left out", number(self.left_out)),
            (".632", number(self.six_three_two)),
            ("no information", number(self.no_information)),
            ("overfitting", f"{self.overfitting:.2f} of 1"),
        ]
        return key_values(pairs)


def six_three_two_plus(apparent: float, left_out: float, none: float) -> tuple[float, float, float]:
    """(.632+, .632, relative overfitting) of three losses: Efron and Tibshirani 1997, Improvements on cross-validation, equations 24 to 32."""
    plain = 0.368 * apparent + 0.632 * left_out
    bounded = min(left_out, none)
    overfitting = (bounded - apparent) / (none - apparent) if bounded > apparent and none > apparent else 0.0
    return plain + (bounded - apparent) * 0.368 * 0.632 * overfitting / (1 - 0.368 * overfitting), plain, overfitting


def no_information(loss: str, of: Predictions) -> float:
    """The loss if each prediction met the label of any sample alike: the mean over all pairs of both."""
    if of.task == "regression":
        return float(np.mean([_of_pairs(loss, of.target[:, i], of.predicted[:, i]) for i in range(of.target.shape[1])]))
    shares = np.bincount(of.target, minlength=len(of.classes)) / len(of)
    means = [losses_of(loss, replace(of, target=np.full(len(of), number))).mean() for number in range(len(of.classes))]
    return float(shares @ np.array(means))


def _of_pairs(loss: str, target: Floats, predicted: Floats) -> float:
    if loss == "mse":
        return float(target.var() + predicted.var() + (target.mean() - predicted.mean()) ** 2)
    # Mean |y - f| of all pairs: each f has so many y below it, whose sum is known.
    ordered = np.sort(target)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    below = np.searchsorted(ordered, predicted)
    distances = predicted * below - sums[below] + (sums[-1] - sums[below]) - predicted * (len(ordered) - below)
    return float(distances.mean() / len(ordered))


def bootstrap(
    fit: Callable[..., Any],
    dataset: Any,
    n: int = 50,
    *,
    loss: str = "error",
    label: Any = None,
    prepare: Any = None,
    jobs: int = 1,
    seed: int = 0,
    **options: Any,
) -> BootstrapEstimate:
    """Estimate a loss by the .632+ bootstrap: n fits on resamples, judged on what each left out, and one on all samples.

    It varies less than cross-validation, and corrects what a fit on 63 % of the samples loses. loss: a mean over samples: "error" (share of wrong classes),
    "log_loss", "brier", "mse" or "mae". Others as in cross_validate(). Raises ValueError for another loss, or if each resample drew all samples.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; expected a mean over samples: {', '.join(LOSSES)}")
    fitting = Fitting(fit, dataset, prepare=prepare, label=label, options=options)
    n = whole_number("n", n, 1, 1 << 31)
    size = len(dataset)
    whole = np.arange(size)
    predict, fitted = fitting.fitted(whole, fold_seed(seed, 0, 0))
    of = fitting.predict(predict, fitted, whole)
    apparent, none = float(losses_of(loss, of).mean()), no_information(loss, of)
    if not of.classes:
        classes = None
    else:  # A resample may lack a class: the others' numbers stay.
        classes = fitting.predicting.get("classes", of.classes)
    fitting.predicting |= {"task": of.task} | ({} if classes is None else {"classes": classes})

    def one(number: int, drawn: Integers, left: Integers) -> tuple[Integers, Floats]:
        if len(left) == 0:
            return left, np.zeros(0)
        with said_in(f"resample {number}"):
            predict, fitted = fitting.fitted(drawn, fold_seed(seed, 1, number))
            return left, losses_of(loss, fitting.predict(predict, fitted, left))

    sums, counts = np.zeros(size), np.zeros(size)
    tasks = [(number, *pair) for number, pair in enumerate(bootstrap_rows(size, n, seed=seed))]
    for left, losses in in_threads(one, tasks, jobs):
        sums[left] += losses
        counts[left] += 1
    there = counts > 0
    if not there.any():
        raise ValueError(f"{n} resamples of {size} samples left none out; give a larger n")
    left_out = float((sums[there] / counts[there]).mean())
    value, plain, overfitting = six_three_two_plus(apparent, left_out, none)
    return BootstrapEstimate(
        loss=loss,
        value=value,
        apparent=apparent,
        left_out=left_out,
        no_information=none,
        overfitting=overfitting,
        six_three_two=plain,
        resamples=n,
        samples=size,
    )
