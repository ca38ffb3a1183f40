"""Torchvision's pipelines, v1 and v2, translated by names and attributes: stand-ins carry both, since torchvision itself is not installed here."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
import torch

from headrace import images


class InterpolationMode(Enum):
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


def stand_in(name: str, **attributes: Any) -> Any:
    """An object whose class has this name."""
    made = type(name, (torch.nn.Module,), {})()
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def compose(*transforms: Any) -> Any:
    return stand_in("Compose", transforms=list(transforms))


def test_the_usual_v1_pipeline() -> None:
    train = compose(
        stand_in(
            "RandomResizedCrop",
            size=(224, 224),
            scale=(0.08, 1.0),
            ratio=(0.75, 4 / 3),
            interpolation=InterpolationMode.BICUBIC,
            antialias=True,
        ),
        stand_in("RandomHorizontalFlip", p=0.4),
        stand_in("ColorJitter", brightness=(0.6, 1.4), contrast=None, saturation=(0.5, 1.5), hue=(-0.1, 0.1)),
        stand_in("ToTensor"),
        stand_in("Normalize", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], inplace=False),
        stand_in("RandomErasing", p=0.25, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False),
    )
    assert images.from_torchvision(train) == images.Compose(
        [
            images.RandomResizedCrop(224, interpolation="bicubic"),
            images.RandomHorizontalFlip(0.4),
            images.ColorJitter(0.4, 0, 0.5, 0.1),
            images.ToDtype("float32", scale=True),
            images.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            images.RandomErasing(0.25),
        ],
        exif=False,
    )
    evaluate = compose(
        stand_in("Resize", size=256, interpolation=2, max_size=None, antialias=True),
        stand_in("CenterCrop", size=(224, 224)),
        stand_in("PILToTensor"),
        stand_in("ConvertImageDtype", dtype=torch.float16),
    )
    assert images.from_torchvision(evaluate, layout="HWC", exact=True) == images.Compose(
        [images.Resize(256), images.CenterCrop(224), images.ToDtype("float16", scale=True)], layout="HWC", exact=True, exif=False
    )


def test_v2_pipelines() -> None:
    fills = {type(None): 7, int: 7}
    train = torch.nn.Sequential(
        stand_in("ToImage"),
        compose(stand_in("RandomCrop", size=(32, 32), padding=[4], pad_if_needed=False, fill=fills, padding_mode="reflect")),
        stand_in("Pad", padding=[1, 2], fill=0, padding_mode="constant"),
        stand_in("RandomVerticalFlip", p=0.5),
        stand_in("RandomGrayscale", p=0.1),
        stand_in("Resize", size=[64], interpolation=InterpolationMode.BILINEAR, max_size=100, antialias=True),
        stand_in("Resize", size=[20, 30], interpolation=InterpolationMode.BILINEAR, max_size=None, antialias=True),
        stand_in(
            "RandAugment", num_ops=3, magnitude=4, num_magnitude_bins=11, interpolation=stand_in("NEAREST", value="nearest"), fill=fills
        ),
        stand_in("TrivialAugmentWide", num_magnitude_bins=31, interpolation=0, fill=None),
        stand_in("ToDtype", dtype=torch.bfloat16, scale=True),
        stand_in("Normalize", mean=(0.5,), std=(0.25,), inplace=False),
        stand_in("RandomErasing", p=0.1, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=None, inplace=False),
        stand_in("ToPureTensor"),
    )
    assert images.from_torchvision(train) == images.Compose(
        [
            images.RandomCrop(32, 4, fill=7, padding_mode="reflect"),
            images.Pad((1, 2)),
            images.RandomVerticalFlip(),
            images.RandomGrayscale(),
            images.Resize(64, max_size=100),
            images.Resize((20, 30)),
            images.RandAugment(3, 4, 11, fill=7),
            images.TrivialAugmentWide(),
            images.ToDtype(torch.bfloat16, scale=True),
            images.Normalize(0.5, 0.25),
            images.RandomErasing(0.1, value="random"),
        ],
        exif=False,
    )


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            compose(stand_in("CenterCrop", size=3), stand_in("GaussianBlur", sigma=1)),
            r"transform\.transforms\[1\] is GaussianBlur, which has no native form",
        ),
        (stand_in("Lambda", lambd=abs), "transform is Lambda"),
        (
            compose(compose(stand_in("Grayscale", num_output_channels=1))),
            r"transform\.transforms\[0\]\.transforms\[0\] \(Grayscale\) cannot be translated",
        ),
        (stand_in("Pad", padding=1, fill={int: 1, str: 2}, padding_mode="edge"), "expected one for all inputs"),
        (stand_in("ToDtype", dtype={int: torch.float32}, scale=True), "a dtype for each type"),
        (stand_in("Resize", size=None, interpolation=2, max_size=9), r"\(Resize\) cannot be translated"),
    ],
)
def test_the_first_that_cannot_be_translated_is_named(transform: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        images.from_torchvision(transform)
