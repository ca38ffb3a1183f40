"""What storage delivers to headrace's own readers: sequential and random, cold with the kernel's counters as proof, or warm; fio beside it.

Every cold point begins with files that are not in memory, and what the kernel counted as read from devices must cover what was delivered:
else the point is tainted. Every warm point begins with files that are in memory, and no device may be read.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from headrace._native import available_memory_bytes
from headrace.bench.ceilings import copy_rate
from headrace.bench.environment import environment
from headrace.bench.file_system import FileSystem, file_system_of
from headrace.bench.fio import fio_path, fio_version
from headrace.bench.storage_limits import Rate, bound
from headrace.bench.storage_plan import Advance, Point, StorageOptions, Target, checked_file, opened_target, plan
from headrace.bench.storage_point import Runner
from headrace.bench.storage_results import Best, StorageBenchmark, StorageResult

__all__ = ["bench_storage"]


def bench_storage(path: str | Path, options: StorageOptions | None = None, *, advance: Advance | None = None) -> StorageBenchmark:
    """Measure reads of a dataset, of a file, or of a test file that is laid out in a directory and removed at the end.

    advance: is called with what is being done, how much of it is done, of how much, and the unit. Raises ValueError for options that make
    no sense, NotFoundError, StorageError (also: no space for the test file), FioError, PermissionError, other OSErrors.
    """
    options = options or StorageOptions()
    report: Advance = advance or (lambda label, done, total, unit: None)
    fio = fio_path() if options.fio != "off" else None
    if options.fio == "all" and fio is None:
        raise ValueError("fio is not installed; install it (apt-get install fio), or leave the choice out")
    place = Path(path)
    if place.exists() and not place.is_dir():
        checked_file(place)
    file_system = file_system_of(place if place.exists() else place.parent)
    state = options.state or ("warm" if file_system.kind == "memory" and "direct" not in (options.readers or ()) else "cold")
    if state == "cold" and file_system.kind == "memory":
        raise ValueError(f"{path}: {file_system.remark}; measure it warm, or a file on another file system cold")
    if options.keep and place.exists() and not place.is_dir():
        raise ValueError(f"{path}: there is a file, which stays anyway; keep is for a test file")
    with opened_target(place, options, report) as target:
        points = plan(options, target, state, file_system)
        if state == "warm" and target.file_bytes > available_memory_bytes():
            raise ValueError(
                f"{path}: {target.file_bytes} bytes do not fit the memory that is free ({available_memory_bytes()}); measure cold"
            )
        copies = {threads: copy_rate(threads) for threads in dict.fromkeys(options.threads)}
        runner = Runner(target, options, state, file_system, fio)
        results = _bound(_measured(runner, points, options.rounds, report), state, copies)
    return _benchmark(path, target, options, state, file_system, fio, copies, results)


def _measured(runner: Runner, points: Sequence[Point], rounds: int, report: Advance) -> list[StorageResult]:
    """Every point in every round, every other round backwards, so that no point always has the same neighbours; one result a point."""
    found: list[list[StorageResult]] = [[] for _ in points]
    for turn in range(rounds):
        numbers = range(len(points)) if turn % 2 == 0 else range(len(points))[::-1]
        for done, number in enumerate(numbers, turn * len(points)):
            report("measuring", done, rounds * len(points), "points")
            found[number].append(runner.measure(points[number], fio_first=(number + turn) % 2 == 1))
    return [_middle(results) for results in found]


def _middle(results: Sequence[StorageResult]) -> StorageResult:
    """The round with the median rate; one that is tainted, if any is, or else unproven, if any is."""
    worst = next((proof for proof in ("tainted", "unproven") if any(result.proof == proof for result in results)), "proven")
    ranked = sorted((result for result in results if result.proof == worst), key=lambda result: result.bytes_per_second)
    ratios = [result.fio_ratio for result in results if result.fio_ratio is not None]
    return replace(
        ranked[(len(ranked) - 1) // 2],
        round_bytes_per_second=[result.bytes_per_second for result in results],
        fio_ratio=statistics.median(ratios) if ratios else None,
    )


def _bound(results: Sequence[StorageResult], state: str, copies: dict[int, float]) -> list[StorageResult]:
    """The results with what binds each."""
    rates = [
        Rate(
            pattern=result.pattern,
            block_bytes=result.block_bytes,
            reader=result.reader,
            threads=result.threads,
            depth=result.depth,
            state=state,
            bytes_per_second=result.bytes_per_second,
            cpu_share=result.cpu_share,
            fio_bytes_per_second=result.bytes_per_second / result.fio_ratio if result.fio_ratio and result.fio_exact else None,
            trusted=result.proof != "tainted",
        )
        for result in results
    ]
    return [replace(result, binding=bound(rate, rates, copies.get(rate.threads))) for result, rate in zip(results, rates, strict=True)]


def _best(results: Sequence[StorageResult], pattern: str, key: Callable[[StorageResult], float], sample_bytes: float | None) -> Best | None:
    numbers = [number for number, result in enumerate(results) if result.pattern == pattern and result.proof != "tainted"]
    if not numbers:
        return None
    number = max(numbers, key=lambda n: key(results[n]))
    result = results[number]
    return Best(
        result=number,
        bytes_per_second=result.bytes_per_second,
        operations_per_second=result.operations_per_second,
        binding=result.binding,
        fio_ratio=result.fio_ratio if result.fio_exact else None,
        samples_per_second=result.bytes_per_second / sample_bytes if sample_bytes and pattern == "sequential" else None,
    )


def _benchmark(
    path: str | Path,
    target: Target,
    options: StorageOptions,
    state: str,
    file_system: FileSystem,
    fio: str | None,
    copies: dict[int, float],
    results: list[StorageResult],
) -> StorageBenchmark:
    sample_bytes = target.stored_bytes / target.samples if target.stored_bytes and target.samples else None
    best = {
        "sequential": _best(results, "sequential", lambda result: result.bytes_per_second, sample_bytes),
        "random": _best(results, "random", lambda result: result.bytes_per_second, None),
        "random_operations": _best(results, "random", lambda result: result.operations_per_second, None),
    }
    ratios = [result.fio_ratio for result in results if result.fio_exact and result.fio_ratio is not None and result.proof != "tainted"]
    return StorageBenchmark(
        path=str(path),
        kind=target.kind,
        kept=options.keep and target.kind == "test file",
        files=[str(file) for file in target.files],
        files_total=target.files_total,
        file_bytes=target.file_bytes,
        state=state,
        seconds=options.seconds,
        rounds=options.rounds,
        seed=options.seed,
        file_system=file_system,
        remark=file_system.remark,
        fio_path=fio,
        fio_version=fio_version(fio) if fio else "",
        fio_absence="" if fio else "turned off" if options.fio == "off" else "not installed",
        fio_ratio=statistics.median(ratios) if ratios else None,
        memory_copy_bytes_per_second=copies,
        results=results,
        best={name: entry for name, entry in best.items() if entry is not None},
        tainted=sum(result.proof == "tainted" for result in results),
        unproven=sum(result.proof == "unproven" for result in results),
        environment=environment(),
    )
