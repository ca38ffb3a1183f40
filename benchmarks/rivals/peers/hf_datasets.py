"""Hugging Face datasets: an Arrow table on disk, memory-mapped, read through torch's DataLoader with whole batches of indices.

As its page on PyTorch shows: a BatchSampler as the sampler and batch_size=None, so that each batch is one query.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import torch.utils.data

from benchmarks.rivals.peers.samples import decode_volume, encode_volume
from benchmarks.workloads.shapes import Shape


class _Batches(torch.utils.data.Dataset[Any]):
    """A batch of indices -> a batch of tensors."""

    def __init__(self, table: Any, shape: Shape) -> None:
        self.table = table
        self.shape = shape

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, indices: Any) -> Any:
        found = self.table[indices]
        if self.shape.name == "text":
            return (list(found["text"]),)
        if self.shape.name == "volumes":
            return (torch.from_numpy(np.stack([decode_volume(frame) for frame in found["volume"]])),)
        if self.shape.name == "tokens":
            return (torch.from_numpy(np.asarray(found["tokens"]).astype(np.int64)),)
        return tuple(torch.from_numpy(np.array(found[name])) for name in self.shape.field_names)


class Peer:
    """num_workers as its documentation advises."""

    name = "HF datasets"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Saved as Arrow files, opened mapped."""
        shutil.rmtree(self.folder / "table", ignore_errors=True)
        features, columns = {}, {}
        for name in self.shape.field_names:
            if self.shape.name == "text":
                features[name], columns[name] = datasets.Value("binary"), self.shape.texts()
            elif self.shape.name == "volumes":
                features[name], columns[name] = datasets.Value("binary"), [encode_volume(volume) for volume in self.shape.array("volume")]
            else:
                features[name], columns[name] = self._feature(name), self.shape.array(name)
        options = {"features": datasets.Features(features)}
        if self.shape.name == "raw images":  # made piece by piece: from_dict would hold Python lists of every pixel
            datasets.Dataset.from_generator(
                _rows, gen_kwargs={"shape": self.shape}, cache_dir=str(self.folder / "cache"), **options
            ).save_to_disk(str(self.folder / "table"))
        else:
            datasets.Dataset.from_dict(columns, **options).save_to_disk(str(self.folder / "table"))

    def _feature(self, name: str) -> Any:
        values = self.shape.array(name)
        kind = datasets.Value(str(values.dtype))
        if values.ndim == 1:
            return kind
        return (
            datasets.Sequence(kind, length=values.shape[1]) if values.ndim == 2 else datasets.Array3D(values.shape[1:], str(values.dtype))
        )

    def settings(self) -> list[dict[str, Any]]:
        """Numbers of workers."""
        return [{"num_workers": count} for count in (0, 1, 2)]

    def open(self, num_workers: int) -> None:
        """The table stays mapped, workers alive."""
        table = datasets.load_from_disk(str(self.folder / "table"))
        if self.shape.name not in ("text", "volumes"):
            table = table.with_format("numpy")
        source = _Batches(table, self.shape)
        sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(source), self.shape.batch_size, drop_last=False)
        self.loader = torch.utils.data.DataLoader(
            source, batch_size=None, sampler=sampler, num_workers=num_workers, persistent_workers=num_workers > 0
        )

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        torch.manual_seed(epoch)
        return iter(self.loader)


def _rows(shape: Shape) -> Iterator[dict[str, Any]]:
    arrays = {name: shape.array(name) for name in shape.field_names}
    for index in range(shape.samples):
        yield {name: values[index] for name, values in arrays.items()}
