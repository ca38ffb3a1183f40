"""What a DataLoader delivers from a dataset: throughput, time to first batch, stall share, memory, CPU time; warm, after a check of the answer.

The consumer does nothing but take batches, so the loader's own speed is what binds, and its stall share is near one by design:
compare samples a second here, the ratio to the limit, and with `compute_ms` the utilisation of a simulated accelerator.
"""

from __future__ import annotations

import importlib
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace._native import Dataset, Pipeline
from headrace.bench.accelerator import AcceleratorRun, simulate
from headrace.bench.ceilings import Ceilings, measure_ceilings, page_in
from headrace.bench.contenders import RIVALS, Contender, HeadraceContender, make_rival
from headrace.bench.environment import environment
from headrace.bench.limits import Limit, binding_limit, dataset_limits, decode_seconds
from headrace.bench.private_memory import PeakMemory
from headrace.datasets.shards import open as open_dataset
from headrace.errors import ChangedError

__all__ = ["LoaderBenchmark", "LoaderResult", "bench_loader", "check_exactly_once", "dataset_files"]

ORDERS = ("global", "window", "sequential")
_RIVAL_SECONDS = 3.0  # of a rival's epoch that are timed: a slow one's rate is known long before its epoch ends
_MOST_STEPS = 500  # of the simulated accelerator: what MLPerf Storage asks of an epoch


@dataclass(frozen=True, kw_only=True)
class LoaderResult:
    """One loader: medians over epochs. Rates count delivered (decoded) samples and bytes."""

    name: str  # "headrace", or a rival
    num_workers: int
    epoch_seconds: list[float]  # rivals: of the part of an epoch that was timed
    samples_per_second: float
    bytes_per_second: float
    stall_share: float  # of the epochs' wall time spent waiting for the next batch; near 1 with this consumer
    time_to_first_batch_seconds: float  # from construction, of a loader of its own
    cpu_seconds_per_gb: float  # of this process and its ended workers, for each 10^9 delivered bytes
    peak_private_bytes: int | None  # memory beyond the page cache that came with the loader; None where the kernel does not say
    limit: str  # what binds: "memory copy", "codec decode" or "storage"
    limit_share: float  # the seconds that the limit alone would take / those that the loader took
    copy_share: float  # bytes_per_second / the machine's memory copy rate with the same number of threads
    accelerator: AcceleratorRun | None  # with compute_ms
    stages_seconds: dict[
        str, float
    ]  # headrace: summed over threads, per epoch; "assemble" contains the read, verify and decode that it meets
    peak_bytes: int | None  # headrace: most memory in batches at once
    reader: str  # headrace


@dataclass(frozen=True, kw_only=True)
class LoaderBenchmark:
    """All of one run. `checked_samples`: how many samples the check before the clock saw, each exactly once."""

    path: str
    version: int
    samples: int
    stored_bytes: int
    raw_bytes: int
    batch_size: int
    order: str
    epochs: int
    compute_ms: float | None
    checked_samples: int
    results: list[LoaderResult]
    speed_ratios: dict[str, float]  # by rival: headrace at its best / the rival at its best, the median over epochs
    ceilings: dict[int, Ceilings]  # by number of threads
    limits: dict[int, list[Limit]]  # by number of threads
    environment: dict[str, Any] = field(repr=False)


def dataset_files(dataset: Dataset) -> list[Path]:
    """The shard files of a dataset."""
    return [Path(dataset.path) / str(shard["file_name"]) for shard in dataset.shards]


def check_exactly_once(dataset: Dataset, *, batch_size: int, order: str, num_threads: int, seed: int) -> int:
    """Read an epoch and count: returns the number of samples. Raises ChangedError if one comes twice or not at all."""
    pipeline = Pipeline(
        dataset, fields=range(len(dataset.schema)), batch_size=batch_size, order=order, seed=seed, num_threads=num_threads, ragged="offsets"
    )
    pipeline.start(0)
    counts = np.zeros(len(dataset), np.uint8)
    while (batch := pipeline.next()) is not None:
        indices = batch.indices
        if len(np.unique(indices)) != len(indices):
            raise ChangedError(f"{dataset.path}: step {batch.step} delivers a sample twice")
        counts[indices] += 1
    if not bool((counts == 1).all()):
        sample = int(np.argmax(counts != 1))
        raise ChangedError(f"{dataset.path}: sample {sample} was delivered {counts[sample]} times in an epoch, expected once")
    return len(counts)


