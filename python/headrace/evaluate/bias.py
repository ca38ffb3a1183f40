"""Do training, validation and test samples come from one distribution? Field by field, and all fields together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.datasets.splits import sample_rows
from headrace.errors import import_extra
from headrace.evaluate.predictions import Floats
from headrace.report.table import Column, table
from headrace.sampling.options import whole_number

__all__ = ["Bias", "FieldShift", "Separation", "bias", "population_stability"]

_MOST_COLUMNS = 64  # of a field of several values
_MOST_CATEGORIES = 50
_BINS = 10
_FEWEST = 4  # samples of a part: two to fit the classifier on, two to judge it by
_NULL = "\0null"  # among texts
Values = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class FieldShift:
    """How the distribution of one field differs between training and another part."""

    part: str
    field: str
    psi: float  # population stability index: below 0.1 little, above 0.25 much, by custom
    distance: float  # of numbers the Kolmogorov-Smirnov distance, of categories half the sum of differences of shares: 0 to 1; that of nulls' shares if more
    p_value: float  # as found; the lesser of two, twice, where nulls are compared beside the numbers
    adjusted: float  # for the number of fields and parts (Holm 1979)


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How well a classifier tells samples of another part from those of training, on samples that it was not fitted on (Lopez-Paz and Oquab 2017)."""

    part: str
    accuracy: float  # 0.5: not at all
    roc_auc: float
    p_value: float
    samples: int  # that it was judged on


@dataclass(frozen=True, kw_only=True)
class Bias:
    """What `bias()` found; print() shows the fields that differ most."""

    fields: tuple[FieldShift, ...]
    separations: tuple[Separation, ...]
    left_out: tuple[str, ...]  # fields that are no numbers, texts or booleans
    level: float
    rows: dict[str, int]  # samples of each part that were looked at

    @property
    def shifted(self) -> tuple[FieldShift, ...]:
        """Fields whose difference is beyond chance, after adjusting for their number, the largest first."""
        return tuple(sorted((one for one in self.fields if one.adjusted < 1 - self.level), key=lambda one: -one.distance))

    @property
    def verdict(self) -> str:
        """In words."""
        told = [f"{one.part} (AUC {one.roc_auc:.3f}, p {one.p_value:.2g})" for one in self.separations if one.p_value < 1 - self.level]
        names = [f"{one.field} in {one.part} (PSI {one.psi:.3g})" for one in self.shifted[:5]]
        if not told and not names:
            return "no difference beyond chance: no field's distribution differs, and a classifier cannot tell the parts from training"
        parts = [f"differs: {', '.join(names)}" if names else "no field alone differs beyond chance"]
        parts.append(f"a classifier tells from training: {', '.join(told)}" if told else "a classifier cannot tell the parts from training")
        return "; ".join(parts)

    def __str__(self) -> str:
        columns = (
            Column(title="part"),
            Column(title="field", cut=True),
            *(Column(title=name, right=True) for name in ("PSI", "distance", "p, adjusted")),
        )
        shown = sorted(self.fields, key=lambda one: -one.distance)[:20]
        cells = [[one.part, one.field, f"{one.psi:.3f}", f"{one.distance:.3f}", f"{one.adjusted:.3g}"] for one in shown]
        classifier = [
            f"{one.part}: a classifier finds {one.accuracy:.1%} of {one.samples} samples (half by chance), AUC {one.roc_auc:.3f}, p {one.p_value:.3g}"
            for one in self.separations
        ]
        left = [f"left out: {', '.join(self.left_out)}"] if self.left_out else []
        return "\n".join([self.verdict, "", table(columns, cells), "", *classifier, *left])


