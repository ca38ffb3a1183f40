"""SPDL: a pipeline of threads over batches of indices; each task gathers (or decodes) a whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spdl.pipeline
import torch

from benchmarks.rivals.peers.samples import Arrays, write_frames
from benchmarks.workloads.shapes import Shape


class Peer:
    """Concurrency and buffer as in its examples. It has no storage layer: the data is in memory."""

    name = "SPDL"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Only volumes have a file of their own."""
        if self.shape.name == "volumes":
            write_frames(self.shape, self.folder)

    def settings(self) -> list[dict[str, Any]]:
        """Threads of the stage that gathers."""
        return [{"concurrency": count, "buffer": buffer} for count in (1, 2) for buffer in (4, 16)]

    def open(self, concurrency: int, buffer: int) -> None:
        """Pipelines are built anew for each epoch; building is cheap."""
        self.arrays = Arrays(self.shape, self.folder)
        self.concurrency = concurrency
        self.buffer = buffer

    def _batch(self, indices: Any) -> Any:
        return tuple(value if isinstance(value, list) else torch.from_numpy(value) for value in self.arrays.batch(indices))

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        order = np.random.default_rng(epoch).permutation(self.shape.samples)
        size = self.shape.batch_size
        source = [order[begin : begin + size] for begin in range(0, len(order), size)]
        builder = spdl.pipeline.PipelineBuilder().add_source(source).pipe(self._batch, concurrency=self.concurrency).add_sink(self.buffer)
        pipeline = builder.build(num_threads=self.concurrency)
        with pipeline.auto_stop():
            yield from pipeline
