"""What holds for every benchmark: markers, the record of the machine, refusal of builds that measure nothing, and opt-in gates.

HEADRACE_BENCH_GATE=1     ratios that miss their goal fail; without it they are printed and stored, and nothing fails on timing
HEADRACE_BENCH_SAMPLES=N  samples of the tabular workload (default 2,000,000: 528 MB in memory and as much on disk)
HEADRACE_BENCH_OUT=P      rows, tables and plots go to P (default: build/bench)
HEADRACE_BENCH_FOLDER=P   keep datasets in P between runs (default: a temporary folder of the run)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import Row, append, output_folder
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
    """Print a measured ratio, keep it as a row of the table that `make bench` draws, and hold it against its goal where gates are on.

    report(what, ratio, at_least=goal)                    a cost or a property, ours / what it is held against
    report(..., limit="memory copy", our_samples_per_second=...)  against a limit of the machine, by name
    report(..., peer="torch, __getitems__")               against another loader
    report(..., at_most=goal)                             less is better
    workload: the line of the table, by default what the file is called after ("test_tabular_perf.py": tabular). Other keywords are numbers.
    """

    def show(
        what: str,
        ratio: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        workload: str | None = None,
        limit: str | None = None,
        peer: str | None = None,
        unit: str = "x",
        **numbers: Any,
    ) -> None:
        row = Row(
            name=what,
            workload=workload or request.path.stem.removeprefix("test_").removesuffix("_perf").replace("_", " "),
            kind="limit" if limit else "peer" if peer else "cost",
            ratio=ratio,
            goal=at_most if at_least is None else at_least,
            better="more" if at_most is None else "less",
            limit=limit,
            peer=peer,
            unit=unit,
            test=request.node.originalname,
            numbers=numbers,
        )
        goal = "" if row.goal is None else f" (goal: at {'least' if row.better == 'more' else 'most'} {row.goal:g})"
        print(f"\n  {what}: {ratio:.3g}{'' if unit == 'x' else ' '}{unit}{goal}")
        for name, value in numbers.items():
            print(f"    {name.replace('_', ' ')}: {value:,.4g}" if isinstance(value, float) else f"    {name.replace('_', ' ')}: {value}")
        append(output_folder() / "rows.jsonl", row)
        if "benchmark" in request.fixturenames:
            request.getfixturevalue("benchmark").extra_info.update({what: ratio, "goal": row.goal, **numbers})
        if row.met is False and os.environ.get("HEADRACE_BENCH_GATE") == "1":
            pytest.fail(f"{what}: {ratio:.3f} misses the goal of {row.goal:g}")

    return show
