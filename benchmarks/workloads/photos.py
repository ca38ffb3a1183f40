"""Photo-like JPEG files in class folders: parts of scikit-learn's and scikit-image's sample photos, each cut, turned and scaled otherwise."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from headrace.bench.ceilings import page_in

__all__ = ["PHOTOS_BATCH", "Photos"]

PHOTOS_BATCH = 64
_CLASSES = 10


def _sources() -> list[Image.Image]:
    photos = list(load_sample_images().images)
    try:
        from skimage import data
    except ImportError:
        pass
    else:
        photos += [data.astronaut(), data.chelsea(), data.coffee()]
    return [Image.fromarray(photo) for photo in photos]


@dataclass(frozen=True)
class Photos:
    """`root/class/number.jpg`, quality 90, about width x height."""

    root: Path
    samples: int

    def page_in(self) -> None:
        """Read every file once."""
        page_in(self.paths)

    @property
    def paths(self) -> list[Path]:
        """All files, in the order of ImageFolder."""
        return sorted(self.root.glob("*/*.jpg"))

    @classmethod
    def prepare(cls, folder: Path, samples: int, width: int = 500, height: int = 375) -> Photos:
        """Make the files below `folder`, or use what an earlier run left there."""
        root = folder / f"photos-{samples}-{width}x{height}"
        done = folder / f"{root.name}.complete"
        if done.exists():
            return cls(root, samples)
        shutil.rmtree(root, ignore_errors=True)
        rng = np.random.default_rng(20_130_104)
        sources = _sources()
        for i in range(samples):
            name = root / f"class_{i % _CLASSES}" / f"{i:06}.jpg"
            name.parent.mkdir(parents=True, exist_ok=True)
            _draw(rng, sources, width, height).save(name, quality=90)
        done.touch()
        return cls(root, samples)


def _draw(rng: np.random.Generator, sources: list[Image.Image], width: int, height: int) -> Image.Image:
    """A part of a photo at nearly its own scale, so that it is as sharp as a photo is, with a sensor's noise."""
    photo = sources[rng.integers(len(sources))]
    share = rng.uniform(0.75, 1.0)
    part = (round(photo.width * share), round(photo.height * share))
    left, top = rng.integers(0, photo.width - part[0] + 1), rng.integers(0, photo.height - part[1] + 1)
    to = (width + int(rng.integers(-20, 21)), height + int(rng.integers(-20, 21)))
    made = photo.crop((left, top, left + part[0], top + part[1])).resize(to, Image.Resampling.BICUBIC)
    noisy = np.asarray(made, np.int16) + rng.integers(-3, 4, (to[1], to[0], 3), np.int16)
    made = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else made
