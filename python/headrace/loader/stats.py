"""What `DataLoader.stats()` is made of: the counts of one engine, and their sums over several."""

from __future__ import annotations

from typing import Any

__all__ = ["add_rates", "add_stats"]

_DELIVERED = ("batches", "samples", "bytes_delivered", "errors", "seconds", "stall_seconds")
_READ = ("bytes_stored_read", "bytes_decoded", "blocks_read", "cache_hits", "cache_misses", "read_retries")
_HELD = ("batches_in_flight", "batches_ready", "bytes_in_flight", "slab_bytes", "slabs_made", "slabs_reused")


def add_stats(total: dict[str, Any], other: dict[str, Any]) -> None:
    """Add what another engine did; what is no sum (sizes, settings, the time to the first batch) stays."""
    for key in (*_DELIVERED, *_READ, *_HELD):
        total[key] += other[key]
    for stage, seconds in other["stages"].items():
        total["stages"][stage] += seconds
    total["peak_bytes"] = max(total["peak_bytes"], other["peak_bytes"])


def add_rates(stats: dict[str, Any]) -> None:
    """Add what follows from counts and seconds."""
    seconds = stats["seconds"]
    stats["samples_per_second"] = stats["samples"] / seconds if seconds > 0 else 0.0
    stats["stall_share"] = min(1.0, stats["stall_seconds"] / seconds) if seconds > 0 else 0.0
