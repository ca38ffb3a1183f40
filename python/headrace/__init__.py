"""headrace: a native data loader for training.

Importing this package imports nothing else and starts no thread; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import evaluate, images, monitor, prep, sampling, statistics, tune
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
    from headrace.loader.automatic import Budget
    from headrace.loader.loader import DataLoader
    from headrace.loader.wrap import wrap
    from headrace.profiling.drift import Drift, drift
    from headrace.profiling.profile import Profile, profile
    from headrace.sampling.batch_schedule import BatchSchedule
    from headrace.sampling.token_batches import pack, tokens
    from headrace.writing.convert import convert
    from headrace.writing.verify import verify
    from headrace.writing.writer import Writer, write

_HOMES = {
    "ArrayDataset": "headrace.datasets.arrays",
    "BatchSchedule": "headrace.sampling.batch_schedule",
    "Budget": "headrace.loader.automatic",
    "DataLoader": "headrace.loader.loader",
    "Dataset": "headrace.datasets.shards",
    "Diagnosis": "headrace.bench.diagnose",
    "Field": "headrace._native",
    "Drift": "headrace.profiling.drift",
    "ImageFolder": "headrace.datasets.image_folder",
    "Profile": "headrace.profiling.profile",
    "Schema": "headrace._native",
    "Writer": "headrace.writing.writer",
    "diagnose": "headrace.bench.diagnose",
    "drift": "headrace.profiling.drift",
    "col": "headrace.datasets.condition",
    "convert": "headrace.writing.convert",
    "from_arrays": "headrace.datasets.arrays",
    "mix": "headrace.datasets.mixture",
    "num_threads": "headrace._native",
    "open": "headrace.datasets.shards",
    "profile": "headrace.profiling.profile",
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

_MODULES = {"evaluate", "images", "monitor", "prep", "sampling", "statistics", "tune"}

__all__ = [
    "ArrayDataset",
    "BatchSchedule",
    "Budget",
    "ChangedError",
    "ClosedError",
    "CorruptDataError",
    "DataLoader",
    "Dataset",
    "Diagnosis",
    "Drift",
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
    "Profile",
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
    "drift",
    "evaluate",
    "from_arrays",
    "images",
    "mix",
    "monitor",
    "num_threads",
    "open",
    "pack",
    "prep",
    "profile",
    "sampling",
    "set_cache_bytes",
    "set_num_threads",
    "statistics",
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
