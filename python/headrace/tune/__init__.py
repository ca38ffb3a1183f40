"""Searching a loader's options by measuring, with Optuna (the extra "tune").

| file | holds |
|---|---|
| `search` | `search()`: trials, each beside the defaults, and the profile of the best |
| `batch_size` | `batch_size()`: the largest batch that fits a step, and the knee of its throughput |
| `layouts` | `layouts()`: codec, filter and sizes on disk, tried on a sample before anything is rewritten |
| `measure` | the rate of one choice of options, next to that of the defaults |

Profiles are kept by `loader/profiles.py`; `num_workers="auto"` follows them.
"""

from __future__ import annotations

from headrace.loader.profiles import Profile, load_profile, profile_path
from headrace.tune.batch_size import BatchSizes, MeasuredSize, batch_size
from headrace.tune.layouts import LayoutSearch, LayoutTrial, layouts, write_options
from headrace.tune.search import Search, Trial, search

__all__ = [
    "BatchSizes",
    "LayoutSearch",
    "LayoutTrial",
    "MeasuredSize",
    "Profile",
    "Search",
    "Trial",
    "batch_size",
    "layouts",
    "load_profile",
    "profile_path",
    "search",
    "write_options",
]
