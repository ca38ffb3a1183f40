"""Is one of two models better? Tests that fit how they were evaluated, and in words what they can say and what not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.errors import import_extra
from headrace.evaluate.cross_validation import CrossValidation
from headrace.evaluate.intervals import draws
from headrace.evaluate.metrics import Kernel, named
from headrace.evaluate.predictions import Counted, Floats
from headrace.evaluate.result import Evaluation, number
from headrace.report.table import key_values
from headrace.sampling.options import whole_number

__all__ = ["Comparison", "compare", "corrected_t_test", "five_by_two_f_test", "mcnemar_test"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare()` found. `difference` is a - b of `metric`; its interval is [low, high], NaN where the test gives none."""

    test: str
    metric: str
    difference: float
    low: float
    high: float
    level: float
    statistic: float
    p_value: float
    effect: str  # what `effect_size` is
    effect_size: float
    better: str | None  # "a" or "b" if the difference is beyond chance at 1 - level, else None
    says: str
    says_not: str

    def __str__(self) -> str:
        pairs = [
            ("test", self.test),
            (f"{self.metric}, a - b", number(self.difference)),
            ("p", f"{self.p_value:.4g}"),
            (self.effect, number(self.effect_size)),
            ("says", self.says),
            ("does not say", self.says_not),
        ]
        if not np.isnan(self.low):
            pairs.insert(2, (f"{self.level * 100:g} % interval", f"{number(self.low)} to {number(self.high)}"))
        return key_values(pairs)


def _stats() -> Any:
    return import_extra("scipy.stats", "evaluate", "headrace.evaluate.compare()")


def corrected_t_test(differences: Floats, test_share: float) -> tuple[float, float, float]:
    """(t, two-sided p, standard error) of differences of folds: Nadeau and Bengio 2003, Inference for the generalization error.

    test_share: test samples over training samples. Without the correction, folds would count as independent, and be called different far too often.
    """
    count, variance = len(differences), float(differences.var(ddof=1))
    error = float(np.sqrt((1 / count + test_share) * variance))
    mean = float(differences.mean())
    if error == 0:
        return (0.0, 1.0, 0.0) if mean == 0 else (float(np.copysign(np.inf, mean)), 0.0, 0.0)
    return mean / error, float(2 * _stats().t.sf(abs(mean / error), count - 1)), error


