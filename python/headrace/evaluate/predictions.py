"""What a model said of samples beside what is true: checked once, then counted in many ways.

Depends on numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.sampling.options import one_of

__all__ = ["Counted", "Floats", "Integers", "Predictions", "predictions"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TASKS = ("binary", "multiclass", "regression")
_MOST_CLASSES = 1 << 14  # by their numbers alone: a confusion matrix has as many lines and columns
_SUM_WITHIN = 1e-2  # of the probabilities of a sample: float16 and bfloat16 are no closer


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Checked predictions of n samples. Arrays are shared with whoever made them; nothing here writes to them."""

    task: str  # "binary", "multiclass" or "regression"
    target: npt.NDArray[Any]  # classes, int64, shape (n,); of regression float64, shape (n, outputs)
    predicted: npt.NDArray[Any]  # like target
    scores: Floats | None = (
        None  # probability of class 1, shape (n,); of each class, shape (n, classes); None where only classes were predicted
    )
    classes: tuple[str, ...] = ()
    clip: float = float(np.finfo(np.float64).eps)  # probabilities nearer to 0 or 1 than this are not told from it: the model's own dtype

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, rows: Integers) -> Predictions:
        """Those of some samples, copied."""
        scores = None if self.scores is None else self.scores[rows]
        return replace(self, target=self.target[rows], predicted=self.predicted[rows], scores=scores)

    @cached_property
    def class_scores(self) -> Floats:
        """Probability of each class, shape (n, classes). Raises ValueError where only classes were predicted."""
        if self.scores is None:
            raise ValueError("the model answers classes; this needs their probabilities")
        return np.stack([1 - self.scores, self.scores], axis=1) if self.task == "binary" else self.scores

    @cached_property
    def cells(self) -> Integers:
        """target * classes + predicted, shape (n,): a cell of the confusion matrix."""
        return np.asarray(self.target * len(self.classes) + self.predicted, dtype=np.int64)


class Counted:
    """Predictions of which each counts so many times: a resample of them; once each without `weights`."""

    def __init__(self, of: Predictions, weights: Floats | None = None) -> None:
        self.of = of
        self.weights = np.ones(len(of)) if weights is None else weights
        self.total = float(len(of)) if weights is None else float(weights.sum())

    def mean(self, values: Floats) -> Any:
        """The weighted mean over samples of values of shape (n,) or (n, k)."""
        return self.weights @ values / self.total

    @cached_property
    def confusion(self) -> Floats:
        """Counts, shape (classes, classes): rows are what is true, columns what was predicted."""
        size = len(self.of.classes)
        counts = np.bincount(self.of.cells, weights=self.weights, minlength=size * size)
        return counts.astype(np.float64).reshape(size, size)

    def taken(self) -> Predictions:
        """The predictions themselves, each as often as it counts."""
        return self.of.rows(np.repeat(np.arange(len(self.of)), self.weights.astype(np.int64)))


def predictions(
    output: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    task: str | None = None,
    outputs: str = "probabilities",
    classes: Sequence[Any] | None = None,
    threshold: float = 0.5,
) -> Predictions:
    """Check what a model said and what is true, and say which task it is.

    output: classes (integers, or names of `classes`), shape (n,); or numbers: of class 1, shape (n,) or (n, 1); of each class, shape (n, classes); of
    regression, shape (n,) or (n, outputs). target: classes or numbers, shape (n,) or of regression (n, outputs). task: found from the dtypes unless given:
    targets that are no whole numbers mean regression. outputs: what numbers of classes are, "probabilities" or "logits". threshold: above which class 1 is
    predicted. Raises ValueError naming the first sample that does not fit.
    """
    one_of("outputs", outputs, ("probabilities", "logits"))
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; expected a finite number")
    said, true = np.asarray(output), np.asarray(target)
    if said.ndim == 0 or true.ndim == 0:
        raise ValueError(f"predictions have shape {said.shape}, labels {true.shape}; expected a row a sample")
    if classes is not None and task == "regression":
        raise ValueError("classes= are names of classes, and task='regression' has none: leave one of them out")
    if classes is not None:
        said, true = _numbered("the predictions", said, classes), _numbered("the labels", true, classes)
    if len(true) == 0:
        raise ValueError("there are no samples to evaluate")
    if len(said) != len(true):
        raise ValueError(f"there are {len(said)} predictions for {len(true)} labels")
    for what, values in (("prediction", said), ("label", true)):
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"{what}s are {values.dtype}; expected numbers, or names and classes=[...] (--classes), which lists them in the order of their numbers"
            )
        if values.dtype.kind == "f" and not (finite := np.isfinite(values).reshape(len(values), -1).all(axis=1)).all():
            raise ValueError(f"the {what} of sample {int(np.argmin(finite))} is {values[int(np.argmin(finite))]}; expected finite numbers")
    found = one_of("task", task, TASKS) if task is not None else _task_of(said, true, classes)
    if found == "regression":
        return _regression(said, true)
    return _classification(found, said, true, outputs, classes, threshold)


