"""One pass over a Python dataset, whatever runs it: says where an error was met, and counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.loader.fetching import BatchLost, note

if TYPE_CHECKING:
    from headrace.loader.python_engine import PythonEngine
    from headrace.loader.state import LoaderState

__all__ = ["PythonPass"]

_NOTED = re.compile(r"^headrace: .*$", re.MULTILINE)


class PythonPass:
    """An iterator of torch's, torchdata's or of threads; everything else asked of it, it asks that one."""

    def __init__(self, batches: Any, state: LoaderState, counts: dict[str, Any], counts_delivered: bool, engine: PythonEngine) -> None:
        self._batches, self._place, self._counts, self._engine = batches, state, counts, engine
        self._counts_delivered = counts_delivered
        self._begun = self._seen = engine.clock()
        self._is_first = True

    def __iter__(self) -> PythonPass:
        return self

    def __next__(self) -> Any:
        began = self._engine.clock()
        try:
            while True:
                try:
                    batch = next(self._batches)
                    break
                except BatchLost:
                    self._deliver()
        except StopIteration:
            self._place.finished = True
            raise
        except Exception as error:
            self._counts["errors"] += 1
            self._say_where(error)
            self._deliver()
            raise
        finally:
            now = self._engine.clock()
            self._counts["stall_seconds"] += now - began
            self._counts["seconds"] += now - self._seen
            self._seen = now
        if self._is_first:
            self._is_first = False
            self._engine.first_batch_seconds = now - self._begun
        self._counts["batches"] += 1
        self._deliver()
        return batch

    def _deliver(self) -> None:
        if self._counts_delivered:
            self._place.deliver(self._place.position + 1)

    def _say_where(self, error: Exception) -> None:
        # A worker process sends an error as text: its notes are in the message, and are made notes again.
        for line in _NOTED.findall(str(error)):
            note(error, line)
        if self._counts_delivered:
            note(error, f"headrace: epoch {self._place.epoch}, batch {self._place.position}")

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_batches":
            raise AttributeError(name)
        return getattr(self._batches, name)
