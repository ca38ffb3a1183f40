"""Real photos (scikit-learn's two) and odd images as JPEG bytes, and folders of them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_images

from headrace import images

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@cache
def photo(width: int = 500, height: int = 375, which: int = 0) -> Image.Image:
    """A photo resized to this."""
    return Image.fromarray(load_sample_images().images[which]).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    """`image` encoded at quality 90, unless the options say otherwise."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def decoded(encoded: bytes) -> Image.Image:
    """What Pillow makes of it."""
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def planes(image: Image.Image) -> npt.NDArray[np.int16]:
    """Channels first, for differences."""
    return np.asarray(image).transpose(2, 0, 1).astype(np.int16)


def train_transform(**options: Any) -> images.Compose:
    """The usual training pipeline, with every random operation."""
    return images.Compose(
        [
            images.RandomResizedCrop(32),
            images.RandomHorizontalFlip(),
            images.RandomVerticalFlip(0.3),
            images.ColorJitter(0.4, 0.4, 0.4, 0.1),
            images.RandomGrayscale(0.2),
            images.ToDtype("float32", scale=True),
            images.Normalize(*IMAGENET),
            images.RandomErasing(0.5, value="random"),
        ],
        **options,
    )


def make_folder(root: Path, classes: int = 3, each: int = 7) -> Path:
    """Small photos of several sizes by class."""
    for label in range(classes):
        folder = root / f"class_{label}" / "inner"
        folder.mkdir(parents=True)
        for i in range(each):
            where = folder if i % 2 else folder.parent
            (where / f"{i}.jpg").write_bytes(jpeg(photo(60 + 7 * i, 50 + 5 * label, (i + label) % 2)))
    return root