def five_by_two_f_test(differences: Floats) -> tuple[float, float]:
    """(F, p) of differences of shape (5, 2): Alpaydin 1999, Combined 5 x 2 cv F test. F has 10 and 5 degrees of freedom."""
    if differences.shape != (5, 2):
        raise ValueError(f"differences have shape {differences.shape}; expected (5 repeats, 2 folds)")
    variances = ((differences - differences.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    above, below = float((differences**2).sum()), float(2 * variances.sum())
    if below == 0:
        return (0.0, 1.0) if above == 0 else (float("inf"), 0.0)
    return above / below, float(_stats().f.sf(above / below, 10, 5))


def mcnemar_test(only_a: int, only_b: int) -> tuple[float, float]:
    """(chi-squared, exact p) of samples that only one of two models has right: McNemar 1947; p from the binomial distribution, for any number of samples."""
    both = only_a + only_b
    if both == 0:
        return 0.0, 1.0
    return (only_a - only_b) ** 2 / both, float(_stats().binomtest(only_a, both, 0.5).pvalue)


def compare(
    a: Evaluation | CrossValidation,
    b: Evaluation | CrossValidation,
    metric: str | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models that were evaluated on the same samples.

    Two cross_validate() of the same folds: with k=2, repeats=5 Alpaydin's 5x2cv F-test, else the paired t-test with Nadeau and Bengio's correction. Two
    model(): McNemar's test of their classes, or for numbers, or if a metric is named, the paired bootstrap of its difference. metric: default the first that
    was measured. Raises ValueError for evaluations of different samples or folds, MissingExtraError without scipy.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    resamples = whole_number("resamples", resamples, 1, 1 << 31)
    if isinstance(a, CrossValidation) and isinstance(b, CrossValidation):
        if a.plan != b.plan:
            raise ValueError("a and b were evaluated on other folds: use the same dataset, k, repeats, seed, stratify and group for both")
        return _of_folds(a, b, a.metrics[0] if metric is None else metric, level)
    if not isinstance(a, Evaluation) or not isinstance(b, Evaluation):
        raise TypeError(f"compare takes two results of model(), or two of cross_validate(); got {type(a).__name__} and {type(b).__name__}")
    if a.samples != b.samples or a.fingerprint != b.fingerprint or not np.array_equal(a.predictions.target, b.predictions.target):
        raise ValueError("a and b were evaluated on different samples: use the same dataset for both")
    if metric is None and a.task != "regression":
        return _mcnemar(a, b, level)
    return _paired_bootstrap(a, b, next(iter(a.figures)) if metric is None else metric, level, resamples, seed)


def _better(metric_is_high: bool | None, difference: float, p_value: float, level: float) -> str | None:
    if p_value >= 1 - level or difference == 0 or metric_is_high is None:
        return None
    return "a" if (difference > 0) is metric_is_high else "b"


def _words(metric: str, better: str | None, p_value: float, level: float) -> str:
    alone = f"were both equally good, a difference as large would come up with probability {p_value:.2g}"
    if better is None:
        return f"no difference of {metric} beyond chance at {1 - level:.2g}: {alone}"
    return f"{better} is better by {metric}: {alone}"


def _of_folds(a: CrossValidation, b: CrossValidation, metric: str, level: float) -> Comparison:
    differences = a.values(metric) - b.values(metric)
    if len(differences) < 2:
        raise ValueError("one fold has no spread; a comparison needs two or more")
    if np.isnan(differences).any():
        raise ValueError(f"{metric} is not defined in some folds; stratify=, or fewer folds, may help")
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    low = high = float("nan")
    if (a.k, a.repeats) == (2, 5):
        test = "5x2cv F-test (Alpaydin 1999)"
        statistic, p_value = five_by_two_f_test(differences.reshape(5, 2))
        fits = "models fitted on half of the samples"
    else:
        test = f"paired t-test of {len(differences)} folds, corrected (Nadeau and Bengio 2003)"
        statistic, p_value, error = corrected_t_test(differences, a.test_share)
        reach = float(_stats().t.ppf((1 + level) / 2, len(differences) - 1)) * error
        low, high = mean - reach, mean + reach
        fits = f"models fitted on {np.mean([fold.train_samples for fold in a.folds]):.0f} samples"
    better = _better(a.folds[0].evaluation.figures[metric].is_better_high, mean, p_value, level)
    return Comparison(
        test=test,
        metric=metric,
        difference=mean,
        low=low,
        high=high,
        level=level,
        statistic=statistic,
        p_value=p_value,
        effect="Cohen's d of folds",
        effect_size=mean / spread if spread > 0 else float("nan"),
        better=better,
        says=_words(metric, better, p_value, level) + f"; it speaks of the way of fitting, for {fits}",
        says_not="which of two models already fitted is better; that they are equal, where no difference was found: few folds see large ones only",
    )


def _mcnemar(a: Evaluation, b: Evaluation, level: float) -> Comparison:
    right = [one.predictions.predicted == one.predictions.target for one in (a, b)]
    only_a, only_b, count = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), a.samples
    statistic, p_value = mcnemar_test(only_a, only_b)
    difference = (only_a - only_b) / count
    # Wald's interval of a difference of paired shares.
    error = float(np.sqrt(max(0.0, only_a + only_b - (only_a - only_b) ** 2 / count))) / count
    reach = float(_stats().norm.ppf((1 + level) / 2)) * error
    better = _better(True, difference, p_value, level)
    counts = f"{only_a} samples only a has right, {only_b} only b"
    return Comparison(
        test=f"McNemar's, exact: {counts}",
        metric="accuracy",
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        level=level,
        statistic=statistic,
        p_value=p_value,
        effect="odds ratio",
        effect_size=only_a / only_b if only_b else float("inf") if only_a else float("nan"),
        better=better,
        says=_words("accuracy", better, p_value, level) + "; it speaks of these two fitted models, for samples like these",
        says_not="that fitting again, on other samples or from another seed, would keep the order: cross_validate() both for that; "
        "anything of samples that both have right or wrong",
    )


def _paired_bootstrap(a: Evaluation, b: Evaluation, metric: str, level: float, resamples: int, seed: int) -> Comparison:
    kinds = [named(metric, one.predictions) for one in (a, b)]
    kernels: list[Kernel] = [kind.prepare(one.predictions) for kind, one in zip(kinds, (a, b), strict=True)]

    def difference_of(weights: Floats | None) -> float:
        counted = [Counted(one.predictions, weights) for one in (a, b)]
        return kernels[0](counted[0]) - kernels[1](counted[1])

    difference = difference_of(None)
    drawn = np.array([difference_of(weights) for weights in draws(a.samples, resamples, seed)])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) * 2 < resamples:
        raise ValueError(f"{metric} is not defined in most resamples: too few samples of a class")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    # Twice the share on the other side of 0; never 0, since other resamples might lie there.
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = float(min(1.0, 2 * (beyond + 1) / (len(drawn) + 1)))
    spread = float(drawn.std(ddof=1))
    better = _better(kinds[0].is_better_high, difference, p_value, level)
    return Comparison(
        test=f"paired bootstrap, {len(drawn)} resamples",
        metric=metric,
        difference=difference,
        low=float(low),
        high=float(high),
        level=level,
        statistic=difference,
        p_value=p_value,
        effect="difference / its standard error",
        effect_size=difference / spread if spread > 0 else float("nan"),
        better=better,
        says=_words(metric, better, p_value, level) + "; it speaks of these two fitted models, for samples like these",
        says_not="that fitting again, on other samples or from another seed, would keep the order: cross_validate() both for that",
    )
