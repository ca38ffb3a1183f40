"""Grain: `MapDataset` with its global shuffle, read by threads; batches of indices gathered at once, or samples gathered one by one and batched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import torch

from benchmarks.rivals.peers.samples import Arrays, write_frames
from benchmarks.workloads.shapes import Shape


class Peer:
    """Threads and read-ahead of `ReadOptions`. The data is in memory, as its in-memory sources are."""

    name = "Grain"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Only volumes have a file of their own."""
        if self.shape.name == "volumes":
            write_frames(self.shape, self.folder)

    def settings(self) -> list[dict[str, Any]]:
        """Its default is 16 threads that read 500 ahead."""
        return [{"vectorised": wide, "threads": count} for wide in (True, False) for count in (0, 2, 16)]

    def open(self, vectorised: bool, threads: int) -> None:
        """The data is in memory."""
        self.arrays = Arrays(self.shape, self.folder)
        self.vectorised = vectorised
        self.threads = threads

    def _gather(self, indices: Any) -> Any:
        return tuple(value if isinstance(value, list) else torch.from_numpy(value) for value in self.arrays.batch(indices))

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        size = self.shape.batch_size
        dataset = grain.MapDataset.range(self.shape.samples).seed(epoch).shuffle()
        ahead = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=min(500, max(4, 4 * self.threads)) if self.threads else 0)
        if self.vectorised:
            return iter(dataset.batch(size).map(self._gather).to_iter_dataset(ahead))
        options: dict[str, Any] = {"batch_fn": lambda samples: tuple(list(field) for field in zip(*samples, strict=True))}
        options = options if self.shape.name == "text" else {}
        return iter(
            dataset.map(lambda index: self.arrays.sample(int(index))).to_iter_dataset(ahead).batch(size, drop_remainder=False, **options)
        )
