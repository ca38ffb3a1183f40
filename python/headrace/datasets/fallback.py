"""One line in the log when another reader serves than the one that was asked for. Logger "headrace", level INFO."""

from __future__ import annotations

import logging
import threading

from headrace import _native

__all__ = ["note_fallback"]

_log = logging.getLogger("headrace")
_lock = threading.Lock()
_noted: set[tuple[str, str, str]] = set()  # path, asked, used


def note_fallback(native: _native.Dataset, asked: str) -> None:
    """Log once a process, dataset and pair of readers which one was asked for, which is used, and why."""
    why = native.reader_fallback
    if not why:
        return
    key = (native.path, asked, native.reader)
    with _lock:
        if key in _noted:
            return
        _noted.add(key)
    _log.info("%s: reader %r was asked for, %r is used: %s", *key, why)
