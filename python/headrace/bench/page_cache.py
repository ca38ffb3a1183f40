"""The page cache of files: how much of them is there, and how to empty or fill it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

__all__ = ["drop_all_caches", "drop_files", "fill", "residency"]

_CACHESTAT = 451  # the same number on every architecture; since Linux 6.5
_WINDOW_BYTES = 1 << 30
_READ_BYTES = 4 << 20
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _CacheStat(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recently_evicted"))


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _may_look(path: Path) -> bool:
    """The kernel answers only to those who own a file or may write it; mincore() answers others that everything is there."""
    return os.geteuid() == 0 or path.stat().st_uid == os.geteuid() or os.access(path, os.W_OK)


def _pages_by_cachestat(descriptor: int) -> int | None:
    answer = _CacheStat()
    whole = _Range(0, 0)
    code = _library().syscall(
        ctypes.c_long(_CACHESTAT), ctypes.c_uint(descriptor), ctypes.byref(whole), ctypes.byref(answer), ctypes.c_uint(0)
    )
    return int(answer.cache) if code == 0 else None


def _pages_by_mincore(path: Path) -> int | None:
    mapped = np.memmap(path, mode="r")
    pages = 0
    for begin in range(0, mapped.nbytes, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, mapped.nbytes - begin)
        flags = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
        code = _library().mincore(ctypes.c_void_p(mapped.ctypes.data + begin), ctypes.c_size_t(length), ctypes.c_void_p(flags.ctypes.data))
        if code != 0:
            return None
        pages += int((flags & 1).sum())
    return pages


def residency(files: Sequence[Path]) -> float | None:
    """Share of the files' pages that are in the page cache, 0 to 1; None where the kernel does not say, or not to this user."""
    cached = total = 0
    for path in files:
        if not _may_look(path):
            return None
        size = path.stat().st_size
        if size == 0:
            continue
        with path.open("rb", buffering=0) as file:
            pages = _pages_by_cachestat(file.fileno())
        if not pages:  # None before Linux 6.5; of overlay's files it sees none, whose pages are those of another file
            try:
                pages = _pages_by_mincore(path)
            except (AttributeError, OSError):
                pages = None
        if pages is None:
            return None
        cached += pages
        total += -(-size // mmap.PAGESIZE)
    return min(1.0, cached / total) if total else None


def drop_files(files: Sequence[Path]) -> None:
    """Write back what is dirty and ask the kernel to forget the files' pages. Those that another process maps stay. Raises OSError."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            try:
                os.fsync(file.fileno())
            except OSError as error:  # read-only file systems have nothing to write back
                if error.errno not in (errno.EROFS, errno.EINVAL):
                    raise
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def drop_all_caches() -> None:
    """Empty the page cache of the whole machine. Raises PermissionError unless root."""
    try:
        os.sync()
        _DROP_CACHES.write_text("1\n", encoding="ascii")
    except OSError as error:
        raise PermissionError(f"emptying the machine's page cache needs root and a writable {_DROP_CACHES}: {error.strerror}") from error


def _blocks(path: Path) -> Iterator[int]:
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            yield size


def fill(files: Sequence[Path], advance: Callable[[int], None] | None = None) -> None:
    """Read the files once, so that they are in the page cache. advance: is called with the bytes read so far. Raises OSError."""
    done = 0
    for path in files:
        for size in _blocks(path):
            done += size
            if advance is not None:
                advance(done)
