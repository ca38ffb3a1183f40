"""Translates a torchvision pipeline, v1 or v2, by the names and attributes of its classes: torchvision is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.images.compose import Compose
from headrace.images.mixing import BatchTransform, CutMix, MixUp, RandomApply, RandomChoice
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

__all__ = ["from_torchvision"]


def from_torchvision(
    transform: Any,
    *,
    layout: str = "CHW",
    exact: bool = False,
    exif: bool = False,
    reducing_gap: float = 1.0,
    max_pixels: int = 1 << 28,
) -> Compose:
    """The native plan that does what a torchvision transform (or a Compose of them) does to a Pillow image.

    The options are those of Compose; torchvision does not turn images by their metadata. Random draws have the same distributions, not the same values.
    Raises ValueError naming the first transform that cannot be translated, and its place.
    """
    translated: list[Transform] = []
    for place, item in _walk(transform, "transform"):
        name = type(item).__name__
        if name in _NOTHING:
            continue
        if name not in _TRANSLATIONS:
            raise ValueError(
                f"{place} is {name}, which has no native form; known are {', '.join(sorted({*_TRANSLATIONS, *_NOTHING, 'Compose'}))}"
            )
        try:
            translated.append(_TRANSLATIONS[name](item))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{place} ({name}) cannot be translated: {error}") from error
    return Compose(translated, layout=layout, exact=exact, exif=exif, reducing_gap=reducing_gap, max_pixels=max_pixels)


# What only changes how Python holds an image.
_NOTHING = {"PILToTensor", "ToImage", "ToPILImage", "ToPureTensor", "Identity"}


def _walk(transform: Any, place: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(transform, "transforms", None) if type(transform).__name__ == "Compose" else None
    if inner is None and type(transform).__name__ == "Sequential":
        inner = list(transform)
    if inner is None:
        yield place, transform
        return
    for i, item in enumerate(inner):
        yield from _walk(item, f"{place}.transforms[{i}]")


def _fill(item: Any) -> Any:
    """v2 keeps a fill a type of input: for all of them the same, or no native form."""
    fill = item.fill
    if isinstance(fill, Mapping):
        values = list({str(value): value for value in fill.values()}.values())
        if len(values) != 1:
            raise ValueError(f"fill is {dict(fill)}; expected one for all inputs")
        fill = values[0]
    return 0 if fill is None else fill


def _size(item: Any) -> Any:
    size = item.size
    return size if isinstance(size, int) else tuple(size)


def _dtype(item: Any) -> ToDtype:
    if isinstance(item.dtype, Mapping):
        raise ValueError("a dtype for each type of input; give one")
    return ToDtype(item.dtype, scale=getattr(item, "scale", True))


def _normalize(item: Any) -> Normalize:
    return Normalize(_numbers(item.mean), _numbers(item.std))


def _numbers(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _erasing(item: Any) -> RandomErasing:
    value = 0 if item.value is None else item.value  # v2 keeps None for what is drawn at random.
    is_random = item.value is None or item.value == "random"
    return RandomErasing(item.p, tuple(item.scale), tuple(item.ratio), "random" if is_random else _numbers(value))


def _mix(kind: type[MixUp] | type[CutMix], item: Any) -> BatchTransform:
    """v2 keeps the getter of labels as a function; its own, which looks for them by name, is the default here too."""
    getter = getattr(item, "_labels_getter", "default")
    if getattr(getter, "__name__", "") == "_find_labels_default_heuristic":
        getter = "default"
    if not isinstance(getter, str):
        raise ValueError(f"labels_getter is {getter!r}; expected 'default': prepare a Compose that names the field of labels")
    return kind(item.alpha, item.num_classes, getter)


def _mixes(item: Any) -> list[BatchTransform]:
    """Those that RandomChoice or RandomApply hold."""
    made = []
    for place, inner in enumerate(item.transforms):
        name = type(inner).__name__
        if name not in _BATCHES:
            raise ValueError(f"transforms[{place}] is {name}; only {', '.join(_BATCHES)} can be chosen from")
        made.append(_BATCHES[name](inner))
    return made


_BATCHES: dict[str, Callable[[Any], BatchTransform]] = {
    "MixUp": lambda t: _mix(MixUp, t),
    "CutMix": lambda t: _mix(CutMix, t),
    "RandomChoice": lambda t: RandomChoice(_mixes(t), getattr(t, "p", None)),
    "RandomApply": lambda t: RandomApply(_mixes(t), t.p),
}


_TRANSLATIONS: dict[str, Callable[[Any], Transform]] = {
    "Resize": lambda t: Resize(_size(t), t.interpolation, getattr(t, "max_size", None)),
    "CenterCrop": lambda t: CenterCrop(_size(t)),
    "Pad": lambda t: Pad(t.padding, _fill(t), t.padding_mode),
    "RandomCrop": lambda t: RandomCrop(_size(t), t.padding, t.pad_if_needed, _fill(t), t.padding_mode),
    "RandomResizedCrop": lambda t: RandomResizedCrop(_size(t), tuple(t.scale), tuple(t.ratio), t.interpolation),
    "RandomHorizontalFlip": lambda t: RandomHorizontalFlip(t.p),
    "RandomVerticalFlip": lambda t: RandomVerticalFlip(t.p),
    "RandomGrayscale": lambda t: RandomGrayscale(t.p),
    "Grayscale": lambda t: Grayscale(t.num_output_channels),
    "ColorJitter": lambda t: ColorJitter(t.brightness, t.contrast, t.saturation, t.hue),
    "RandAugment": lambda t: RandAugment(t.num_ops, t.magnitude, t.num_magnitude_bins, t.interpolation, _fill(t)),
    "TrivialAugmentWide": lambda t: TrivialAugmentWide(t.num_magnitude_bins, t.interpolation, _fill(t)),
    "ToTensor": lambda t: ToDtype("float32", scale=True),
    "ConvertImageDtype": _dtype,
    "ConvertDtype": _dtype,
    "ToDtype": _dtype,
    "Normalize": _normalize,
    "RandomErasing": _erasing,
    **_BATCHES,
}
