"""What a DataLoader delivers from a dataset: throughput, stall share, time to first batch; warm, after a check of the answer.

The consumer does nothing but take batches, so the loader's own speed is what binds, and its stall share is near one by design:
compare samples a second here, and the stall share of a real training loop.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace._native import Dataset, Pipeline
from headrace.bench.ceilings import Ceilings, measure_ceilings, page_in
from headrace.bench.environment import environment
from headrace.datasets.shards import open as open_dataset
from headrace.errors import ChangedError

__all__ = ["LoaderBenchmark", "LoaderResult", "bench_loader", "check_exactly_once"]

ORDERS = ("global", "window", "sequential")


@dataclass(frozen=True, kw_only=True)
class LoaderResult:
    """One loader: medians over epochs. Rates count delivered (decoded) samples and bytes."""

    num_workers: int
    epoch_seconds: list[float]
    samples_per_second: float
    bytes_per_second: float
    stall_share: float  # of the epochs' wall time spent waiting inside next(); near 1 with this consumer
    time_to_first_batch_seconds: float  # from construction, of a loader of its own
    stages_seconds: dict[str, float]  # summed over threads, per epoch; "assemble" contains the read, verify and decode that it meets
    peak_bytes: int  # most memory in batches at once
    reader: str
    copy_share: float  # bytes_per_second / the machine's memory copy rate with the same number of threads


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
    checked_samples: int
    results: list[LoaderResult]
    ceilings: dict[int, Ceilings]  # by number of threads
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
) -> LoaderBenchmark:
    """Measure a DataLoader with each of `workers` on a dataset, warm, in rounds that alternate between them.

    order: "global", "window" or "sequential". Raises ValueError for options that make no sense, and what opening and reading raise.
    """
    if batch_size < 1 or epochs < 1 or not workers or min(workers) < 0:
        raise ValueError(f"batch_size and epochs must be at least 1, workers at least 0; got {batch_size}, {epochs}, {list(workers)}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    native = Dataset(path, version or 0)
    if len(native) == 0:
        raise ValueError(f"{path}: the dataset is empty, there is nothing to measure")
    files = dataset_files(native)
    page_in(files)
    checked = check_exactly_once(native, batch_size=batch_size, order=order, num_threads=max(workers), seed=seed)
    ceilings = {threads: measure_ceilings(files, threads) for threads in sorted({max(1, count) for count in workers})}
    stats = native.field_stats()
    raw_bytes = sum(int(entry["raw_bytes"]) for entry in stats)
    runs = [_Run(path, version, batch_size, order, count, seed) for count in workers]
    page_in(files)  # idle pages may have left the cache since
    for epoch in range(epochs):
        for run in runs:
            run.epoch(epoch)
    return LoaderBenchmark(
        path=path,
        version=native.version,
        samples=len(native),
        stored_bytes=sum(int(entry["stored_bytes"]) for entry in stats),
        raw_bytes=raw_bytes,
        batch_size=batch_size,
        order=order,
        epochs=epochs,
        checked_samples=checked,
        results=[run.result(raw_bytes, ceilings[max(1, run.num_workers)]) for run in runs],
        ceilings=ceilings,
        environment=environment(),
    )


class _Run:
    """A loader under measurement; the epoch that finds its time to first batch is not among the timed ones."""

    def __init__(self, path: str, version: int | None, batch_size: int, order: str, num_workers: int, seed: int) -> None:
        from headrace.loader.loader import DataLoader  # imports torch, which the ceilings and the check do without

        self.num_workers = num_workers
        self._dataset = open_dataset(path, version=version)
        self._seconds: list[float] = []
        self._stall_seconds = 0.0
        begin = time.perf_counter()
        shuffle = order != "sequential"
        options: dict[str, Any] = {"order": order} if shuffle else {}
        self._loader: Any = DataLoader(self._dataset, batch_size, shuffle, num_workers=num_workers, seed=seed, **options)
        iterator = iter(self._loader)
        next(iterator)
        self.first_batch_seconds = time.perf_counter() - begin
        del iterator
        self._before = self._loader.stats()

    def epoch(self, number: int) -> None:
        self._loader.set_epoch(number)
        stalled = self._loader.stats()["stall_seconds"]
        samples = self._loader.stats()["samples"]
        begin = time.perf_counter()
        for _ in self._loader:
            pass
        self._seconds.append(time.perf_counter() - begin)
        after = self._loader.stats()
        self._stall_seconds += after["stall_seconds"] - stalled
        if after["samples"] - samples != len(self._dataset):
            raise ChangedError(f"an epoch delivered {after['samples'] - samples} samples, expected {len(self._dataset)}")

    def result(self, raw_bytes: int, ceilings: Ceilings) -> LoaderResult:
        seconds = statistics.median(self._seconds)
        stats = self._loader.stats()
        epochs = len(self._seconds)
        bytes_per_second = raw_bytes / seconds
        return LoaderResult(
            num_workers=self.num_workers,
            epoch_seconds=list(self._seconds),
            samples_per_second=len(self._dataset) / seconds,
            bytes_per_second=bytes_per_second,
            stall_share=self._stall_seconds / sum(self._seconds),
            time_to_first_batch_seconds=self.first_batch_seconds,
            stages_seconds={name: (total - self._before["stages"][name]) / epochs for name, total in stats["stages"].items()},
            peak_bytes=stats["peak_bytes"],
            reader=stats["reader"],
            copy_share=bytes_per_second / ceilings.copy_bytes_per_second,
        )
