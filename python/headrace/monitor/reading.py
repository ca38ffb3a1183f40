"""One look at a loader: what happened since the last, and in all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["METRICS", "Reading", "between"]

# Of a reading, what alerts may watch and TensorBoard draws, with its unit.
METRICS = {
    "samples_per_second": "delivered since the last look",
    "bytes_per_second": "delivered since the last look",
    "stall_share": "of the time since the last look, spent inside next(), 0 to 1",
    "wait_p99_seconds": "what next() waited for a batch, since the loader was made",
    "errors": "samples that failed, since the last look",
    "read_retries": "reads tried once more, since the last look",
    "skipped": "samples that on_error left out or replaced, in all",
    "batches_ready": "assembled, not yet taken",
    "bytes_in_flight": "batches under way",
    "cache_bytes": "decoded blocks kept, of all loaders",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A loader over `seconds` (METRICS says what each number is), at `time` (Unix seconds); `totals` are its stats()."""

    loader: str
    time: float
    seconds: float
    epoch: int
    position: int
    samples_per_second: float
    bytes_per_second: float
    stall_share: float
    wait_p99_seconds: float
    errors: int
    read_retries: int
    skipped: int
    batches_ready: int
    bytes_in_flight: int
    cache_bytes: int
    totals: dict[str, Any]

    def metrics(self) -> dict[str, float]:
        """METRICS of this reading."""
        return {name: float(value) for name, value in asdict(self).items() if name in METRICS}


# What loaders of Python datasets do not count: nothing of theirs passes the engine.
_UNCOUNTED = {
    "samples": 0, "bytes_delivered": 0, "read_retries": 0, "batches_ready": 0, "bytes_in_flight": 0, "cache_bytes": 0,
    "wait_seconds": {"p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}, "stages": {},
    "bytes_stored_read": 0, "bytes_decoded": 0, "cache_hits": 0, "cache_misses": 0,
}  # fmt: skip


def between(name: str, before: dict[str, Any], after: dict[str, Any], *, time: float, seconds: float) -> Reading:
    """The reading of two stats(), `seconds` apart."""
    before, after = {**_UNCOUNTED, **before}, {**_UNCOUNTED, **after}
    span = max(seconds, 1e-9)
    return Reading(
        loader=name,
        time=time,
        seconds=seconds,
        epoch=after["epoch"],
        position=after["position"],
        samples_per_second=(after["samples"] - before["samples"]) / span,
        bytes_per_second=(after["bytes_delivered"] - before["bytes_delivered"]) / span,
        stall_share=min(1.0, max(0.0, (after["stall_seconds"] - before["stall_seconds"]) / span)),
        wait_p99_seconds=after["wait_seconds"]["p99"],
        errors=after["errors"] - before["errors"],
        read_retries=after["read_retries"] - before["read_retries"],
        skipped=after["skipped"],
        batches_ready=after["batches_ready"],
        bytes_in_flight=after["bytes_in_flight"],
        cache_bytes=after["cache_bytes"],
        totals=after,
    )
