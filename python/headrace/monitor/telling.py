"""A thread that carries out what alerts do, so that a webhook that hangs holds up neither the looks nor the training's end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from headrace.monitor.alerts import Alert
from headrace.monitor.reading import Reading

__all__ = ["Teller"]

_MOST_WAITING = 64
_Task = tuple[Alert, Reading]


class Teller:
    """Calls `call(alert, reading)`, which must not raise, for each alert in turn. Its thread begins with the first, and keeps no process alive."""

    def __init__(self, call: Callable[[Alert, Reading], None]) -> None:
        self._call = call
        self._waiting: queue.Queue[_Task | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def tell(self, alert: Alert, reading: Reading) -> bool:
        """Queue an alert; False if so many wait already that it is dropped. For one thread at a time."""
        if self._waiting.qsize() >= _MOST_WAITING:
            return False
        self._waiting.put((alert, reading))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headrace-alerts", daemon=True)
            self._thread.start()
        return True

    def close(self, seconds: float) -> bool:
        """Wait for what is queued; False if that takes longer than `seconds`: the thread then goes on by itself."""
        if self._thread is None:
            return True
        self._waiting.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None:
            self._call(*task)
