"""A pass over a Python dataset, whatever runs it: says where an error was met, and counts.

The iterator stays what it is, torch's, torchdata's or that of threads, of a subclass of its class: code that looks at a loader's iterator finds it all.
"""

from __future__ import annotations

import functools
import re
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch.utils.data._utils.signal_handling as torch_signals

from headrace.errors import LoaderTimeoutError
from headrace.loader.fetching import BatchLost, note
from headrace.loader.state import LoaderState
from headrace.loader.worker_process import Places, leave, lost_worker, what_they_do

__all__ = ["Watch", "watched"]

_LATE, _LOST = re.compile(r"DataLoader timed out after"), re.compile(r"DataLoader worker \(pid")  # torch's messages
_NOTED = re.compile(r"^headrace: .*$", re.MULTILINE)


class Watch:
    """What is noted of one pass. `counts` are the loader's; `place` is only counted on where the iterator does not do it itself."""

    def __init__(self, place: LoaderState, counts: dict[str, Any], counts_itself: bool, places: Places | None) -> None:
        self.place, self.counts, self._counts_itself, self._places = place, counts, counts_itself, places
        self._begun = self._seen = time.perf_counter()
        self._is_first = True

    def called(self, began: float) -> None:
        """next() is over, which began then."""
        now = time.perf_counter()
        self.counts["stall_seconds"] += now - began
        self.counts["seconds"] += now - self._seen
        self._seen = now

    def delivered(self) -> None:
        """It gave a batch."""
        if self._is_first:
            self._is_first = False
            self.counts["time_to_first_batch_seconds"] = time.perf_counter() - self._begun
        self.counts["batches"] += 1
        self.passed()

    def passed(self) -> None:
        """It is beyond a batch, whatever became of that."""
        if not self._counts_itself:
            self.place.deliver(self.place.position + 1)

    def note_lost(self, error: Exception, workers: list[Any] | None) -> None:
        """Say at what the workers were that ended, if it is of them that the error speaks."""
        if workers is not None and self._places is not None and _LOST.match(str(error)):
            for line in what_they_do(workers, self._places, with_stacks=False):
                note(error, f"headrace: {line}")

    def late(self, text: str, workers: list[Any]) -> LoaderTimeoutError:
        """It waited for as long as it may. The same batch may be waited for again."""
        self.counts["errors"] += 1
        doing = what_they_do(workers, self._places, with_stacks=True) if self._places is not None else []
        return LoaderTimeoutError("\n".join([f"{text}: epoch {self.place.epoch}, batch {self.place.position}", *doing]))

    def ended(self) -> None:
        """It is at the epoch's end."""
        if not self._counts_itself:
            self.place.finished = True

    def failed(self, error: Exception, workers: list[Any] | None) -> None:
        """It raised. workers: torch's processes, of an iterator that has them."""
        self.counts["errors"] += 1
        self.note_lost(error, workers)
        # A worker process sends an error as text: its notes are in the message, and are made notes again.
        for line in _NOTED.findall(str(error)):
            note(error, line)
        if not self._counts_itself:
            note(error, f"headrace: epoch {self.place.epoch}, batch {self.place.position}")
        self.passed()


class _Watched:
    """Before an iterator's own class."""

    _headrace_watch: Watch

    def __next__(self) -> Any:
        watch = self._headrace_watch
        began = time.perf_counter()
        try:
            while True:
                try:
                    batch = super().__next__()  # type: ignore[misc]
                    break
                except BatchLost:
                    watch.passed()
        except StopIteration:
            watch.ended()
            raise
        except Exception as error:
            workers = getattr(self, "_workers", None)
            if workers is not None and _LATE.match(str(error)):
                raise watch.late(str(error), workers) from None
            if workers is not None and isinstance(error, OSError | EOFError) and (lost := lost_worker(workers)):
                # It died while it handed a batch over: what is broken then is the connection.
                died = RuntimeError(lost)
                watch.failed(died, workers)
                raise died from error
            watch.failed(error, workers)
            raise
        finally:
            watch.called(began)
        watch.delivered()
        return batch

    def _shutdown_workers(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "_shutdown", True) or is_finalizing():  # Then multiprocessing has ended them.
            return
        leave(self, super()._shutdown_workers)  # type: ignore[misc]


@functools.cache
def _class_of(kind: Any) -> Any:
    return type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__})


_with_workers: weakref.WeakSet[Any] = weakref.WeakSet()  # watched iterators


def _note_in_handler() -> None:
    """Torch hears of a worker's end by a signal, and raises wherever the main thread is: mostly in a step of the training, not in next()."""
    module: Any = torch_signals
    original = module._error_if_any_worker_fails
    if getattr(original, "notes_more", False):
        return

    def error_if_any_worker_fails() -> None:
        try:
            original()
        except RuntimeError as error:
            for iterator in list(_with_workers):
                iterator._headrace_watch.note_lost(error, iterator._workers)
            raise

    error_if_any_worker_fails.notes_more = True  # type: ignore[attr-defined]
    module._error_if_any_worker_fails = error_if_any_worker_fails


def watched(iterator: Any, watch: Watch) -> Any:
    """The iterator, watched from now on; one that torch uses for pass after pass too."""
    if not isinstance(iterator, _Watched):
        kind: Any = type(iterator)
        iterator.__class__ = _class_of(kind)
    iterator._headrace_watch = watch
    if hasattr(iterator, "_workers"):
        _with_workers.add(iterator)
        _note_in_handler()
    return iterator
