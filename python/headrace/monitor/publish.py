"""Readings for `headrace top`: a socket of this process, for its own user alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
import weakref
from dataclasses import asdict
from typing import Any

from headrace.monitor.reading import Reading

__all__ = ["Publish", "published", "publishers"]

_PREFIX = "headrace-top"
_SECONDS = 2.0  # that a peer may take
_MOST_BYTES = 4 << 20
_open: weakref.WeakSet[Publish] = weakref.WeakSet()


class Publish:
    """Answers `headrace top` with the latest readings: `watch(loader, every=1, to=[Publish()])`.

    A Unix socket whose name is in no file system (Linux's abstract names), so nothing is left behind however the process ends; peers of other users get
    nothing. A process has one at most. Raises OSError where the system has no such sockets, and if this process publishes already.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_name(os.getpid()))
            self._socket.listen(8)
        except OSError:
            self._socket.close()
            raise
        _open.add(self)
        self._thread = threading.Thread(target=_serve, args=(self._socket, weakref.ref(self)), name="headrace-publish", daemon=True)
        self._thread.start()

    def write(self, reading: Reading) -> None:
        """Keep a reading until the next."""
        self._latest = {**self._latest, reading.loader: asdict(reading)}  # A new dict: the thread may be sending the old one.

    def answer(self) -> bytes:
        """What a peer is sent."""
        return json.dumps({"pid": os.getpid(), "readings": list(self._latest.values())}).encode()

    def close(self) -> None:
        """Stop answering; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # Wakes the thread.
        self._socket.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_SECONDS)


def _close_in_child() -> None:
    for one in list(_open):
        one._socket.close()  # Without shutdown: the parent's goes on.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _name(pid: int) -> str:
    return f"\0{_PREFIX}-{os.getuid()}-{pid}"


def _serve(listening: socket.socket, publisher: weakref.ref[Publish]) -> None:
    while True:
        try:
            peer, _ = listening.accept()
        except OSError:
            return  # Closed.
        with peer, contextlib.suppress(OSError):
            peer.settimeout(_SECONDS)
            found = publisher()
            if found is None:
                return
            if _uid_of(peer) == os.getuid():
                peer.sendall(found.answer())


def _uid_of(peer: socket.socket) -> int:
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def _connect(peer: socket.socket, pid: int) -> None:
    """Where others wait to be answered as well, a connection is refused for a moment rather than queued. Raises OSError."""
    end = time.monotonic() + _SECONDS
    while True:
        try:
            return peer.connect(_name(pid))
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def publishers() -> list[int]:
    """Processes of this user that publish, by number. Raises OSError where the system does not tell."""
    begin = f"@{_PREFIX}-{os.getuid()}-"
    with open("/proc/net/unix", encoding="ascii", errors="replace") as file:
        names = {line.rsplit(None, 1)[-1] for line in file if begin in line}
    pids = {name.removeprefix(begin) for name in names if name.startswith(begin)}
    return sorted(int(pid) for pid in pids if pid.isdecimal())


def published(pid: int) -> list[dict[str, Any]] | None:
    """The latest readings of a process, one a loader, as dicts; None if it does not publish, does not answer in time, or ended meanwhile.

    Raises ValueError for what is no answer.
    """
    received = b""
    end = time.monotonic() + _SECONDS
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(_SECONDS)
            _connect(peer, pid)
            if _uid_of(peer) != os.getuid():
                return None  # Somebody else took the name.
            while part := peer.recv(1 << 16):
                received += part
                if len(received) > _MOST_BYTES:
                    raise ValueError(f"process {pid} sends more than {_MOST_BYTES} bytes; that is no answer of headrace's")
                peer.settimeout(max(0.001, end - time.monotonic()))  # In all: one that sends a byte now and then is not waited for.
    except OSError:
        return None
    if not received.endswith(b"}"):
        return None  # It was killed while it answered.
    return _readings(pid, received)


def _readings(pid: int, received: bytes) -> list[dict[str, Any]]:
    try:
        readings = json.loads(received)["readings"]
        names = Reading.__dataclass_fields__
        if all(set(names) <= set(one) and isinstance(one["totals"], dict) for one in readings):
            return list(readings)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise ValueError(f"process {pid} answers what is no reading of headrace's, or of another version's")
