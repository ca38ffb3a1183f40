"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

import headrace


@dataclass(frozen=True)
class Outcome:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result of a command with --json; fails on words that JSON does not have."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what changes output, and with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "HEADRACE_DEBUG", "TERM")}
    return {**kept, "TERM": "xterm", **changes}


def headrace_command(*arguments: str, cwd: Any = None, **environ: str) -> Outcome:
    """Run `python -m headrace` with pipes for its streams."""
    return _run(["-m", "headrace", *map(str, arguments)], cwd, environ)


def headrace_python(code: str, *, cwd: Any = None, **environ: str) -> Outcome:
    """Run Python code in a process of its own."""
    return _run(["-c", code], cwd, environ)


def _run(arguments: list[str], cwd: Any, environ: dict[str, str]) -> Outcome:
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(**environ),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def sample_columns(rows: int = 1000) -> dict[str, Any]:
    """One field of each kind that a person would look at."""
    rng = np.random.default_rng(7)
    return {
        "pixels": rng.integers(0, 255, (rows, 3, 8, 8), dtype=np.uint8),
        "label": np.arange(rows, dtype=np.int64),
        "age": np.ma.masked_array(np.arange(rows, dtype=np.float32) / 4, mask=np.arange(rows) % 10 == 3),
        "when": np.datetime64("2013-01-01T05:15", "m") + np.arange(rows).astype("timedelta64[m]"),
        "name": [f"flight {i}" if i % 5 else None for i in range(rows)],
        "path": [np.arange(i % 4, dtype=np.int32) for i in range(rows)],
    }


def write_samples(path: Any, rows: int = 1000, **options: Any) -> str:
    """Write `sample_columns` to a new dataset; returns its path."""
    headrace.write(path, sample_columns(rows), chunk_samples=128, **options)
    return str(path)
