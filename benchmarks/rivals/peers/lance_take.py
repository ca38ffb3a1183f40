"""Lance: `take` of a batch of row numbers, in one thread or ahead in several."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import torch

from benchmarks.rivals.peers.samples import decode_volume, encode_volume, in_threads
from benchmarks.workloads.shapes import Shape


class Peer:
    """Threads that take ahead; Lance reads and decodes with threads of its own beside."""

    name = "Lance"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Fixed-size lists for what has a fixed shape, binary for the rest."""
        shutil.rmtree(self.folder / "table.lance", ignore_errors=True)
        lance.write_dataset(self._table(), str(self.folder / "table.lance"))

    def _table(self) -> Any:
        if self.shape.name == "text":
            return pa.table({"text": pa.array(self.shape.texts(), pa.binary())})
        if self.shape.name == "volumes":
            return pa.table({"volume": pa.array([encode_volume(volume) for volume in self.shape.array("volume")], pa.binary())})
        columns = {}
        for name in self.shape.field_names:
            values = self.shape.array(name, mapped=False)
            flat = pa.array(values.reshape(-1))
            columns[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
        return pa.table(columns)

    def settings(self) -> list[dict[str, Any]]:
        """Threads that take ahead."""
        return [{"threads": count} for count in (0, 2, 4)]

    def open(self, threads: int) -> None:
        """The dataset stays open."""
        self.threads = threads
        self.dataset = lance.dataset(str(self.folder / "table.lance"))
        self.inner = {} if self.shape.name == "text" else {name: self.shape.array(name).shape[1:] for name in self.shape.field_names}

    def _batch(self, indices: Any) -> Any:
        table = self.dataset.take(indices, columns=list(self.shape.field_names)).combine_chunks()
        if self.shape.name == "text":
            return (table.column("text").to_pylist(),)
        if self.shape.name == "volumes":
            volumes = np.empty((len(indices), 1, 64, 64, 64), np.float32)
            for place, frame in enumerate(table.column("volume")):
                volumes[place] = decode_volume(frame.as_buffer())
            return (torch.from_numpy(volumes),)
        return tuple(self._tensor(table.column(name).chunk(0), self.inner[name]) for name in self.shape.field_names)

    def _tensor(self, column: Any, inner: tuple[int, ...]) -> torch.Tensor:
        values = (column.flatten() if inner else column).to_numpy(zero_copy_only=True).reshape(-1, *inner)
        return torch.from_numpy(values.astype(np.int64) if self.shape.name == "tokens" else values.copy())

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        order = np.random.default_rng(epoch).permutation(self.shape.samples)
        size = self.shape.batch_size
        return in_threads(self._batch, (order[begin : begin + size] for begin in range(0, len(order), size)), self.threads)
