"""`headrace tune`: a table, JSON, a plot, and a profile that num_workers="auto" follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace
from tests.cli.command_line import headrace_command


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tune") / "d"
    headrace.write(path, {"x": np.arange(20_000)}, codec="none")
    return str(path)


QUICK = ("--trials", "4", "--seconds", "0.05", "--readers", "mmap,pread", "--batch-size", "64")


def test_table_plot_and_profile(dataset: str, tmp_path: Path) -> None:
    plot = tmp_path / "out.svg"
    done = headrace_command("tune", dataset, *QUICK, "--plot", str(plot), HEADRACE_CACHE_DIR=str(tmp_path / "cache"))
    assert done.code == 0, done.err
    assert "4, 0 failed" in done.out
    assert 'num_workers="auto" now means' in done.out
    assert "best so far" in plot.read_text() or plot.stat().st_size > 1000
    assert len(list((tmp_path / "cache" / "profiles").glob("*.json"))) == 1


def test_json_and_no_save(dataset: str, tmp_path: Path) -> None:
    done = headrace_command("tune", dataset, *QUICK, "--no-save", "--json", HEADRACE_CACHE_DIR=str(tmp_path / "cache"))
    assert done.code == 0, done.err
    assert len(done.json["trials"]) == 4
    assert done.json["saved"] is None
    assert not (tmp_path / "cache").exists()


def test_layouts_are_predicted_and_written_when_told(dataset: str, tmp_path: Path) -> None:
    options = ("--rewrite", "--trials", "2", "--seconds", "0.02", "--sample-mib", "1")
    done = headrace_command("tune", dataset, *options, "--plot", str(tmp_path / "history.png"))
    assert done.code == 0, done.err
    assert "as it is" in done.out
    assert (tmp_path / "history.png").stat().st_size > 1000
    done = headrace_command("tune", dataset, *options, "--to", str(tmp_path / "new"), "--json")
    assert done.json["written"] == str(tmp_path / "new")
    np.testing.assert_array_equal(headrace.open(tmp_path / "new")[:]["x"], np.arange(20_000))
    assert headrace_command("tune", dataset, "--rewrite", "--to", dataset).code != 0
    assert headrace_command("tune", dataset, "--to", "x").code == 2
