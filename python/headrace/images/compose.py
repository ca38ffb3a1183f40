"""Several transforms as one native plan, from an encoded image to a row of a batch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace._native import ImageMix, ImagePlan
from headrace.images.mixing import MIXES, BatchTransform
from headrace.images.transforms import (
    TRANSFORMS,
    CenterCrop,
    Normalize,
    Pad,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    ToDtype,
    Transform,
)

__all__ = ["Compose"]

_VERSION = 1
# What may stand behind ToDtype: it moves pixels about, and changes none.
_MOVES = (CenterCrop, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip)
_Triple = tuple[float, float, float]


class Compose:
    """Transforms that run one after the other, natively: `DataLoader(dataset, prepare=Compose([...]))`.

    Images become RGB. Random ones draw from (seed, epoch, sample, place in the list): equal for any number of threads, after a resume, on any world size.

    transforms: of headrace.images; the result has one size (a crop, or Resize to (height, width), comes last) and is uint8, unless ToDtype says otherwise.
        Behind ToDtype may stand Normalize, RandomErasing, flips and crops.
        MixUp, CutMix, or RandomChoice or RandomApply of them, may come last of all: they work on the whole batch, and make its labels shares of classes.
    layout: "CHW" or "HWC".
    exact: decode at full size, all columns and all rows down to the last one needed: pixels are those of Pillow. Otherwise images that are made smaller by
        2, 4 or 8 are decoded at that fraction, which differs a little; others are the same.
    exif: turn images as their metadata says. torchvision does not (from_torchvision() says False).
    reducing_gap: a fraction is decoded only where that leaves at least so many times the pixels of the result, along each side.
    max_pixels: a larger image is LimitExceededError, before memory for it is allocated.
    Raises ValueError naming the transform that does not fit.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        *,
        layout: str = "CHW",
        exact: bool = False,
        exif: bool = True,
        reducing_gap: float = 1.0,
        max_pixels: int = 1 << 28,
    ) -> None:
        self.transforms = tuple(transforms)
        for i, transform in enumerate(self.transforms):
            if not isinstance(transform, Transform):
                raise TypeError(
                    f"transforms[{i}] is {type(transform).__name__}; expected one of headrace.images (from_torchvision() translates torchvision's)"
                )
        if layout not in ("CHW", "HWC"):
            raise ValueError(f"layout is {layout!r}; expected 'CHW' or 'HWC'")
        if not reducing_gap >= 1:
            raise ValueError(f"reducing_gap is {reducing_gap!r}; expected a number from 1 on")
        if not 1 <= max_pixels < 1 << 63:
            raise ValueError(f"max_pixels is {max_pixels!r}; expected a number of pixels from 1 on")
        self.layout = layout
        self.exact = bool(exact)
        self.exif = bool(exif)
        self.reducing_gap = float(reducing_gap)
        self.max_pixels = int(max_pixels)
        self.mix = self.transforms[-1] if self.transforms and isinstance(self.transforms[-1], BatchTransform) else None
        self.dtype, steps, output = _plan_of(self.transforms if self.mix is None else self.transforms[:-1])
        if self.mix is not None and self.dtype == "uint8" and any(kind == "mixup" for kind, _, _ in self.mix.choices()):
            raise ValueError(
                f"transforms[{len(self.transforms) - 1}] (MixUp): uint8 cannot hold parts of images; put a ToDtype('float32') before it"
            )
        self._plan = ImagePlan(
            steps,
            dtype=self.dtype,
            channels_last=layout == "HWC",
            exact=self.exact,
            exif=self.exif,
            reducing_gap=self.reducing_gap,
            max_pixels=self.max_pixels,
            **output,
        )

    @property
    def native(self) -> ImagePlan:
        """The plan that the engine runs."""
        return self._plan

    def native_mix(self, num_classes: int | None) -> ImageMix | None:
        """What the engine does to whole batches; None where nothing. num_classes: of the dataset, where the transform was not told. Raises ValueError."""
        if self.mix is None:
            return None
        classes = num_classes if self.mix.classes is None else self.mix.classes
        if classes is None:
            raise ValueError(f"{self.mix!r}: the dataset does not say how many classes it has; give num_classes")
        return ImageMix(self.mix.choices(), classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image as delivered."""
        height, width = self._plan.height, self._plan.width
        return (height, width, 3) if self.layout == "HWC" else (3, height, width)

    def __call__(
        self, encoded: bytes | bytearray | memoryview | str | os.PathLike[str], *, seed: int = 0, epoch: int = 0, sample: int = 0
    ) -> npt.NDArray[Any]:
        """One image as a batch would hold it before it is mixed with others; what is drawn depends on the numbers alone. bfloat16 comes as float32.

        encoded: a file's bytes, or its path.
        seed, epoch, sample: whole numbers from 0 to 2^64 - 1.

        Raises ValueError, CorruptDataError, TruncatedError, LimitExceededError, UnsupportedVersionError with the decoder's message.
        """
        for name, number in (("seed", seed), ("epoch", epoch), ("sample", sample)):
            if not 0 <= number < 1 << 64:
                raise ValueError(f"{name} is {number!r}; expected a whole number from 0 to 2^64 - 1")
        content = bytes(encoded) if isinstance(encoded, (bytes, bytearray, memoryview)) else Path(encoded).read_bytes()
        array = self._plan.apply(content, seed=seed, epoch=epoch, sample=sample)
        return (array.astype(np.uint32) << 16).view(np.float32) if self.dtype == "bfloat16" else array

    def to_json(self) -> str:
        """All of it as JSON; from_json() makes an equal one."""
        return json.dumps({"version": _VERSION, **self._options(), "transforms": [t.to_dict() for t in self.transforms]})

    @classmethod
    def from_json(cls, text: str) -> Compose:
        """What to_json() wrote. Raises ValueError."""
        saved = json.loads(text)
        if not isinstance(saved, dict) or saved.pop("version", None) != _VERSION:
            raise ValueError(f"expected the JSON of a headrace.images.Compose, version {_VERSION}")
        known: dict[str, type[Transform]] = {**TRANSFORMS, **MIXES}
        transforms = []
        for item in saved.pop("transforms", None) or ():
            name = item.pop("name", None) if isinstance(item, dict) else item
            if name not in known:
                raise ValueError(f"there is no transform {name!r}; this headrace knows {', '.join(known)}")
            transforms.append(_call(name, known[name], item))
        made: Compose = _call("Compose", cls, {"transforms": transforms, **saved})
        return made

    def _options(self) -> dict[str, Any]:
        names = ("layout", "exact", "exif", "reducing_gap", "max_pixels")
        return {name: getattr(self, name) for name in names}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return Compose.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        inner = "".join(f"    {transform!r},\n" for transform in self.transforms)
        return f"Compose([\n{inner}], {', '.join(f'{name}={value!r}' for name, value in self._options().items())})"


def _call(name: str, make: Any, arguments: dict[str, Any]) -> Any:
    try:
        return make(**arguments)
    except TypeError as error:
        raise ValueError(f"{name} in the JSON of a Compose: {error}") from error


def _plan_of(transforms: Sequence[Transform]) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """The delivered dtype, native steps and what becomes of the levels. Raises ValueError."""
    dtype, scaled, is_converted, is_erased = "uint8", False, False, False
    mean: _Triple = (0.0, 0.0, 0.0)
    std: _Triple = (1.0, 1.0, 1.0)
    steps: list[dict[str, Any]] = []
    for i, transform in enumerate(transforms):
        name = f"transforms[{i}] ({type(transform).__name__})"
        if isinstance(transform, BatchTransform):
            raise ValueError(f"{name}: it works on whole batches and must be the last one; RandomChoice takes several")
        if isinstance(transform, ToDtype):
            if is_converted:
                raise ValueError(f"{name}: there is a ToDtype before it; use one")
            dtype, scaled, is_converted = transform.dtype, transform.scale and transform.dtype != "uint8", True
        elif isinstance(transform, Normalize):
            if dtype == "uint8" or std != (1.0, 1.0, 1.0) or mean != (0.0, 0.0, 0.0):
                raise ValueError(f"{name}: it goes once, behind a ToDtype to floats: ToDtype('float32', scale=True)")
            mean, std = transform.mean, transform.std
            _normalise_fills(steps, mean, std)
        elif isinstance(transform, RandomErasing):
            steps.append(transform.step())
            is_converted = is_erased = True
        elif is_converted and (is_erased or not isinstance(transform, _MOVES) or getattr(transform, "padding", None) is not None):
            raise ValueError(f"{name}: it works on levels and must stand before ToDtype, Normalize and RandomErasing")
        else:
            if isinstance(transform, RandomCrop) and transform.padding is not None:
                steps.append(Pad(transform.padding, transform.fill, transform.padding_mode).step())
            if is_converted and getattr(transform, "pad_if_needed", False):
                raise ValueError(f"{name}: pad_if_needed pads levels: put it before ToDtype")
            steps.append(transform.step())
    return dtype, steps, {"scaled": scaled, "mean": mean, "std": std}


def _normalise_fills(steps: list[dict[str, Any]], mean: _Triple, std: _Triple) -> None:
    """What was erased before it is normalised with the rest."""
    for step in steps:
        if step["kind"] == "random_erasing":
            step["value"] = tuple((v - m) / s for v, m, s in zip(step["value"], mean, std, strict=True))
            step["noise"] = tuple(n / s for n, s in zip(step["noise"], std, strict=True))
