"""torch's DataLoader on a map-style dataset in memory, one sample a call, collated by torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.utils.data

from benchmarks.rivals.peers.samples import Arrays, write_frames
from benchmarks.workloads.shapes import Shape


def _as_lists(samples: list[Any]) -> Any:
    return tuple(list(field) for field in zip(*samples, strict=True))


class OneByOne(torch.utils.data.Dataset[Any]):
    """What most datasets look like."""

    def __init__(self, arrays: Arrays, samples: int) -> None:
        self.arrays = arrays
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> Any:
        return self.arrays.sample(index)


class Peer:
    """num_workers as on the tuning page of torch: none, one, one for each core."""

    name = "torch, __getitem__"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Only volumes have a file of their own."""
        if self.shape.name == "volumes":
            write_frames(self.shape, self.folder)

    def settings(self) -> list[dict[str, Any]]:
        """Numbers of workers."""
        return [{"num_workers": count} for count in (0, 1, 2)]

    def open(self, num_workers: int) -> None:
        """Workers stay alive between epochs."""
        self.loader = torch.utils.data.DataLoader(
            self.make_dataset(Arrays(self.shape, self.folder)),
            self.shape.batch_size,
            shuffle=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=self.collate(),
        )

    def make_dataset(self, arrays: Arrays) -> Any:
        """The dataset that the loader reads."""
        return OneByOne(arrays, self.shape.samples)

    def collate(self) -> Any:
        """torch's own, except that it has none for bytes."""
        return _as_lists if self.shape.name == "text" else None

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        torch.manual_seed(epoch)
        return iter(self.loader)