def bench_loader(
    path: str,
    *,
    version: int | None = None,
    batch_size: int = 1024,
    order: str = "global",
    workers: Sequence[int] = (0, 1, 2),
    epochs: int = 3,
    seed: int = 0,
    against: Sequence[str] = (),
    compute_ms: float | None = None,
) -> LoaderBenchmark:
    """Measure a DataLoader with each of `workers` on a dataset, warm, in rounds that alternate between them and the rivals in `against`.

    order: "global", "window" or "sequential". against: names of `contenders`, each run with each of `workers`. compute_ms: also simulate an
    accelerator that computes so long on each batch. Raises ValueError for options that make no sense, and what opening and reading raise.
    """
    _check_options(batch_size, order, workers, epochs, against, compute_ms)
    native = Dataset(path, version or 0)
    if len(native) == 0:
        raise ValueError(f"{path}: the dataset is empty, there is nothing to measure")
    files = dataset_files(native)
    page_in(files)
    checked = check_exactly_once(native, batch_size=batch_size, order=order, num_threads=max(workers), seed=seed)
    stats = native.field_stats()
    raw_bytes = sum(int(entry["raw_bytes"]) for entry in stats)
    stored_bytes = sum(int(entry["stored_bytes"]) for entry in stats)
    dataset = open_dataset(path, version=version)
    ceilings: dict[int, Ceilings] = {}
    limits: dict[int, list[Limit]] = {}
    for threads in sorted({max(1, count) for count in workers}):
        ceilings[threads] = measure_ceilings(files, threads)
        limits[threads] = dataset_limits(
            raw_bytes=raw_bytes,
            stored_bytes=stored_bytes,
            decoding_seconds=decode_seconds(native, threads),
            ceilings=ceilings[threads],
            mapped=dataset.native.reader == "mmap",
        )
    importlib.import_module("headrace.loader.loader")  # and torch: seconds that belong to no loader's first batch
    runs: list[_Run] = [_HeadraceRun(path, version, batch_size, order, count, seed, raw_bytes / len(native)) for count in workers]
    for name in against:
        counts = (0,) if name == "numpy" else workers
        runs += [_Run(name, path, version, batch_size, order, count, seed, raw_bytes / len(native)) for count in counts]
    page_in(files)  # idle pages may have left the cache since
    for epoch in range(epochs):
        for run in runs if epoch % 2 == 0 else runs[::-1]:
            run.epoch(epoch)
    accelerated = [run.accelerate(compute_ms / 1000) if compute_ms is not None else None for run in runs]
    return LoaderBenchmark(
        path=path,
        version=native.version,
        samples=len(native),
        stored_bytes=stored_bytes,
        raw_bytes=raw_bytes,
        batch_size=batch_size,
        order=order,
        epochs=epochs,
        compute_ms=compute_ms,
        checked_samples=checked,
        results=[
            run.result(raw_bytes, ceilings[max(1, run.num_workers) if run.num_workers in workers else min(ceilings)], limits, accelerator)
            for run, accelerator in zip(runs, accelerated, strict=True)
        ],
        speed_ratios={name: _speed_ratio(runs, name) for name in against},
        ceilings=ceilings,
        limits=limits,
        environment=environment(),
    )


