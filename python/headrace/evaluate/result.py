"""What an evaluation found: figures with intervals, tables of classes, curves; as text, JSON and a plot."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace.evaluate import curves
from headrace.evaluate.intervals import Interval
from headrace.evaluate.metrics import by_class
from headrace.evaluate.predictions import Counted, Integers, Predictions
from headrace.report.plot_text import short
from headrace.report.table import Column, table

__all__ = ["Evaluation", "Figure"]

_MOST_LISTED = 30  # classes in a text


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric's value, and where it may lie: the interval is None if none was asked for, or none can be had."""

    value: float
    interval: Interval | None = None
    is_better_high: bool | None = None  # None: not known


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What `headrace.evaluate.model()` found. `evaluation["accuracy"]` is a value; print() shows all with their intervals."""

    figures: dict[str, Figure]
    predictions: Predictions = field(repr=False)
    fingerprint: int | None = None  # of the dataset; two evaluations of the same samples may be compared

    def __getitem__(self, name: str) -> float:
        if name not in self.figures:
            raise KeyError(f"{name!r} was not measured; there are {', '.join(self.figures)}")
        return self.figures[name].value

    @property
    def task(self) -> str:
        """What is evaluated: "binary", "multiclass" or "regression"."""
        return self.predictions.task

    @property
    def samples(self) -> int:
        """How many samples were evaluated, each once."""
        return len(self.predictions)

    @property
    def confusion(self) -> Integers:
        """Counts, int64, shape (classes, classes): rows are what is true, columns what was predicted. Raises ValueError for regression."""
        self._require_classes("a confusion matrix")
        return Counted(self.predictions).confusion.astype(np.int64)

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and number of samples of each class, by its name. Raises ValueError for regression."""
        confusion = self.confusion
        columns = zip(*by_class(confusion.astype(np.float64)), confusion.sum(axis=1), strict=True)
        return {
            name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "samples": int(samples)}
            for name, (precision, recall, f1, samples) in zip(self.predictions.classes, columns, strict=True)
        }

    def roc(self) -> list[curves.Curve]:
        """ROC curves: of class 1, or of each class where there are more than two. Raises ValueError without probabilities."""
        self._require_classes("a ROC curve")
        return curves.roc(self.predictions)

    def precision_recall(self) -> list[curves.Curve]:
        """Precision at each recall, classes as in roc(). Raises ValueError without probabilities."""
        self._require_classes("a curve of precision and recall")
        return curves.precision_recall(self.predictions)

    def _require_classes(self, what: str) -> None:
        if self.task == "regression":
            raise ValueError(f"{what} needs classes; these are predictions of numbers")

    def to_dict(self) -> dict[str, Any]:
        """All but the predictions, as plain Python values."""
        figures: dict[str, Any] = {}
        for name, figure in self.figures.items():
            found: dict[str, Any] = {"value": figure.value}
            if figure.interval is not None:
                found |= {"low": figure.interval.low, "high": figure.interval.high, "level": figure.interval.level}
            figures[name] = found
        out: dict[str, Any] = {"task": self.task, "samples": self.samples, "metrics": figures}
        if self.task != "regression":
            out |= {"classes": list(self.predictions.classes), "confusion": self.confusion.tolist(), "per_class": self.per_class}
        return out

    def to_json(self) -> str:
        """to_dict() as JSON; figures that are not defined are null."""
        return json.dumps(_without_nan(self.to_dict()), indent=2, allow_nan=False)

    def __str__(self) -> str:
        several = f"{len(self.predictions.classes)} classes" if self.task == "multiclass" else self.task
        parts = [f"{self.samples} samples, {several}", "", _figures_table(self.figures)]
        if self.task != "regression" and len(self.predictions.classes) <= _MOST_LISTED:
            titles = (
                Column(title="class", cut=True),
                *(Column(title=name, right=True) for name in ("precision", "recall", "f1", "samples")),
            )
            cells = [
                [name, *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), str(int(row["samples"]))]
                for name, row in self.per_class.items()
            ]
            parts += ["", table(titles, cells)]
        return "\n".join(parts)

    def plot(self, path: str | Path) -> None:
        """Draw confusion matrix, ROC, precision and recall, and calibration, or predicted against true numbers, into a PNG or SVG file.

        Raises MissingExtraError without matplotlib, OSError if the file cannot be written.
        """
        from headrace.report import evaluation_plot as plots

        title = f"{self.samples} samples: " + ", ".join(f"{name} {figure.value:.3g}" for name, figure in list(self.figures.items())[:4])
        if self.task == "regression":
            target, predicted = self.predictions.target, self.predictions.predicted
            plots.draw_evaluation(path, title, [plots.Scatter(target=target.reshape(-1), predicted=predicted.reshape(-1))])
            return
        panels: list[Any] = [plots.Matrix(counts=self.confusion, names=self.predictions.classes)]
        if self.predictions.scores is not None:
            panels += [_lines("ROC", self.roc()), _lines("precision and recall", self.precision_recall())]
            said, came_true, counts = curves.reliability(self.predictions)
            panels.append(plots.Reliability(said=said, came_true=came_true, counts=counts))
        plots.draw_evaluation(path, title, panels)


def _lines(kind: str, found: list[curves.Curve]) -> Any:
    from headrace.report import evaluation_plot as plots

    axes = ("false positive rate", "true positive rate") if kind == "ROC" else ("recall", "precision")
    # The area stays where a long name is cut.
    areas = ["not defined" if math.isnan(curve.area) else f"{curve.area:.3f}" for curve in found]
    lines = [(f"{short(curve.name, 28)} ({area})", curve.x, curve.y) for curve, area in zip(found, areas, strict=True)]
    return plots.Curves(title=kind, x_label=axes[0], y_label=axes[1], lines=lines, has_diagonal=kind == "ROC")


def _figures_table(figures: dict[str, Figure]) -> str:
    level = next((figure.interval.level for figure in figures.values() if figure.interval is not None), None)
    titles = [Column(title="metric"), Column(title="value", right=True)]
    if level is not None:
        titles.append(Column(title=f"{level * 100:g} % interval", right=True))
    cells = []
    for name, figure in figures.items():
        row = [name, number(figure.value)]
        if level is not None:
            inside = figure.interval
            row.append("" if inside is None else between(inside.low, inside.high))
        cells.append(row)
    return table(titles, cells)


def number(value: float) -> str:
    """Four decimals, or four digits of what is larger; "not defined" for NaN."""
    if math.isnan(value):
        return "not defined"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def between(low: float, high: float) -> str:
    """An interval; "not defined" where it is not."""
    return f"{number(low)} to {number(high)}" if not math.isnan(low) else number(low)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
