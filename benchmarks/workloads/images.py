"""Small raw images, 3 x 64 x 64 uint8, and an int64 label: samples of 12 KiB that nothing has to decode."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["IMAGES_BATCH", "Images"]

IMAGES_BATCH = 256
_SIDE = 64


@dataclass(frozen=True)
class Images:
    """The same samples in memory and as a headrace dataset (codec none)."""

    images: npt.NDArray[np.uint8]
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
        return 3 * _SIDE * _SIDE + 8

    def page_in(self) -> None:
        """Read every file once."""
        page_in([path for path in self.folder.rglob("*") if path.is_file()])

    @classmethod
    def prepare(cls, folder: Path, samples: int) -> Images:
        """Make the data and write it below `folder`, or use what an earlier run left there."""
        rng = np.random.default_rng(20_130_103)
        images = rng.integers(0, 256, (samples, 3, _SIDE, _SIDE), dtype=np.uint8)
        made = cls(images, np.arange(samples), folder / f"images-{samples}")
        if not (made.folder / "complete").exists():
            shutil.rmtree(made.folder, ignore_errors=True)
            made.folder.mkdir(parents=True)
            headrace.write(made.path, {"image": made.images, "label": made.labels}, codec="none")
            (made.folder / "complete").touch()
        return made