def _check_options(
    batch_size: int, order: str, workers: Sequence[int], epochs: int, against: Sequence[str], compute_ms: float | None
) -> None:
    if batch_size < 1 or epochs < 1 or not workers or min(workers) < 0:
        raise ValueError(f"batch_size and epochs must be at least 1, workers at least 0; got {batch_size}, {epochs}, {list(workers)}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    unknown = [name for name in against if name not in RIVALS]
    if unknown:
        raise ValueError(f"against must be one of {', '.join(RIVALS)}, got {unknown[0]!r}")
    if compute_ms is not None and not 0 < compute_ms <= 60_000:
        raise ValueError(f"compute_ms must be above 0 and up to 60000, got {compute_ms}")


def _speed_ratio(runs: Sequence[_Run], rival: str) -> float:
    ours = max((run for run in runs if run.contender.name == "headrace"), key=lambda run: run.samples_per_second)
    theirs = max((run for run in runs if run.contender.name == rival), key=lambda run: run.samples_per_second)
    return statistics.median(a / b for a, b in zip(ours.rates, theirs.rates, strict=True))


class _Run:
    """A loader under measurement. The first epoch finds its time to first batch and its memory, and is not among the timed ones."""

    most_seconds: float | None = _RIVAL_SECONDS

    def __init__(
        self, name: str, path: str, version: int | None, batch_size: int, order: str, num_workers: int, seed: int, sample_bytes: float
    ) -> None:
        self._sample_bytes = sample_bytes
        self._seconds: list[float] = []
        self.rates: list[float] = []
        self._stall_seconds = 0.0
        self._cpu_seconds = 0.0
        self._samples = 0
        dataset = open_dataset(path, version=version)
        memory = PeakMemory()
        begin = time.perf_counter()
        self.contender = self._make(name, dataset, batch_size, order, num_workers, seed)
        self.num_workers = self.contender.num_workers
        batches = self.contender.passes(0)
        next(batches)
        self.first_batch_seconds = time.perf_counter() - begin
        for _ in self._timely(batches):
            memory.sample()
        batches = iter(())
        self.peak_private_bytes = memory.peak_bytes

    def _make(self, name: str, dataset: Any, batch_size: int, order: str, num_workers: int, seed: int) -> Contender:
        return make_rival(name, dataset, batch_size, order, num_workers, seed)

    def _timely(self, batches: Iterator[int]) -> Iterator[int]:
        """The batches until the epoch or the time for it ends."""
        end = None if self.most_seconds is None else time.perf_counter() + self.most_seconds
        for samples in batches:
            yield samples
            if end is not None and time.perf_counter() >= end:
                return

    @property
    def samples_per_second(self) -> float:
        return statistics.median(self.rates)

    def epoch(self, number: int) -> None:
        samples = 0
        cpu = _cpu_seconds()
        batches = self.contender.passes(number)
        begin = waited = time.perf_counter()
        for count in self._timely(batches):
            now = time.perf_counter()
            self._stall_seconds += now - waited
            samples += count
            waited = time.perf_counter()
        seconds = time.perf_counter() - begin
        del batches  # ends worker processes, whose CPU time then counts
        self._cpu_seconds += _cpu_seconds() - cpu
        self._seconds.append(seconds)
        self._samples += samples
        self.rates.append(samples / seconds)

    def accelerate(self, compute_seconds: float) -> AcceleratorRun:
        return simulate(
            self.contender.passes(len(self._seconds)),
            compute_seconds=compute_seconds,
            batch_samples=lambda count: count,
            max_steps=_MOST_STEPS,
        )

    def result(
        self, raw_bytes: int, ceilings: Ceilings, limits: dict[int, list[Limit]], accelerator: AcceleratorRun | None
    ) -> LoaderResult:
        rate = self.samples_per_second
        bytes_per_second = rate * self._sample_bytes
        limit = binding_limit(limits[ceilings.threads])
        details = self._details()
        return LoaderResult(
            name=self.contender.name,
            num_workers=self.num_workers,
            epoch_seconds=list(self._seconds),
            samples_per_second=rate,
            bytes_per_second=bytes_per_second,
            stall_share=min(1.0, self._stall_seconds / sum(self._seconds)),
            time_to_first_batch_seconds=self.first_batch_seconds,
            cpu_seconds_per_gb=self._cpu_seconds / (self._samples * self._sample_bytes) * 1e9,
            peak_private_bytes=self.peak_private_bytes,
            limit=limit.name,
            limit_share=limit.epoch_seconds * bytes_per_second / raw_bytes,
            copy_share=bytes_per_second / ceilings.copy_bytes_per_second,
            accelerator=accelerator,
            stages_seconds=details.get("stages", {}),
            peak_bytes=details.get("peak_bytes"),
            reader=details.get("reader", ""),
        )

    def _details(self) -> dict[str, Any]:
        return {}


class _HeadraceRun(_Run):
    """Ours: whole epochs, counted, with what its own statistics say."""

    most_seconds = None

    def __init__(
        self, path: str, version: int | None, batch_size: int, order: str, num_workers: int, seed: int, sample_bytes: float
    ) -> None:
        super().__init__("headrace", path, version, batch_size, order, num_workers, seed, sample_bytes)
        self._before = self._loader.stats()

    def _make(self, name: str, dataset: Any, batch_size: int, order: str, num_workers: int, seed: int) -> Contender:
        return HeadraceContender(dataset, batch_size, order, num_workers, seed)

    @property
    def _loader(self) -> Any:
        contender: Any = self.contender
        return contender.loader

    def epoch(self, number: int) -> None:
        delivered = self._loader.stats()["samples"]
        super().epoch(number)
        delivered = self._loader.stats()["samples"] - delivered
        if delivered != len(self._loader.source):
            raise ChangedError(f"an epoch delivered {delivered} samples, expected {len(self._loader.source)}")
        self._stages = self._loader.stats()["stages"]

    def _details(self) -> dict[str, Any]:
        stats = self._loader.stats()
        epochs = len(self._seconds)
        stages = {name: (total - self._before["stages"][name]) / epochs for name, total in self._stages.items()}
        return {"stages": stages, "peak_bytes": stats["peak_bytes"], "reader": stats["reader"]}


def _cpu_seconds() -> float:
    """CPU time of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
