"""WebDataset: tar shards, shards and a buffer of samples shuffled, batched in the pipeline, `WebLoader`.

No global shuffle is offered: shards are permuted, and a buffer of 1,000 samples, as its README shows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset

from benchmarks.rivals.peers.samples import decode_volume, encode_volume
from benchmarks.workloads.shapes import Shape

_SHARDS = 8


class _Decode:
    """A tar entry -> a sample; a class, so that worker processes can be given it."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __call__(self, entry: dict[str, bytes]) -> tuple[Any, ...]:
        if self.shape.name == "text":
            return (entry["txt"],)
        if self.shape.name == "volumes":
            return (torch.from_numpy(decode_volume(entry["lz4"]).copy()),)
        values: list[Any] = [torch.from_numpy(np.load(io.BytesIO(entry["npy"])))]
        if self.shape.name == "tokens":
            values[0] = values[0].long()
        return (*values, int(entry["cls"])) if "cls" in entry else tuple(values)


def _collate(samples: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    columns = zip(*samples, strict=True)
    return tuple(
        torch.stack(column) if isinstance(column[0], torch.Tensor) else torch.tensor(column) if isinstance(column[0], int) else list(column)
        for column in columns
    )


class Peer:
    """num_workers as in its documentation; batching inside the workers, as it advises."""

    name = "WebDataset"
    order = "shards permuted, buffer of 1,000 samples"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Eight shards, so that two workers have equal shares."""
        arrays = {} if self.shape.name == "text" else {name: self.shape.array(name) for name in self.shape.field_names}
        bounds = np.linspace(0, self.shape.samples, _SHARDS + 1).astype(int)
        for shard in range(_SHARDS):
            with webdataset.TarWriter(str(self.folder / f"shard-{shard}.tar")) as writer:
                for index in range(bounds[shard], bounds[shard + 1]):
                    writer.write({"__key__": f"{index:09d}", **self._entry(arrays, index)})

    def _entry(self, arrays: dict[str, Any], index: int) -> dict[str, Any]:
        if self.shape.name == "text":
            return {"txt": self.shape.text(index)}
        if self.shape.name == "volumes":
            return {"lz4": encode_volume(arrays["volume"][index])}
        file = io.BytesIO()
        np.save(file, arrays[self.shape.field_names[0]][index])
        entry: dict[str, Any] = {"npy": file.getvalue()}
        return {**entry, "cls": str(int(arrays["label"][index])).encode()} if "label" in arrays else entry

    def settings(self) -> list[dict[str, Any]]:
        """Numbers of workers."""
        return [{"num_workers": count} for count in (0, 1, 2)]

    def open(self, num_workers: int) -> None:
        """A loader for all epochs."""
        dataset = webdataset.WebDataset([str(self.folder / f"shard-{shard}.tar") for shard in range(_SHARDS)], shardshuffle=_SHARDS)
        dataset = dataset.shuffle(1000).map(_Decode(self.shape)).batched(self.shape.batch_size, collation_fn=_collate, partial=True)
        self.loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=num_workers)

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        return iter(self.loader)
