"""What binds a storage measurement: the device, the depth, a thread's CPU, the memory copy. Says only what the run itself has shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BOUNDS", "Rate", "bound"]

_SAME = 1.15  # rates within this factor count as equal: noise between two seconds on one device reaches ten percent
_BUSY = 0.85  # share of a thread's time on a core from which on the core binds
_COPY = 0.7  # share of the memory copy rate from which on copying binds

# What `bound` answers -> what it means, for a reader of the table.
BOUNDS = {
    "device": "neither more reads in flight nor another reader or fio is faster",
    "depth": "more reads in flight, or more threads, were faster",
    "CPU": "the reading threads' time on cores; no device makes them wait",
    "memory copy": "near the rate at which memory is copied with as many threads",
    "reader": "another reader, or fio, was faster with the same reads",
    "": "not shown by these points; add depths",
}


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What is known of one measured point."""

    pattern: str
    block_bytes: int
    reader: str
    threads: int
    depth: int
    state: str
    bytes_per_second: float
    cpu_share: float  # of the reading threads' time on cores; 0 to 1
    fio_bytes_per_second: float | None  # where fio does exactly the same work
    trusted: bool  # not tainted

    @property
    def in_flight(self) -> int:
        """Reads in flight of all threads."""
        return self.depth * self.threads


def bound(rate: Rate, rates: Sequence[Rate], copy_bytes_per_second: float | None) -> str:
    """A key of BOUNDS for `rate`, which is one of `rates`. copy_bytes_per_second: of as many threads, None where it was not measured."""
    if not rate.trusted:
        return ""
    mine = rate.bytes_per_second
    copies = rate.reader != "mmap"  # a mapped file is used in place
    if rate.state == "warm" and copies and copy_bytes_per_second and mine >= _COPY * copy_bytes_per_second:
        return "memory copy"
    same = [other for other in rates if other.trusted and (other.pattern, other.block_bytes) == (rate.pattern, rate.block_bytes)]
    own = [other for other in same if other.reader == rate.reader and other is not rate]
    deeper = [other for other in own if other.in_flight > rate.in_flight and other.depth >= rate.depth and other.threads >= rate.threads]
    if any(other.bytes_per_second > _SAME * mine for other in deeper):
        return "CPU" if rate.cpu_share >= _BUSY and all(other.threads > rate.threads for other in deeper) else "depth"
    if rate.cpu_share >= _BUSY:
        return "CPU"
    # Warm, a mapped file costs no copy: no measure for those that copy.
    others = [other for other in same if other.reader != rate.reader]
    peers = [other for other in others if rate.state == "cold" or (other.reader == "mmap") == (rate.reader == "mmap")]
    if max([other.bytes_per_second for other in peers] + [rate.fio_bytes_per_second or 0.0]) > _SAME * mine:
        return "reader"
    if rate.state == "warm":
        return "CPU"  # no device was read, so nothing else is left
    level = any(other.in_flight >= 2 * rate.in_flight for other in deeper)  # and no faster, as seen above
    level = level or any(rate.in_flight >= 2 * other.in_flight and other.bytes_per_second * _SAME >= mine for other in own)
    return "device" if level else ""
