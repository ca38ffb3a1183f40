"""Plots of evaluations as PNG or SVG files: confusion matrix, curves, calibration, numbers against numbers, the spread of folds.

Needs matplotlib (the extra "plot"); draws without a display and touches no state that is global in matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import import_extra
from headrace.report.plot_text import short, wrapped

__all__ = ["Curves", "Matrix", "Reliability", "Scatter", "draw_evaluation", "draw_folds"]

Floats = npt.NDArray[np.float64]

_COLOURS = ("#0b6e99", "#d1702f", "#5a8f3c", "#8a4f9e", "#b23a48", "#7d7d7d", "#c2a200", "#2f4b7c")
_DOTS_PER_INCH = 120
_MOST_WRITTEN = 12  # classes whose counts are written into the matrix
_MOST_LINES = 8  # classes whose curves have names; more are drawn in one colour
_LONGEST_NAME = 28  # characters of a class
_NAMES_IN_A_ROW = 44  # characters below a matrix; more stand at a slant
_TITLE_COLUMNS = 12.5  # characters an inch
_MOST_POINTS = 5000  # of a scatter or a curve


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A confusion matrix: rows are what is true, columns what was predicted; coloured by the share of the row."""

    counts: npt.NDArray[np.int64]
    names: Sequence[str]

    def draw(self, axes: Any) -> None:
        """Into these axes."""
        rows = self.counts.sum(axis=1, keepdims=True)
        shares = self.counts / np.maximum(rows, 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        size = len(self.names)
        every = max(1, size // 20)
        ticks = list(range(0, size, every))
        names = [short(self.names[i], _LONGEST_NAME) for i in ticks]
        if max(map(len, names)) * len(names) > _NAMES_IN_A_ROW:
            axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        else:
            axes.set_xticks(ticks, names, fontsize=8)
        axes.set_yticks(ticks, names, fontsize=8)
        if size <= _MOST_WRITTEN:
            for row in range(size):
                for column in range(size):
                    colour = "white" if shares[row, column] > 0.5 else "#222222"
                    text = f"{self.counts[row, column]}" + (f"\n{shares[row, column]:.0%}" if size <= 4 else "")
                    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10 if size <= 4 else 7)
        _titled(axes, "confusion: share of the true class", "predicted", "true")


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Curves in the unit square, each (label, x, y)."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Floats, Floats]]
    has_diagonal: bool = False

    def draw(self, axes: Any) -> None:
        """Into these axes."""
        few = len(self.lines) <= _MOST_LINES
        for number, (label, x, y) in enumerate(self.lines):
            x, y = _thinned(x), _thinned(y)
            style: dict[str, Any] = {"color": _COLOURS[number], "label": label} if few else {"color": _COLOURS[0], "alpha": 0.35}
            axes.plot(x, y, linewidth=1.6 if few else 0.8, drawstyle="default" if self.has_diagonal else "steps-pre", **style)
        _unit_square(axes, diagonal=self.has_diagonal)
        if few:
            axes.legend(frameon=False, fontsize=8, loc="lower right" if self.has_diagonal else "lower left")
        _titled(axes, self.title if few else f"{self.title}, {len(self.lines)} classes", self.x_label, self.y_label)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """How often what was said with a probability came true, by bins; `counts` are their samples."""

    said: Floats
    came_true: Floats
    counts: Floats

    def draw(self, axes: Any) -> None:
        """Into these axes."""
        _unit_square(axes, diagonal=True)
        # An error of one standard deviation of a share of so many samples.
        spread = np.sqrt(self.came_true * (1 - self.came_true) / self.counts)
        axes.errorbar(self.said, self.came_true, yerr=spread, color=_COLOURS[0], marker="o", markersize=4, linewidth=1.4, capsize=2)
        widths = axes.twinx()
        widths.bar(self.said, self.counts / self.counts.sum(), width=0.035, color="#b8c4cc", alpha=0.6)
        widths.set_ylim(0, 4 * float((self.counts / self.counts.sum()).max()))
        widths.set_yticks([])
        axes.set_zorder(widths.get_zorder() + 1)  # The line above the bars.
        axes.patch.set_visible(False)
        for side in ("top", "right", "left"):
            widths.spines[side].set_visible(False)
        _titled(axes, "calibration; bars: share of samples", "probability that was predicted", "share that came true")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Predicted numbers against true ones."""

    target: Floats
    predicted: Floats

    def draw(self, axes: Any) -> None:
        """Into these axes; of many points, evenly chosen ones."""
        step = -(-len(self.target) // _MOST_POINTS)
        x, y = self.target[::step], self.predicted[::step]
        axes.plot(x, y, ".", color=_COLOURS[0], markersize=3, alpha=0.5)
        both = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
        axes.plot(both, both, "--", color="#444444", linewidth=0.9)
        _titled(axes, "predicted against true" + (f", every {step}th" if step > 1 else ""), "true", "predicted")


def _thinned(values: Floats) -> Floats:
    """Values at evenly spread places, both ends among them: a screen shows no more."""
    if len(values) <= _MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST_POINTS).astype(np.int64)]


def _unit_square(axes: Any, *, diagonal: bool) -> None:
    if diagonal:
        axes.plot([0, 1], [0, 1], "--", color="#888888", linewidth=0.9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _titled(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_evaluation(path: str | Path, title: str, panels: Sequence[Matrix | Curves | Reliability | Scatter]) -> None:
    """Write the panels side by side, two in a row. Raises OSError if the file cannot be written."""
    kind: Any = import_extra("matplotlib.figure", "plot", "drawing plots").Figure
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = kind(figsize=(5.0 * columns, 4.4 * rows + 0.4), dpi=_DOTS_PER_INCH, layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        panel.draw(axes)
    figure.suptitle(wrapped(title, int(_TITLE_COLUMNS * 5.0 * columns)), x=0.01, ha="left", fontsize=11)
    figure.savefig(path)


def draw_folds(path: str | Path, title: str, values: dict[str, Floats], intervals: dict[str, tuple[float, float]]) -> None:
    """Write a panel a metric: each fold's value as a point, their mean as a line, its interval as a band."""
    kind: Any = import_extra("matplotlib.figure", "plot", "drawing plots").Figure
    figure = kind(figsize=(9.0, 0.85 * len(values) + 1.0), dpi=_DOTS_PER_INCH, layout="constrained")
    for axes, (name, found) in zip(figure.subplots(len(values), 1, squeeze=False)[:, 0], values.items(), strict=True):
        low, high = intervals[name]
        if np.isfinite([low, high]).all():
            axes.axvspan(low, high, color="#0b6e99", alpha=0.14, linewidth=0)
        if np.isfinite(found).all():
            axes.axvline(float(found.mean()), color=_COLOURS[0], linewidth=1.5)
        # Spread a little up and down, in a fixed way: equal values stay apart.
        axes.plot(found, (np.arange(len(found)) * 0.618) % 1 * 0.6 - 0.3, "o", color=_COLOURS[1], markersize=5, alpha=0.8)
        axes.set_ylim(-0.5, 0.5)
        axes.set_yticks([0], [short(name, _LONGEST_NAME)], fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.margins(x=0.08)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.suptitle(wrapped(title, int(_TITLE_COLUMNS * 9.0)), x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
