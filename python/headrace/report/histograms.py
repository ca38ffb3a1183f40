"""Histograms side by side, and a matrix of correlations, as PNG or SVG files.

Needs matplotlib (the extra "plot"); draws without a display and touches no state that is global in matplotlib.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import import_extra
from headrace.report.plot_text import short, wrapped

__all__ = ["HistogramPanel", "Matrix", "draw_histograms"]

_WIDE = 1e300  # beyond, the span of two edges may be no float64
_COLOUR = "#0b6e99"
_COLUMNS = 4
_PANEL_INCHES = (2.9, 2.1)
_DOTS_PER_INCH = 120
_WRITTEN_VALUES = 12  # a matrix of at most so many fields has its numbers in it
_FEW_BARS = 12
_TITLE_COLUMNS = 10.0  # characters an inch


@dataclass(frozen=True, kw_only=True)
class HistogramPanel:
    """Bars of one field: len(edges) == len(counts) + 1, or `labels` instead of edges, one a bar. `note` stands under the title."""

    title: str
    note: str
    counts: Sequence[float]
    edges: Sequence[float] = ()
    labels: Sequence[str] = ()
    x_format: Callable[[float], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Correlations, -1 to 1, NaN for none; one name a line."""

    title: str
    names: Sequence[str]
    values: Sequence[Sequence[float]]


def draw_histograms(path: str | Path, *, title: str, panels: Sequence[HistogramPanel], matrix: Matrix | None = None) -> None:
    """Write the panels and below them the matrix; the ending of `path` chooses the kind of file. Raises ValueError without a panel, OSError."""
    if not panels:
        raise ValueError("there is nothing to draw")
    figure_class: Any = import_extra("matplotlib.figure", "plot", "drawing plots").Figure
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    side = 0.0 if matrix is None else min(11.0, 2.2 + 0.42 * len(matrix.names))
    width = max(columns * _PANEL_INCHES[0], side)
    height = lines * _PANEL_INCHES[1] + side + 0.5
    figure = figure_class(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    figure.suptitle(wrapped(title, int(_TITLE_COLUMNS * width)), x=0.01, ha="left", fontsize=12)
    if matrix is None:
        upper = figure
    else:
        upper, lower = figure.subfigures(2, 1, height_ratios=(lines * _PANEL_INCHES[1], side))
        if width > side + 1:  # On the left, and not in the middle of nothing.
            lower = lower.subfigures(1, 2, width_ratios=(side + 0.6, width - side - 0.6))[0]
        _draw_matrix(lower.subplots(), lower, matrix)
    grid = upper.subplots(lines, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number < len(panels):
            _draw_panel(axes, panels[number])
        else:
            axes.set_visible(False)
    figure.savefig(path)


def _draw_panel(axes: Any, panel: HistogramPanel) -> None:
    if panel.labels:
        places = range(len(panel.counts))
        axes.barh(places, panel.counts, color=_COLOUR, height=0.75)
        axes.set_yticks(list(places), [short(label) for label in panel.labels], fontsize=7)
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=4)
    else:
        edges = list(panel.edges)
        if edges[0] == edges[-1]:
            edges = [edges[0] - 0.5, edges[0] + 0.5]
        # Matplotlib subtracts edges, and widens their span.
        unit = _WIDE if max(abs(edges[0]), abs(edges[-1])) > _WIDE else 1.0
        ends = [edge / unit for edge in edges]
        if len(panel.counts) > _FEW_BARS:
            axes.stairs(panel.counts, ends, fill=True, color=_COLOUR)
        else:  # Equal neighbours would look like one.
            widths = [end - begin for begin, end in itertools.pairwise(ends)]
            axes.bar(ends[:-1], panel.counts, widths, align="edge", color=_COLOUR, edgecolor="white", linewidth=0.8)
        axes.tick_params(axis="x", labelsize=7)
        axes.locator_params(axis="x", nbins=5 if panel.x_format is None else 3)
        if panel.x_format is not None:
            written = panel.x_format
            axes.xaxis.set_major_formatter(lambda value, _: written(value))
        elif unit != 1.0:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}e{math.log10(unit):.0f}" if value else "0")
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
    axes.tick_params(axis="both", labelsize=7, length=2)
    axes.xaxis.get_offset_text().set_fontsize(7)
    for name in ("top", "right", *(() if panel.labels else ("left",))):
        axes.spines[name].set_visible(False)
    axes.set_title(f"{short(panel.title, 28)}\n", loc="left", fontsize=9)
    axes.text(0, 1.03, short(panel.note, 46), transform=axes.transAxes, fontsize=7, color="#666666")


def _draw_matrix(axes: Any, figure: Any, matrix: Matrix) -> None:
    shown = axes.imshow([list(line) for line in matrix.values], cmap="RdBu_r", vmin=-1, vmax=1)
    names = [short(name, 20) for name in matrix.names]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(matrix.title, loc="left", fontsize=10)
    if len(names) <= _WRITTEN_VALUES:
        for i, line in enumerate(matrix.values):
            for j, value in enumerate(line):
                if not math.isnan(value):
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if abs(value) > 0.6 else "black")
    figure.colorbar(shown, ax=axes, shrink=0.8)
