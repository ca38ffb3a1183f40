"""`headrace evaluate`: predictions in any table, as text, as JSON and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import sklearn.metrics as sk

import headrace
from tests.cli.command_line import headrace_command


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    p = rng.dirichlet([1, 1, 1], 300) * 0.6 + 0.4 * np.eye(3)[y] * rng.random((300, 1))
    p /= p.sum(axis=1, keepdims=True)
    names = np.array(["cat", "dog", "owl"])
    return {
        "y": y,
        "p0": p[:, 0],
        "p1": p[:, 1],
        "p2": p[:, 2],
        "kind": names[y],
        "said": names[p.argmax(axis=1)],
        "who": rng.integers(0, 30, 300),
    }


@pytest.fixture(scope="module", params=["csv", "parquet", "npz", "dataset"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]) -> Path:
    path: Path = tmp_path_factory.mktemp("predictions") / f"out.{request.param}"
    if request.param == "csv":
        pa.csv.write_csv(pa.table(columns), path)
    elif request.param == "parquet":
        pa.parquet.write_table(pa.table(columns), path)
    elif request.param == "npz":
        np.savez(path, **columns)
    else:
        headrace.write(path, {name: list(values) if values.dtype.kind == "U" else values for name, values in columns.items()})
    return path


def test_scores(table: Path, columns: dict[str, Any]) -> None:
    done = headrace_command("evaluate", table, "--label", "y", "--score", "p0", "p1", "p2", "--classes", "cat,dog,owl", "--json")
    assert done.code == 0, done.err
    p = np.stack([columns[f"p{i}"] for i in range(3)], axis=1)
    found = done.json["metrics"]
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(columns["y"], p.argmax(axis=1)))
    assert found["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(columns["y"], p, multi_class="ovr"))
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    assert done.json["classes"] == ["cat", "dog", "owl"]


def test_names_a_group_and_a_plot(table: Path, tmp_path: Path) -> None:
    plot = tmp_path / "out.png"
    command = [
        "evaluate",
        table,
        "--label",
        "kind",
        "--predicted",
        "said",
        "--group",
        "who",
        "--metrics",
        "accuracy,f1_weighted",
        "--plot",
        plot,
    ]
    done = headrace_command(*command)
    assert done.code == 0, done.err
    assert "300 samples, 3 classes" in done.out
    assert "f1_weighted" in done.out
    assert "owl" in done.out
    assert plot.stat().st_size > 3000


def test_two_models(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    good, poor = (np.clip(0.5 + (y - 0.5) * edge + rng.normal(size=400) * 0.3, 0, 1) for edge in (0.9, 0.2))
    np.savez(tmp_path / "two.npz", y=y, good=good, poor=poor)
    done = headrace_command("evaluate", tmp_path / "two.npz", "--label", "y", "--score", "good", "--against", "poor", "--resamples", "50")
    assert done.code == 0, done.err
    assert "McNemar" in done.out
    assert "a is better by accuracy" in done.out
    told = headrace_command("evaluate", tmp_path / "two.npz", "--label", "y", "--score", "good", "--against", "poor", "--json").json
    assert told["comparison"]["better"] == "a"
    assert told["against"]["metrics"]["accuracy"]["value"] < told["metrics"]["accuracy"]["value"]


def test_mistakes_are_usage_errors(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", y=np.array([0, 1, 2]), p=np.array([0.1, 0.2, 1.5]))
    for arguments, message in (
        (["--label", "z", "--score", "p"], "there is no field 'z'"),
        (["--label", "y", "--score", "p"], "the label of sample 2 is 2: give task='regression'"),
        (["--label", "y", "--score", "p", "--task", "binary"], "sample 2: 1.5 are no probabilities"),
        (["--label", "y", "--score", "p", "--task", "regression", "--metrics", "f1"], "there is no metric 'f1' of regression"),
        (["--label", "y"], "one of the arguments --score --predicted is required"),
    ):
        done = headrace_command("evaluate", tmp_path / "t.npz", *arguments)
        assert done.code == 2
        assert message in done.err
    (tmp_path / "null.csv").write_text("y,p\n1,0.5\n,0.2\n")
    done = headrace_command("evaluate", tmp_path / "null.csv", "--label", "y", "--score", "p")
    assert done.code == 2
    assert "field 'y': row 1 is null" in done.err


def test_a_second_model_may_know_other_classes(tmp_path: Path) -> None:
    """Classes are numbered over the label and both models: a class that only one of them names shifts no number."""
    y = np.array(["cat", "dog", "owl"])[np.arange(60) % 3]
    other = np.where(np.arange(60) % 5 == 0, "ant", y)
    pa.parquet.write_table(pa.table({"y": y, "p": y, "q": other}), tmp_path / "t.parquet")
    done = headrace_command("evaluate", tmp_path / "t.parquet", "--label", "y", "--predicted", "p", "--against", "q", "--json")
    assert done.code == 0, done.err
    assert done.json["comparison"]["better"] == "a"
    assert done.json["against"]["metrics"]["accuracy"]["value"] == pytest.approx(0.8)


def test_models_are_compared_by_the_metric_that_was_asked_for(table: Path) -> None:
    options = ["--label", "y", "--score", "p0", "p1", "p2", "--against", "p1", "p0", "p2", "--resamples", "0", "--json"]
    done = headrace_command("evaluate", table, *options, "--metrics", "log_loss,accuracy")
    assert done.code == 0, done.err
    assert done.json["comparison"]["metric"] == "log_loss"
    assert "McNemar" in headrace_command("evaluate", table, *options, "--metrics", "accuracy").json["comparison"]["test"]


def test_empty_labels_and_unknown_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,p,b,s\ncat,cat,0,0.2\n,cat,1,0.6\ndog,dog,1,0.7\n")
    done = headrace_command("evaluate", tmp_path / "t.csv", "--label", "y", "--predicted", "p")
    assert done.code == 2
    assert "field 'y': row 1 is empty; leave such rows out" in done.err
    done = headrace_command(
        "evaluate", tmp_path / "t.csv", "--label", "b", "--score", "s", "--resamples", "0", "--plot", tmp_path / "t.foo"
    )
    assert done.code == 2
    assert "t.foo: Format 'foo' is not supported" in done.err
