import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pandas")

import torch

import headrace
from headrace.demo.compare import HeadraceOrder, check_order, check_same_epoch
from headrace.demo.features import read_features
from headrace.demo.job import run_demo
from headrace.demo.tables import flights_table
from headrace.demo.train import area_under_curve
from headrace.errors import ChangedError, ExistsError


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    stages = []
    return folder, run_demo(str(folder), quick=True, epochs=2, batch_size=512, advance=stages.append), stages


@pytest.mark.slow
def test_the_models_score_is_the_same_through_every_loader(demo):
    _, result, _ = demo
    assert [entry.name for entry in result.contenders] == ["headrace", "torch, __getitem__", "torch, __getitems__"]
    # Equal batches, equal weights and dropout, one torch thread: not within noise, but the same training, step by step.
    assert {entry.largest_loss_difference for entry in result.contenders} == {0.0}
    assert len({entry.auc for entry in result.contenders}) == 1
    assert 0.55 < result.contenders[0].auc < 0.9


@pytest.mark.slow
def test_measurements_are_complete(demo):
    _, result, stages = demo
    for entry in result.contenders:
        assert set(entry.tried_samples_per_second) == {0, 1, 2}
        assert {entry.num_workers, entry.training_num_workers} <= {0, 1, 2}
        assert min(entry.loader_samples_per_second, entry.training_samples_per_second, entry.time_to_first_batch_seconds) > 0
        assert 0 <= entry.stall_share <= 1
    assert result.checked_batches == -(-result.train.samples // 512)
    assert "headrace, training" in stages


@pytest.mark.slow
def test_the_split_is_by_date_and_leaves_out_unknown_arrivals(demo):
    _, result, _ = demo
    flights = headrace.open(result.flights.path)
    whole = flights[0 : len(flights)]
    known = whole["arrival_delay_minutes.valid"]
    before = whole["scheduled_departure"].astype("datetime64[m]") < np.datetime64("2013-10-01")
    assert result.unknown_arrivals == int((~known).sum()) > 0
    assert result.train.samples == int((known & before).sum())
    assert result.held_out.samples == int((known & ~before).sum())


@pytest.mark.slow
def test_a_second_run_replaces_the_first_ones_datasets_only(demo, tmp_path):
    (tmp_path / "flights").mkdir()
    (tmp_path / "flights" / "notes.txt").write_text("mine")
    with pytest.raises(ExistsError, match=r"holds notes\.txt"):
        run_demo(str(tmp_path), quick=True)
    assert (tmp_path / "flights" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_the_command_prints_one_json_document(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "demo", "--quick", "--json", "--folder", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert document["epochs"] == 1
    assert len(document["contenders"]) == 3


def test_the_table_keeps_what_is_missing_missing():
    columns, schema = flights_table(2000)
    assert set(columns) == set(schema.names)
    rows = len(columns["scheduled_departure"])
    assert 1900 < rows <= 2000
    fields = {field.name: field for field in schema.fields}
    assert not fields["scheduled_departure"].nullable
    names = json.loads(fields["carrier"].metadata)["categories"]
    assert names == sorted(names)
    assert {"AA", "UA", "DL"} <= set(names)
    gust = columns["wind_gust_mph"]
    assert 0.5 < np.ma.getmaskarray(gust).mean() < 0.95
    assert str(columns["scheduled_departure"].min())[:10] == "2013-01-01"
    assert str(columns["scheduled_departure"].max())[:7] == "2013-12"


def test_features_use_nothing_known_after_departure(tmp_path):
    columns, schema = flights_table(3000)
    headrace.write(tmp_path / "a", columns, schema=schema)
    for outcome in ("departure_delay_minutes", "air_time_minutes"):
        columns[outcome] = np.ma.masked_array(np.full(len(columns[outcome]), 99, np.int16), mask=False)
    # Another delay on the same side of the threshold: the label stays, so everything must.
    late = np.ma.getdata(columns["arrival_delay_minutes"]) > 15
    columns["arrival_delay_minutes"] = np.ma.masked_array(
        np.where(late, 16, 0).astype(np.int16), mask=np.ma.getmaskarray(columns["arrival_delay_minutes"])
    )
    headrace.write(tmp_path / "b", columns, schema=schema)
    first, second = read_features(str(tmp_path / "a")), read_features(str(tmp_path / "b"))
    for part in ("train", "held_out"):
        for name, column in getattr(first, part).items():
            np.testing.assert_array_equal(column, getattr(second, part)[name])
    assert np.isfinite(first.train["numbers"]).all()
    assert all((first.held_out["codes"][:, j] < n).all() for j, n in enumerate(first.cardinalities))


def test_area_under_curve_counts_pairs():
    rng = np.random.default_rng(3)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + labels, 1)
    above = scores[labels][:, None] - scores[~labels][None, :]
    assert area_under_curve(labels, scores) == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean(), abs=1e-12)
    with pytest.raises(ValueError, match="found 0 late and 3 other flights"):
        area_under_curve(np.zeros(3), np.arange(3))


def test_the_torch_sampler_follows_headraces_order():
    sampler = HeadraceOrder(100, seed=5)
    first = list(sampler)
    assert sorted(first) == list(range(100))
    sampler.epoch = 1
    assert list(sampler) != first
    check_order(100, 5)


def test_a_batch_that_differs_is_named():
    batches = [{"late": torch.zeros(4), "codes": torch.zeros(4)} for _ in range(3)]
    wrong = [dict(batch) for batch in batches]
    wrong[2]["codes"] = torch.ones(4)
    assert check_same_epoch(batches, batches, 12) == 3
    with pytest.raises(ChangedError, match="batch 2, field codes"):
        check_same_epoch(batches, wrong, 12)
    with pytest.raises(ChangedError, match="delivered 12 samples, expected 13"):
        check_same_epoch(batches, batches, 13)
