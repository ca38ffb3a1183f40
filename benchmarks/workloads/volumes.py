"""Volumes of 1 x 64 x 64 x 64 float32 (1 MiB), smooth inside a body and zero outside, as scans are: compressible, so that decoding binds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["CODECS", "SIDE", "UNFILTERED", "VOLUME_BATCH", "Volumes"]

SIDE = 64
VOLUME_BATCH = 4
CODECS: dict[str, dict[str, Any]] = {
    "zstd": {"codec": "zstd", "level": 3, "filter": "shuffle"},
    "lz4": {"codec": "lz4", "filter": "shuffle"},
}
UNFILTERED = " without filter"  # behind a codec's name: the same with the plain bytes


def volume(number: int) -> npt.NDArray[np.float32]:
    """Volume `number`, shape (1, SIDE, SIDE, SIDE): three smooth bodies, in whole units, with nothing around them."""
    rng = np.random.default_rng(number)
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    total = np.zeros((SIDE, SIDE, SIDE), np.float32)
    for _ in range(3):
        centre, width, height = rng.uniform(-0.5, 0.5, 3), rng.uniform(4, 12), rng.uniform(200, 1000)
        x, y, z = (np.exp(-width * (axis - at) ** 2).astype(np.float32) for at in centre)
        total += np.float32(height) * x[:, None, None] * y[None, :, None] * z[None, None, :]
    return np.where(total > 40, np.round(total), np.float32(0)).astype(np.float32)[None]


@dataclass(frozen=True)
class Volumes:
    """The same volumes as headrace datasets, one for each codec. `sums` tell them apart."""

    samples: int
    sums: npt.NDArray[np.float64]
    folder: Path

    def __len__(self) -> int:
        return self.samples

    def path(self, codec: str) -> str:
        """The headrace dataset of a codec, with UNFILTERED behind its name or not."""
        return str(self.folder / codec)

    def page_in(self) -> None:
        """Read every file once."""
        page_in([path for path in self.folder.rglob("*") if path.is_file()])

    @classmethod
    def prepare(cls, folder: Path, samples: int) -> Volumes:
        """Make the data and write it below `folder`, or use what an earlier run left there."""
        root = folder / f"volumes-{samples}"
        if not (root / "sums.npy").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            for name, codec in CODECS.items():
                headrace.write(root / name, _samples(samples), codec={"volume": codec}, batch_rows=16)
                headrace.write(root / (name + UNFILTERED), _samples(samples), codec={"volume": codec | {"filter": "none"}}, batch_rows=16)
            np.save(root / "sums.npy", [volume(number).sum(dtype=np.float64) for number in range(samples)])
        return cls(samples, np.load(root / "sums.npy"), root)


def _samples(count: int) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    for number in range(count):
        yield {"volume": volume(number)}
