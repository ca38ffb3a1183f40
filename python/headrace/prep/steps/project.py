"""Several numbers as other ones: products, principal components, discriminants."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.prep.program import Program, Value
from headrace.prep.step import Floats, Learned
from headrace.prep.steps.matrix import MatrixStep
from headrace.prep.steps.observe import Classes, Rows, target_of
from headrace.statistics import CoMoments

__all__ = ["LDA", "PCA", "Polynomial"]

_MOST_PRODUCTS = 1 << 20
_RANK_TOLERANCE = 1e-4  # scikit-learn's, of LinearDiscriminantAnalysis


class Polynomial(MatrixStep):
    """Products of up to `degree` of the numbers, themselves among them, in the order of PolynomialFeatures; a null makes its products null.

    interaction_only: no number with itself. include_bias: a column of ones, the first. Needs no pass.
    """

    def __init__(
        self, degree: int = 2, *, interaction_only: bool = False, include_bias: bool = False, name: str | None = None, fields: Any = None
    ) -> None:
        if degree < 1:
            raise ValueError(f"Polynomial: degree is {degree!r}; expected at least 1")
        self.degree, self.interaction_only, self.include_bias = degree, interaction_only, include_bias
        self.name, self.fields = name, fields

    def make(self, program: Program, value: Value, learned: Learned) -> Value:
        """One step."""
        count = math.comb(value.width, self.degree) if self.interaction_only else math.comb(value.width + self.degree, self.degree)
        if count > _MOST_PRODUCTS:  # of these alone, or all of them
            raise ValueError(f"{self}: {value.width} numbers have {count:,} products; expected at most {_MOST_PRODUCTS:,}")
        pick = itertools.combinations if self.interaction_only else itertools.combinations_with_replacement
        factors = [one for size in range(0 if self.include_bias else 1, self.degree + 1) for one in pick(range(value.width), size)]
        made = program.make(value.name, value.type, (len(factors),), [_product(value, one) for one in factors], value.dtype)
        sizes, flat = [len(one) for one in factors], list(itertools.chain.from_iterable(factors))
        program.add("products", [value.register], made.register, sizes=np.array(sizes, np.int64), components=np.array(flat, np.int64))
        return made


def _product(value: Value, factors: tuple[int, ...]) -> str:
    powers = [(value.names[j], len(list(same))) for j, same in itertools.groupby(factors)]
    return " ".join(label if power == 1 else f"{label}^{power}" for label, power in powers) or "1"


class _Projection(MatrixStep):
    """(x - mean) times a matrix. A sample with a null becomes null as a whole."""

    needs = frozenset({"together"})

    def make(self, program: Program, value: Value, learned: Learned) -> Value:
        """One product."""
        matrix = np.asarray(learned["matrix"], np.float64)
        width = matrix.shape[1]
        labels = [f"{value.name}_{type(self).__name__.lower()}{i}" for i in range(width)]
        made = program.make(value.name, value.type, (width,), labels, value.dtype, nullable=True)
        program.add(
            "linear",
            [value.register],
            made.register,
            center=np.asarray(learned["mean"], np.float64),
            matrix=np.ascontiguousarray(matrix).ravel(),
            shift=np.zeros(width),
        )
        return made


class PCA(_Projection):
    """The numbers projected on their k principal components, as PCA: of the covariances that one pass finds, in float64.

    k: how many; a share below 1: as many as explain more than this of the variance. whiten: unit variance each. Signs: the largest loading is positive.
    Samples with a null or an infinity are left out of the fit. Components whose variance is below 1e-10 of the largest lose their digits, as covariances
    do. Learned, by field: `mean_`, `components_` (k, width), `explained_variance_` (divided by count - 1), `explained_variance_ratio_`.
    """

    learns = ("mean", "components", "explained_variance", "explained_variance_ratio")

    def __init__(self, k: float, *, whiten: bool = False, name: str | None = None, fields: Any = None) -> None:
        if not (0 < k < 1 or (k >= 1 and k == int(k))):
            raise ValueError(f"PCA: k is {k!r}; expected a number of components, or a share of the variance between 0 and 1")
        self.k, self.whiten, self.name, self.fields = k, whiten, name, fields

    def begin(self, values: dict[str, Value]) -> Rows[CoMoments]:
        """Covariances."""
        return Rows(values, None, CoMoments(sum(value.width for value in values.values())))

    def finish(self, joint: Rows[CoMoments]) -> dict[str, Learned]:
        """Eigenvectors. Raises ValueError for fewer complete samples or numbers than components."""
        found = joint.statistic
        count, width = found.count, found.width
        if count < 2 or min(count, width) < self.k:
            raise ValueError(f"{self}: {count} samples without nulls, {width} numbers each; expected at least 2, and as many as components")
        variances, vectors = np.linalg.eigh(found.covariance(ddof=1))
        variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
        total = variances.sum()
        ratio = variances / (total if total > 0 else 1.0)
        k = int(np.searchsorted(np.cumsum(ratio), self.k, side="right") + 1) if self.k < 1 else int(self.k)
        components = upright(vectors[:, : min(k, width)]).T
        variances = variances[: len(components)]
        by = np.maximum(np.sqrt(variances), np.finfo(np.float64).eps) if self.whiten else np.ones(len(components))
        learned = {
            "mean": found.mean,
            "components": components,
            "explained_variance": variances,
            "explained_variance_ratio": ratio[: len(components)],
            "matrix": components.T / by,
        }
        return self.keep(joint.values, learned)


class LDA(_Projection):
    """The numbers projected where classes lie apart, as LinearDiscriminantAnalysis(solver="svd") of scikit-learn 1.9; one pass finds the classes' moments.

    target: the field of classes: one whole number, boolean or float a sample (Ordinal makes one of texts); at most 1024 of them, and it stays a field.
    k: how many directions; None: all, at most classes - 1. Signs: the largest weight is positive. Samples with a null or an infinity are left out of the fit,
    and those whose class is null. Learned, by field: `mean_`, `matrix_` (width, k), `classes_`, `priors_`, `explained_variance_ratio_`.
    """

    learns = ("mean", "matrix", "classes", "priors", "explained_variance_ratio")

    def __init__(self, k: int | None = None, *, target: str, name: str | None = None, fields: Any = None) -> None:
        if k is not None and k < 1:
            raise ValueError(f"LDA: k is {k!r}; expected at least 1")
        self.k, self.target, self.name, self.fields = k, target, name, fields

    def read(self, program: Program, name: str) -> Value:
        """The target as it is, the rest as floats."""
        return target_of(program, name) if name == self.target else program.read(name)

    def begin(self, values: dict[str, Value]) -> Rows[Classes]:
        """Moments of each class."""
        assert self.target is not None
        return Rows(values, self.target, Classes(sum(value.width for name, value in values.items() if name != self.target)))

    def finish(self, joint: Rows[Classes]) -> dict[str, Learned]:
        """Directions. Raises ValueError for fewer than two classes, or no spread inside them."""
        classes, count, means, within = joint.statistic.found()
        total = int(count.sum())
        if len(classes) < 2 or total <= len(classes):
            raise ValueError(
                f"{self}: {total} samples of {len(classes)} classes; expected two classes or more, and more samples than classes"
            )
        priors = count / total
        mean = priors @ means
        scalings, shares = _directions(within, means - mean, priors, total)
        if scalings.shape[1] == 0:
            raise ValueError(f"{self}: inside the classes no number varies, or the classes do not differ")
        k = min(scalings.shape[1] if self.k is None else self.k, len(classes) - 1, scalings.shape[1])
        learned = {
            "mean": mean,
            "matrix": upright(scalings[:, :k]),
            "classes": classes,
            "priors": priors,
            "explained_variance_ratio": shares[:k],
        }
        return self.keep(joint.values, learned)


def _directions(within: Floats, away: Floats, priors: Floats, total: int) -> tuple[Floats, Floats]:
    """Hastie, Tibshirani, Friedman 2009, section 4.3: whiten inside the classes, then principal directions of their means."""
    spread = np.sqrt(np.diagonal(within) / total)
    spread = np.where(spread == 0, 1.0, spread)
    values, vectors = np.linalg.eigh(within / spread[:, None] / spread[None, :] / total)
    sizes = np.sqrt(np.maximum(values[::-1], 0.0))
    rank = int((sizes > _RANK_TOLERANCE).sum())
    white = vectors[:, ::-1][:, :rank] / spread[:, None] / sizes[:rank]
    factor = 1.0 if len(priors) == 1 else 1 / (len(priors) - 1)
    _, sizes, rows = np.linalg.svd(np.sqrt(total * priors * factor)[:, None] * away @ white, full_matrices=False)
    if len(sizes) == 0 or sizes[0] == 0:
        return np.zeros((len(spread), 0)), np.zeros(0)
    rank = int((sizes > _RANK_TOLERANCE * sizes[0]).sum())
    shares: Floats = sizes**2 / (sizes**2).sum()
    return white @ rows[:rank].T, shares


def upright(columns: npt.NDArray[np.float64]) -> Floats:
    """With signs such that the largest number of each column is positive."""
    largest = np.argmax(np.abs(columns), axis=0)
    signs = np.where(columns[largest, np.arange(columns.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(columns * signs)
