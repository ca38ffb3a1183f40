"""Datasets that hold what threads must not share (open files, HDF5, LMDB, SQLite, zip archives): a copy for each thread, or one sample at a time."""

from __future__ import annotations

import io
import sqlite3
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import torch.utils.data as data

from headrace.errors import HeadraceWarning

__all__ = ["ThreadCopies", "close_all"]

_DEPTH = 3  # of containers and datasets in datasets that are looked into
_MOST = 64  # items of a container that is
_warned: set[str] = set()


class _CannotCopy(Exception):
    """This handle has no second one."""


class ThreadCopies:
    """The dataset as each thread may use it. Made in the thread that begins a pass; of() is called by each of the others, once.

    Each thread has its own dataset object, and datasets in it, with the same attributes, as each worker process would: what __getitem__ or worker_init_fn
    opens and keeps there is the thread's. Handles that are in the attributes already, also in lists, tuples and dicts there, are opened again for each. Where
    one of them cannot be, `lock` is to be held while a sample is loaded, and all threads use the dataset itself.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._openers: dict[int, Callable[[], Any]] = {}
        self.lock: threading.Lock | None = None
        found: list[str] = []
        try:
            self._look(dataset, _DEPTH, found, set())
        except _CannotCopy:
            self.lock = threading.Lock()
        if found:
            _warn(type(dataset).__name__, sorted(set(found)), self.lock is not None)

    def of(self, opened: list[Any]) -> Any:
        """The dataset for the calling thread; what was opened for it, to be closed at the thread's end, goes into `opened`."""
        if self.lock is not None:
            return self._dataset
        return self._copied(self._dataset, _DEPTH, opened)

    def _look(self, value: Any, depth: int, found: list[str], seen: set[int]) -> None:
        for inner in _inside(value, depth, seen):
            name = _unsafe_name(inner)
            if name:
                found.append(name)
                self._openers[id(inner)] = _opener(inner)
            else:
                self._look(inner, depth - 1, found, seen)

    def _copied(self, value: Any, depth: int, opened: list[Any]) -> Any:
        """The value with handles in it opened again; itself where there are none."""
        if id(value) in self._openers:
            opened.append(self._openers[id(value)]())
            return opened[-1]
        if depth < 0 or (type(value) in (list, tuple, dict) and len(value) > _MOST):
            return value
        if type(value) in (list, tuple):
            parts = [self._copied(inner, depth - 1, opened) for inner in value]
            return value if all(a is b for a, b in zip(parts, value, strict=True)) else type(value)(parts)
        if type(value) is dict:
            items = {key: self._copied(inner, depth - 1, opened) for key, inner in value.items()}
            return value if all(items[key] is value[key] for key in value) else items
        held = getattr(value, "__dict__", None)
        if not isinstance(held, dict) or isinstance(value, type):
            return value
        changed = {key: new for key, inner in held.items() if (new := self._copied(inner, depth - 1, opened)) is not inner}
        if not changed and not isinstance(value, data.Dataset):
            return value
        twin = object.__new__(type(value))
        twin.__dict__.update(held)
        twin.__dict__.update(changed)
        return twin


def close_all(opened: list[Any]) -> None:
    """Close what was opened for a thread that ends. HDF5 objects are left to whoever holds one: a batch may."""
    for handle in opened:
        if isinstance(handle, io.IOBase | zipfile.ZipFile | sqlite3.Connection):
            handle.close()
    opened.clear()


def _inside(value: Any, depth: int, seen: set[int]) -> list[Any]:
    if depth < 0 or id(value) in seen:
        return []
    seen.add(id(value))
    if type(value) is dict:
        return list(value.values()) if len(value) <= _MOST else []
    if type(value) in (list, tuple):
        return list(value) if len(value) <= _MOST else []
    held = getattr(value, "__dict__", None)
    return list(held.values()) if isinstance(held, dict) and not isinstance(value, type) else []


