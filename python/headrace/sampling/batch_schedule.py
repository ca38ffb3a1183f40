"""Batch sizes that change while training: at steps that are known, or when somebody says so."""

from __future__ import annotations

import bisect
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from headrace.sampling.options import whole_number
from headrace.sampling.partition import Partition

__all__ = ["BatchSchedule"]

_MOST_CHANGES = 1 << 10  # a state holds them


class BatchSchedule:
    """For `DataLoader(batch_size=...)`: `first` samples a batch, from each step in `at` on as many as stand there; or from the next batch on, by set().

    Steps count delivered batches over all epochs. Sizes are of one rank's batch, as batch_size. Where the size changes the engine begins anew at the next
    sample: order, exactly-once and resuming stay exact, and what was prepared beyond that place is made again. Every rank needs the same schedule and
    the same calls of set(). A schedule belongs to one loader; a copy of it goes on by itself.
    Raises ValueError and TypeError for steps and sizes that are none.
    """

    def __init__(self, first: int, at: Mapping[int, int] | None = None) -> None:
        if at is not None and not isinstance(at, Mapping):
            raise TypeError(f"at must be sizes by step, as {{1000: 64}}, got {type(at).__name__}")
        changes = {0: first, **({} if at is None else at)}
        if len(changes) > _MOST_CHANGES:
            raise ValueError(f"a schedule holds at most {_MOST_CHANGES} changes, got {len(changes)}")
        self._changes = sorted(
            (whole_number("step", step, 0, 1 << 63), whole_number("batch_size", size, 1, 1 << 32)) for step, size in changes.items()
        )
        self.step = 0  # delivered batches
        self._epoch_step = 0  # of them, before the epoch under way
        self._loader: weakref.ref[Any] | None = None

    def take(self, loader: Any) -> None:
        """Say that it belongs to this loader from now on. Raises ValueError if it is another's that is still there: it would count the steps of both."""
        if self._loader is not None and self._loader() not in (None, loader):
            raise ValueError(
                "batch_size: this BatchSchedule is another loader's already, and would count the steps of both; make one for each (copy.copy() of it)"
            )
        self._loader = weakref.ref(loader)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loader": None}  # A copy is nobody's yet.

    def size_at(self, step: int) -> int:
        """Samples of the batch of a step."""
        return self._changes[bisect.bisect_right(self._changes, (step, 1 << 62)) - 1][1]

    @property
    def batch_size(self) -> int:
        """Samples of the next batch."""
        return self.size_at(self.step)

    def set(self, batch_size: int) -> None:
        """Change the size from the next batch on, until a later step of the schedule changes it again. Raises ValueError."""
        size = whole_number("batch_size", batch_size, 1, 1 << 32)
        changes = [change for change in self._changes if change[0] != self.step]
        # What lies before the epoch under way is not asked for again, but for the size that it left.
        before = [change for change in changes if change[0] <= self._epoch_step]
        kept = [*before[-1:], *(change for change in changes if change[0] > self._epoch_step), (self.step, size)]
        if len(kept) > _MOST_CHANGES:
            raise ValueError(f"the batch size changed {_MOST_CHANGES} times in this epoch; a state would be too large")
        self._changes = sorted(kept)

    def begin_epoch(self) -> None:
        """The next batch is an epoch's first."""
        self._epoch_step = self.step

    def deliver(self) -> None:
        """A batch was delivered."""
        self.step += 1

    def num_batches(self, samples: int, partition: Partition, *, is_over: bool = False) -> int:
        """Steps of the epoch under way, or of the next one if that is over."""
        return sum(steps for _, steps, _ in self._runs(samples, partition, self.step if is_over else self._epoch_step))

    def place_of(self, step: int, samples: int, partition: Partition) -> tuple[int, Partition]:
        """(first position, partition) of a step of the epoch under way. Raises ValueError beyond its end."""
        left = step
        for position, steps, cut in self._runs(samples, partition, self._epoch_step):
            if left < steps:
                return position + left * cut.global_batch, cut
            left -= steps
        raise ValueError(f"step is {step}; this epoch has {step - left}")

    def _runs(self, samples: int, partition: Partition, step: int) -> Iterator[tuple[int, int, Partition]]:
        """(first position, steps, partition) of the batches between two changes, in turn, of an epoch that begins at `step`."""
        position = 0
        while True:
            cut = replace(partition, batch_size=self.size_at(step))
            steps = cut.num_batches(samples, position)
            if (later := bisect.bisect_right(self._changes, (step, 1 << 62))) < len(self._changes):
                steps = min(steps, self._changes[later][0] - step)
            if steps == 0:
                return
            yield position, steps, cut
            position, step = min(samples, position + steps * cut.global_batch), step + steps

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as plain values."""
        return {"step": self.step, "epoch_step": self._epoch_step, "changes": [list(change) for change in self._changes]}

    def load_state_dict(self, state: Any) -> None:
        """Go on from a saved place, with the changes that were made by then. Raises ValueError for what is none."""
        try:
            step, epoch_step = whole_number("step", state["step"], 0, 1 << 63), whole_number("epoch_step", state["epoch_step"], 0, 1 << 63)
            changes = {whole_number("step", at, 0, 1 << 63): size for at, size in state["changes"]}
            read = BatchSchedule(changes.pop(min(changes)), changes)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"load_state_dict: schedule is {str(state)[:100]}; expected what BatchSchedule.state_dict() gives ({error})"
            ) from None
        if epoch_step > step:
            raise ValueError(f"load_state_dict: schedule is at step {step}, and its epoch began at {epoch_step}")
        self.step, self._epoch_step, self._changes = step, epoch_step, read._changes

    def __repr__(self) -> str:
        later = {step: size for step, size in self._changes if step > 0}
        return f"BatchSchedule({self.size_at(0)}{f', {later}' if later else ''})"
