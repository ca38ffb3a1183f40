"""A simulated accelerator: its utilisation as MLPerf Storage defines it.

Utilisation = total compute time / total running time. Each step computes for a fixed time, which is a sleep; the wait for the very first
batch is left out, as the start-up of a pipeline would otherwise weigh on short runs. Samples a second do include it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["AcceleratorRun", "simulate"]


@dataclass(frozen=True, kw_only=True)
class AcceleratorRun:
    """What a simulated accelerator saw."""

    compute_seconds: float  # of one step
    steps: int
    utilisation: float  # total compute time / running time without the wait for the first batch; at most 1
    samples_per_second: float  # with the wait for the first batch


def simulate(
    batches: Iterable[Any],
    *,
    compute_seconds: float,
    batch_samples: Callable[[Any], int],
    max_steps: int,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> AcceleratorRun:
    """Take batches and compute on each for `compute_seconds`, `max_steps` times or until they end. Raises ValueError if there is no batch."""
    begin = clock()
    ready: float | None = None
    steps = samples = 0
    for batch in batches:
        if ready is None:
            ready = clock()
        sleep(compute_seconds)
        steps += 1
        samples += batch_samples(batch)
        if steps == max_steps:
            break
    end = clock()
    if ready is None:
        raise ValueError("there is no batch to compute on")
    return AcceleratorRun(
        compute_seconds=compute_seconds,
        steps=steps,
        utilisation=min(1.0, steps * compute_seconds / max(end - ready, 1e-9)),
        samples_per_second=samples / max(end - begin, 1e-9),
    )
