"""Names of others in plots: no formula, no overlap, nothing beyond the edge."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

import headrace as hr
from headrace.report.evaluation_plot import Matrix
from headrace.report.plot_text import short, wrapped


def test_texts() -> None:
    assert short("abc") == "abc"
    assert short("a" * 20, 10) == "aaaaaaa..."
    assert short("5$ to\n6$") == r"5\$ to?6\$"
    assert wrapped("accuracy 0.9, recall 0.8", 14) == "accuracy 0.9,\nrecall 0.8"
    assert wrapped("x" * 25, 10).splitlines() == ["x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize(
    "names", [["no", "yes"], ["a rather long class name", "another long class name", "third"], [f"class {i}" for i in range(12)]]
)
def test_names_of_classes_do_not_overlap(names: list[str]) -> None:
    figure = matplotlib.figure.Figure(figsize=(5.0, 4.4), dpi=120, layout="constrained")
    axes: Any = figure.subplots()
    Matrix(counts=np.eye(len(names), dtype=np.int64), names=names).draw(axes)
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    if labels[0].get_rotation() == 0:
        boxes = [label.get_window_extent() for label in labels]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    else:
        assert {label.get_ha() for label in labels} == {"right"}


def test_the_title_ends_within_the_picture() -> None:
    """As wide as one panel is, four figures of seven digits fit into two lines."""
    text = "300000 samples: accuracy 0.899, balanced_accuracy 0.899, precision 0.899, recall 0.899"
    figure = matplotlib.figure.Figure(figsize=(5.0, 4.8), dpi=120, layout="constrained")
    figure.subplots()
    title = figure.suptitle(wrapped(text, 62), x=0.01, ha="left", fontsize=11)
    figure.draw_without_rendering()
    assert title.get_window_extent().x1 < 5.0 * 120


def test_names_that_would_be_formulas(tmp_path: Path) -> None:
    of = hr.evaluate.predictions([0.2, 0.9, 0.8, 0.4], [0, 1, 0, 1], classes=["$\\frac", "over $100"])
    hr.evaluate.assess(of, resamples=0).plot(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000
