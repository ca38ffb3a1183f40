"""How good will what a way of fitting makes be? Fitted and evaluated on other samples each time: folds, a hold-out, nested folds.

The bootstrap is in `bootstrap`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace.datasets.splits import fold_rows, split_rows
from headrace.errors import import_extra
from headrace.evaluate.fitting import Fitting, Raw, fold_seed, in_threads, said_in
from headrace.evaluate.inference import column
from headrace.evaluate.metrics import check_names, is_of_scores, named
from headrace.evaluate.model import assess
from headrace.evaluate.predictions import Floats, Integers, Predictions
from headrace.evaluate.result import Evaluation, between, number
from headrace.report.table import Column, table
from headrace.sampling.options import whole_number

__all__ = ["CrossValidation", "Fold", "cross_validate", "hold_out", "nested"]

Pair = tuple[Integers, Integers]
Task = tuple[int, int, Pair]  # repeat, fold, its rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One fit, and how good it was on samples that it did not see."""

    repeat: int
    number: int
    train_samples: int
    evaluation: Evaluation
    chosen: Mapping[str, Any] = field(default_factory=dict)  # of nested(): what the inner folds chose

    @property
    def test_samples(self) -> int:
        """How many samples were held out."""
        return self.evaluation.samples


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossValidation:
    """Folds of a cross-validation. Figures are means over folds; their interval allows for training parts that overlap."""

    scheme: str  # "5 folds", "2 folds, 5 times"
    k: int
    repeats: int
    folds: tuple[Fold, ...]
    plan: str  # hash of dataset and folds: equal ones may be compared fold by fold

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(self.folds[0].evaluation.figures)

    def values(self, name: str) -> Floats:
        """A metric of each fold, shape (folds,), float64; repeats one after the other. Raises KeyError."""
        return np.array([fold.evaluation[name] for fold in self.folds])

    def mean(self, name: str) -> float:
        """Mean over the folds."""
        return float(self.values(name).mean())

    def standard_deviation(self, name: str) -> float:
        """Of one fold's value, not of the mean; NaN for one fold."""
        return float(self.values(name).std(ddof=1)) if len(self.folds) > 1 else float("nan")

    @property
    def test_share(self) -> float:
        """Samples held out over samples trained on, the mean of folds."""
        return float(np.mean([fold.test_samples / fold.train_samples for fold in self.folds]))

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """A t interval of the mean, with Nadeau and Bengio's variance (2003): folds share training samples, so they vary less than other data would.

        Raises MissingExtraError without scipy.
        """
        stats = import_extra("scipy.stats", "evaluate", "the interval of a cross-validation")
        count = len(self.folds)
        if count < 2:
            return float("nan"), float("nan")
        error = np.sqrt((1 / count + self.test_share) * self.values(name).var(ddof=1))
        reach = float(stats.t.ppf((1 + level) / 2, count - 1) * error)
        return self.mean(name) - reach, self.mean(name) + reach

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values: mean, spread, interval and the value of each fold, by metric."""
        metrics = {}
        for name in self.metrics:
            low, high = self.interval(name)
            found = {"mean": self.mean(name), "standard_deviation": self.standard_deviation(name), "low": low, "high": high}
            metrics[name] = {**found, "folds": self.values(name).tolist()}
        return {"scheme": self.scheme, "folds": len(self.folds), "metrics": metrics}

    def __str__(self) -> str:
        columns = (
            Column(title="metric"),
            *(Column(title=title, right=True) for title in ("mean", "95 % interval", "a fold's spread", "lowest", "highest")),
        )
        cells = []
        for name in self.metrics:
            low, high = self.interval(name)
            values = self.values(name)
            figures = (self.mean(name), self.standard_deviation(name), float(values.min()), float(values.max()))
            mean, spread, least, most = map(number, figures)
            cells.append([name, mean, between(low, high), spread, least, most])
        samples = sum(fold.test_samples for fold in self.folds)
        return f"{self.scheme}, {samples} samples held out in all\n\n{table(columns, cells)}"

    def plot(self, path: str | Path) -> None:
        """Draw the value of each fold, their mean and its interval, a line a metric. Raises MissingExtraError without matplotlib."""
        from headrace.report.evaluation_plot import draw_folds

        title = f"{self.scheme}: each fold, the mean and its 95 % interval"
        draw_folds(path, title, {name: self.values(name) for name in self.metrics}, {name: self.interval(name) for name in self.metrics})


def cross_validate(
    fit: Callable[..., Any],
    dataset: Any,
    k: int = 5,
    *,
    repeats: int = 1,
    metrics: Sequence[Any] | None = None,
    label: Any = None,
    stratify: Any = None,
    group: Any = None,
    splitter: Any = None,
    prepare: Any = None,
    jobs: int = 1,
    seed: int = 0,
    **options: Any,
) -> CrossValidation:
    """Fit k times on all folds but one, and evaluate on that one: `hr.evaluate.cross_validate(fit, ds, 5, stratify="label")`.

    fit: training part (a view of the dataset) -> predict, as model() takes it. If it names them it also gets seed= (another for each fold) and prepare=.
    repeats: so many times with other folds; 5 times 2 folds is what compare() tests best. stratify, group: as in Dataset.kfold(), fields or arrays. splitter:
    one of scikit-learn's in place of k, which gets them as y and groups. prepare: an object that is copied (clone(), or scikit-learn's conventions) and fitted
    (`fit(train)`) for each fold on its training part alone, then handed to fit and to the loader of the held-out part. jobs: folds at a time, in threads:
    they share what is decoded; let fit draw from a generator of its own, keyed by seed=, not from torch's global one. metrics, options: of model(); its
    loader's too. Raises ValueError for fewer samples or groups than folds, and what fit raises.
    """
    fitting = Fitting(fit, dataset, prepare=prepare, label=label, options=options)
    early = _Early(metrics)
    repeats = whole_number("repeats", repeats, 1, 1 << 20)
    if splitter is not None and repeats > 1:
        raise ValueError("splitter= says all about the folds: one of scikit-learn's repeats them itself (RepeatedKFold); leave repeats out")
    if splitter is not None and not hasattr(splitter, "split"):
        raise TypeError(f"splitter is {splitter!r}; expected one of scikit-learn's, as KFold(5)")
    rounds = [list(_pairs(dataset, k, fold_seed(seed, repeat, -1), stratify, group, splitter)) for repeat in range(repeats)]

    def one(repeat: int, fold: int, pair: Pair) -> Raw:
        with said_in(f"fold {fold}" + (f" of repeat {repeat}" if repeats > 1 else "")):
            predict, fitted = fitting.fitted(pair[0], fold_seed(seed, repeat, fold))
            found = fitting.raw(predict, fitted, pair[1])
            early.check(found, fitting)
            return found

    tasks = [(repeat, fold, pair) for repeat, pairs in enumerate(rounds) for fold, pair in enumerate(pairs)]
    folds = _folds(fitting, in_threads(one, tasks, jobs), tasks, metrics)
    return _validation(dataset, folds, tasks, len(rounds[0]), repeats)


class _Early:
    """Metrics that do not fit are known after the first fold, not only when all are fitted. Any thread."""

    def __init__(self, metrics: Sequence[Any] | None) -> None:
        """Raises ValueError for a name that is none, TypeError for no list."""
        check_names(metrics)
        self._metrics = list(metrics or ())

    def check(self, found: Raw, fitting: Fitting) -> None:
        """Raise ValueError for a metric of probabilities where there are none."""
        said = found[0]
        if said.dtype.kind == "f" or fitting.predicting.get("task") == "regression":
            return
        alone = Predictions(task="multiclass", target=said, predicted=said, classes=("0", "1"))
        for name in self._metrics:
            if isinstance(name, str) and is_of_scores(name):
                named(name, alone)


def _folds(
    fitting: Fitting,
    found: Sequence[Raw],
    tasks: Sequence[Task],
    metrics: Sequence[Any] | None,
    chosen: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[Fold, ...]:
    return tuple(
        Fold(
            repeat=repeat,
            number=fold,
            train_samples=len(pair[0]),
            evaluation=assess(of, metrics, resamples=0),
            chosen={} if chosen is None else chosen[i],
        )
        for i, (of, (repeat, fold, pair)) in enumerate(zip(fitting.checked(found), tasks, strict=True))
    )


def _validation(dataset: Any, folds: tuple[Fold, ...], tasks: Sequence[Task], k: int, repeats: int) -> CrossValidation:
    hasher = hashlib.blake2b(str((getattr(dataset, "fingerprint", None), len(dataset))).encode(), digest_size=12)
    for _, _, (train, test) in tasks:
        hasher.update(train.astype("<i8").tobytes() + b"|" + test.astype("<i8").tobytes())
    scheme = f"{k} fold{'s' if k > 1 else ''}" + (f", {repeats} times" if repeats > 1 else "")
    return CrossValidation(scheme=scheme, k=k, repeats=repeats, folds=folds, plan=hasher.hexdigest())


def _pairs(dataset: Any, k: int, seed: int, stratify: Any, group: Any, splitter: Any) -> Iterator[Pair]:
    classes, groups = column(dataset, "stratify", stratify), column(dataset, "group", group)
    if splitter is None:
        yield from fold_rows(len(dataset), k, seed=seed, stratify=classes, group=groups)
        return
    try:
        pairs = list(splitter.split(np.zeros((len(dataset), 1), np.uint8), classes, groups))
    except (TypeError, ValueError) as error:
        given = ", ".join(name for name, keys in (("stratify", classes), ("group", groups)) if keys is not None)
        error.add_note(
            f"headrace.evaluate: {splitter} was given {given or 'no labels'}; what it needs as y is stratify=, what as groups group="
        )
        raise
    for train, test in pairs:
        yield np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64)


def hold_out(
    fit: Callable[..., Any],
    dataset: Any,
    test: float = 0.25,
    *,
    metrics: Sequence[Any] | None = None,
    label: Any = None,
    stratify: Any = None,
    group: Any = None,
    time: Any = None,
    prepare: Any = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Fit on one part and evaluate on the rest, once, with bootstrap intervals of that rest.

    test: the share that is held out; stratify, group, time: as in Dataset.split(), fields or arrays; others as in cross_validate() and model(). The intervals
    say what other test samples would change, not what other training samples would. With group= they draw whole groups.
    """
    fitting = Fitting(fit, dataset, prepare=prepare, label=label, options=options)
    keys = {name: column(dataset, name, key) for name, key in (("stratify", stratify), ("group", group), ("time", time))}
    check_names(metrics)
    if isinstance(test, bool) or not 0 < test < 1:
        raise ValueError(f"test is {test!r}; expected the share that is held out, between 0 and 1")
    rows = split_rows(len(dataset), {"train": 1 - test, "test": test}, seed=seed, **keys)
    if lacking := [name for name, part in rows.items() if len(part) == 0]:
        by = "".join(f" by {name}" for name, key in keys.items() if key is not None)
        raise ValueError(
            f"the {lacking[0]} part of {len(dataset)} samples, divided{by}, is empty; give another test= than {test}, or more samples"
        )
    predict, fitted = fitting.fitted(rows["train"], fold_seed(seed, 0, 0))
    of = fitting.predict(predict, fitted, rows["test"])
    groups = None if keys["group"] is None else keys["group"][rows["test"]]
    return assess(of, metrics, level=level, resamples=resamples, groups=groups, seed=seed)


