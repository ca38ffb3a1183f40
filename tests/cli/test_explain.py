"""`headrace bench loader --explain` names what binds, as text, as JSON and as a plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace
from tests.cli.command_line import headrace_command


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "d"
    headrace.write(path, {"x": np.random.default_rng(0).normal(size=(20_000, 16))}, codec="none")
    return path


def test_a_slow_consumer_is_named(dataset: Path, tmp_path: Path) -> None:
    plot = tmp_path / "out.png"
    done = headrace_command(
        "bench", "loader", str(dataset), "--explain", "--compute-ms", "20", "--batch-size", "100", "--workers", "1", "--plot", str(plot)
    )
    assert done.code == 0
    assert "bound by the consumer: the loader is not the problem" in done.out
    assert plot.stat().st_size > 1000


def test_as_json(dataset: Path) -> None:
    done = headrace_command("bench", "loader", str(dataset), "--explain", "--json")
    assert done.code == 0
    found = done.json
    assert found["bound_by"] in {stage["name"] for stage in found["stages"]}
    assert found["at_most"] >= 1
    assert found["delivered"] == found["loader"]
