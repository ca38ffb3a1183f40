"""One warning where the system had no memory for the cache of decoded blocks."""

from __future__ import annotations

import threading
import warnings

from headrace import _native
from headrace.errors import HeadraceWarning

__all__ = ["warn_of_failures"]

_may_warn = threading.Lock()  # Taken by the one who warns, and kept.


def warn_of_failures() -> None:
    """Warn once a process if an allocation of the cache failed. Nothing else came of it: the cache is smaller, every batch was delivered."""
    if _may_warn.locked() or _native.cache_stats()["failures"] == 0 or not _may_warn.acquire(blocking=False):
        return
    stats = _native.cache_stats()
    warnings.warn(
        f"the system had no memory for the cache of decoded blocks: it is {stats['capacity_bytes'] >> 20} MiB now; batches are complete, "
        "blocks that are not kept are decoded again; headrace.set_cache_bytes() sets what it may take",
        HeadraceWarning,
        stacklevel=4,
    )
