"""headrace: a native data loader for training.

Importing this package imports nothing else and starts no thread; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import evaluate, images, monitor, prep, sampling, tune
    from headrace._native import Field, Schema, num_threads, set_cache_bytes, set_num_threads
    from headrace.bench.diagnose import Diagnosis, diagnose
    from headrace.datasets.arrays import ArrayDataset, from_arrays
    from headrace.datasets.condition import col
    from headrace.datasets.image_folder import ImageFolder
    from headrace.datasets.mixture import mix
    from headrace.datasets.shards import Dataset, open
    from headrace.errors import (
        ChangedError,
        ClosedError,
        CorruptDataError,
        ExistsError,
        ForkError,
        HeadraceError,
        HeadraceWarning,
        LimitExceededError,
        LoaderTimeoutError,
        MissingExtraError,
        NotFoundError,
        RanksDifferError,
        StorageError,
        TooManyErrorsError,
        TruncatedError,
        UnsafeDataError,
        UnsupportedVersionError,
    )
    from headrace.loader.loader import DataLoader
    from headrace.loader.wrap import wrap
    from headrace.sampling.token_batches import pack, tokens
    from headrace.writing.convert import convert
    from headrace.writing.verify import verify
    from headrace.writing.writer import Writer, write

_HOMES = {
    "ArrayDataset": "headrace.datasets.arrays",
    "DataLoader": "headrace.loader.loader",
    "Dataset": "headrace.datasets.shards",
    "Diagnosis": "headrace.bench.diagnose",
    "Field": "headrace._native",
    "ImageFolder": "headrace.datasets.image_folder",
    "Schema": "headrace._native",
    "Writer": "headrace.writing.writer",
    "diagnose": "headrace.bench.diagnose",
    "col": "headrace.datasets.condition",
    "convert": "headrace.writing.convert",
    "from_arrays": "headrace.datasets.arrays",
    "mix": "headrace.datasets.mixture",
    "num_threads": "headrace._native",
    "open": "headrace.datasets.shards",
    "pack": "headrace.sampling.token_batches",
    "set_cache_bytes": "headrace._native",
    "set_num_threads": "headrace._native",
    "tokens": "headrace.sampling.token_batches",
    "verify": "headrace.writing.verify",
    "wrap": "headrace.loader.wrap",
    "write": "headrace.writing.writer",
    "ChangedError": "headrace.errors",
    "ClosedError": "headrace.errors",
    "CorruptDataError": "headrace.errors",
    "ExistsError": "headrace.errors",
    "ForkError": "headrace.errors",
    "HeadraceError": "headrace.errors",
    "HeadraceWarning": "headrace.errors",
    "LimitExceededError": "headrace.errors",
    "LoaderTimeoutError": "headrace.errors",
    "MissingExtraError": "headrace.errors",
    "NotFoundError": "headrace.errors",
    "RanksDifferError": "headrace.errors",
    "StorageError": "headrace.errors",
    "TooManyErrorsError": "headrace.errors",
    "TruncatedError": "headrace.errors",
    "UnsafeDataError": "headrace.errors",
    "UnsupportedVersionError": "headrace.errors",
}

_MODULES = {"evaluate", "images", "monitor", "prep", "sampling", "tune"}

__all__ = [
    "ArrayDataset",
    "ChangedError",
    "ClosedError",
    "CorruptDataError",
    "DataLoader",
    "Dataset",
    "Diagnosis",
    "ExistsError",
    "Field",
    "ForkError",
    "HeadraceError",
    "HeadraceWarning",
    "ImageFolder",
    "LimitExceededError",
    "LoaderTimeoutError",
    "MissingExtraError",
    "NotFoundError",
    "RanksDifferError",
    "Schema",
    "StorageError",
    "TooManyErrorsError",
    "TruncatedError",
    "UnsafeDataError",
    "UnsupportedVersionError",
    "Writer",
    "__version__",
    "col",
    "convert",
    "diagnose",
    "evaluate",
    "from_arrays",
    "images",
    "mix",
    "monitor",
    "num_threads",
    "open",
    "pack",
    "prep",
    "sampling",
    "set_cache_bytes",
    "set_num_threads",
    "tokens",
    "tune",
    "verify",
    "wrap",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("headrace")
    elif name in _MODULES:
        value = importlib.import_module(f"headrace.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
