"""What can go wrong, as types that callers can catch.

HeadraceError
├── CorruptDataError (ValueError)          the bytes are not what was written: place, expected, found
│   └── TruncatedError                     the file ends early, or its writer never finished
├── UnsupportedVersionError (ValueError)   written by an incompatible headrace
├── LimitExceededError (ValueError)        a declared size is beyond what a reader accepts
├── UnsafeDataError (ValueError)           reading this would run code (pickle); names `allow_unsafe_types=True`
├── StorageError (OSError)                 the device or file system failed; `errno` is kept
├── NotFoundError (FileNotFoundError)      no such file, dataset or version
├── ExistsError (FileExistsError)          something is there already
├── ChangedError (RuntimeError)            not the file, dataset or order that the caller's state speaks of
├── ForkError (RuntimeError)               an object made before fork() was used in the child
├── ClosedError (RuntimeError)             used after close()
├── RanksDifferError (RuntimeError)        the ranks of a job are about to read different epochs
├── LoaderTimeoutError (TimeoutError, RuntimeError)   `timeout` passed; says what is stuck
├── TooManyErrorsError (RuntimeError)      more samples failed than `max_errors` allows
└── MissingExtraError (ImportError)        an optional package is not installed; names the extra

Invalid arguments raise plain ValueError / TypeError / IndexError, and failed allocations MemoryError.
End of data is never an error.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "ChangedError",
    "ClosedError",
    "CorruptDataError",
    "ExistsError",
    "ForkError",
    "HeadraceError",
    "HeadraceWarning",
    "LimitExceededError",
    "LoaderTimeoutError",
    "MissingExtraError",
    "NotFoundError",
    "RanksDifferError",
    "StorageError",
    "TooManyErrorsError",
    "TruncatedError",
    "UnsafeDataError",
    "UnsupportedVersionError",
]


class HeadraceError(Exception):
    """Root of all headrace exceptions."""


class CorruptDataError(HeadraceError, ValueError):
    """Stored bytes fail a check."""


class TruncatedError(CorruptDataError):
    """A file ends before its structures do."""


class UnsupportedVersionError(HeadraceError, ValueError):
    """The format's major version, or a critical extension, is not known here."""


class LimitExceededError(HeadraceError, ValueError):
    """A declared size exceeds the reader's limits; nothing was allocated for it."""


class UnsafeDataError(HeadraceError, ValueError):
    """Reading would unpickle or write outside its destination."""


class StorageError(HeadraceError, OSError):
    """Reading or writing failed; `errno` says how."""


class NotFoundError(HeadraceError, FileNotFoundError):
    """No such file, dataset or version."""


class ExistsError(HeadraceError, FileExistsError):
    """The destination is taken; nothing was replaced."""


class ChangedError(HeadraceError, RuntimeError):
    """A file, dataset or configuration differs from what a manifest or saved state says."""


class RanksDifferError(HeadraceError, RuntimeError):
    """The ranks of a job are about to read different epochs, or the same one differently."""


class ForkError(HeadraceError, RuntimeError):
    """Made before a fork and used after it, in the child."""


class ClosedError(HeadraceError, RuntimeError):
    """Used after close()."""


class LoaderTimeoutError(HeadraceError, TimeoutError, RuntimeError):
    """No batch within `timeout` seconds."""


class TooManyErrorsError(HeadraceError, RuntimeError):
    """The budget of `on_error="skip"` or `"replace"` is used up."""


class MissingExtraError(HeadraceError, ImportError):
    """An optional package is needed; the message has the pip line."""


class HeadraceWarning(UserWarning):
    """Every warning of headrace: what, why, and the one-line fix."""


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or raise MissingExtraError with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{purpose} needs {module.split('.')[0]}; install it with: pip install 'headrace[{extra}]'") from error
