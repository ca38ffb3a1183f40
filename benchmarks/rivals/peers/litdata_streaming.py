"""litdata: chunks of 64 MB, `StreamingDataset` with shuffle, `StreamingDataLoader`.

batch_decode is off: its default is many times slower under a shuffle. Volumes are LZ4 frames, decoded in the dataset's `__getitem__`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata
import litdata.streaming
import numpy as np
import torch

from benchmarks.rivals.peers.samples import decode_volume, encode_volume
from benchmarks.workloads.shapes import Shape


class _Reader(litdata.StreamingDataset):
    """Brings samples into the form in which they are delivered."""

    shape_name = ""

    def __getitem__(self, index: Any) -> Any:
        sample = super().__getitem__(index)
        if self.shape_name == "volumes":
            return (torch.from_numpy(decode_volume(sample["volume"]).copy()),)
        if self.shape_name == "tokens":
            return (torch.as_tensor(np.asarray(sample["tokens"]).astype(np.int64)),)
        return tuple(sample.values())


class _Writer:
    """Samples by index."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __call__(self, index: int) -> dict[str, Any]:
        if self.shape.name == "text":
            return {"text": self.shape.text(index)}
        if self.shape.name == "volumes":
            return {"volume": encode_volume(self.shape.array("volume")[index])}
        values = {name: self.shape.array(name)[index] for name in self.shape.field_names}
        return {name: int(value) if value.ndim == 0 else np.array(value) for name, value in values.items()}


class Peer:
    """num_workers from its README."""

    name = "litdata"
    order = "chunks permuted, samples permuted inside chunks"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Chunks of 64 MB, its default."""
        shutil.rmtree(self.folder / "chunks", ignore_errors=True)
        cache = litdata.streaming.Cache(str(self.folder / "chunks"), chunk_bytes="64MB")  # what `optimize` fills, without its processes
        write = _Writer(self.shape)
        for index in range(self.shape.samples):
            cache[index] = write(index)
        cache.done()
        cache.merge()

    def settings(self) -> list[dict[str, Any]]:
        """Numbers of workers."""
        return [{"num_workers": count} for count in (0, 1, 2)]

    def open(self, num_workers: int) -> None:
        """A loader for all epochs; its workers stay alive."""
        dataset = _Reader(str(self.folder / "chunks"), shuffle=True, drop_last=False, batch_decode=False)
        dataset.shape_name = self.shape.name
        collate = (lambda samples: tuple(list(field) for field in zip(*samples, strict=True))) if self.shape.name == "text" else None
        self.loader = litdata.StreamingDataLoader(
            dataset,
            batch_size=self.shape.batch_size,
            num_workers=num_workers,
            collate_fn=collate,
            drop_last=False,
            persistent_workers=num_workers > 0,
        )

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch; the loader counts them itself."""
        for batch in self.loader:
            yield tuple(batch)
