"""RandAugment and TrivialAugmentWide: every operation against Pillow, by way of a twin of the draws and of torchvision's tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from headrace import images
from tests.images.photos import decoded, jpeg, photo, planes
from tests.sampling.order_twin import mix_key

OPERATIONS = [
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness"),
    *("Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
]
ENHANCERS: dict[str, Any] = {
    "Brightness": ImageEnhance.Brightness,
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Sharpness": ImageEnhance.Sharpness,
}


class Draws:
    """Words of a sample's first operation: Philox, keyed by (seed and epoch, sample)."""

    def __init__(self, sample: int, operation: int) -> None:
        # numpy counts up before it draws.
        counter = (operation << 40) - 1 if operation else (1 << 256) - 1
        words = [counter >> (64 * i) & (1 << 64) - 1 for i in range(4)]
        self._philox = np.random.Philox(counter=np.array(words, np.uint64), key=np.array([int(mix_key(0, 0)[0]), sample], np.uint64))

    def below(self, bound: int) -> int:
        return int(self._philox.random_raw()) * bound >> 64


def magnitudes(name: str, wide: bool, bins: int, width: int, height: int) -> tuple[np.ndarray, bool]:
    """torchvision's _augmentation_space."""
    space = {
        "ShearX": (np.linspace(0, 0.99 if wide else 0.3, bins), True),
        "TranslateX": (np.linspace(0, 32.0 if wide else 150 / 331 * width, bins), True),
        "TranslateY": (np.linspace(0, 32.0 if wide else 150 / 331 * height, bins), True),
        "Rotate": (np.linspace(0, 135.0 if wide else 30.0, bins), True),
        "Brightness": (np.linspace(0, 0.99 if wide else 0.9, bins), True),
        "Posterize": (8 - np.round(np.arange(bins) / ((bins - 1) / (6 if wide else 4))), False),
        "Solarize": (np.linspace(255.0, 0.0, bins), False),
    }
    space["ShearY"] = space["ShearX"]
    space |= dict.fromkeys(("Color", "Contrast", "Sharpness"), space["Brightness"])
    return space.get(name, (np.zeros(bins), False))


def applied(image: Image.Image, name: str, magnitude: float, fill: tuple[int, ...]) -> Image.Image:
    """torchvision's _apply_op on a Pillow image."""
    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY"):
        slope = math.tan(math.atan(magnitude))
        matrix = {
            "ShearX": (1, slope, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, slope, 1, 0),
            "TranslateX": (1, 0, -int(magnitude), 0, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, -int(magnitude)),
        }[name]
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill)
    if name == "Rotate":
        return image.rotate(magnitude, Image.Resampling.NEAREST, fillcolor=fill)
    if name in ENHANCERS:
        return ENHANCERS[name](image).enhance(1.0 + magnitude)
    if name == "Posterize":
        return ImageOps.posterize(image, int(magnitude))
    if name == "Solarize":
        return ImageOps.solarize(image, magnitude)
    return {"AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize, "Identity": lambda x: x}[name](image)


@pytest.mark.parametrize("wide", [True, False])
def test_operations_equal_pillow(wide: bool) -> None:
    fill = (10, 200, 30)
    encoded = jpeg(photo(90, 70))
    image = decoded(encoded)
    seen = set()
    for sample in range(400):
        magnitude = sample % 31
        step = images.TrivialAugmentWide(fill=fill) if wide else images.RandAugment(2, magnitude, fill=fill)
        compose = images.Compose([images.CenterCrop((70, 90)), step], exact=True)
        draws = Draws(sample, 1)
        expected, names = image, []
        for _ in range(1 if wide else 2):
            name = OPERATIONS[draws.below(14)]
            table, signed = magnitudes(name, wide, 31, 90, 70)
            value = float(table[draws.below(31) if wide else magnitude])
            value = -value if signed and draws.below(2) else value
            expected = applied(expected, name, value, fill)
            names.append((name, value))
        seen |= {name for name, _ in names}
        np.testing.assert_array_equal(compose(encoded, sample=sample), planes(expected), err_msg=str(names))
    assert seen == set(OPERATIONS)


def test_arguments() -> None:
    with pytest.raises(ValueError, match="magnitude"):
        images.RandAugment(magnitude=31)
    with pytest.raises(ValueError, match="at least 2"):
        images.TrivialAugmentWide(1)
    with pytest.raises(ValueError, match="the nearest pixel"):
        images.RandAugment(interpolation="bilinear")
    compose = images.Compose([images.RandAugment(3, 5), images.TrivialAugmentWide(), images.CenterCrop(9)])
    assert images.Compose.from_json(compose.to_json()) == compose
