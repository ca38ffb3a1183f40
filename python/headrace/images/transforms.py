"""Transforms with torchvision's names, arguments and distributions: descriptions of what the native engine does to an encoded image.

Each is a frozen dataclass of plain values; `step()` is what the engine is told. Sizes are in pixels, as (height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from headrace.images import arguments

__all__ = [
    "TRANSFORMS",
    "CenterCrop",
    "ColorJitter",
    "Grayscale",
    "Normalize",
    "Pad",
    "RandAugment",
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
]

Step = dict[str, Any]


@dataclass(frozen=True)
class Transform:
    """One operation on an image."""

    def step(self) -> Step:
        """The native engine's form of it."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Name and arguments, as plain values for JSON."""
        return {"name": type(self).__name__, **{field.name: arguments.plain(getattr(self, field.name)) for field in fields(self)}}

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Resize(Transform):
    """Resize to (height, width); one number: the shorter side to it, the longer one in proportion, but at most max_size.

    interpolation: "nearest", "box" (area), "bilinear", "hamming", "bicubic", "lanczos", always antialiased, as Pillow does it.
    """

    size: Any
    interpolation: Any = "bilinear"
    max_size: int | None = None

    def __post_init__(self) -> None:
        height, width = arguments.size("size", self.size)
        is_shorter = not hasattr(self.size, "__len__") or len(self.size) == 1
        if self.max_size is not None and (not is_shorter or arguments.side("max_size", self.max_size) < height):
            raise ValueError(f"max_size is {self.max_size!r}; it goes with one size, and is not below it (size is {self.size!r})")
        self._set(size=height if is_shorter else (height, width), interpolation=arguments.interpolation(self.interpolation))

    def step(self) -> Step:
        """The native engine's form of it."""
        if isinstance(self.size, int):
            return {"kind": "resize_shorter", "shorter": self.size, "longest": self.max_size or 0, "interpolation": self.interpolation}
        return {"kind": "resize", "height": self.size[0], "width": self.size[1], "interpolation": self.interpolation}


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cut (height, width) out of the middle; of a smaller image, with zeros around it."""

    size: Any

    def __post_init__(self) -> None:
        self._set(size=arguments.size("size", self.size))

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "center_crop", "height": self.size[0], "width": self.size[1]}


@dataclass(frozen=True)
class Pad(Transform):
    """Add pixels: padding is one number, (x, y), or (left, top, right, bottom); fill a level or one a channel; mode as torchvision names it."""

    padding: Any
    fill: Any = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        self._set(
            padding=arguments.padding(self.padding), fill=arguments.fill(self.fill), padding_mode=arguments.padding_mode(self.padding_mode)
        )

    def step(self) -> Step:
        """The native engine's form of it."""
        left, top, right, bottom = self.padding
        sides = {"left": left, "top": top, "right": right, "bottom": bottom}
        return {"kind": "pad", **sides, "fill": self.fill, "padding_mode": self.padding_mode}


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Cut (height, width) out of the image, after padding it, anywhere. A smaller image is an error, or padded if pad_if_needed."""

    size: Any
    padding: Any = None
    pad_if_needed: bool = False
    fill: Any = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        self._set(
            size=arguments.size("size", self.size),
            padding=None if self.padding is None else arguments.padding(self.padding),
            pad_if_needed=bool(self.pad_if_needed),
            fill=arguments.fill(self.fill),
            padding_mode=arguments.padding_mode(self.padding_mode),
        )

    def step(self) -> Step:
        """The native engine's form of it, without the padding: Compose puts a Pad before it."""
        height, width = self.size
        edges = {"if_needed": self.pad_if_needed, "fill": self.fill, "padding_mode": self.padding_mode}
        return {"kind": "random_crop", "height": height, "width": width, **edges}


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Cut out a part of random area (scale: of the image's) and aspect (ratio), and resize it to (height, width)."""

    size: Any
    scale: Any = (0.08, 1.0)
    ratio: Any = (3.0 / 4.0, 4.0 / 3.0)
    interpolation: Any = "bilinear"

    def __post_init__(self) -> None:
        self._set(
            size=arguments.size("size", self.size),
            scale=arguments.pair("scale", self.scale, 0.0, math.inf),
            ratio=arguments.pair("ratio", self.ratio, 1e-6, 1e6),
            interpolation=arguments.interpolation(self.interpolation),
        )

    def step(self) -> Step:
        """The native engine's form of it."""
        height, width = self.size
        part = {"scale": self.scale, "ratio": self.ratio, "interpolation": self.interpolation}
        return {"kind": "random_resized_crop", "height": height, "width": width, **part}


@dataclass(frozen=True)
class _Chance(Transform):
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=arguments.probability(self.p))


@dataclass(frozen=True)
class RandomHorizontalFlip(_Chance):
    """Swap left and right with probability p."""

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "random_horizontal_flip", "p": self.p}


@dataclass(frozen=True)
class RandomVerticalFlip(_Chance):
    """Swap top and bottom with probability p."""

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "random_vertical_flip", "p": self.p}


@dataclass(frozen=True)
class RandomGrayscale(_Chance):
    """Replace the colours by their luma, in all three channels, with probability p."""

    p: float = 0.1

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "random_grayscale", "p": self.p}


