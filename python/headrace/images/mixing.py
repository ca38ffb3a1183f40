"""Transforms of a whole batch: images mixed with each other, labels as shares of the classes. They end a Compose.

Arguments and distributions are those of torchvision.transforms.v2: a share is drawn once a batch from Beta(alpha, alpha), and each sample is mixed with
the one before it, the first with the last. Draws depend on the loader's seed, the epoch and the batch's samples alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.images.transforms import Step, Transform

__all__ = ["MIXES", "BatchTransform", "CutMix", "MixUp", "RandomApply", "RandomChoice"]

Choice = tuple[str, float, float]  # kind, alpha, weight


@dataclass(frozen=True)
class BatchTransform(Transform):
    """What happens to a batch after its images are made."""

    def step(self) -> Step:
        """None: it is no step of an image."""
        raise TypeError(f"{type(self).__name__} works on batches, not on images")

    def choices(self) -> list[Choice]:
        """What the engine chooses from for each batch."""
        raise NotImplementedError

    @property
    def classes(self) -> int | None:
        """num_classes; None if it was not given."""
        return getattr(self, "num_classes", None)

    @property
    def label_field(self) -> str | None:
        """labels_getter; None if it was not given."""
        return getattr(self, "labels_getter", None)


@dataclass(frozen=True)
class _Mix(BatchTransform):
    alpha: Any = 1.0
    num_classes: int | None = None
    labels_getter: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha!r}; expected a number above 0")
        if self.num_classes is not None:
            if isinstance(self.num_classes, bool) or not hasattr(self.num_classes, "__index__") or int(self.num_classes) < 1:
                raise ValueError(f"num_classes is {self.num_classes!r}; expected a whole number from 1 on, or None")
            self._set(num_classes=int(self.num_classes))
        getter = None if self.labels_getter == "default" else self.labels_getter
        if getter is not None and not isinstance(getter, str):
            raise ValueError(f"labels_getter is {getter!r}; expected the name of the field of labels")
        self._set(alpha=float(self.alpha), labels_getter=getter)

    def choices(self) -> list[Choice]:
        """This one, always."""
        return [(type(self).__name__.lower(), self.alpha, 1.0)]


@dataclass(frozen=True)
class MixUp(_Mix):
    """Each image becomes share * itself + (1 - share) * the one before it, and its label, float32 (num_classes,), likewise. For floats: after ToDtype.

    alpha: of Beta(alpha, alpha). num_classes: default the number of the dataset's `classes`.
    labels_getter: name of the field of labels, one integer a sample below num_classes; default the field called label, labels, target or targets, or else
        the only field of single integers.
    """


@dataclass(frozen=True)
class CutMix(_Mix):
    """A random box of each image is replaced by that of the one before it; labels, float32 (num_classes,), are mixed by area. Arguments as for MixUp."""


@dataclass(frozen=True)
class _Chooser(BatchTransform):
    transforms: Any

    def _check(self) -> None:
        given = self.transforms if isinstance(self.transforms, Sequence) else [self.transforms]
        inner = tuple(_made(item) for item in given)
        wrong = [item for item in inner if not isinstance(item, BatchTransform)]
        if not inner or wrong:
            raise ValueError(f"transforms is {self.transforms!r}; expected MixUp and CutMix, which work on whole batches")
        for name in ("classes", "label_field"):
            if len({getattr(item, name) for item in inner}) > 1:
                raise ValueError(
                    f"{' and '.join(map(repr, inner))} differ in their labels; expected the same num_classes and labels_getter"
                )
        self._set(transforms=inner)

    @property
    def classes(self) -> int | None:
        """That of the transforms to choose from."""
        return self.transforms[0].classes  # type: ignore[no-any-return]

    @property
    def label_field(self) -> str | None:
        """That of the transforms to choose from."""
        return self.transforms[0].label_field  # type: ignore[no-any-return]

    def to_dict(self) -> dict[str, Any]:
        """Name and arguments, as plain values for JSON."""
        return {**super().to_dict(), "transforms": [item.to_dict() for item in self.transforms]}


@dataclass(frozen=True)
class RandomChoice(_Chooser):
    """One of several, drawn for each batch; p: a weight each, default equal ones."""

    p: Any = None

    def __post_init__(self) -> None:
        self._check()
        weights = [1.0] * len(self.transforms) if self.p is None else [float(p) for p in self.p]
        if len(weights) != len(self.transforms) or not all(0 < p < math.inf for p in weights):
            raise ValueError(f"p is {self.p!r}; expected a number above 0 for each of the {len(self.transforms)} transforms")
        self._set(p=tuple(p / sum(weights) for p in weights))

    def choices(self) -> list[Choice]:
        """Those of the transforms, in proportion."""
        return _weighted(zip(self.transforms, self.p, strict=True))


@dataclass(frozen=True)
class RandomApply(_Chooser):
    """The one transform in the list, to a batch with probability p; labels become shares in any case."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._check()
        if len(self.transforms) != 1 or not 0 < self.p <= 1:
            raise ValueError(f"transforms is {self.transforms!r}, p is {self.p!r}; expected one transform, and a probability above 0")

    def choices(self) -> list[Choice]:
        """Those of the transform, or none."""
        nothing: list[Choice] = [] if self.p == 1 else [("none", 1.0, 1.0 - self.p)]
        return _weighted([(self.transforms[0], self.p)]) + nothing


def _weighted(pairs: Any) -> list[Choice]:
    return [
        (kind, alpha, share * weight / sum(inner[2] for inner in item.choices()))
        for item, share in pairs
        for kind, alpha, weight in item.choices()
    ]


def _made(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    arguments = dict(item)
    kind = MIXES.get(str(arguments.pop("name", None)))
    if kind is None:
        raise ValueError(f"{dict(item)!r} is none of {', '.join(MIXES)}")
    return kind(**arguments)


MIXES: dict[str, type[BatchTransform]] = {kind.__name__: kind for kind in (MixUp, CutMix, RandomChoice, RandomApply)}
