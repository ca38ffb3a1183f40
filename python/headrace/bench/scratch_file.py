"""A file of incompressible bytes to measure storage with: laid out, and removed again."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from headrace.errors import ExistsError, StorageError

__all__ = ["free_bytes", "scratch_file"]

_PIECE_BYTES = 8 << 20
_SYNC_BYTES = 256 << 20  # what may be dirty at once: so that Ctrl-C never waits for gigabytes to be written
_SPARE_BYTES = 16 << 20  # stays free: metadata of the file system


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write below `folder`. Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _check_space(path: Path, size: int) -> None:
    free = free_bytes(path.parent)
    if size + _SPARE_BYTES > free:
        raise StorageError(
            f"{path.parent}: a test file of {size} bytes does not fit, {free} bytes are free; make room, or take a smaller one (--size)"
        )


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # file systems that cannot: writing finds a full disk, later
            raise


def _write(descriptor: int, size: int, advance: Callable[[int, int], None] | None) -> None:
    random = np.random.Generator(np.random.SFC64(secrets.randbits(64)))  # new bytes each time: nothing to deduplicate either
    done = unsynced = 0
    while done < size:
        length = min(_PIECE_BYTES, size - done)
        piece = memoryview(random.integers(0, 1 << 64, -(-length // 8), np.uint64).tobytes())[:length]
        while piece:
            written = os.write(descriptor, piece)
            piece = piece[written:]
        done += length
        unsynced += length
        if unsynced >= _SYNC_BYTES or done == size:
            os.fdatasync(descriptor)
            unsynced = 0
        if advance is not None:
            advance(done, size)


@contextlib.contextmanager
def scratch_file(path: Path, size: int, *, keep: bool = False, advance: Callable[[int, int], None] | None = None) -> Iterator[Path]:
    """Write `size` random bytes to the new file `path` and have them on the device; remove it at the end, however that comes, unless `keep`.

    A file that is not whole is never kept. advance: is called with the bytes written and `size`. Raises StorageError (no space), ExistsError
    and other OSErrors.
    """
    _check_space(path, size)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ExistsError(f"{path}: there is a file of that name already; it was left alone") from error
    whole = False
    try:
        try:
            _reserve(descriptor, size)
            _write(descriptor, size, advance)
        finally:
            os.close(descriptor)
        whole = True
        yield path
    except OSError as error:
        if whole:
            raise
        raise StorageError(error.errno, f"writing a test file of {size} bytes to {path}: {error.strerror}") from error
    finally:
        if not (keep and whole):
            path.unlink(missing_ok=True)
