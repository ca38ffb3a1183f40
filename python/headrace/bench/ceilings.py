"""What this machine can do at most, measured in the run that measures the loader.

Numbers from another day or another machine are no ceiling: clocks, neighbours and page caches differ by more than the loaders do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace._native import xxh3_64

__all__ = ["Ceilings", "copy_rate", "measure_ceilings", "page_in"]

_COPY_BYTES = 64 << 20  # a thread's source, well beyond the caches
_READ_BYTES = 4 << 20
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Bytes a second of `threads` threads together; the best of three rounds. Higher is better, and nothing of headrace is in them."""

    threads: int
    copy_bytes_per_second: float  # memory to memory, bytes copied counted once
    read_bytes_per_second: float  # the dataset's files out of the page cache, stored bytes
    hash_bytes_per_second: float  # the same, and XXH3-64 over what was read
    file_bytes: int  # read in each round


def page_in(files: Sequence[Path]) -> int:
    """Read all files once, so that what follows is warm; returns their bytes. Raises OSError if one cannot be read."""
    return sum(_read_file(path, None) for path in files)


def measure_ceilings(files: Sequence[Path], threads: int) -> Ceilings:
    """Measure with `threads` threads (at least one). Takes about a second and a half for each GB of files."""
    threads = max(1, threads)
    file_bytes = page_in(files)
    return Ceilings(
        threads=threads,
        copy_bytes_per_second=copy_rate(threads),
        read_bytes_per_second=_read_rate(files, threads, hashed=False),
        hash_bytes_per_second=_read_rate(files, threads, hashed=True),
        file_bytes=file_bytes,
    )


def _in_threads(tasks: Sequence[Callable[[], None]]) -> float:
    """Seconds from the moment that all threads are ready until the last one is done. Raises what a task raised."""
    barrier = threading.Barrier(len(tasks) + 1)
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        barrier.wait()
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    barrier.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if failures:
        raise failures[0]
    return seconds


def copy_rate(threads: int) -> float:
    """Bytes a second that `threads` threads copy from memory to memory, the best of three rounds."""
    sources = [np.ones(_COPY_BYTES, np.uint8) for _ in range(threads)]
    targets = [np.zeros(_COPY_BYTES, np.uint8) for _ in range(threads)]

    def task(source: np.ndarray, target: np.ndarray) -> Callable[[], None]:
        return lambda: np.copyto(target, source)  # releases the interpreter lock

    tasks = [task(source, target) for source, target in zip(sources, targets, strict=True)]
    return threads * _COPY_BYTES / min(_in_threads(tasks) for _ in range(_ROUNDS))


def _read_file(path: Path, digest: Callable[[memoryview], object] | None, begin: int = 0, end: int | None = None) -> int:
    """Read [begin, end) of a file into one reused buffer; returns the bytes read."""
    buffer = memoryview(bytearray(_READ_BYTES))
    total = 0
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        end = os.fstat(file.fileno()).st_size if end is None else end
        while begin < end:
            size = file.readinto(buffer[: min(_READ_BYTES, end - begin)])
            if size == 0:
                raise OSError(f"{path}: ended at byte {begin}, expected {end}")
            if digest is not None:
                digest(buffer[:size])
            begin += size
            total += size
    return total


def _read_rate(files: Sequence[Path], threads: int, *, hashed: bool) -> float:
    shares: list[list[tuple[Path, int, int]]] = [[] for _ in range(threads)]
    total = 0
    for path in files:
        size = path.stat().st_size
        total += size
        for thread in range(threads):
            shares[thread].append((path, size * thread // threads, size * (thread + 1) // threads))
    if total == 0:
        return 0.0

    def task(share: list[tuple[Path, int, int]]) -> Callable[[], None]:
        def read() -> None:
            for path, begin, end in share:
                _read_file(path, xxh3_64 if hashed else None, begin, end)

        return read

    tasks = [task(share) for share in shares]
    return total / min(_in_threads(tasks) for _ in range(_ROUNDS))
