"""A loader in a process of its own, under its own interpreter: numbers come back as JSON, and no peer's packages or threads touch ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "PeerError", "PeerProcess", "rivals_python"]

ROOT = Path(__file__).resolve().parent.parent.parent


class PeerError(RuntimeError):
    """A loader could not do what it was asked; the message is its own."""


def rivals_python() -> Path | None:
    """The interpreter that `make bench-rivals` made (or HEADRACE_BENCH_RIVALS names); None if there is none."""
    path = Path(os.environ.get("HEADRACE_BENCH_RIVALS") or ROOT / ".venv-rivals" / "bin" / "python")
    return path if path.exists() else None


class PeerProcess:
    """Starts a worker; `ask` sends it one command and waits for the answer. Use as a context: the process ends with it."""

    def __init__(
        self, python: Path | None, module: str, shape: str, folder: Path, samples: int, errors: Path, worker: str = "worker"
    ) -> None:
        path = [str(ROOT)] if python is not None else [str(ROOT), *(entry for entry in sys.path if entry)]
        self.module = module
        self._errors = errors.open("w")
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", f"benchmarks.rivals.{worker}", module, shape, str(folder), str(samples)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """One command. Raises PeerError with the loader's own words, or if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.module}: the process ended with {self._process.wait()} at {do!r}; its stderr is in {self._errors.name}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.module}: {do}: {answer['error']}")
        return answer

    def rate(self, seconds: float) -> dict[str, Any]:
        """One timed part of an epoch; "rate" is samples a second after the first batch."""
        answer = self.ask("time", seconds=seconds)
        if answer["samples"] == 0:
            raise PeerError(f"{self.module}: an epoch has a single batch, there is nothing to time")
        return {**answer, "rate": answer["samples"] / answer["seconds"]}

    def open_best(self, probe_seconds: float) -> dict[str, Any]:
        """Open the loader at the fastest of its settings, and say which. The first pass after opening warms up and is not counted."""
        grid = self.ask("settings")["settings"]
        rates = []
        for settings in grid:
            self.ask("open", settings=settings)
            self.rate(probe_seconds / 2)
            rates.append(self.rate(probe_seconds)["rate"])
        best: dict[str, Any] = grid[rates.index(max(rates))]
        self.ask("open", settings=best)
        self.rate(probe_seconds / 2)
        return best

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
