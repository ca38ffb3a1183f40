"""One long row of tokens: windows of it at any offset, overlapping, delivered wider than they are stored."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["TOKENS_BATCH", "WINDOW", "Tokens"]

WINDOW = 2049
TOKENS_BATCH = 16
_ONCE = 4096  # divides the number of tokens


@dataclass(frozen=True)
class Tokens:
    """The same tokens in memory and as a headrace dataset (codec none), a token a row."""

    tokens: npt.NDArray[np.uint16]
    folder: Path

    def __len__(self) -> int:
        """Windows."""
        return len(self.tokens) - WINDOW + 1

    @property
    def path(self) -> str:
        """The headrace dataset."""
        return str(self.folder / "dataset")

    def windows(self, *, warm: bool = False) -> headrace.Dataset:
        """Sample i: tokens [i, i + WINDOW) as int64. warm: every block has been read and checked once, as after the first hour of training."""
        dataset = headrace.open(self.path)
        for _ in headrace.DataLoader(dataset.sequences(_ONCE, _ONCE), 64, num_workers=2) if warm else ():
            pass
        return dataset.sequences(WINDOW).cast({"tokens": "int64"})

    def page_in(self) -> None:
        """Read every file once."""
        page_in([path for path in self.folder.rglob("*") if path.is_file()])

    @classmethod
    def prepare(cls, folder: Path, count: int) -> Tokens:
        """Make the data and write it below `folder`, or use what an earlier run left there."""
        made = cls(np.random.default_rng(20_130_102).integers(0, 50_257, count, dtype=np.uint16), folder / f"tokens-{count}")
        if not (made.folder / "complete").exists():
            shutil.rmtree(made.folder, ignore_errors=True)
            made.folder.mkdir(parents=True)
            headrace.write(made.path, {"tokens": made.tokens}, codec="none")
            (made.folder / "complete").touch()
        return made
