"""A run beside an earlier one: slower beyond the noise is a regression, a slower machine is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace.bench import LoaderBenchmark, bench_loader
from headrace.bench.baseline import compare, load_baseline, save_baseline
from tests.cli.command_line import headrace_command


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("baseline") / "d"
    hr.write(made, {"x": np.zeros((5000, 8))}, codec="none")
    return str(made)


@pytest.fixture(scope="module")
def measured(path: str) -> LoaderBenchmark:
    return bench_loader(path, workers=(0, 1), epochs=3)


def changed(measured: LoaderBenchmark, **values: Any) -> LoaderBenchmark:
    """With these values in each result, or what they make of the result."""
    results = [
        dataclasses.replace(one, **{name: value(one) if callable(value) else value for name, value in values.items()})
        for one in measured.results
    ]
    return dataclasses.replace(measured, results=results)


STEADY = {"epoch_seconds": [1.0, 1.001, 0.999]}


def test_a_run_is_as_fast_as_itself(measured: LoaderBenchmark, tmp_path: Path) -> None:
    save_baseline(measured, tmp_path / "base.json")
    found = compare(measured, load_baseline(tmp_path / "base.json"))
    assert [(one.num_workers, one.ratio, one.rate_ratio, one.is_regression) for one in found] == [(0, 1, 1, False), (1, 1, 1, False)]
    assert [file.name for file in tmp_path.iterdir()] == ["base.json"]


@pytest.mark.parametrize(("factor", "regression"), [(0.94, True), (0.96, False), (1.5, False)])
def test_steady_runs_are_told_apart_at_five_percent(measured: LoaderBenchmark, factor: float, regression: bool) -> None:
    before = dataclasses.asdict(changed(measured, **STEADY, limit_share=0.5))
    after = changed(measured, **STEADY, limit_share=0.5 * factor)
    assert [one.is_regression for one in compare(after, before)] == [regression] * 2


def test_noisy_runs_are_given_room(measured: LoaderBenchmark) -> None:
    before = dataclasses.asdict(changed(measured, **STEADY, limit_share=0.5))
    after = changed(measured, epoch_seconds=[0.9, 1.0, 1.1], limit_share=0.4)
    (first, _) = compare(after, before)
    assert first.noise == pytest.approx(0.1)
    assert first.allowed == pytest.approx(0.7)
    assert not first.is_regression


def test_a_slower_machine_is_no_regression(measured: LoaderBenchmark) -> None:
    before = dataclasses.asdict(changed(measured, **STEADY))
    after = changed(measured, **STEADY, samples_per_second=lambda one: one.samples_per_second / 3)
    (first, _) = compare(after, before)
    assert first.rate_ratio == pytest.approx(1 / 3)
    assert not first.is_regression


def test_other_things_are_not_compared(measured: LoaderBenchmark, tmp_path: Path) -> None:
    before = dataclasses.asdict(measured)
    with pytest.raises(ValueError, match="with batch_size = 5, this run with 1024"):
        compare(measured, {**before, "batch_size": 5})
    with pytest.raises(ValueError, match="no loader in common"):
        compare(measured, {**before, "results": []})
    for text in ("{", "[]", '{"kind": "x"}'):
        (tmp_path / "no.json").write_text(text)
        with pytest.raises(ValueError, match="is no saved run"):
            load_baseline(tmp_path / "no.json")
    (tmp_path / "no.json").write_text(json.dumps({"kind": "headrace bench loader", "version": 2}))
    with pytest.raises(ValueError, match="version 2, expected 1"):
        load_baseline(tmp_path / "no.json")


def test_on_the_command_line(path: str, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    run = ("bench", "loader", path, "--workers", "0", "--epochs", "2")
    assert headrace_command(*run, "--save", str(base)).code == 0
    saved = json.loads(base.read_text())
    for one in saved["results"]:
        one.update(epoch_seconds=[1, 1], limit_share=one["limit_share"] / 1000)
    base.write_text(json.dumps(saved))
    faster = headrace_command(*run, "--baseline", str(base))
    assert faster.code == 0
    assert "faster" in faster.out
    for one in saved["results"]:
        one["limit_share"] *= 1e6
    base.write_text(json.dumps(saved))
    slower = headrace_command(*run, "--baseline", str(base), "--json")
    assert slower.code == 1
    assert slower.json["compared"][0]["ratio"] < 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: run.pop("order"), "it lacks order"),
        (lambda run: run.update(results={}), "results must be a list"),
        (lambda run: run.update(results=[]), "results must be a list"),
        (lambda run: run["results"].append(3), r"results\[2\] is no loader's"),
        (lambda run: run["results"][0].update(epoch_seconds=[]), r"results\[0\].epoch_seconds must be numbers above 0"),
        (lambda run: run["results"][0].update(epoch_seconds=["1"]), r"results\[0\].epoch_seconds must be numbers above 0"),
        (lambda run: run["results"][1].update(limit_share=0), r"results\[1\].limit_share must be a number above 0, is 0"),
        (lambda run: run["results"][1].update(samples_per_second=float("nan")), "samples_per_second must be a number above 0, is nan"),
    ],
)
def test_a_damaged_baseline_is_told_by_its_place(measured: LoaderBenchmark, tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "base.json"
    save_baseline(measured, path)
    run = json.loads(path.read_text())
    change(run)
    path.write_text(json.dumps(run))
    with pytest.raises(ValueError, match=words):
        load_baseline(path)


def test_bytes_that_are_no_text_and_deep_json_are_no_baseline(tmp_path: Path) -> None:
    for content in (bytes(range(128, 256)), b"[" * 100_000):
        (tmp_path / "no.json").write_bytes(content)
        with pytest.raises(ValueError, match="is no saved run"):
            load_baseline(tmp_path / "no.json")


def test_where_nothing_can_be_saved_nothing_is_measured(path: str, tmp_path: Path) -> None:
    done = headrace_command("bench", "loader", path, "--save", str(tmp_path / "no" / "base.json"))
    assert done.code == 2
    assert "no directory" in done.err
