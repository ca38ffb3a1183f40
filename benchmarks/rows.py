"""The rows that benchmarks report, kept in one file, so that tables and plots are drawn from whatever was measured.

A row is a ratio and what it means nothing without. Files of rows are lines of JSON; a later row replaces an earlier one of the same name.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Row", "append", "output_folder", "read_rows"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured ratio, ours / what it is held against, unless `better` says that less is better."""

    name: str
    workload: str  # what the rows of one line of the table share: "tabular", "tokens", ...
    kind: str  # "limit": against a limit of the machine; "peer": against another loader; "cost": anything else
    ratio: float
    goal: float | None = None
    better: str = "more"  # or "less": the goal is then the most that is allowed
    limit: str | None = None  # kind "limit": its name
    peer: str | None = None  # kind "peer": its name
    unit: str = "x"
    test: str = ""  # the function that measured it
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.better == "more" else self.ratio <= self.goal

    @property
    def command(self) -> str:
        """What measures this row again."""
        return f'make bench BENCH_ARGS="-k {self.test}"' if self.test else "make bench"


def output_folder() -> Path:
    """Where rows, tables and plots go: HEADRACE_BENCH_OUT, or build/bench of this checkout."""
    return Path(os.environ.get("HEADRACE_BENCH_OUT") or Path(__file__).resolve().parent.parent / "build" / "bench")


def append(path: Path, row: Row) -> None:
    """Add a row to a file, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), default=str) + "\n")


def read_rows(path: Path) -> list[Row]:
    """The newest row of each name, in the order in which names first came; none if there is no file."""
    found: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = Row(**json.loads(line))
        found[row.workload, row.name] = row
    return list(found.values())
