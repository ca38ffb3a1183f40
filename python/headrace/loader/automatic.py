"""What a loader chooses while it runs ("auto"), and what it may take for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace import _native
from headrace.loader.profiles import automatic_workers
from headrace.sampling.options import whole_number

__all__ = ["Automatic", "Budget", "find_automatic"]

_MOST_AHEAD = 256  # batches; `prefetch_bytes` bounds them too
_MOST_THREADS = 1024
_MOST_BYTES = 2 << 30  # what prefetch_bytes is by default: a tenth of the memory, up to this (cpp/headrace/pipeline/pipeline.cc)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a loader may use at most, whatever is chosen automatically; None leaves it to the machine.

    cores: threads that work for it at a time. memory_bytes: batches under way and decoded blocks, as prefetch_bytes, whose smaller one counts.
    pinned_bytes: of them, what may be page-locked, so batches under way are within that, too, where `device` is a GPU; at least one batch always is.
    Batches that the consumer holds are its own.
    """

    cores: int | None = None
    memory_bytes: int | None = None
    pinned_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, end in (("cores", _MOST_THREADS + 1), ("memory_bytes", 1 << 63), ("pinned_bytes", 1 << 63)):
            value = getattr(self, name)
            if value is not None:
                whole_number(f"budget.{name}", value, 1, end)

    def prefetch_bytes(self, asked: int | None, *, is_pinned: bool) -> int | None:
        """The prefetch_bytes of an engine: what was asked for (None: the default) within this budget."""
        bounds = [self.memory_bytes, self.pinned_bytes if is_pinned else None]
        given = [bound for bound in bounds if bound is not None]
        if not given:
            return asked
        return min([*given, min(_MOST_BYTES, _native.available_memory_bytes() // 10) if asked is None else asked])


@dataclass(frozen=True, kw_only=True)
class Automatic:
    """Which of num_workers and prefetch_factor an engine chooses while it runs."""

    threads: bool
    ahead: bool

    def tune(self, pipeline: _native.Pipeline, *, workers: int, budget: Budget, needs_thread: bool) -> None:
        """Let an engine of `workers` threads choose. needs_thread: batches are made beside the consumer even where it would be faster without."""
        if not (self.threads or self.ahead):
            return
        most = _MOST_THREADS if budget.cores is None else budget.cores
        ahead = pipeline.ahead
        pipeline.tune(
            (1 if needs_thread else 0, most) if self.threads else (workers, workers),
            (1, max(ahead, _MOST_AHEAD)) if self.ahead else (ahead, ahead),
        )


def find_automatic(
    native: Any, num_workers: int | str, prefetch_factor: int | str | None, budget: Budget
) -> tuple[int, int | None, Automatic]:
    """(num_workers to begin with, prefetch_factor to begin with, what is chosen while it runs) of options as they were given.

    num_workers="auto" begins with what a profile says, else with as many as the engine has threads for, and chooses how many batches to have ahead as
    well, unless prefetch_factor is a number. Raises TypeError, ValueError.
    """
    automatic_threads = isinstance(num_workers, str) and num_workers == "auto"
    most = _MOST_THREADS if budget.cores is None else budget.cores
    if automatic_threads:
        workers = max(1, min(most, automatic_workers(native)))
    else:
        workers = whole_number("num_workers", num_workers, 0, 1 << 31)
        workers = workers if budget.cores is None else min(workers, budget.cores)
    automatic_ahead = (isinstance(prefetch_factor, str) and prefetch_factor == "auto") or (automatic_threads and prefetch_factor is None)
    if prefetch_factor is None or automatic_ahead:
        factor = None
    else:
        factor = whole_number("prefetch_factor", prefetch_factor, 1, 1 << 31)
    # Without threads nothing is ahead.
    return workers, factor, Automatic(threads=automatic_threads, ahead=automatic_ahead and workers > 0)
