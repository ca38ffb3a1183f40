"""Timing of several tasks in rounds that alternate, so that a busy neighbour or a clock change slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timings", "interleaved"]


@dataclass(frozen=True)
class Timings:
    """Seconds of each round, by task."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of a task."""
        return statistics.median(self.seconds[name])

    def speed_ratio(self, ours: str, theirs: str) -> float:
        """How many times as fast `ours` is: the median over rounds of the ratio inside each round."""
        return statistics.median(self.ratios(ours, theirs))

    def ratios(self, ours: str, theirs: str) -> list[float]:
        """The ratio inside each round."""
        return [t / o for o, t in zip(self.seconds[ours], self.seconds[theirs], strict=True)]

    def spread(self, ours: str, theirs: str) -> str:
        """The quartiles of the ratios, in words."""
        low, _, high = statistics.quantiles(self.ratios(ours, theirs), n=4)
        return f"half of {len(self.seconds[ours])} rounds within {low:.3g} to {high:.3g}"


def interleaved(tasks: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True) -> Timings:
    """Run all tasks once untimed, then `rounds` times each; odd rounds go backwards: no task always follows the same one.

    A task that returns a float has timed itself: these are its seconds.
    """
    if warm_up:
        for task in tasks.values():
            task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds):
        names = list(tasks) if number % 2 == 0 else list(tasks)[::-1]
        for name in names:
            begin = time.perf_counter()
            own = tasks[name]()
            seconds[name].append(own if isinstance(own, float) else time.perf_counter() - begin)
    return Timings(seconds)
