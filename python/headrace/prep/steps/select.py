"""Some of the numbers of a sample: those that vary, that say something new, or that say something about a target."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import import_extra
from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned
from headrace.prep.steps.matrix import MatrixStep, labels_of
from headrace.prep.steps.observe import Classes, Rows, SampledRows, target_of
from headrace.statistics import CoMoments, Moments

__all__ = ["DropCorrelated", "SelectByVariance", "SelectKBest"]

_SCORES = ("f", "f_regression", "chi2", "mutual_info", "mutual_info_regression")


class _Selection(MatrixStep):
    """Keeps some components, in order."""

    needs = frozenset({"together"})

    def make(self, program: Program, value: Value, learned: Learned) -> Value:
        """One copy."""
        support = np.flatnonzero(np.asarray(learned["support"]))
        made = program.make(value.name, value.type, (len(support),), [value.names[i] for i in support], value.dtype, value.nullable)
        program.add("take", [value.register], made.register, components=support.astype(np.int64))
        return made

    def chose(self, values: dict[str, Value], support: npt.NDArray[np.bool_], **learned: Any) -> dict[str, Learned]:
        """What finish() gives. Raises ValueError if nothing is left."""
        if not support.any():
            raise ValueError(f"{self}: none of the {len(support)} numbers is left ({', '.join(labels_of(values)[:5])}, ...)")
        return self.keep(values, {"support": support, **learned})


class SelectByVariance(_Selection):
    """The numbers whose variance is above the threshold, as VarianceThreshold; 0: those that are not constant. Nulls and infinities are not counted.

    Learned, by field: `variances_`, `support_`.
    """

    learns = ("variances", "support")

    def __init__(self, threshold: float = 0.0, *, name: str | None = None, fields: Any = None) -> None:
        if threshold < 0:
            raise ValueError(f"SelectByVariance: threshold is {threshold!r}; expected 0 or more")
        self.threshold, self.name, self.fields = threshold, name, fields

    def begin(self, values: dict[str, Value]) -> Rows[Moments]:
        """Moments."""
        return Rows(values, None, Moments(sum(value.width for value in values.values())))

    def finish(self, joint: Rows[Moments]) -> dict[str, Learned]:
        """Variances; of a constant exactly 0."""
        found = joint.statistic
        variances = np.asarray(found.variance(0), np.float64)
        if self.threshold == 0:
            variances = np.fmin(variances, np.asarray(found.max) - np.asarray(found.min))
        return self.chose(joint.values, np.nan_to_num(variances, nan=-1.0) > self.threshold, variances=variances)


class DropCorrelated(_Selection):
    """Without the numbers whose correlation with an earlier one that is kept is beyond the threshold, either way (Pearson's, of samples without nulls).

    Constants correlate with nothing. Learned, by field: `correlations_` (width, width), `support_`.
    """

    learns = ("correlations", "support")

    def __init__(self, threshold: float = 0.95, *, name: str | None = None, fields: Any = None) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"DropCorrelated: threshold is {threshold!r}; expected 0 to 1")
        self.threshold, self.name, self.fields = threshold, name, fields

    def begin(self, values: dict[str, Value]) -> Rows[CoMoments]:
        """Covariances."""
        return Rows(values, None, CoMoments(sum(value.width for value in values.values())))

    def finish(self, joint: Rows[CoMoments]) -> dict[str, Learned]:
        """From the first number to the last."""
        correlations = joint.statistic.correlation()
        support = np.zeros(len(correlations), np.bool_)
        for j in range(len(support)):
            support[j] = not (np.abs(np.nan_to_num(correlations[j, :j][support[:j]])) > self.threshold).any()
        return self.chose(joint.values, support, correlations=correlations)


class _Target:
    """What SelectKBest watches beside the classes: the least value of each number, for chi2."""

    def __init__(self, width: int) -> None:
        self.classes, self.moments = Classes(width), Moments(width)

    def update(self, values: Any, targets: Floats, threads: int | None = None) -> None:
        self.classes.update(values, targets, threads)
        self.moments.update(values, threads=threads)


class _Regression:
    """Covariances of all numbers and a target, the last."""

    def __init__(self, width: int) -> None:
        self.moments = CoMoments(width + 1)

    def update(self, values: Any, targets: Floats, threads: int | None = None) -> None:
        self.moments.update(np.concatenate([np.asarray(values, np.float64), targets[:, None]], axis=1), threads=threads)


class SelectKBest(_Selection):
    """The k numbers that say most about a target, by scikit-learn's scores, as SelectKBest; of equal scores the later ones.

    score: "f" (f_classif), "chi2" (numbers not below 0), both of classes; "f_regression", of a number: each in one pass, from moments. "mutual_info" and
        "mutual_info_regression": computed by scikit-learn (the extra "sklearn") on up to `sample` rows, chosen by a key of `seed` and the row's number.
    target: a field of one number a sample; classes may be up to 1024 (Ordinal makes some of texts). It stays a field.
    Samples with a null or an infinity, and those whose target is null, are left out. Learned, by field: `scores_`, `support_`.
    """

    learns = ("scores", "support")

    def __init__(
        self,
        score: str = "f",
        k: int = 10,
        *,
        target: str,
        sample: int = 10_000,
        seed: int = 0,
        name: str | None = None,
        fields: Any = None,
    ) -> None:
        if score not in _SCORES:
            raise ValueError(f"SelectKBest: score is {score!r}; expected one of {', '.join(_SCORES)}")
        if k < 1 or sample < 2:
            raise ValueError(f"SelectKBest: k is {k!r} and sample {sample!r}; expected at least 1 and 2")
        self.score, self.k, self.target, self.sample, self.seed = score, k, target, sample, seed
        self.name, self.fields = name, fields

    def read(self, program: Program, name: str) -> Value:
        """The target as it is, the rest as floats."""
        return target_of(program, name) if name == self.target else program.read(name)

    def begin(self, values: dict[str, Value]) -> Rows[Any]:
        """Moments, or a sample."""
        width = sum(value.width for name, value in values.items() if name != self.target)
        if self.k > width:
            raise ValueError(f"{self}: its fields have {width} numbers a sample")
        if self.score.startswith("mutual_info"):
            return Rows(values, self.target, SampledRows(self.sample, self.seed))
        return Rows(values, self.target, _Regression(width) if self.score == "f_regression" else _Target(width))

    def finish(self, joint: Rows[Any]) -> dict[str, Learned]:
        """The scores, and the k largest."""
        scores = self._scores(joint.statistic)
        usable = np.where(np.isnan(scores), np.finfo(np.float64).min, scores)
        support = np.zeros(len(scores), np.bool_)
        support[np.argsort(usable, kind="stable")[-self.k :]] = True
        values = {name: value for name, value in joint.values.items() if name != self.target}
        return {**self.chose(values, support, scores=scores), str(self.target): {}}

    def _scores(self, statistic: Any) -> Floats:
        if isinstance(statistic, SampledRows):
            rows, targets = statistic.found()
            selection = import_extra("sklearn.feature_selection", "sklearn", f"SelectKBest({self.score!r})")
            is_classes = self.score == "mutual_info"
            function = selection.mutual_info_classif if is_classes else selection.mutual_info_regression
            return np.asarray(function(rows, targets, random_state=self.seed), np.float64)
        if isinstance(statistic, _Regression):
            return _f_regression(statistic.moments)
        if self.score == "f":
            return _f_classes(*statistic.classes.found()[1:])
        least = np.asarray(statistic.moments.min)
        if (least < 0).any():
            raise ValueError(f"{self}: there are values of {float(np.nanmin(least))}; chi2 takes none below 0")
        return _chi2(*statistic.classes.found()[1:3])


def _f_classes(counts: npt.NDArray[np.int64], means: Floats, within: Floats) -> Floats:
    """The analysis of variance's F, between classes and inside them."""
    total, classes = int(counts.sum()), len(counts)
    overall = counts @ means / total
    between = (counts[:, None] * (means - overall) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((between / (classes - 1)) / (np.diagonal(within) / (total - classes)))


def _f_regression(moments: CoMoments) -> Floats:
    """Of the correlation with the target."""
    r = moments.correlation()[-1, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = r**2 / (1 - r**2) * (moments.count - 2)
    return np.where(np.isnan(r), 0.0, np.where(np.isinf(scores), np.finfo(np.float64).max, scores))


def _chi2(counts: npt.NDArray[np.int64], means: Floats) -> Floats:
    """Of each number's sums in the classes, against what their shares would give."""
    observed = counts[:, None] * means
    expected = (counts / counts.sum())[:, None] * observed.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(((observed - expected) ** 2 / expected).sum(axis=0))
