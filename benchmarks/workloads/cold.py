"""Samples of 128 KiB in one file, and what it takes to read them from the device rather than from memory."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import headrace
from headrace import Field, Schema, _native

__all__ = ["SAMPLE_BYTES", "Cold", "back_free_memory", "device_bytes", "fio_bytes_per_second"]

SAMPLE_BYTES = 128 << 10
_PART = 512  # samples written at once


@functools.cache
def _noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, SAMPLE_BYTES, dtype=np.uint8)


def device_bytes() -> int:
    """Bytes that the kernel has read from devices for this process so far."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes: "):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/io does not say read_bytes")


def back_free_memory(count: int) -> float:
    """Touch and free `count` bytes: seconds it took.

    Virtual machines give memory that is free for a while back to their host; the first touch gets it anew, at a rate (0.1 to 2 GB/s seen) that has
    nothing to do with reading. Whoever fills the page cache meets that; whoever reads into memory of his own does not.
    """
    begin = time.perf_counter()
    np.ones(count, np.uint8)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Cold:
    """`count` samples {"x": uint8[131072]}: the sample's number in the first 8 bytes, noise that it rotates behind them."""

    path: Path
    count: int

    @classmethod
    def prepare(cls, folder: Path, count: int) -> Cold:
        """Write them, uncompressed, in one shard."""
        made = cls(folder / f"cold-{count}", count)
        if not made.path.exists():
            schema = Schema([Field("x", dtype="uint8", shape=(SAMPLE_BYTES,), codec="none")], "dict")
            writer = _native.DatasetWriter(str(made.path), schema, shard_bytes=1 << 62)
            for begin in range(0, count, _PART):
                rows = range(begin, min(count, begin + _PART))
                writer.extend([(np.stack([made.sample(i) for i in rows]).reshape(-1), None, None)], len(rows))
            writer.commit()
            for file in made.path.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        return made

    @staticmethod
    def sample(i: int) -> npt.NDArray[np.uint8]:
        """What was written as sample i."""
        out = np.roll(_noise(), i % SAMPLE_BYTES)
        out[:8] = np.frombuffer(np.int64(i).tobytes(), np.uint8)
        return out

    @property
    def total_bytes(self) -> int:
        """Of all samples."""
        return self.count * SAMPLE_BYTES

    @property
    def file(self) -> Path:
        """The one shard."""
        (shard,) = self.path.glob("*.hrs")
        return shard

    def drop(self) -> None:
        """Leave nothing of the dataset in the page cache."""
        for file in self.path.iterdir():
            with file.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def loader(self, reader: str, batch: int, **options: object) -> headrace.DataLoader:
        """A loader over a dataset that was opened now, with nothing of the last one's caches."""
        return headrace.DataLoader(headrace.open(self.path, reader=reader), batch, num_workers=2, seed=3, **options)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Give the disk its room back."""
        shutil.rmtree(self.path, ignore_errors=True)


def fio_bytes_per_second(file: Path, *, random: bool) -> float:
    """Rate of one pass of fio over the file: O_DIRECT, depth 32; 1 MiB in order, or 128 KiB at random."""
    pattern = ["--rw=randread", "--bs=128k"] if random else ["--rw=read", "--bs=1M"]
    command = ["fio", "--name=cold", f"--filename={file}", "--readonly", "--direct=1", "--ioengine=io_uring", "--iodepth=32"]
    done = subprocess.run([*command, *pattern, "--output-format=json"], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["jobs"][0]["read"]["bw_bytes"])
