"""A folder of images by class, as torchvision's ImageFolder, read in place: no conversion, and no Python for a sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.folder_listing import list_folders
from headrace.datasets.layout import BatchLayout, CollatedLayout
from headrace.datasets.rows import absolute_rows
from headrace.datasets.view import NO_CHANGE, Change
from headrace.errors import NotFoundError

__all__ = ["EXTENSIONS", "ImageFolder"]

# torchvision.datasets.folder.IMG_EXTENSIONS
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(ArrayDataset):
    """`root/class/anything/image.jpg` as samples (image, label), in torchvision's order, with its `classes`, `class_to_idx`, `samples`, `imgs`, `targets`.

    transform: a headrace.images.Compose, which `hr.DataLoader(ImageFolder(root, transform=...))` runs natively (it is the loader's default for `prepare`).
        Without one, samples hold the encoded bytes. JPEG, PNG and WebP are decoded; a file of another kind is an error of its sample.
    extensions, is_valid_file, allow_empty: as in torchvision.
    cache: what folders hold is kept in the cache folder (HEADRACE_CACHE_DIR, else ~/.cache/headrace), if there are 1,000 files or more, on a local
        file system; a folder that changed since is listed anew. False: everything is listed, nothing is kept.
    split(stratify="label"), kfold(), sample(), bootstrap() and where(hr.col("label") == 3) choose among the files without reading them.
    Files are read when a batch needs them, and may not change meanwhile. Pickles as its list of files.
    Raises NotFoundError if there is no class folder, or no image in one.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Any = None,
        *,
        extensions: Sequence[str] = EXTENSIONS,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        cache: bool = True,
    ) -> None:
        if transform is not None and not hasattr(transform, "native"):
            raise TypeError(
                f"transform is {type(transform).__name__}; expected a headrace.images.Compose (images.from_torchvision() translates torchvision's)"
            )
        self.root = os.fsdecode(root)
        tree = list_folders(self.root, cache=cache)
        self.classes = tree.classes
        if not self.classes:
            raise NotFoundError(f"{self.root} has no class folders; expected root/class/image.jpg")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        endings = tuple(extension.lower() for extension in extensions)
        is_valid = is_valid_file or (lambda path: path.lower().endswith(endings))
        found = [tree.files(name, is_valid) for name in self.classes]
        empty = [name for name, paths in zip(self.classes, found, strict=True) if not paths]
        if empty and not allow_empty:
            raise NotFoundError(f"{self.root}: no image in the classes {', '.join(empty[:10])}; supported are {' '.join(endings)}")
        paths = [path for class_paths in found for path in class_paths]
        labels = np.repeat(np.arange(len(found), dtype=np.int64), [len(class_paths) for class_paths in found])
        self._start(paths, labels, transform)

    def _start(self, paths: list[str], labels: npt.NDArray[np.int64], transform: Any) -> None:
        self._paths = paths
        self._labels = labels
        self.transform = transform
        super().__init__({}, "tuple", path=self.root)

    def _build(self) -> None:
        folder = os.path.abspath(self.root)
        above = os.path.join(self.root, "")
        names = [os.fsencode(path.removeprefix(above)) for path in self._paths]
        fields = [_native.Field("image", "image"), _native.Field("label", dtype="int64")]
        self._tensors, self._places = [], []
        self._table = _native.make_files(_native.Schema(fields, "tuple"), folder, names, [self._labels])
        self.field_numbers = [0, 1]
        self._apply(NO_CHANGE)

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(path, label) of each sample, in order."""
        return list(zip(self._paths, self._labels.tolist(), strict=True))

    @property
    def imgs(self) -> list[tuple[str, int]]:
        """The same, by torchvision's older name."""
        return self.samples

    @property
    def targets(self) -> list[int]:
        """The label of each sample, in order."""
        return [int(label) for label in self._labels]

    def subset(self, rows: npt.ArrayLike) -> ImageFolder:
        """Return these samples only, in this order, as Dataset.subset() does; classes stay what they are."""
        chosen = absolute_rows(np.asarray(rows), len(self))
        paths = [self._paths[i] for i in chosen.tolist()]
        return _remake(self.root, self.classes, paths, self._labels[chosen], self.transform)

    def collated(self) -> ImageFolder:
        """The same, whose batches come in the containers of torch's default collate."""
        twin = self.subset(np.arange(len(self)))
        twin.layout = CollatedLayout(twin._schema.fields, "tuple")
        return twin

    def _view(self, change: Change) -> ArrayDataset:
        raise TypeError("sequences() and cast() are for datasets of numbers; transform says what becomes of images")

    def __getitem__(self, index: Any) -> Any:
        """One sample (image, label): prepared as `transform` says with the draws of seed 0 and epoch 0, else encoded bytes; several as columns."""
        if hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0:
            return self.__getitems__([index])[0]
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)), dtype=np.int64)
        batch, layout = self._read(np.asarray(index))
        return layout.to_numpy(batch)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Read many samples in one native call."""
        batch, layout = self._read(np.asarray(indices))
        return layout.to_samples(batch)

    def _read(self, indices: npt.NDArray[Any]) -> tuple[_native.Batch, BatchLayout]:
        plan = getattr(self.transform, "native", None)
        if plan is None:
            return self.native.fetch(absolute_rows(indices, len(self)), self.field_numbers), self.layout
        batch = self.native.fetch(absolute_rows(indices, len(self)), self.field_numbers, images=[(0, plan)])
        image, label = self._schema.fields
        return batch, BatchLayout([plan.field(image), label], "tuple")

    def __iter__(self) -> Iterator[Any]:
        for begin in range(0, len(self), 64):
            yield from self.__getitems__(range(begin, min(begin + 64, len(self))))

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.root, self.classes, self._paths, self._labels, self.transform)

    def __repr__(self) -> str:
        return f"ImageFolder({self.root!r}, samples={len(self)}, classes={len(self.classes)}, transform={self.transform!r})"


def _remake(root: str, classes: list[str], paths: list[str], labels: npt.NDArray[np.int64], transform: Any) -> ImageFolder:
    made = object.__new__(ImageFolder)
    made.root, made.classes, made.class_to_idx = root, classes, {name: i for i, name in enumerate(classes)}
    made._start(paths, labels, transform)
    return made
