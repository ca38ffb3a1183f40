"""Plots of measured numbers as PNG or SVG files: lines, panels of lines, and horizontal bars.

Needs matplotlib (the extra "plot"); draws without a display and touches no state that is global in matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import import_extra

__all__ = ["BarGroup", "Line", "Panel", "draw_bars", "draw_lines", "draw_panels", "require_plotting"]

# Told apart in print and by most colour-blind readers; the first is ours.
_COLOURS = ("#0b6e99", "#d1702f", "#5a8f3c", "#8a4f9e", "#b23a48", "#7d7d7d", "#c2a200", "#2f4b7c")
_MARKERS = "osD^vPX*"
_WIDTH_INCHES = 9.0
_DOTS_PER_INCH = 120
_BAR_INCHES = 0.27
_PANEL_COLUMNS = 3
_PANEL_INCHES = 3.2


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points (x, y) under one label.

    In panels: `marks` are values to hold points against, one a point, None for none; points whose numbers are in `doubtful` are crossed out.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    marks: Sequence[float | None] = field(default=())
    doubtful: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines that share axes, under one title."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class BarGroup:
    """Bars that are compared with each other, under one title. `marks` are values to hold bars against (goals), one a bar, None for none."""

    title: str
    labels: Sequence[str]
    values: Sequence[float]
    marks: Sequence[float | None] = field(default=())
    ours: frozenset[int] = frozenset()  # numbers of the bars that are drawn in the first colour


def require_plotting() -> None:
    """Raise MissingExtraError where matplotlib is not installed: to be called before minutes of measuring, not after them."""
    import_extra("matplotlib", "plot", "drawing plots")


def _figure(height_inches: float) -> Any:
    figure: Any = import_extra("matplotlib.figure", "plot", "drawing plots").Figure
    return figure(figsize=(_WIDTH_INCHES, height_inches), dpi=_DOTS_PER_INCH, layout="constrained")


def _bare(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_lines(
    path: str | Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    x_format: Callable[[float], str] = "{:g}".format,
    y_format: Callable[[float], str] = "{:g}".format,
    log_x: bool = True,
    log_y: bool = False,
) -> None:
    """Write a plot of `lines`; the ending of `path` chooses the kind of file. Raises ValueError without a line, OSError if it cannot be written."""
    if not lines:
        raise ValueError("there is nothing to draw")
    figure = _figure(5.0)
    axes = figure.subplots()
    for number, line in enumerate(lines):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        axes.plot(line.x, line.y, label=line.label, color=colour, marker=marker, linestyle="--" if line.dashed else "-", markersize=5)
    if log_x:
        axes.set_xscale("log")
    xs = sorted({x for line in lines for x in line.x})
    axes.set_xticks(xs, [x_format(x) for x in xs])
    axes.minorticks_off()
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: y_format(value))
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    _bare(axes)
    figure.savefig(path)


def draw_panels(
    path: str | Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    panels: Sequence[Panel],
    x_format: Callable[[float], str] = "{:g}".format,
    y_format: Callable[[float], str] = "{:g}".format,
    mark_label: str = "",
    doubt_label: str = "",
) -> None:
    """Write panels side by side, each with a y axis of its own that begins at 0; a label has the same colour in all, and one legend serves.

    x is logarithmic, with each value that occurs as a tick. Raises ValueError without a line, OSError if the file cannot be written.
    """
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        raise ValueError("there is nothing to draw")
    columns = min(_PANEL_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(rows * _PANEL_INCHES + 1.0)
    grid = figure.subplots(rows, columns, squeeze=False)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    handles: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_visible(False)
            continue
        _draw_panel(axes, panels[number], labels, handles, later, mark_label, doubt_label)
        xs = sorted({x for line in panels[number].lines for x in line.x})
        axes.set_xticks(xs, [x_format(x) for x in xs])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: y_format(value) if value else "0")
        axes.set_xlabel(x_label, fontsize=9)
        if number % columns == 0:
            axes.set_ylabel(y_label, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    handles |= later
    figure.legend(handles.values(), handles.keys(), frameon=False, fontsize=9, loc="outside lower left", ncols=min(6, len(handles)))
    figure.savefig(path)


def _draw_panel(
    axes: Any, panel: Panel, labels: Sequence[str], handles: dict[str, Any], later: dict[str, Any], mark_label: str, doubt_label: str
) -> None:
    """Draw one panel; what the legend is to show of it goes into `handles`, and into `later` what comes after all lines."""
    for line in panel.lines:
        number = labels.index(line.label)
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        handles.setdefault(line.label, axes.plot(line.x, line.y, color=colour, marker=marker, markersize=6, linewidth=1.8)[0])
        marks = [(x, mark) for x, mark in zip(line.x, line.marks, strict=False) if mark is not None]
        if marks:
            axes.plot(*zip(*marks, strict=True), "_", color=colour, markersize=18, markeredgewidth=2.5, zorder=4)
            later.setdefault(mark_label, axes.plot([], [], "_", color="#444444", markersize=14, markeredgewidth=2.5)[0])
        doubtful = [(line.x[i], line.y[i]) for i in sorted(line.doubtful)]
        if doubtful:
            drawn = axes.plot(*zip(*doubtful, strict=True), "x", color="#c00000", markersize=13, markeredgewidth=2, zorder=5)[0]
            later.setdefault(doubt_label, drawn)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.1, y=0.12)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    _bare(axes)


def draw_bars(
    path: str | Path,
    *,
    title: str,
    x_label: str,
    groups: Sequence[BarGroup],
    value_format: Callable[[float], str] = "{:.3g}".format,
    mark_label: str = "",
    line_at: float | None = None,
    log: bool = False,
) -> None:
    """Write groups of horizontal bars, one below the other, each group with an axis of its own; values stand beside the bars.

    mark_label: what the short upright marks are, for the legend. line_at: a value that every group is held against, drawn as a dashed line.
    """
    groups = [group for group in groups if len(group.values)]
    if not groups:
        raise ValueError("there is nothing to draw")
    heights = [len(group.values) * _BAR_INCHES + 0.62 for group in groups]
    figure = _figure(sum(heights) + 0.8)
    grid = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)
    for group, axes in zip(groups, grid[:, 0], strict=True):
        _draw_group(axes, group, value_format=value_format, mark_label=mark_label, line_at=line_at, log=log)
    grid[-1, 0].set_xlabel(x_label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.savefig(path)


def _draw_group(
    axes: Any, group: BarGroup, *, value_format: Callable[[float], str], mark_label: str, line_at: float | None, log: bool
) -> None:
    positions = list(range(len(group.values)))
    colours = [_COLOURS[0] if number in group.ours else "#b8c4cc" for number in positions]
    axes.barh(positions, group.values, color=colours, height=0.72)
    axes.set_yticks(positions, group.labels, fontsize=9)
    axes.invert_yaxis()
    if log:
        axes.set_xscale("log")
        axes.set_xlim(left=min(group.values) / 3)
    marks = [(number, mark) for number, mark in enumerate(group.marks) if mark is not None]
    if marks:
        axes.plot(
            [mark for _, mark in marks],
            [number for number, _ in marks],
            "|",
            color="black",
            markersize=15,
            markeredgewidth=2,
            label=mark_label,
        )
        # Above the bars: between them its mark would look like one more.
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    if line_at is not None:
        axes.axvline(line_at, color="#444444", linestyle="--", linewidth=0.9)
    for number, value in enumerate(group.values):
        axes.annotate(
            value_format(value), (value, number), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color="#333333"
        )
    if not log:
        axes.xaxis.set_major_formatter(lambda value, _: value_format(value) if value else "0")
    axes.margins(x=0.12)
    axes.set_title(group.title, loc="left", fontsize=10, fontweight="bold")
    axes.tick_params(axis="x", labelsize=8)
    _bare(axes)
