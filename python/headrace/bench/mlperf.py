"""Workloads with the shapes of MLPerf Storage, on data of this machine's size: does storage keep simulated accelerators busy?

Shapes, compute times and least utilisations are those of MLPerf Storage v2.0's configurations (mlcommons/storage, configs/dlio/workload) and rules; the
compute time is a sleep, samples stop in host memory. Data beyond five times the memory, five epochs and many hosts are for a submission: here each epoch
begins with a cold file instead, and one whose bytes did not come from the device does not count.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace import _native
from headrace.bench.accelerator import simulate
from headrace.bench.device_counters import Judgement, judge, read_disk_counters
from headrace.bench.file_system import file_system_of
from headrace.bench.page_cache import drop_files, residency
from headrace.datasets.shards import open as open_dataset
from headrace.errors import ExistsError
from headrace.writing.writer import Writer

__all__ = ["WORKLOADS", "MlperfEpoch", "MlperfResult", "Workload", "bench_mlperf"]

_FREE_SHARE = 0.25  # of the free space that the data may take by default
_MOST_BYTES = 4 << 30
_LEAST_STEPS = 3
_CACHED_PART = 64  # of the data that may stay decoded in memory: one of so many parts
Advance = Callable[[str, int, int], None]  # what is done, of how much


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One of MLPerf Storage's. Sizes of samples are normally distributed."""

    sample_bytes: int  # mean
    deviation_bytes: int
    batch_size: int
    compute_seconds: dict[str, float]  # of a step, by accelerator
    least_utilisation: float


WORKLOADS = {
    "unet3d": Workload(
        sample_bytes=146_600_628,
        deviation_bytes=68_341_808,
        batch_size=7,
        compute_seconds={"a100": 0.636, "h100": 0.323},
        least_utilisation=0.9,
    ),
    "resnet50": Workload(
        sample_bytes=114_660, deviation_bytes=0, batch_size=400, compute_seconds={"a100": 0.435, "h100": 0.224}, least_utilisation=0.9
    ),
    "cosmoflow": Workload(
        sample_bytes=2_828_486,
        deviation_bytes=71_311,
        batch_size=1,
        compute_seconds={"a100": 0.00551, "h100": 0.0035},
        least_utilisation=0.7,
    ),
}


@dataclass(frozen=True, kw_only=True)
class MlperfEpoch:
    """A cold pass. It counts if its bytes are proven to have come from the device."""

    utilisation: float  # compute time / running time, without the wait for the first batch
    samples_per_second: float
    bytes_per_second: float
    steps: int
    judgement: Judgement

    @property
    def counts(self) -> bool:
        """Whether the page cache had no part in it."""
        return self.judgement.proof == "proven"


@dataclass(frozen=True, kw_only=True)
class MlperfResult:
    """What one simulated accelerator saw."""

    workload: str
    accelerator: str
    samples: int
    data_bytes: int
    batch_size: int
    compute_seconds: float
    least_utilisation: float
    num_workers: int
    reader: str
    epochs: list[MlperfEpoch]
    wanted_bytes_per_second: float  # at a utilisation of 1

    @property
    def counted(self) -> list[MlperfEpoch]:
        """The epochs that count."""
        return [epoch for epoch in self.epochs if epoch.counts]

    @property
    def utilisation(self) -> float | None:
        """The lowest of those that count; None if none does."""
        return min((epoch.utilisation for epoch in self.counted), default=None)

    @property
    def passes(self) -> bool:
        """Whether every epoch counts, and keeps the accelerator as busy as the rules ask."""
        return len(self.counted) == len(self.epochs) and (self.utilisation or 0.0) >= self.least_utilisation


def bench_mlperf(
    workload: str,
    folder: str | Path,
    *,
    accelerator: str = "h100",
    size_bytes: int | None = None,
    num_workers: int = 2,
    reader: str = "auto",
    epochs: int = 2,
    seed: int = 0,
    keep: bool = False,
    advance: Advance = lambda label, done, total: None,
) -> MlperfResult:
    """Write data of a workload's shape into a new folder `folder`, and train on it in `epochs` cold passes with a simulated accelerator.

    workload: "unet3d", "resnet50" or "cosmoflow"; accelerator: "a100" or "h100". size_bytes: of the data, at least three steps' worth; default a quarter of
    what is free, at most 4 GiB. keep: do not remove the data. The order is a global shuffle of each epoch.
    Raises ValueError, ExistsError if `folder` holds something, and what writing and reading raise.
    """
    if workload not in WORKLOADS:
        raise ValueError(f"workload must be one of {', '.join(WORKLOADS)}, got {workload!r}")
    shape = WORKLOADS[workload]
    if accelerator not in shape.compute_seconds:
        raise ValueError(f"accelerator must be one of {', '.join(shape.compute_seconds)}, got {accelerator!r}")
    if epochs < 1 or num_workers < 0:
        raise ValueError(f"epochs must be at least 1 and num_workers at least 0, got {epochs} and {num_workers}")
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExistsError(f"{path}: is there already; name a folder that is free or empty")
    sizes = _sizes(shape, _wanted_bytes(shape, path, size_bytes), seed)
    try:
        _write(path, sizes, seed, advance)
        return _train(workload, shape, path, accelerator, num_workers, reader, epochs, seed, advance)
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def _wanted_bytes(shape: Workload, path: Path, size_bytes: int | None) -> int:
    least = _LEAST_STEPS * shape.batch_size * shape.sample_bytes
    near = next(parent for parent in [path, *path.resolve().parents] if parent.exists())
    free = shutil.disk_usage(near).free
    wanted = min(_MOST_BYTES, int(free * _FREE_SHARE)) if size_bytes is None else size_bytes
    if wanted < least:
        raise ValueError(f"the data would be {wanted:,} bytes; three steps take {least:,}: give a larger size, or a folder with more room")
    if wanted > free:
        raise ValueError(f"{near} has {free:,} bytes free, the data takes {wanted:,}")
    return wanted


