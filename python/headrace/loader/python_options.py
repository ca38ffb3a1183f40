"""Which options a Python dataset, run as torch runs it, has a use for."""

from __future__ import annotations

from typing import Any

from headrace.loader.source import warn_of_ignored
from headrace.sampling.strata import StrataOrder
from headrace.sampling.weighted import WeightedOrder

__all__ = ["NATIVE_DEFAULTS", "refuse_native_options"]

NATIVE_DEFAULTS: dict[str, Any] = {
    "seed": None,
    "order": "global",
    "weights": None,
    "window": 32,
    "prefetch_bytes": None,
    "budget": None,
    "rank": None,
    "world_size": None,
    "mesh": None,
    "uneven": "pad",
    "check_ranks": True,
    "batch_by": None,
    "on_error": "raise",
    "max_errors": 100,
    "ragged": "padded",
    "strings": "lists",
    "prepare": None,
}


def refuse_native_options(
    options: dict[str, Any], arguments: dict[str, Any], *, parallel: str, is_disabled: bool, is_scheduled: bool
) -> None:
    """Raise ValueError for options that only the native engine has; where HEADRACE_DISABLE took it away, warn of them.

    options: those of NATIVE_DEFAULTS, as given. arguments: torch's, as given. is_scheduled: the batch size is a BatchSchedule.
    """
    workers, factor = arguments["num_workers"], arguments["prefetch_factor"]
    if isinstance(workers, str) or isinstance(factor, str):
        raise ValueError(
            f"num_workers={workers!r}, prefetch_factor={factor!r}: only the native engine sets them by itself; give the number of worker processes"
        )
    given = [name for name, value in options.items() if value is not None and (name == "weights" or value != NATIVE_DEFAULTS[name])]
    given += ["sampler (an order of headrace.sampling)"] if isinstance(arguments["sampler"], WeightedOrder | StrataOrder) else []
    if is_disabled:
        warn_of_ignored(given)
        given = []
    if parallel == "thread" or workers == 0:
        given = [name for name in given if name not in ("on_error", "max_errors", *(("seed",) if parallel == "thread" else ()))]
    given += ["batch_size (a BatchSchedule)"] if is_scheduled else []
    if given:
        raise ValueError(
            f"{', '.join(given)}: only for datasets that the native engine reads, in batches; got {type(arguments['dataset']).__name__} with "
            f"batch_size={arguments['batch_size']}, parallel={parallel!r}"
        )
