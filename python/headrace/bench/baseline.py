"""Today's loader against an earlier run of the benchmark: what is slower by more than either run's own noise."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace.bench.loader import LoaderBenchmark, LoaderResult

__all__ = ["Comparison", "compare", "load_baseline", "save_baseline"]

_VERSION = 1
_LARGEST = 1e30  # a number in a run that was measured
_SAME = ("batch_size", "order", "samples")  # else two runs measured other things
_LEAST = 0.05  # a change that no run of a few epochs can tell from noise


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One loader. Compared are shares of the binding limit, which was measured in the same run as the loader: so a slower machine is no regression."""

    name: str
    num_workers: int
    ratio: float  # limit_share / that of the baseline
    noise: float  # the larger of the two runs': half the spread of the epochs / their median
    allowed: float  # ratios below are regressions: 1 - max(0.05, 3 noise)
    rate_ratio: float  # samples a second / those of the baseline: says nothing if the machine is another or was busy

    @property
    def is_regression(self) -> bool:
        """Whether it is slower beyond the noise."""
        return self.ratio < self.allowed


def save_baseline(measured: LoaderBenchmark, path: str | os.PathLike[str]) -> None:
    """Write a run, whole or not at all. Raises OSError."""
    target = Path(os.path.abspath(path))
    descriptor, name = tempfile.mkstemp(prefix=".baseline-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, "kind": "headrace bench loader", **asdict(measured)}, file, indent=1)
        Path(name).chmod(0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_baseline(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a saved run. Raises OSError, ValueError for what is none, or of a newer headrace."""
    name = os.fspath(path)
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no saved run: {error}") from None
    if not isinstance(found, dict) or found.get("kind") != "headrace bench loader":
        raise ValueError(f"{name} is no saved run; make one with: headrace bench loader DATASET --save FILE")
    if found.get("version") != _VERSION:
        raise ValueError(f"{name} has version {found.get('version')}, expected {_VERSION}; measure it again with --save")
    if problem := _problem_of(found):
        raise ValueError(f"{name} is a damaged saved run: {problem}; measure it again with --save")
    return found


def _problem_of(run: dict[str, Any]) -> str:
    """Why a run cannot be compared with, in words; empty if it can."""
    missing = [name for name in (*_SAME, "results") if name not in run]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if not isinstance(run["results"], list) or not run["results"]:
        return "results must be a list of loaders"
    for number, one in enumerate(run["results"]):
        if not isinstance(one, dict) or not {"name", "num_workers"} <= set(one):
            return f"results[{number}] is no loader's"
        times = one.get("epoch_seconds")
        if not isinstance(times, list) or not times or not all(map(_is_positive, times)):
            return f"results[{number}].epoch_seconds must be numbers above 0"
        for name in ("limit_share", "samples_per_second"):
            if not _is_positive(one.get(name)):
                return f"results[{number}].{name} must be a number above 0, is {str(one.get(name))[:40]}"
    return ""


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < _LARGEST


def compare(measured: LoaderBenchmark, baseline: Mapping[str, Any]) -> list[Comparison]:
    """Headrace's loaders that both runs have. Raises ValueError if the runs measured other things, or have no loader in common."""
    for what in _SAME:
        if baseline[what] != getattr(measured, what):
            raise ValueError(f"the baseline was measured with {what} = {baseline[what]}, this run with {getattr(measured, what)}")
    before = {(one["name"], one["num_workers"]): one for one in baseline["results"]}
    found = [
        _one(result, before[result.name, result.num_workers])
        for result in measured.results
        if result.name == "headrace" and (result.name, result.num_workers) in before
    ]
    if not found:
        raise ValueError("this run and the baseline have no loader in common; use the same --workers")
    return found


def _noise(seconds: list[float]) -> float:
    return (max(seconds) - min(seconds)) / (2 * statistics.median(seconds))


def _one(result: LoaderResult, before: Mapping[str, Any]) -> Comparison:
    noise = max(_noise(result.epoch_seconds), _noise(before["epoch_seconds"]))
    return Comparison(
        name=result.name,
        num_workers=result.num_workers,
        ratio=result.limit_share / before["limit_share"],
        noise=noise,
        allowed=1 - max(_LEAST, min(0.9, 3 * noise)),
        rate_ratio=result.samples_per_second / before["samples_per_second"],
    )