def nested(
    fit: Callable[..., Any],
    dataset: Any,
    candidates: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    k: int = 5,
    inner: int = 3,
    metrics: Sequence[Any] | None = None,
    label: Any = None,
    stratify: Any = None,
    group: Any = None,
    prepare: Any = None,
    jobs: int = 1,
    seed: int = 0,
    **options: Any,
) -> CrossValidation:
    """How good will it be, choice of parameters included? For each of k folds, `inner` folds of its training part choose among candidates.

    candidates: parameters, `fit(train, **candidate)`; the best by the mean of `metric` over the inner folds is fitted on the whole training part and
    evaluated on the fold that took no part in the choice: `folds[i].chosen` has it. So no sample that chose is one that judges (Cawley and Talbot 2010).
    Others as in cross_validate().
    """
    if isinstance(candidates, Mapping) or not candidates or not all(isinstance(one, Mapping) for one in candidates):
        raise ValueError(f"candidates is {candidates!r:.80}; expected a list of at least one dict of parameters for fit")
    if not isinstance(metric, str):
        raise TypeError(f"metric is {metric!r}; expected the name of one, by whose value candidates are chosen")
    fitting = Fitting(fit, dataset, prepare=prepare, label=label, options=options)
    early = _Early([metric, *([] if metrics is None else metrics)])
    classes, groups = column(dataset, "stratify", stratify), column(dataset, "group", group)

    def score(train: Integers, fold: int, candidate: Mapping[str, Any]) -> tuple[float, bool]:
        of_part = [None if keys is None else keys[train] for keys in (classes, groups)]
        found = []
        pairs = fold_rows(len(train), inner, seed=fold_seed(seed, 1, fold), stratify=of_part[0], group=of_part[1])
        for step, (fitted_on, judged_on) in enumerate(pairs):
            with said_in(f"inner fold {step}, with {dict(candidate)}"):
                predict, fitted = fitting.fitted(train[fitted_on], fold_seed(seed, 2 + fold, step), candidate)
                found.append(fitting.raw(predict, fitted, train[judged_on]))
                early.check(found[-1], fitting)
        figures = [assess(of, [metric], resamples=0).figures[metric] for of in fitting.checked(found)]
        return float(np.mean([figure.value for figure in figures])), figures[0].is_better_high is not False

    def one(_repeat: int, fold: int, pair: Pair) -> tuple[Raw, Mapping[str, Any]]:
        with said_in(f"fold {fold}"):
            scores = [score(pair[0], fold, candidate) for candidate in candidates]
            signed = [value if high else -value for value, high in scores]
            if np.isnan(signed).all():
                raise ValueError(f"{metric} is not defined in the inner folds of fold {fold}; stratify=, or fewer folds, may help")
            best = candidates[int(np.nanargmax(signed))]
            predict, fitted = fitting.fitted(pair[0], fold_seed(seed, 0, fold), best)
            return fitting.raw(predict, fitted, pair[1]), best

    # The folds of cross_validate() with the same seed: compare() takes both.
    outer = fold_rows(len(dataset), k, seed=fold_seed(seed, 0, -1), stratify=classes, group=groups)
    tasks = [(0, fold, pair) for fold, pair in enumerate(outer)]
    found = in_threads(one, tasks, jobs)
    folds = _folds(fitting, [raw for raw, _ in found], tasks, metrics, [best for _, best in found])
    made = _validation(dataset, folds, tasks, k, 1)
    counts: dict[str, int] = {}
    for fold in folds:
        chosen = json.dumps(dict(fold.chosen), sort_keys=True, default=str)
        counts[chosen] = counts.get(chosen, 0) + 1
    chosen = "; ".join(f"{chosen} {count} times" for chosen, count in sorted(counts.items(), key=lambda item: -item[1]))
    return CrossValidation(scheme=f"{k} folds, {inner} inside each; chosen: {chosen}", k=k, repeats=1, folds=folds, plan=made.plan)
