"""A folder of images by class, as torchvision's ImageFolder sees it: `root/class_x/anything/xxx.jpg`.

Encoded images are stored as they are, unless `image_storing` is told otherwise. Files are read by threads, a bounded number of bytes ahead.
"""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from headrace._native import Field
from headrace.datasets.folder_listing import list_folders
from headrace.datasets.image_folder import EXTENSIONS
from headrace.errors import CorruptDataError, NotFoundError
from headrace.writing.base import offsets_of
from headrace.writing.batches import Batch, Source
from headrace.writing.columns import ArrayColumn, OffsetColumn
from headrace.writing.formats.image_storing import Storing, storing_of

__all__ = ["EXTENSIONS", "ImageFolderSource", "image_source"]

_GROUP_BYTES = 8 << 20
_GROUP_FILES = 256
_THREADS = 8  # waiting for reads, not computing


def image_source(
    paths: Sequence[str],
    *,
    threads: int | None = None,
    extensions: Sequence[str] = EXTENSIONS,
    repack: str | None = None,
    max_side: int | None = None,
    quality: int | None = None,
    store: Any = None,
) -> Source:
    """Fields `image` and `label` (int64, the class's number). Raises NotFoundError if there is no class, or no image in one.

    repack: "lossless" stores JPEG files with the same pixels in a form that decodes faster (and is smaller, or a little larger if it was progressive);
    what cannot be repacked, damaged files too, is stored as it is.
    max_side: images whose longer side is longer are made smaller, in proportion, and stored as JPEG.
    quality: of JPEG made anew, 1 to 100 (default 90); given alone, every image is made anew.
    store: "as-is", "jpeg" (made anew), "raw" (plain pixels, as PPM: nothing to decode, some ten times the bytes), or the share of each:
    {"raw": 0.5, "jpeg": 0.5}. Files made anew keep of their metadata the orientation alone.
    """
    if len(paths) != 1 or not os.path.isdir(paths[0]):
        raise NotFoundError(f"expected one folder of class folders, found {list(paths)}")
    storing = storing_of(repack, max_side, quality, store)
    return ImageFolderSource(paths[0], threads or _THREADS, tuple(extension.lower() for extension in extensions), storing)


class ImageFolderSource(Source):
    """Samples in torchvision's order: classes sorted by name, then folders, then file names."""

    def __init__(self, root: str, threads: int, extensions: tuple[str, ...], storing: Storing | None = None) -> None:
        tree = list_folders(root, cache=False)
        self.classes = tree.classes
        if not self.classes:
            raise NotFoundError(f"{root} has no class folders; expected root/class/image.jpg")
        self._samples: list[tuple[str, int]] = []
        empty = []
        for label, name in enumerate(self.classes):
            found = tree.files(name, lambda path: path.lower().endswith(extensions))
            self._samples += [(path, label) for path in found]
            if not found:
                empty.append(name)
        if empty:
            raise NotFoundError(f"{root}: no image in the classes {', '.join(empty[:10])}; supported are {' '.join(extensions)}")
        self._threads = threads
        self._storing = storing or Storing()
        self.total = len(self._samples)
        # Names that are not UTF-8 have half surrogates, which JSON can only hold escaped.
        is_text = all(name.isprintable() for name in self.classes)
        self.metadata = json.dumps({"classes": self.classes, "source": "image folder"}, ensure_ascii=not is_text)

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        return [Field("image", "image"), Field("label", "tensor", "int64")]

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="headrace-convert")
        try:
            first = 0
            for group in self._groups():
                pending.append(pool.submit(_read, group, first, self._storing))
                first += len(group)
                if len(pending) > self._threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _groups(self) -> Iterator[list[tuple[str, int]]]:
        group: list[tuple[str, int]] = []
        group_bytes = 0
        for path, label in self._samples:
            size = _size(path)
            if group and (len(group) == _GROUP_FILES or group_bytes + size > _GROUP_BYTES):
                yield group
                group, group_bytes = [], 0
            group.append((path, label))
            group_bytes += size
        yield group


def _size(path: str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
        raise ValueError(f"{path} is no file; remove it")
    return status.st_size


def _read(group: list[tuple[str, int]], first: int, storing: Storing) -> Batch:
    images = []
    for path, _ in group:
        with open(path, "rb") as file:
            images.append(file.read())
        if not images[-1]:
            raise CorruptDataError(f"{path} is empty, expected an image; remove it or write it anew")
    if not storing.keeps_all:
        images = [storing(first + i, image) for i, image in enumerate(images)]
    lengths = np.fromiter(map(len, images), np.uint64, len(images))
    image = OffsetColumn("image", np.frombuffer(b"".join(images), np.uint8), offsets_of(lengths))
    label = ArrayColumn(np.array([label for _, label in group], np.int64), "int64")
    return Batch({"image": image, "label": label}, len(group))
