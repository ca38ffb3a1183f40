"""Encoded images to batches, natively: `DataLoader(dataset, prepare=images.Compose([...]))`, with torchvision's names and distributions."""

from __future__ import annotations

from headrace.images.compose import Compose
from headrace.images.from_torchvision import from_torchvision
from headrace.images.mixing import CutMix, MixUp, RandomApply, RandomChoice
from headrace.images.transforms import (
    CenterCrop,
    ColorJitter,
    Grayscale,
    Normalize,
    Pad,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
    ToDtype,
    Transform,
    TrivialAugmentWide,
)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Grayscale",
    "MixUp",
    "Normalize",
    "Pad",
    "RandAugment",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "Transform",
    "TrivialAugmentWide",
    "from_torchvision",
]