@dataclass(frozen=True)
class Grayscale(Transform):
    """Replace the colours by their luma, in all three channels."""

    num_output_channels: int = 3

    def __post_init__(self) -> None:
        if self.num_output_channels != 3:
            raise ValueError(f"num_output_channels is {self.num_output_channels!r}; images are delivered with 3 channels")

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "random_grayscale", "p": 1.0}


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue by random factors, in random order, with Pillow's arithmetic.

    Each is a number (how far from 1; hue: from 0, at most 0.5), a range, or 0 or None for none.
    """

    brightness: Any = 0
    contrast: Any = 0
    saturation: Any = 0
    hue: Any = 0

    def __post_init__(self) -> None:
        self._set(**{field.name: arguments.jitter_range(field.name, getattr(self, field.name)) for field in fields(self)})

    def step(self) -> Step:
        """The native engine's form of it."""
        parts = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation, "hue": self.hue}
        return {"kind": "color_jitter", **parts}


@dataclass(frozen=True)
class RandAugment(Transform):
    """Apply num_ops random operations of torchvision's RandAugment, each at bin `magnitude` of num_magnitude_bins, to the nearest pixel."""

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: Any = "nearest"
    fill: Any = 0

    def __post_init__(self) -> None:
        if not (0 <= self.num_ops <= 1000 and 2 <= self.num_magnitude_bins <= 1 << 16 and 0 <= self.magnitude < self.num_magnitude_bins):
            raise ValueError(
                f"num_ops {self.num_ops!r}, magnitude {self.magnitude!r} of {self.num_magnitude_bins!r} bins; expected a magnitude below num_magnitude_bins"
            )
        self._set(interpolation=arguments.nearest(self.interpolation), fill=arguments.fill(0 if self.fill is None else self.fill))

    def step(self) -> Step:
        """The native engine's form of it."""
        bins = {"magnitude": self.magnitude, "bins": self.num_magnitude_bins}
        return {"kind": "auto_augment", "wide": False, "operations": self.num_ops, **bins, "fill": self.fill}


@dataclass(frozen=True)
class TrivialAugmentWide(Transform):
    """Apply one random operation of torchvision's TrivialAugmentWide, at a random bin of num_magnitude_bins, to the nearest pixel."""

    num_magnitude_bins: int = 31
    interpolation: Any = "nearest"
    fill: Any = 0

    def __post_init__(self) -> None:
        if not 2 <= self.num_magnitude_bins <= 1 << 16:
            raise ValueError(f"num_magnitude_bins is {self.num_magnitude_bins!r}; expected at least 2")
        self._set(interpolation=arguments.nearest(self.interpolation), fill=arguments.fill(0 if self.fill is None else self.fill))

    def step(self) -> Step:
        """The native engine's form of it."""
        return {"kind": "auto_augment", "wide": True, "operations": 1, "magnitude": 0, "bins": self.num_magnitude_bins, "fill": self.fill}


@dataclass(frozen=True)
class ToDtype(Transform):
    """Deliver as "uint8", "float16", "bfloat16" or "float32" (or a torch dtype of that name); scale: levels 0 to 255 become 0 to 1 where it is a float."""

    dtype: Any = "float32"
    scale: bool = False

    def __post_init__(self) -> None:
        self._set(dtype=arguments.dtype_name(self.dtype), scale=bool(self.scale))


@dataclass(frozen=True)
class Normalize(Transform):
    """Subtract mean and divide by std, each one number or one a channel. After ToDtype."""

    mean: Any
    std: Any

    def __post_init__(self) -> None:
        self._set(mean=arguments.triple("mean", self.mean), std=arguments.triple("std", self.std))
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std!r}; expected numbers above 0")


@dataclass(frozen=True)
class RandomErasing(_Chance):
    """Fill a random rectangle with value: a number, one a channel, or "random" for normal noise. Scale and ratio as in RandomResizedCrop."""

    scale: Any = (0.02, 0.33)
    ratio: Any = (0.3, 3.3)
    value: Any = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.value if self.value == "random" else arguments.triple("value", self.value)
        self._set(scale=arguments.pair("scale", self.scale, 0.0, 1.0), ratio=arguments.pair("ratio", self.ratio, 1e-6, 1e6), value=value)

    def step(self) -> Step:
        """The native engine's form of it, in units of what is delivered."""
        is_noise = self.value == "random"
        values = {"value": (0.0, 0.0, 0.0) if is_noise else self.value, "noise": (1.0, 1.0, 1.0) if is_noise else (0.0, 0.0, 0.0)}
        return {"kind": "random_erasing", "p": self.p, "scale": self.scale, "ratio": self.ratio, **values}


TRANSFORMS: dict[str, type[Transform]] = {
    kind.__name__: kind
    for kind in (
        Resize,
        CenterCrop,
        Pad,
        RandomCrop,
        RandomResizedCrop,
        RandomHorizontalFlip,
        RandomVerticalFlip,
        RandomGrayscale,
        Grayscale,
        ColorJitter,
        RandAugment,
        TrivialAugmentWide,
        ToDtype,
        Normalize,
        RandomErasing,
    )
}
