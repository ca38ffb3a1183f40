"""The thread that looks at loaders every few seconds, hands what it saw to exporters and alerts, and never disturbs the training."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from headrace.monitor.alerts import Alert
from headrace.monitor.reading import Reading, between
from headrace.monitor.telling import Teller

__all__ = ["Watch", "watch"]

_LOGGER = logging.getLogger("headrace")
_CLOSE_SECONDS = 5.0


class Exporter(Protocol):
    """Where readings go."""

    def write(self, reading: Reading) -> None: ...
    def close(self) -> None: ...


def watch(
    loaders: Any, *, every: float = 5.0, to: Iterable[Exporter] = (), alerts: Sequence[Alert] | Mapping[str, Sequence[Alert]] = ()
) -> Watch:
    """Begin to look at a loader, or at several by name ({"train": ..., "valid": ...}), every `every` seconds; ends with the `with` block or close().

    Costs a thread that sleeps, and one stats() of each loader a look. A loader of a Python dataset counts batches, stalls and errors only. TypeError for
    what has no stats(), as torch's own loaders have not.
    alerts: for all loaders, or by name. What an exporter or an alert raises is logged once for each, and goes no further.
    Raises ValueError for `every` of 0 or less and for alerts of an unknown loader.
    """
    return Watch(loaders if isinstance(loaders, Mapping) else {"loader": loaders}, every, tuple(to), alerts)


class Watch:
    """Loaders under watch. Any thread may call anything; a forked child is not watched."""

    def __init__(
        self, loaders: Mapping[str, Any], every: float, to: tuple[Exporter, ...], alerts: Sequence[Alert] | Mapping[str, Sequence[Alert]]
    ) -> None:
        if not 0 < every < float("inf"):
            raise ValueError(f"every must be a number of seconds above 0, got {every}")
        for name, loader in loaders.items():
            if not hasattr(loader, "stats"):
                raise TypeError(
                    f"loader {name!r} has no stats(): headrace.wrap(loader) gives one of torch's some; got {type(loader).__name__}"
                )
        if isinstance(alerts, Mapping) and (unknown := set(alerts) - set(loaders)):
            raise ValueError(f"alerts for {sorted(unknown)}: the loaders are {sorted(loaders)}")
        # A copy each: two loaders are not well and unwell together.
        self._alerts = {
            name: [_fresh(alert) for alert in (alerts.get(name, ()) if isinstance(alerts, Mapping) else alerts)] for name in loaders
        }
        self._loaders, self._every, self._to = dict(loaders), every, to
        self._complained: set[int] = set()
        self._end = threading.Event()
        self._lock = threading.Lock()  # of looks
        self._teller = Teller(lambda alert, reading: self._try(alert, alert.do, alert, reading))
        self._pid = os.getpid()
        self._before = {name: (time.monotonic(), loader.stats()) for name, loader in self._loaders.items()}
        self.readings: dict[str, Reading] = {}
        self._thread = threading.Thread(target=self._run, name="headrace-watch", daemon=True)
        self._thread.start()

    def look(self) -> dict[str, Reading]:
        """Look now, and tell everybody; the readings by loader."""
        with self._lock:
            for name, loader in self._loaders.items():
                now, stats = time.monotonic(), loader.stats()
                then, before = self._before[name]
                self._before[name] = (now, stats)
                reading = between(name, before, stats, time=time.time(), seconds=now - then)
                self.readings[name] = reading
                for exporter in self._to:
                    self._try(exporter, exporter.write, reading)
                for alert in self._alerts[name]:
                    if alert.look(reading) and not self._teller.tell(alert, reading):
                        self._try(self._teller, _raise, RuntimeError("alerts are queued faster than they are told; some are dropped"))
            return dict(self.readings)

    def _try(self, what: object, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - whoever looks on must not end the training
            if id(what) not in self._complained:
                self._complained.add(id(what))
                _LOGGER.warning("monitor: %s failed, and is not reported again: %s: %s", type(what).__name__, type(error).__name__, error)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a loader that is gone
                self._try(self, _raise, error)

    def close(self) -> None:
        """A last look, then the end: exporters are closed. A second call does nothing.

        What hangs (an exporter on a dead disk, a webhook that does not answer) is waited for, 5 s each, said, and left to itself.
        """
        if self._end.is_set() or self._pid != os.getpid():
            return
        self._end.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            _LOGGER.warning(
                "monitor: an exporter has not come back for %g s; it is left to itself, and the last reading is lost", _CLOSE_SECONDS
            )
            return
        try:
            self.look()
        finally:
            if not self._teller.close(_CLOSE_SECONDS):
                _LOGGER.warning("monitor: an alert has not been told after %g s; it is left to itself", _CLOSE_SECONDS)
            for exporter in self._to:
                self._try(exporter, exporter.close)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _fresh(alert: Alert) -> Alert:
    return Alert(alert.metric, alert.above, alert.below, alert.for_seconds, alert.do, alert.name)


def _raise(error: Exception) -> None:
    raise error
