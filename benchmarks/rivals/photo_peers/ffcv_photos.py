"""FFCV: a .beton file of the photos as JPEG of the same quality, its decoders with the crop inside, flip and normalisation compiled by numba."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter
from PIL import Image

from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD


class _Photos:
    """By index; picklable, for the writer's processes."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return Image.open(self.paths[index]).convert("RGB"), 0


class Peer:
    name = "FFCV"
    _mode = "jpg"

    def __init__(self, paths: list[Path], kind: str) -> None:
        self._kind = kind
        root = paths[0].parent.parent
        self._file = root.parent / f"{root.name}-ffcv-{self._mode}.beton"
        done = self._file.with_suffix(".complete")
        if not done.exists():
            fields = {"image": RGBImageField(write_mode=self._mode, jpeg_quality=90), "label": IntField()}
            DatasetWriter(str(self._file), fields, num_workers=2).from_indexed_dataset(_Photos(paths))
            done.touch()

    def settings(self) -> list[dict[str, Any]]:
        """Threads. Each takes a compilation; more batches ahead than the default were not faster."""
        return [{"num_workers": count} for count in (1, 2)]

    def open(self, num_workers: int) -> None:
        """Compiles at the first batch."""
        self._loader: Any = None
        gc.collect()  # The slots of the one before.
        is_train = self._kind == "train"
        decoder: Any = (
            RandomResizedCropRGBImageDecoder((SIDE, SIDE)) if is_train else CenterCropRGBImageDecoder((SIDE, SIDE), SIDE / SHORTER)
        )
        normalize = NormalizeImage(np.array(MEAN) * 255, np.array(STD) * 255, np.float32)
        steps = [decoder, *([RandomHorizontalFlip()] if is_train else []), normalize, ToTensor(), ToTorchImage()]
        self._loader = Loader(
            str(self._file),
            batch_size=BATCH,
            num_workers=num_workers,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            pipelines={"image": steps, "label": None},
        )

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch. Its batches are slots that later ones overwrite."""
        return (images for (images,) in self._loader)


class Raw(Peer):
    """The photos as plain pixels: sixteen times the bytes, and nothing to decode."""

    name = "FFCV, plain pixels"
    _mode = "raw"
