"""One point of a storage benchmark: the files made cold or warm, the passes over them, the counters around each, and fio's run."""

from __future__ import annotations

import resource
from typing import Any

from headrace._native import read_benchmark
from headrace.bench import page_cache
from headrace.bench.device_counters import DiskCounters, judge, read_disk_counters
from headrace.bench.file_system import FileSystem
from headrace.bench.fio import FioCommand, FioError, FioResult, fio_command, run_fio
from headrace.bench.storage_plan import Point, StorageOptions, Target
from headrace.bench.storage_results import StorageResult

__all__ = ["Runner"]

_LEAST_SECONDS = 0.05  # a shorter pass measures its own beginning
_MAX_PASSES = 1000


class _Sum:
    """Passes of one point, added up."""

    def __init__(self) -> None:
        self.bytes = self.operations = self.passes = 0
        self.seconds = self.cpu_seconds = 0.0
        self.counts: dict[int, int] = {}
        self.device_bytes: int | None = 0
        self.disk: DiskCounters | None = None
        self.served_by = self.fallback = ""

    def add(self, answer: dict[str, Any], cpu_seconds: float, disk: DiskCounters | None) -> None:
        self.passes += 1
        self.bytes += answer["bytes"]
        self.operations += answer["operations"]
        self.seconds += answer["seconds"]
        self.cpu_seconds += cpu_seconds
        for ns, count in answer["latency_counts"].items():
            self.counts[ns] = self.counts.get(ns, 0) + count
        known = self.device_bytes is not None and answer["device_bytes"] is not None
        self.device_bytes = self.device_bytes + answer["device_bytes"] if known else None
        self.disk = disk if self.passes == 1 or disk is None or self.disk is None else self.disk + disk
        self.served_by, self.fallback = answer["reader"], answer["fallback"]

    def latency_seconds(self, share: float) -> float:
        """The value below which `share` of the reads lie; 0 where nothing was read."""
        wanted, seen = share * self.operations, 0
        for ns in sorted(self.counts):
            seen += self.counts[ns]
            if seen > wanted:
                return ns * 1e-9
        return 0.0


