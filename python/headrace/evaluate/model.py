"""How good a model is: a dataset goes through it in batches, and metrics with intervals come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.evaluate import metrics as known
from headrace.evaluate.inference import column, run
from headrace.evaluate.intervals import Interval, intervals
from headrace.evaluate.predictions import Counted, Predictions, predictions
from headrace.evaluate.result import Evaluation, Figure
from headrace.sampling.options import whole_number

__all__ = ["assess", "model"]

Metrics = Sequence[Any]
_FED_AT_ONCE = 1 << 16  # predictions, to a metric of torchmetrics


def model(
    predict: Callable[[Any], Any],
    dataset: Any,
    metrics: Metrics | None = None,
    *,
    label: str | int | None = None,
    task: str | None = None,
    outputs: str = "probabilities",
    classes: Sequence[Any] | None = None,
    threshold: float = 0.5,
    level: float = 0.95,
    resamples: int = 1000,
    group: Any = None,
    seed: int = 0,
    **loader: Any,
) -> Evaluation:
    """Run a model over a dataset and say how good it is: `hr.evaluate.model(net, test, ["accuracy", "roc_auc"], outputs="logits")`.

    predict: inputs of a batch -> a row a sample: classes (integers), or numbers, as tensors or arrays. A torch module is in eval mode meanwhile. Of tuples
    (x, label) it gets x, of dicts all but the label. dataset: any that headrace.DataLoader takes. metrics: names (accuracy, balanced_accuracy, precision,
    recall, f1, each also with _macro, _micro, _weighted, mcc, kappa, roc_auc, average_precision, log_loss, brier, calibration_error, top_5_accuracy; mse,
    rmse, mae, mape, r2, explained_variance, pearson, spearman), metrics of torchmetrics, functions (target, scores) -> float; default what fits. With two
    classes precision, recall and F1 are those of class 1, with more the mean over classes; roc_auc and average_precision are means of one against the rest.
    label: the field, or place in a tuple; default "label", "target" or "y", in a tuple the last. task, outputs, classes, threshold: as in predictions().
    level, resamples, group, seed: of the bootstrap intervals, which calibration_error has none of; resamples=0 leaves them out; samples with one value of
    `group` (a field or an array) are drawn together. loader: options of headrace.DataLoader: batch_size (1024), num_workers, prepare, device, ...

    Under torch.distributed the ranks share the dataset, and each returns the figures that one process alone would: every sample counts once. Keeps all
    scores in memory. Raises ValueError, KeyError and TypeError naming the sample, field or metric.
    """
    known.check_names(metrics)
    said, true = run(predict, dataset, label, loader)
    of = predictions(said, true, task=task, outputs=outputs, classes=classes, threshold=threshold)
    groups = column(dataset, "group", group)
    return assess(
        of, metrics, level=level, resamples=resamples, groups=groups, seed=seed, fingerprint=getattr(dataset, "fingerprint", None)
    )


def assess(
    of: Predictions,
    metrics: Metrics | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    groups: npt.NDArray[Any] | None = None,
    seed: int = 0,
    fingerprint: int | None = None,
) -> Evaluation:
    """The figures of predictions that were made already; arguments as in model()."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    resamples = whole_number("resamples", resamples, 0, 1 << 31)
    seed = whole_number("seed", seed, 0, 1 << 64)
    known.check_names(metrics)
    used: dict[str, known.Metric] = {}
    for asked in known.default_names(of) if metrics is None else metrics:
        metric = _metric(asked, of)
        if metric.name in used:
            raise ValueError(f"metric {metric.name} is asked for twice; give functions names of their own")
        used[metric.name] = metric
    kernels = {name: metric.prepare(of) for name, metric in used.items()}
    whole = Counted(of)
    values = {name: float(kernel(whole)) for name, kernel in kernels.items()}
    ranges: dict[str, Interval] = {}
    if resamples:
        drawn = {name: kernel for name, kernel in kernels.items() if used[name].has_interval}
        ranges = intervals(of, drawn, level=level, resamples=resamples, seed=seed, groups=groups)
    figures = {name: Figure(value=values[name], interval=ranges.get(name), is_better_high=used[name].is_better_high) for name in used}
    return Evaluation(figures=figures, predictions=of, fingerprint=fingerprint)


def _metric(metric: Any, of: Predictions) -> known.Metric:
    """What the user named, or gave."""
    if isinstance(metric, str):
        return known.named(metric, of)
    if hasattr(metric, "update") and hasattr(metric, "compute"):
        return known.Metric(name=type(metric).__name__, prepare=lambda _: _of_torchmetrics(metric), is_better_high=metric.higher_is_better)
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return known.Metric(name=name, prepare=lambda _: lambda counted: _called(metric, counted.taken()), is_better_high=None)
    raise TypeError(f"metric {metric!r}: expected a name, a torchmetrics.Metric or a function (target, scores) -> float")


def _shown(of: Predictions) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(target, scores) as libraries of metrics want them; numbers of one output without a second dimension."""
    said = of.predicted if of.scores is None else of.scores
    if of.task == "regression" and said.shape[1] == 1:
        return of.target[:, 0], said[:, 0]
    return of.target, said


def _called(metric: Callable[..., Any], of: Predictions) -> float:
    found = metric(*_shown(of))
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        name = getattr(metric, "__name__", type(metric).__name__)
        raise TypeError(f"metric {name} returned {found!r:.80}; expected one number") from error


def _of_torchmetrics(metric: Any) -> known.Kernel:
    """A metric of torchmetrics over all predictions; a copy of it, which asks no other rank: each has all of them."""
    import torch

    own = metric.clone().cpu()
    own.sync_on_compute = False

    def value(counted: Counted) -> float:
        target, said = (torch.from_numpy(np.ascontiguousarray(values)) for values in _shown(counted.taken()))
        said = said.float() if said.is_floating_point() else said
        target = target.float() if target.is_floating_point() else target
        own.reset()
        for begin in range(0, len(target), _FED_AT_ONCE):
            own.update(said[begin : begin + _FED_AT_ONCE], target[begin : begin + _FED_AT_ONCE])
        found = own.compute()
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            raise TypeError(f"{type(metric).__name__} computes {found!r:.80}; expected one number, as with average='macro'")
        return float(found)

    return value
