"""What the kernel says was read from devices, and whether that agrees with what a run claims to be: cold, or warm.

Two witnesses: the process's own count (/proc/self/io), and the block device's (/proc/diskstats), which counts other processes as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.bench.file_system import FileSystem

__all__ = ["COLD_SHARE", "WARM_SHARE", "DiskCounters", "Judgement", "judge", "parse_disk_counters", "read_disk_counters"]

_SECTOR_BYTES = 512  # of /proc/diskstats, whatever the device's own
COLD_SHARE = 0.95  # a cold run whose device bytes are a smaller share of what it read had some of it from memory
WARM_SHARE = 0.02  # a warm run whose device bytes are a greater share was not served from memory alone


@dataclass(frozen=True, kw_only=True)
class DiskCounters:
    """Of one block device: since it came into being, or with `-` between two moments. Seconds are summed over requests but for busy_seconds."""

    reads: int
    read_bytes: int
    read_seconds: float
    busy_seconds: float

    def __add__(self, other: DiskCounters) -> DiskCounters:
        return DiskCounters(
            reads=self.reads + other.reads,
            read_bytes=self.read_bytes + other.read_bytes,
            read_seconds=self.read_seconds + other.read_seconds,
            busy_seconds=self.busy_seconds + other.busy_seconds,
        )

    def __sub__(self, before: DiskCounters) -> DiskCounters:
        return DiskCounters(
            reads=self.reads - before.reads,
            read_bytes=self.read_bytes - before.read_bytes,
            read_seconds=self.read_seconds - before.read_seconds,
            busy_seconds=self.busy_seconds - before.busy_seconds,
        )


def parse_disk_counters(text: str, device: str) -> DiskCounters | None:
    """The counters of `device` in the text of /proc/diskstats; None if it is not there."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 13 and fields[2] == device:
            return DiskCounters(
                reads=int(fields[3]),
                read_bytes=int(fields[5]) * _SECTOR_BYTES,
                read_seconds=int(fields[6]) / 1000,
                busy_seconds=int(fields[12]) / 1000,
            )
    return None


def read_disk_counters(device: str) -> DiskCounters | None:
    """The counters of a block device now; None where there is none or the kernel does not say."""
    if not device:
        return None
    try:
        return parse_disk_counters(Path("/proc/diskstats").read_text(encoding="ascii", errors="replace"), device)
    except OSError:
        return None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """proof: "proven", "tainted" (the counters contradict the claim) or "unproven" (they cannot say); reason: why, unless proven."""

    proof: str
    reason: str
    device_bytes: int | None  # that the judgement rests on
    device_share: float | None  # of the bytes that were read; above 1 where more was read than asked for


def judge(
    *,
    state: str,
    bytes_read: int,
    process_bytes: int | None,
    disk_bytes: int | None,
    file_system: FileSystem,
    resident_before: float | None,
) -> Judgement:
    """Hold a run in `state` ("cold", "warm") against the counters.

    bytes_read: what it read. process_bytes, disk_bytes: what the kernel counted meanwhile for the process and for the device, None where
    it does not say. resident_before: share of the file that was in memory when it began.
    """
    device_bytes = process_bytes if process_bytes is not None else (disk_bytes if file_system.counted else None)
    share = device_bytes / bytes_read if device_bytes is not None and bytes_read else None

    def answer(proof: str, reason: str = "") -> Judgement:
        return Judgement(proof=proof, reason=reason, device_bytes=device_bytes, device_share=share)

    if bytes_read == 0:
        return answer("tainted", "nothing was read in the time given; give more --seconds or smaller blocks")
    if state == "warm":
        return _judge_warm(answer, share, file_system)
    if share is not None and share >= COLD_SHARE:
        if process_bytes is not None and disk_bytes and disk_bytes < COLD_SHARE * bytes_read:
            return answer("tainted", f"{file_system.device} itself read only {_percent(disk_bytes / bytes_read)} of these bytes")
        return answer("proven")
    if share is None:
        return answer("unproven", "this kernel does not say what was read from devices")
    if not file_system.counted:
        return answer("unproven", file_system.remark)
    if file_system.kind == "compressing" and share > 0 and resident_before is not None and resident_before < 1 - COLD_SHARE:
        return answer("unproven", f"{file_system.type} may have compressed the file: {_percent(share)} of the bytes came from the device")
    why = "the rest from memory (the page cache, or parts of the file that were never written)"
    if resident_before is not None and resident_before > 1 - COLD_SHARE:
        why = f"{_percent(resident_before)} of the file stayed in memory when it was to be dropped: another process may map it"
    return answer("tainted", f"only {_percent(share)} of the bytes came from the device; {why}")


def _judge_warm(answer: Callable[..., Judgement], share: float | None, file_system: FileSystem) -> Judgement:
    if share is not None and share > WARM_SHARE:
        return answer("tainted", f"{_percent(share)} of the bytes came from the device: the files do not stay in memory")
    if share is None or (not file_system.counted and file_system.kind != "memory"):
        return answer("unproven", file_system.remark or "this kernel does not say what was read from devices")
    return answer("proven")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
