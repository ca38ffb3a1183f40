"""headrace: files in place; losslessly repacked; as plain pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import headrace
from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD
from headrace import DataLoader, images


class Peer:
    name = "headrace"

    def __init__(self, paths: list[Path], kind: str) -> None:
        steps = (
            [images.RandomResizedCrop(SIDE), images.RandomHorizontalFlip()]
            if kind == "train"
            else [images.Resize(SHORTER), images.CenterCrop(SIDE)]
        )
        self._transform = images.Compose([*steps, images.ToDtype("float32", scale=True), images.Normalize(MEAN, STD)])
        self._root = paths[0].parent.parent

    def settings(self) -> list[dict[str, Any]]:
        """Threads."""
        return [{"num_workers": count} for count in (1, 2)]

    def open(self, num_workers: int) -> None:
        self._loader = DataLoader(headrace.ImageFolder(self._root, self._transform), BATCH, shuffle=True, num_workers=num_workers)

    def batches(self, epoch: int) -> Iterator[Any]:
        self._loader.set_epoch(epoch)
        return (images for images, _ in self._loader)


class _Converted(Peer):
    """A dataset that convert() wrote."""

    _how: ClassVar[dict[str, Any]]

    def open(self, num_workers: int) -> None:
        path = self._root.parent / f"{self._root.name}-{type(self).__name__.lower()}"
        if not (path / "complete").exists():
            shutil.rmtree(path, ignore_errors=True)
            headrace.convert(self._root, path / "dataset", **self._how)
            (path / "complete").touch()
        dataset = headrace.open(path / "dataset").as_tuple("image", "label")
        self._loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=num_workers, prepare=self._transform)


class Repacked(_Converted):
    name = "headrace, repacked"
    _how: ClassVar = {"repack": "lossless"}


class Raw(_Converted):
    name = "headrace, plain pixels"
    _how: ClassVar = {"store": "raw"}