class Runner:
    """Measures points on one target."""

    def __init__(self, target: Target, options: StorageOptions, state: str, file_system: FileSystem, fio: str | None) -> None:
        self.target = target
        self.options = options
        self.state = state
        self.file_system = file_system
        self.fio = fio
        self._refusing: dict[str, bool] = {}  # by reader: whether another one serves

    def measure(self, point: Point, *, fio_first: bool) -> StorageResult:
        """Measure `point`, and fio beside it where that is wanted: before or after ours, so that neither always has the quieter moment."""
        command = self._fio_command(point)
        runs_fio = self.fio is not None and command is not None and (command.exact or self.options.fio == "all")
        answer: FioResult | FioError | None = None
        if runs_fio and fio_first:
            answer = self._run_fio(command)
        before = self._prepare()
        measured = self._passes(point)
        after = page_cache.residency(self.target.files)
        if runs_fio and not fio_first:
            answer = self._run_fio(command)
        return self._result(point, measured, before, after, command, answer)

    def _prepare(self) -> float | None:
        """Bring the files into the state that is measured; answers what share of them is in memory then."""
        if self.state == "warm":
            page_cache.fill(self.target.files)
        else:
            page_cache.drop_files(self.target.files)
            if self.options.drop_machine_cache:
                page_cache.drop_all_caches()
        return page_cache.residency(self.target.files)

    def _loops(self, point: Point) -> bool:
        """Whether a run may read a block twice: not where the second time would be from memory."""
        return self.state == "warm" or (point.reader == "direct" and not self._refuses(point.reader))

    def _refuses(self, reader: str) -> bool:
        if reader not in self._refusing:
            files = [str(file) for file in self.target.files]
            answer = read_benchmark(files, block_bytes=4096, depth=1, reader=reader, random=False, seconds=0.001)
            self._refusing[reader] = answer["reader"] != reader
        return self._refusing[reader]

    def _passes(self, point: Point) -> _Sum:
        total = _Sum()
        loop = self._loops(point)
        while total.passes < _MAX_PASSES:
            if total.passes:
                self._prepare()
            left = self.options.seconds - total.seconds
            total.add(*self._pass(point, left, loop, self.options.seed + total.passes))
            if self.options.seconds - total.seconds < min(_LEAST_SECONDS, self.options.seconds / 10) or loop or total.bytes == 0:
                break
        return total

    def _pass(self, point: Point, seconds: float, loop: bool, seed: int) -> tuple[dict[str, Any], float, DiskCounters | None]:
        disk = read_disk_counters(self.file_system.device)
        cpu = _cpu_seconds()
        answer = read_benchmark(
            [str(file) for file in self.target.files],
            block_bytes=point.block_bytes,
            depth=point.depth,
            reader=point.reader,
            random=point.pattern == "random",
            seconds=seconds,
            threads=point.threads,
            seed=seed,
            loop=loop,
        )
        cpu = _cpu_seconds() - cpu
        disk_after = read_disk_counters(self.file_system.device)
        return answer, cpu, disk_after - disk if disk is not None and disk_after is not None else None

    def _fio_command(self, point: Point) -> FioCommand | None:
        return fio_command(
            [file.absolute() for file in self.target.files],
            reader=point.reader,
            pattern=point.pattern,
            block_bytes=point.block_bytes,
            depth=point.depth,
            threads=point.threads,
            seconds=self.options.seconds,
            loop=self._loops(point),
            warm=self.state == "warm",
            seed=self.options.seed,
            file_bytes=self.target.file_bytes,
        )

    def _run_fio(self, command: FioCommand | None) -> FioResult | FioError | None:
        if command is None or self.fio is None:
            return None
        self._prepare()
        try:
            return run_fio(command, self.fio, seconds=self.options.seconds)
        except FioError as error:  # our own figure stands without fio's
            return error

    def _result(
        self,
        point: Point,
        measured: _Sum,
        resident_before: float | None,
        resident_after: float | None,
        command: FioCommand | None,
        answer: FioResult | FioError | None,
    ) -> StorageResult:
        disk = measured.disk
        fio = answer if isinstance(answer, FioResult) else None
        verdict = judge(
            state=self.state,
            bytes_read=measured.bytes,
            process_bytes=measured.device_bytes,
            disk_bytes=disk.read_bytes if disk else None,
            file_system=self.file_system,
            resident_before=resident_before,
        )
        rate = measured.bytes / measured.seconds
        return StorageResult(
            **vars(point),
            served_by=measured.served_by,
            fallback=measured.fallback,
            bytes=measured.bytes,
            operations=measured.operations,
            passes=measured.passes,
            seconds=measured.seconds,
            bytes_per_second=rate,
            round_bytes_per_second=[rate],
            operations_per_second=measured.operations / measured.seconds,
            latency_p50_seconds=measured.latency_seconds(0.5),
            latency_p99_seconds=measured.latency_seconds(0.99),
            latency_p999_seconds=measured.latency_seconds(0.999),
            cpu_seconds_per_gb=measured.cpu_seconds / measured.bytes * 1e9 if measured.bytes else 0.0,
            cpu_share=min(1.0, measured.cpu_seconds / measured.seconds / point.threads),
            proof=verdict.proof,
            reason=verdict.reason,
            device_bytes=verdict.device_bytes,
            device_share=verdict.device_share,
            process_device_bytes=measured.device_bytes,
            disk_bytes=disk.read_bytes if disk else None,
            disk_reads=disk.reads if disk else None,
            disk_queue=disk.read_seconds / measured.seconds if disk else None,
            disk_busy_share=min(1.0, disk.busy_seconds / measured.seconds) if disk else None,
            resident_before=resident_before,
            resident_after=resident_after,
            fio_line=command.line if command else None,
            fio_exact=command.exact if command else False,
            fio_remark=command.remark if command else "the files' names are too many for fio",
            fio=fio,
            fio_error=str(answer) if isinstance(answer, FioError) else "",
            fio_ratio=rate / fio.bytes_per_second if fio and fio.bytes_per_second > 0 else None,
            binding="",
        )


def _cpu_seconds() -> float:
    """CPU time of this process, in the kernel too."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
