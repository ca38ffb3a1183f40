"""A profile as a picture: a histogram a field, and the correlations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.profiling.columns import time_text
from headrace.profiling.summary import FieldProfile
from headrace.report import humanise
from headrace.report.histograms import HistogramPanel, Matrix, draw_histograms

if TYPE_CHECKING:
    from headrace.profiling.profile import Profile

__all__ = ["draw"]

_MOST_PANELS = 64
_BARS = 8


def draw(profile: Profile, path: Path) -> None:
    """Draw the fields (vectors: over all their numbers), at most 64 of them, and the correlations where there are at least two numbers."""
    panels = [_panel(field) for field in profile.fields if (field.frequent if field.kind == "text" else field.histogram is not None)]
    names = profile.correlated_names
    matrix = None
    if len(names) > 1 and profile.correlation_rows > 1:
        title = f"correlations over {humanise.count(profile.correlation_rows)} complete rows"
        matrix = Matrix(title=title, names=names, values=profile.correlation.tolist())
    title = f"{profile.path}: {humanise.count(profile.rows)} samples"
    draw_histograms(path, title=title, panels=panels[:_MOST_PANELS], matrix=matrix)


def _panel(field: FieldProfile) -> HistogramPanel:
    nulls = f", {humanise.percent(field.null_share)} null" if field.nulls else ""
    if field.kind == "text":
        shown = field.frequent[:_BARS]
        about = "-" if field.distinct is None else ("" if field.distinct_error == 0 else "~") + humanise.count(int(field.distinct))
        return HistogramPanel(
            title=field.name,
            note=f"{about} different{nulls}",
            counts=[count for _, count in shown],
            labels=[str(value) or "(empty)" for value, _ in shown],
        )
    assert field.histogram is not None  # draw() takes no others
    return HistogramPanel(
        title=field.name if field.of == "values" else f"{field.name}, lengths",
        note=_range(field) + nulls,
        counts=field.histogram.counts.tolist(),
        edges=field.histogram.edges.tolist(),
        x_format=partial(time_text, field) if field.kind == "time" else None,
    )


def _range(field: FieldProfile) -> str:
    if field.min is None or field.max is None:
        return ""
    if field.kind == "time":
        return f"{time_text(field, field.min)} to {time_text(field, field.max)}"
    return f"mean {humanise.number(field.mean, 4)}, sd {humanise.number(field.deviation, 3)}"
