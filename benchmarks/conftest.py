"""What holds for every benchmark: markers, the record of the machine, refusal of builds that measure nothing, and opt-in gates.

HEADRACE_BENCH_GATE=1     ratios that miss their goal fail; without it they are printed and stored, and nothing fails on timing
HEADRACE_BENCH_SAMPLES=N  samples of the tabular workload (default 2,000,000: 528 MB in memory and as much on disk)
HEADRACE_BENCH_FOLDER=P   keep datasets in P between runs (default: a temporary folder of the run)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workloads.tabular import Tabular
from headrace.bench import environment

Report = Callable[..., None]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Store what a result means nothing without."""
    machine_info["headrace"] = environment()


@pytest.fixture(scope="session", autouse=True)
def refuse_debug_builds() -> None:
    """A build without optimisation or with sanitizers measures itself."""
    described = environment()
    build = described["build"]
    if described["python_debug"] or build["assertions"] or not build["optimised"]:
        pytest.exit(
            "the extension or the interpreter is a debug build: nothing measured here would mean anything; build the release preset", 2
        )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where datasets of the benchmarks lie."""
    kept = os.environ.get("HEADRACE_BENCH_FOLDER")
    return Path(kept) if kept else tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="session")
def tabular(folder: Path) -> Tabular:
    """The tabular workload: 64 float32 features and a label."""
    return Tabular.prepare(folder, int(os.environ.get("HEADRACE_BENCH_SAMPLES", "2000000")))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Print a measured ratio, store it with the benchmark, and hold it against its goal where gates are on."""

    def show(what: str, ratio: float, *, at_least: float | None = None, **numbers: Any) -> None:
        goal = "" if at_least is None else f" (goal {at_least:g}x)"
        print(f"\n  {what}: {ratio:.3g}x{goal}")
        for name, value in numbers.items():
            print(f"    {name.replace('_', ' ')}: {value:,.4g}" if isinstance(value, float) else f"    {name.replace('_', ' ')}: {value}")
        if "benchmark" in request.fixturenames:
            request.getfixturevalue("benchmark").extra_info.update({what: ratio, "goal": at_least, **numbers})
        if at_least is not None and os.environ.get("HEADRACE_BENCH_GATE") == "1":
            assert ratio >= at_least, f"{what}: {ratio:.3f}x is below the goal of {at_least:g}x"

    return show