def _unsafe_name(value: Any) -> str:
    """What it is called in a message; empty for what threads may share, as far as is known."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module == "h5py":
        return f"h5py.{kind.__name__}" if kind.__name__ in ("File", "Group", "Dataset") else ""
    lmdb = sys.modules.get("lmdb")
    if lmdb is not None and isinstance(value, lmdb.Transaction | lmdb.Cursor):  # An Environment may be shared.
        return f"lmdb.{kind.__name__}"
    if isinstance(value, sqlite3.Connection | sqlite3.Cursor):
        return f"sqlite3.{kind.__name__}"
    if isinstance(value, zipfile.ZipFile):
        return "zipfile.ZipFile"
    return "an open file" if isinstance(value, io.FileIO | io.BufferedReader | io.TextIOWrapper | io.BytesIO) else ""


def _opener(handle: Any) -> Callable[[], Any]:
    """How another of it is opened. Raises _CannotCopy."""
    module = type(handle).__module__.partition(".")[0]
    if module == "h5py":
        return _h5py_opener(handle)
    if isinstance(handle, sqlite3.Connection):
        return _sqlite_opener(handle)
    if isinstance(handle, zipfile.ZipFile):
        name, password = handle.filename, handle.pwd
        if name is None or handle.mode != "r":
            raise _CannotCopy
        return lambda: _zip(name, password)
    if isinstance(handle, io.BytesIO):
        held, at = handle.getvalue(), handle.tell()
        return lambda: _at(io.BytesIO(held), at)
    if isinstance(handle, io.FileIO | io.BufferedReader | io.TextIOWrapper) and isinstance(handle.name, str):
        return _file_opener(handle, handle.name)
    raise _CannotCopy  # lmdb: a transaction belongs to one thread at a time.


def _zip(name: str, password: bytes | None) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(name)
    archive.setpassword(password) if password else None
    return archive


def _at(stream: Any, position: int) -> Any:
    stream.seek(position)
    return stream


def _file_opener(handle: Any, name: str) -> Callable[[], Any]:
    if handle.closed or not handle.readable() or handle.writable() or not handle.seekable():
        raise _CannotCopy
    position = handle.tell()
    if isinstance(handle, io.TextIOWrapper):
        encoding, errors = handle.encoding, handle.errors
        return lambda: _at(open(name, encoding=encoding, errors=errors), position)
    buffering = 0 if isinstance(handle, io.FileIO) else -1
    return lambda: _at(open(name, "rb", buffering=buffering), position)


def _h5py_opener(handle: Any) -> Callable[[], Any]:
    if not handle or handle.file.mode != "r":
        raise _CannotCopy
    open_file, name, path = type(handle.file), handle.file.filename, handle.name
    return lambda: open_file(name, "r") if isinstance(handle, open_file) else open_file(name, "r")[path]


def _sqlite_opener(handle: sqlite3.Connection) -> Callable[[], Any]:
    """A connection of the thread's own to the same file; of a database in memory, to a copy of what it holds now."""
    path = next((row[2] for row in handle.execute("PRAGMA database_list") if row[1] == "main"), "")
    image = b"" if path else handle.serialize()
    settings = {name: getattr(handle, name) for name in ("row_factory", "text_factory")}

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path or ":memory:")
        if image:
            connection.deserialize(image)
        for name, value in settings.items():
            setattr(connection, name, value)
        return connection

    return connect


def _warn(dataset: str, found: list[str], is_locked: bool) -> None:
    what = f"{dataset} holds {', '.join(found)}, which threads must not share"
    if what in _warned:
        return
    _warned.add(what)
    done = (
        "its samples are loaded one at a time; open it in __getitem__ or worker_init_fn instead, or use parallel='process'"
        if is_locked
        else "each thread has one of its own; open it in worker_init_fn to choose otherwise"
    )
    warnings.warn(
        f"{what}: {done} (warnings.simplefilter('ignore', headrace.HeadraceWarning) silences this)", HeadraceWarning, stacklevel=5
    )