def _sizes(shape: Workload, total: int, seed: int) -> list[int]:
    """Bytes of each sample, as many as fit into `total`, in whole batches."""
    count = max(_LEAST_STEPS, total // (shape.sample_bytes * shape.batch_size)) * shape.batch_size
    drawn = np.random.default_rng(seed).normal(shape.sample_bytes, shape.deviation_bytes, count)
    return [int(size) for size in np.clip(drawn, shape.sample_bytes // 16, 2 * shape.sample_bytes)]


def _write(path: Path, sizes: list[int], seed: int, advance: Advance) -> None:
    """Incompressible bytes, another part of the noise for each sample."""
    noise = np.random.default_rng(seed).integers(0, 256, max(sizes) + 4096, dtype=np.uint8).tobytes()
    schema = _native.Schema([_native.Field("x", kind="bytes", codec="none")])
    with Writer(str(path), schema=schema) as writer:
        for number, size in enumerate(sizes):
            begin = number * 61 % 4096
            writer.append({"x": noise[begin : begin + size]})
            advance("writing", number + 1, len(sizes))


def _train(
    workload: str,
    shape: Workload,
    path: Path,
    accelerator: str,
    num_workers: int,
    reader: str,
    epochs: int,
    seed: int,
    advance: Advance,
) -> MlperfResult:
    from headrace.loader.loader import DataLoader

    dataset = open_dataset(str(path), reader=reader)
    native = dataset.native
    files = [path / str(shard["file_name"]) for shard in native.shards]
    data_bytes = sum(int(one["raw_bytes"]) for one in native.field_stats())
    compute = shape.compute_seconds[accelerator]
    steps = len(native) // shape.batch_size
    loader = DataLoader(dataset, shape.batch_size, shuffle=True, drop_last=True, seed=seed, num_workers=num_workers, strings="offsets")
    found = []
    chosen = _native.chosen_cache_bytes()
    _native.set_cache_bytes(data_bytes // _CACHED_PART)  # What an epoch leaves in memory would make the next one faster than storage is.
    try:
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            found.append(
                _epoch(loader, files, compute, shape.batch_size, data_bytes, functools.partial(_tell, advance, f"epoch {epoch + 1}", steps))
            )
    finally:
        _native.set_cache_bytes(chosen)
    return MlperfResult(
        workload=workload,
        accelerator=accelerator,
        samples=len(native),
        data_bytes=data_bytes,
        batch_size=shape.batch_size,
        compute_seconds=compute,
        least_utilisation=shape.least_utilisation,
        num_workers=num_workers,
        reader=loader.stats()["reader"],
        epochs=found,
        wanted_bytes_per_second=data_bytes / len(native) * shape.batch_size / compute,
    )


def _tell(advance: Advance, label: str, total: int, done: int) -> None:
    advance(label, done, total)


def _epoch(loader: Any, files: list[Path], compute: float, batch_size: int, data_bytes: int, done: Callable[[int], None]) -> MlperfEpoch:
    drop_files(files)
    resident = residency(files)
    file_system = file_system_of(files[0])
    process, disk = _process_bytes(), read_disk_counters(file_system.device)
    taken = 0

    def counted(batch: Any) -> int:
        nonlocal taken
        taken += 1
        done(taken)
        return batch_size

    run = simulate(loader, compute_seconds=compute, batch_samples=counted, max_steps=1 << 60)
    read = _process_bytes()
    after = read_disk_counters(file_system.device)
    judgement = judge(
        state="cold",
        bytes_read=data_bytes,
        process_bytes=None if read is None or process is None else read - process,
        disk_bytes=None if after is None or disk is None else (after - disk).read_bytes,
        file_system=file_system,
        resident_before=resident,
    )
    return MlperfEpoch(
        utilisation=run.utilisation,
        samples_per_second=run.samples_per_second,
        bytes_per_second=run.samples_per_second * data_bytes / (run.steps * batch_size),
        steps=run.steps,
        judgement=judgement,
    )


def _process_bytes() -> int | None:
    """What the kernel has read from devices for this process; None where it does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes: ")), None)
