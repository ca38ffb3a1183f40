"""What a storage benchmark answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headrace.bench.file_system import FileSystem
from headrace.bench.fio import FioResult

__all__ = ["Best", "StorageBenchmark", "StorageResult"]


@dataclass(frozen=True, kw_only=True)
class StorageResult:
    """One point. Rates are of delivered bytes; latencies of single reads, from submission to answer, good to 1.6 %."""

    pattern: str
    block_bytes: int
    reader: str
    threads: int
    depth: int
    served_by: str  # the reader that really read
    fallback: str  # why that is another; "" if it is not
    bytes: int
    operations: int
    passes: int  # over the files: a cold file that is smaller than what a run reads is dropped from memory and read again
    seconds: float
    bytes_per_second: float
    round_bytes_per_second: list[float]  # of all rounds; the rest of this result is of the one in the middle, or of one that is tainted
    operations_per_second: float
    latency_p50_seconds: float
    latency_p99_seconds: float
    latency_p999_seconds: float
    cpu_seconds_per_gb: float  # of this process, for each 10^9 bytes
    cpu_share: float  # of the reading threads' time that they spent on cores; 1 = busy all the time
    proof: str  # "proven", "tainted" or "unproven"
    reason: str
    device_bytes: int | None  # counted by the kernel while this ran: what the proof rests on
    device_share: float | None  # of `bytes`
    process_device_bytes: int | None  # /proc/self/io
    disk_bytes: int | None  # /proc/diskstats: what the device read meanwhile, for other processes as well
    disk_reads: int | None
    disk_queue: float | None  # mean number of reads in the device
    disk_busy_share: float | None
    resident_before: float | None  # share of the files in memory when it began
    resident_after: float | None
    fio_line: str | None
    fio_exact: bool
    fio_remark: str  # what fio's line does otherwise
    fio: FioResult | None
    fio_error: str  # why there is no figure although fio ran; "" if it did not fail
    fio_ratio: float | None  # our bytes a second / fio's: the median over the rounds of what each gave
    binding: str  # a key of storage_limits.BOUNDS


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best of the points that are not tainted. result: its number in `results`."""

    result: int
    bytes_per_second: float
    operations_per_second: float
    binding: str
    fio_ratio: float | None
    samples_per_second: float | None  # dataset: samples whose stored bytes these are; sequential only


@dataclass(frozen=True, kw_only=True)
class StorageBenchmark:
    """All of one run. best: by "sequential", "random" (bytes a second) and "random_operations", where there is one."""

    path: str
    kind: str  # "dataset", "file" or "test file"
    kept: bool  # a test file that is still there
    files: list[str]
    files_total: int
    file_bytes: int
    state: str
    seconds: float
    rounds: int
    seed: int
    file_system: FileSystem
    remark: str  # what the counters cannot say here
    fio_path: str | None
    fio_version: str
    fio_absence: str  # why fio was not run: "not installed" or "turned off"; "" if it was
    fio_ratio: float | None  # the median over the points where fio does the same work
    memory_copy_bytes_per_second: dict[int, float]  # by number of threads
    results: list[StorageResult]
    best: dict[str, Best]
    tainted: int  # how many points are
    unproven: int
    environment: dict[str, Any] = field(repr=False)
