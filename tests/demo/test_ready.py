"""The demo's second part: what was learned saw the earlier months alone, and every figure is what numpy or scikit-learn says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pandas")
pytest.importorskip("sklearn")

import headrace
from headrace.demo.features import SPLIT
from headrace.demo.ready import make_pipeline, run_ready
from headrace.demo.tables import flights_table


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights") / "d"
    columns, schema = flights_table(12_000)
    headrace.write(folder, columns, schema=schema)
    return folder


@pytest.mark.slow
def test_flights_are_made_ready_and_the_model_is_judged(flights: Path) -> None:
    stages: list[str] = []
    ready = run_ready(str(flights), epochs=2, seed=1, advance=stages.append)
    whole = headrace.open(flights)[:]
    known = whole["arrival_delay_minutes.valid"]
    before = whole["scheduled_departure"] < SPLIT
    assert (ready.train, ready.held_out) == (int((known & before).sum()), int((known & ~before).sum()))
    assert ready.late_share == pytest.approx((whole["arrival_delay_minutes"][known & before] > 15).mean())
    assert ready.balanced_late_share == pytest.approx(0.5)
    assert 0.55 < ready.auc < 0.9
    assert ready.auc_interval[0] < ready.auc < ready.auc_interval[1]
    assert ready.translated.rows == ready.train
    assert ready.translated.largest_difference < 1e-6
    assert "wind_gust_mph" in ready.profile
    assert "roc_auc" in ready.evaluation
    assert stages[0] == "profiling the flights"


def test_the_pipeline_learns_from_the_earlier_months_alone(flights: Path) -> None:
    dataset = headrace.open(flights)
    columns = dataset[:]
    before = columns["scheduled_departure"] < SPLIT
    train = dataset.where(headrace.col("scheduled_departure") < SPLIT)
    pipe = make_pipeline().fit(train)
    impute: Any = pipe.steps[2]
    for name in ("temperature_f", "plane_year"):
        there = before & columns[f"{name}.valid"]
        assert float(impute.statistics_[name][0]) == pytest.approx(float(np.median(columns[name][there].astype(np.float64))), rel=1e-6)
    later = dataset.where((headrace.col("scheduled_departure") >= SPLIT) & ~headrace.col("arrival_delay_minutes").is_null())
    names = [name for name in pipe.get_feature_names_out() if name != "arrival_delay_minutes"]
    batch = next(iter(headrace.DataLoader(later, 4096, prepare=pipe)))
    assert batch["features"].shape == (min(4096, len(later)), len(names))
    assert set(batch["arrival_delay_minutes"].unique().tolist()) == {0.0, 1.0}
