"""Rows of 64 float32 features and an int64 label: samples so cheap that the loader is all there is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["BATCH_SIZE", "FEATURES", "Tabular"]

FEATURES = 64
BATCH_SIZE = 4096


@dataclass(frozen=True)
class Tabular:
    """The same samples in memory, as mapped .npy files, and as a headrace dataset (codec none)."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    folder: Path

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def path(self) -> str:
        """The headrace dataset."""
        return str(self.folder / "dataset")

    @property
    def sample_bytes(self) -> int:
        """Bytes of a delivered sample."""
        return 4 * FEATURES + 8

    def mapped(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Features and labels mapped from .npy files, as a hand-written loop over files reads them."""
        return np.load(self.folder / "features.npy", mmap_mode="r"), np.load(self.folder / "labels.npy", mmap_mode="r")

    def page_in(self) -> None:
        """Read every file once: idle pages leave the cache within minutes on some kernels, and a warm run would measure the disk."""
        page_in([path for path in self.folder.rglob("*") if path.is_file()])

    @classmethod
    def prepare(cls, folder: Path, samples: int) -> Tabular:
        """Make the data and write it below `folder`, or use what an earlier run left there."""
        root = folder / f"tabular-{samples}"
        rng = np.random.default_rng(20_130_101)
        features = rng.standard_normal((samples, FEATURES), dtype=np.float32)
        labels = rng.integers(0, 1000, samples)
        made = cls(features, labels, root)
        if not (root / "complete").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            np.save(root / "features.npy", features)
            np.save(root / "labels.npy", labels)
            headrace.write(made.path, {"features": features, "label": labels}, codec="none")
            (root / "complete").touch()
        return made