def population_stability(expected: Floats, found: Floats) -> float:
    """PSI of counts in the same bins: sum of (q - p) ln(q / p); half a sample is added to each bin, so that empty ones say something finite."""
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def bias(
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    fields: Sequence[str] | None = None,
    samples: int = 20_000,
    level: float = 0.95,
    seed: int = 0,
) -> Bias:
    """Say whether validation and test samples come from the distribution of training: a figure on a test set that does not speaks of other data.

    train, valid, test: datasets of headrace with the same fields. Numbers: PSI over ten equally filled bins, and Kolmogorov and Smirnov's test. Texts, booleans
    and numbers of at most 50 values that are whole: PSI over values, and the chi-squared test. Arrays of fixed shape value by value, 64 of them at most. All
    fields together: a random forest. Nulls (and infinities) are a bin of their own, whose share is compared too. samples: of each part, drawn at random.
    fields: default all; ids and times differ by their nature, leave such out. Needs scipy and scikit-learn. Raises ValueError without valid and test and for
    parts of fewer than 4 samples, KeyError for a field that a part lacks, TypeError for one of numbers on one side and of texts on the other, and for what is
    no dataset of headrace.
    """
    parts = {name: part for name, part in (("valid", valid), ("test", test)) if part is not None}
    if not parts:
        raise ValueError("bias compares training with other parts: give valid=, test= or both")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    for name, part in (("train", train), *parts.items()):
        if not hasattr(part, "schema") or not hasattr(part, "native"):
            raise TypeError(
                f"{name} is {type(part).__name__}; expected a dataset of headrace: hr.open(path), a part of one, or hr.from_arrays(...)"
            )
        if len(part) < _FEWEST:
            raise ValueError(f"{name} has {len(part)} samples: fewer than {_FEWEST} tell nothing")
    if isinstance(fields, str):
        raise TypeError(f"fields is {fields!r}; expected a list of names: fields=[{fields!r}]")
    samples = whole_number("samples", samples, 100, 1 << 31)
    names = list(train.schema.names if fields is None else fields)
    columns, left_out = _columns(train, names, samples, seed)
    found, separations, rows = [], [], {"train": len(next(iter(columns.values()), np.zeros(0)))}
    if not columns:
        raise ValueError(f"none of the fields {names} holds numbers, texts or booleans")
    for part, dataset in parts.items():
        missing = [name for name in names if name not in dataset.schema.names]
        if missing:
            raise KeyError(f"{part} has no field {missing[0]!r}; it has {', '.join(map(repr, dataset.schema.names))}")
        others, _ = _columns(dataset, names, samples, seed + 1)
        rows[part] = len(next(iter(others.values())))
        found += [_shift(part, name, values, others[name]) for name, values in columns.items() if name in others]
        separations.append(_separate(part, columns, others, seed))
    return Bias(fields=tuple(_holm(found)), separations=tuple(separations), left_out=tuple(left_out), level=level, rows=rows)


def _columns(dataset: Any, names: Sequence[str], samples: int, seed: int) -> tuple[dict[str, Values], list[str]]:
    """Values of each field at random rows, one array a number of a sample (None and NaN where null); and the fields that are nothing of the kind."""
    rows = sample_rows(len(dataset), min(samples, len(dataset)), seed=seed)
    columns: dict[str, Values] = {}
    left_out = []
    for name in names:
        if name not in dataset.schema.names:
            raise KeyError(f"there is no field {name!r}; the dataset has {', '.join(map(repr, dataset.schema.names))}")
        at = dataset.schema.names.index(name)
        field = dataset.schema.fields[at]
        if field.kind not in ("tensor", "string") or field.dtype.startswith("complex") or len(rows) == 0:
            left_out.append(name)
            continue
        batch = dataset.native.fetch(rows, [dataset.field_numbers[at]])
        values: Any = batch.numpy(0)
        known = np.array(batch.valid(0)) if field.nullable else None
        columns |= dict(_split(name, values, known))
    return columns, left_out


def _split(name: str, values: Any, known: Values | None) -> Iterator[tuple[str, Values]]:
    if not isinstance(values, np.ndarray):
        yield name, np.array([_NULL if value is None else value for value in values], dtype=object)
        return
    if values.dtype.kind in "mM":
        numbers = values.astype(np.int64).astype(np.float64)
        numbers[np.isnat(values)] = np.nan
        values = numbers
    if values.ndim == 1:
        if known is not None and values.dtype.kind in "biuf":
            values = np.where(known, values.astype(np.float64), np.nan)
        yield name, values
        return
    flat = values.reshape(len(values), -1)
    if known is not None:
        flat = np.where(known[:, None], flat.astype(np.float64), np.nan)
    for at in np.unique(np.linspace(0, flat.shape[1] - 1, min(_MOST_COLUMNS, flat.shape[1])).astype(np.int64)):
        place = ", ".join(str(i) for i in np.unravel_index(at, values.shape[1:]))
        yield f"{name}[{place}]", flat[:, at]


def _is_category(values: Values) -> bool:
    if values.dtype.kind not in "iuf":
        return True
    return values.dtype.kind in "iu" and len(np.unique(values)) <= _MOST_CATEGORIES


def _shift(part: str, name: str, train: Values, other: Values) -> FieldShift:
    stats = import_extra("scipy.stats", "evaluate", "headrace.evaluate.bias()")
    if _is_category(train) and _is_category(other):
        texts = [np.array([str(value) for value in values.tolist()]) for values in (train, other)]
        kinds, numbers = np.unique(np.concatenate(texts), return_inverse=True)
        halves = np.split(numbers.reshape(-1), [len(train)])
        counts = [np.bincount(half, minlength=len(kinds)).astype(np.float64) for half in halves]
        p_value = 1.0 if len(kinds) == 1 else float(stats.chi2_contingency(np.stack(counts), correction=False).pvalue)
        distance = 0.5 * float(np.abs(counts[0] / len(train) - counts[1] / len(other)).sum())
        return FieldShift(part=part, field=name, psi=population_stability(*counts), distance=distance, p_value=p_value, adjusted=p_value)
    if any(values.dtype.kind not in "biuf" for values in (train, other)):
        raise TypeError(f"field {name!r} holds numbers on one side, and texts on the other: train {train.dtype}, {part} {other.dtype}")
    psi, distance, p_value = _of_numbers(stats, *(np.asarray(values, dtype=np.float64) for values in (train, other)))
    return FieldShift(part=part, field=name, psi=psi, distance=distance, p_value=p_value, adjusted=p_value)


