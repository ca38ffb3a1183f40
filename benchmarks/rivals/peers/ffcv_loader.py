"""FFCV: a .beton file in the page cache, its compiled loader with the random order. Volumes are stored raw, since it has no general codec.

Text has no adapter: its field for bytes pads every sample to the longest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, NDArrayField
from ffcv.fields.basics import IntDecoder
from ffcv.fields.ndarray import NDArrayDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import Squeeze, ToTensor
from ffcv.writer import DatasetWriter

from benchmarks.workloads.shapes import Shape


class _Rows:
    """Samples by index; picklable, for the writer's processes."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape.samples

    def __getitem__(self, index: int) -> Any:
        values = [self.shape.array(name)[index] for name in self.shape.field_names]
        return tuple(int(value) if value.ndim == 0 else np.array(value) for value in values)


class Peer:
    """Threads of its loader; OS cache on, as its guide advises where the data fits memory."""

    name = "FFCV"
    order = "global shuffle"

    def __init__(self, shape: Shape, folder: Path) -> None:
        if shape.name == "text":
            raise ValueError("FFCV pads every sample of bytes to the longest one")
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """One file."""
        fields = {}
        for name in self.shape.field_names:
            values = self.shape.array(name)
            fields[name] = IntField() if values.ndim == 1 else NDArrayField(dtype=values.dtype, shape=values.shape[1:])
        DatasetWriter(str(self.folder / "data.beton"), fields, num_workers=2).from_indexed_dataset(_Rows(self.shape))

    def settings(self) -> list[dict[str, Any]]:
        """Threads and batches ahead."""
        return [{"num_workers": count, "batches_ahead": ahead} for count in (1, 2) for ahead in (3, 8)]

    def open(self, num_workers: int, batches_ahead: int) -> None:
        """Compiles at the first batch."""
        pipelines: dict[str, Any] = {}
        for name in self.shape.field_names:
            integers = self.shape.array(name).ndim == 1
            pipelines[name] = [IntDecoder(), ToTensor(), Squeeze(1)] if integers else [NDArrayDecoder(), ToTensor()]
        self.loader = Loader(
            str(self.folder / "data.beton"),
            batch_size=self.shape.batch_size,
            num_workers=num_workers,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            batches_ahead=batches_ahead,
            pipelines=pipelines,
        )

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch. Its batches are slots that later ones overwrite."""
        for batch in self.loader:
            yield (batch[0].long(),) if self.shape.name == "tokens" else tuple(batch)
