"""Where a loader is, as a small dict of plain values: the same on every rank, legal at any moment.

For native orders the place is one number, the global position in the epoch: so a run resumes on any world size, any batch size and any
number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headrace.errors import ChangedError

__all__ = ["LoaderState", "check_same"]

VERSION = 1


@dataclass
class LoaderState:
    """What changes while a loader runs."""

    epoch: int = 0
    position: int = 0  # global position after the last delivered batch; for a user's sampler: batches delivered
    resume: bool = False  # whether the next iterator starts here, rather than a new epoch
    finished: bool = False
    skipped: list[int] = field(default_factory=list)  # samples that on_error left out or replaced, as delivered

    def begin(self) -> tuple[int, int]:
        """Enter the next pass; returns its (epoch, position). A pass that delivered nothing is begun again."""
        if self.finished or (self.position > 0 and not self.resume):
            self.epoch += 1
            self.position = 0
        self.resume = self.finished = False
        return self.epoch, self.position

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass a whole one of `epoch`; keeps a position that was just loaded for that same epoch."""
        if self.resume and epoch == self.epoch:
            return
        self.epoch, self.position, self.resume, self.finished = epoch, 0, False, False


def check_same(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ChangedError that lists every entry of `now` in which a saved state differs."""
    differing = [f"{key}: saved {saved.get(key)!r}, now {value!r}" for key, value in now.items() if saved.get(key) != value]
    if differing:
        raise ChangedError(
            "load_state_dict: the state belongs to another order of samples (" + "; ".join(differing) + "); resume with the same dataset version, seed and order"
        )
