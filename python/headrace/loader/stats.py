"""What `DataLoader.stats()` is made of: the counts of one engine, and their sums over several."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader
    from headrace.loader.native_iterator import NativeIterator

__all__ = ["add_rates", "add_stats", "stats_of", "wait_percentile"]

_DELIVERED = ("batches", "samples", "bytes_delivered", "errors", "seconds", "stall_seconds")
_READ = ("bytes_stored_read", "bytes_decoded", "blocks_read", "cache_hits", "cache_misses", "read_retries")
_HELD = ("batches_in_flight", "batches_ready", "bytes_in_flight", "slab_bytes", "slabs_made", "slabs_reused")


def stats_of(loader: DataLoader, latest: NativeIterator | None) -> dict[str, Any]:
    """What `DataLoader.stats()` says of a native loader, whose latest pass, if it lives, this is."""
    pipeline = latest.pipeline if latest is not None and latest.is_mine() else None
    if pipeline is None:
        native = loader.source.native
        pipeline = loader.take_pipeline(native)
        loader.give_pipeline(native, loader.partition, pipeline)
    stats = pipeline.stats()
    loader._engines.add_others(stats, pipeline)
    add_rates(stats)
    stats["skipped"] = len(loader.place.skipped)
    if loader.planned is not None:
        stats["padding_share"] = loader.planned.plan(loader.place.epoch, loader.place.cuts).padding_share
    stats["epoch"], stats["position"] = loader.place.epoch, loader.place.position
    return stats


def add_stats(total: dict[str, Any], other: dict[str, Any]) -> None:
    """Add what another engine did; what is no sum (sizes, settings, the time to the first batch) stays."""
    for key in (*_DELIVERED, *_READ, *_HELD):
        total[key] += other[key]
    for stage, seconds in other["stages"].items():
        total["stages"][stage] += seconds
    total["peak_bytes"] = max(total["peak_bytes"], other["peak_bytes"])
    total["wait_counts"] = [a + b for a, b in zip_longest(total["wait_counts"], other["wait_counts"], fillvalue=0)]
    total["longest_wait_seconds"] = max(total["longest_wait_seconds"], other["longest_wait_seconds"])


def add_rates(stats: dict[str, Any]) -> None:
    """Add what follows from counts and seconds."""
    seconds = stats["seconds"]
    stats["samples_per_second"] = stats["samples"] / seconds if seconds > 0 else 0.0
    stats["stall_share"] = min(1.0, stats["stall_seconds"] / seconds) if seconds > 0 else 0.0
    counts, longest = stats.pop("wait_counts"), stats.pop("longest_wait_seconds")
    stats["wait_seconds"] = {f"p{p}": min(longest, wait_percentile(counts, p / 100)) for p in (50, 90, 99)} | {"max": longest}


def wait_percentile(counts: list[int], share: float) -> float:
    """Seconds below which `share` of the waits lie, to a sixteenth: the middle of their bucket of `WaitCounts` (cpp/headrace/pipeline/wait_counts.h)."""
    wanted, seen = share * sum(counts), 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return 0.5e-9 * (_bucket_begin(bucket) + _bucket_begin(bucket + 1) - 1)
    return 0.0


def _bucket_begin(bucket: int) -> int:
    return bucket if bucket < 8 else (8 + bucket % 8) << (bucket // 8 - 1)
