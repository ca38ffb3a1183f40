"""headrace.DataLoader, under the same protocol as the others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import headrace
from benchmarks.workloads.shapes import Shape


class Peer:
    """num_workers as others get them."""

    name = "headrace"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Compressed where the shape is compressible, with the codec that the writer measures to be best."""
        shutil.rmtree(self.folder / "dataset", ignore_errors=True)
        if self.shape.name == "text":
            columns: dict[str, Any] = {"text": self.shape.texts()}
        else:
            columns = {name: self.shape.array(name) for name in self.shape.field_names}
        headrace.write(self.folder / "dataset", columns, codec="auto" if self.shape.compressible else "none")

    def settings(self) -> list[dict[str, Any]]:
        """Numbers of workers."""
        return [{"num_workers": count} for count in (0, 1, 2)]

    def open(self, num_workers: int) -> None:
        """The dataset stays open."""
        dataset = headrace.open(self.folder / "dataset").as_tuple(*self.shape.field_names)
        self.loader = headrace.DataLoader(dataset, self.shape.batch_size, True, num_workers=num_workers, seed=3)

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch."""
        self.loader.set_epoch(epoch)
        if self.shape.name == "tokens":
            return ((batch[0].to(torch.int64),) for batch in self.loader)
        return iter(self.loader)