def _of_numbers(stats: Any, *sides: Floats) -> tuple[float, float, float]:
    """(PSI, distance, p) of numbers, and of the share of them that is null or infinite."""
    there = [values[np.isfinite(values)] for values in sides]
    nulls = [len(values) - len(kept) for values, kept in zip(sides, there, strict=True)]
    edges = np.unique(np.quantile(there[0], np.linspace(0, 1, _BINS + 1)[1:-1])) if len(there[0]) else np.zeros(0)
    counts = [np.bincount(np.searchsorted(edges, kept), minlength=len(edges) + 1).astype(np.float64) for kept in there]
    # What is not there is a bin of its own.
    counts = [np.append(count, missing) if any(nulls) else count for count, missing in zip(counts, nulls, strict=True)]
    found = []  # (distance, p)
    if min(map(len, there)) > 0:
        tested = stats.ks_2samp(*there)
        found.append((float(tested.statistic), float(tested.pvalue)))
    if any(nulls) and any(map(len, there)):
        shares = [missing / len(values) for missing, values in zip(nulls, sides, strict=True)]
        table = [[missing, len(kept)] for missing, kept in zip(nulls, there, strict=True)]
        found.append((abs(shares[0] - shares[1]), float(stats.chi2_contingency(table, correction=False).pvalue)))
    # Of two tests the lesser p is twice as likely.
    p_value = min([1.0, *(len(found) * p for _, p in found)])
    return population_stability(*counts), max((distance for distance, _ in found), default=0.0), p_value


def _holm(found: Sequence[FieldShift]) -> list[FieldShift]:
    order = np.argsort([one.p_value for one in found], kind="stable")
    adjusted, so_far = np.empty(len(found)), 0.0
    for step, at in enumerate(order):
        so_far = max(so_far, min(1.0, found[at].p_value * (len(found) - step)))
        adjusted[at] = so_far
    return [
        FieldShift(part=one.part, field=one.field, psi=one.psi, distance=one.distance, p_value=one.p_value, adjusted=float(value))
        for one, value in zip(found, adjusted, strict=True)
    ]


def _separate(part: str, train: dict[str, Values], other: dict[str, Values], seed: int) -> Separation:
    """A classifier fitted on half of the samples, as many of both parts, and judged on the other half."""
    ensemble = import_extra("sklearn.ensemble", "evaluate", "headrace.evaluate.bias()")
    metrics = import_extra("sklearn.metrics", "evaluate", "headrace.evaluate.bias()")
    stats = import_extra("scipy.stats", "evaluate", "headrace.evaluate.bias()")
    generator = np.random.default_rng(seed)
    count = min(len(next(iter(side.values()))) for side in (train, other)) // 2 * 2
    matrices = _matrices(train, other)
    chosen = [matrix[generator.permutation(len(matrix))[:count]] for matrix in matrices]
    half = count // 2
    fit_on, judge_on = (np.concatenate([side[begin : begin + half] for side in chosen]) for begin in (0, half))
    is_other = np.repeat([0, 1], half)
    # A forest: it sees what only several fields together show, and takes NaN as it is.
    classifier = ensemble.RandomForestClassifier(100, min_samples_leaf=5, random_state=seed % (1 << 32))
    scores = classifier.fit(fit_on, is_other).predict_proba(judge_on)[:, 1]
    hits = int(((scores > 0.5) == is_other).sum())
    return Separation(
        part=part,
        accuracy=hits / (2 * half),
        roc_auc=float(metrics.roc_auc_score(is_other, scores)),
        p_value=float(stats.binom.sf(hits - 1, 2 * half, 0.5)),
        samples=2 * half,
    )


def _matrices(train: dict[str, Values], other: dict[str, Values]) -> tuple[Floats, Floats]:
    """Both sides as numbers, a column a field; texts as their rank among those of both."""
    columns: tuple[list[Floats], list[Floats]] = ([], [])
    for name in train:
        sides: list[Any] = [train[name], other[name]]
        if sides[0].dtype.kind not in "biuf" or sides[1].dtype.kind not in "biuf":
            texts = [str(value) for side in sides for value in side.tolist()]
            ranks = np.unique(texts, return_inverse=True)[1].reshape(-1)
            sides = list(np.split(ranks, [len(sides[0])]))
        for into, side in zip(columns, sides, strict=True):
            numbers = np.asarray(side, dtype=np.float64)
            into.append(np.where(np.isfinite(numbers), numbers, np.nan))
    return np.stack(columns[0], axis=1), np.stack(columns[1], axis=1)