def _numbered(what: str, values: npt.NDArray[Any], classes: Sequence[Any]) -> npt.NDArray[Any]:
    """Names as numbers of classes; numbers as they are."""
    if values.dtype.kind not in "OUS":
        return values
    number_of = {name: number for number, name in enumerate(classes)}
    try:
        return np.array([number_of[name] for name in values.tolist()], dtype=np.int64)
    except KeyError as error:
        raise ValueError(f"{what} hold {error.args[0]!r}, which is none of the classes {list(classes)}") from None


def _task_of(said: npt.NDArray[Any], true: npt.NDArray[Any], classes: Sequence[Any] | None) -> str:
    if true.dtype.kind == "f" and (true.ndim > 1 or not (true == np.floor(true)).all()):
        return "regression"
    if said.ndim == 2 and said.shape[1] > 1:
        return "binary" if said.shape[1] == 2 else "multiclass"
    if said.dtype.kind == "f":
        outside = (true < 0) | (true > 1)
        if outside.any():
            at = int(np.argmax(outside.reshape(len(true), -1).any(axis=1)))
            raise ValueError(
                f"one number was predicted a sample, and the label of sample {at} is {true[at]}: give task='regression', or predict a number for each class"
            )
        return "binary"
    several = len(classes) if classes is not None else int(max(said.max(), true.max())) + 1
    return "binary" if several <= 2 else "multiclass"


def _regression(said: npt.NDArray[Any], true: npt.NDArray[Any]) -> Predictions:
    said, true = (np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (said, true))
    if said.shape != true.shape:
        raise ValueError(f"predictions have shape {said.shape}, labels {true.shape}")
    return Predictions(task="regression", target=true, predicted=said)


def _classification(
    task: str, said: npt.NDArray[Any], true: npt.NDArray[Any], outputs: str, classes: Sequence[Any] | None, threshold: float
) -> Predictions:
    target = _whole("label", true.reshape(-1) if true.ndim == 2 and true.shape[1] == 1 else true)
    scores, clip = None, float(np.finfo(np.float64).eps)
    if said.dtype.kind == "f":
        clip = float(np.finfo(said.dtype).eps) if outputs == "probabilities" else 0.0
        scores = _probabilities(task, said, outputs)
        predicted = (scores > threshold).astype(np.int64) if task == "binary" else scores.argmax(axis=1).astype(np.int64)
        several = 2 if task == "binary" else scores.shape[1]
    else:
        predicted = _whole("prediction", said.reshape(-1) if said.ndim == 2 and said.shape[1] == 1 else said)
        several = max(2, int(max(predicted.max(), target.max())) + 1) if classes is None else len(classes)
        if several > _MOST_CLASSES and classes is None:
            raise ValueError(
                f"the largest class is {several - 1}; at most {_MOST_CLASSES} are counted, numbered from 0: number those that there are"
            )
    if classes is not None and len(classes) != several:
        raise ValueError(f"there are {len(classes)} names of classes, and predictions for {several}")
    if len(target) != len(predicted):
        raise ValueError(f"there are {len(predicted)} predictions for {len(target)} labels")
    for what, values in (("label", target), ("prediction", predicted)):
        outside = (values < 0) | (values >= several)
        if outside.any():
            at = int(np.argmax(outside))
            raise ValueError(f"the {what} of sample {at} is {values[at]}; there are {several} classes, numbered from 0")
    names = tuple(str(name) for name in (range(several) if classes is None else classes))
    return Predictions(task=task, target=target, predicted=predicted, scores=scores, classes=names, clip=clip)


def _whole(what: str, values: npt.NDArray[Any]) -> Integers:
    if values.ndim != 1:
        raise ValueError(f"{what}s have shape {values.shape}; expected one class a sample")
    if values.dtype.kind == "f" and not (same := values == np.floor(values)).all():
        at = int(np.argmin(same))
        raise ValueError(f"the {what} of sample {at} is {values[at]}; expected the number of a class, or task='regression'")
    return values.astype(np.int64)


def _probabilities(task: str, said: npt.NDArray[Any], outputs: str) -> Floats:
    numbers = said.astype(np.float64)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim > 2 or (task == "binary") is not (numbers.ndim == 1 or numbers.shape[1] == 2):
        raise ValueError(f"predictions have shape {said.shape}; expected {'(n,) or (n, 2)' if task == 'binary' else '(n, classes)'}")
    if outputs == "logits":
        return _from_logits(numbers)
    outside = (numbers < 0) | (numbers > 1)
    if numbers.ndim == 2:
        outside = outside.any(axis=1) | (np.abs(numbers.sum(axis=1) - 1) > _SUM_WITHIN)
    if outside.any():
        at = int(np.argmax(outside))
        raise ValueError(
            f"sample {at}: {numbers[at]} are no probabilities, which lie between 0 and 1 and add up to 1; give outputs='logits' (--logits) for "
            "what comes before a sigmoid or softmax, task='regression' for numbers that are no classes"
        )
    return numbers if numbers.ndim == 1 or task == "multiclass" else numbers[:, 1]


def _from_logits(numbers: Floats) -> Floats:
    if numbers.ndim == 2 and numbers.shape[1] == 2:
        numbers = numbers[:, 1] - numbers[:, 0]
    if numbers.ndim == 1:
        small = np.exp(-np.abs(numbers))
        return np.asarray(np.where(numbers >= 0, 1.0, small) / (1 + small))
    parts = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))
