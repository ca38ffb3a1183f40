"""What becomes of a file of an image when it is stored: kept as it is, repacked, made anew as JPEG, or as plain pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace._native import encode_image, image_size, repack_jpeg, xxh3_64
from headrace.errors import HeadraceError

__all__ = ["STORED", "Storing", "storing_of"]

STORED = ("as-is", "jpeg", "raw")
DEFAULT_QUALITY = 90


@dataclass(frozen=True)
class Storing:
    """How images are stored; `shares` sum to 1. Which image is of which share depends on its number alone. Any thread may call it."""

    shares: tuple[tuple[str, float], ...] = (("as-is", 1.0),)
    max_side: int = 0
    quality: int = DEFAULT_QUALITY
    repacks: bool = False

    def __call__(self, number: int, image: bytes) -> bytes:
        """The bytes to store for image `number`. What cannot be decoded stays as it is: it is an error where it is read."""
        kind = self.kind(number)
        try:
            if kind == "raw":
                return encode_image(image, max_side=self.max_side, pixels=True)
            if kind == "jpeg" or (self.max_side and max(image_size(image)) > self.max_side):
                return encode_image(image, max_side=self.max_side, quality=self.quality)
            return repack_jpeg(image) if self.repacks else image
        except HeadraceError:
            return image

    def kind(self, number: int) -> str:
        """Its share, one of STORED."""
        at = xxh3_64(number.to_bytes(8, "little")) / 2.0**64
        for kind, share in self.shares:
            if at < share:
                return kind
            at -= share
        return self.shares[-1][0]

    @property
    def keeps_all(self) -> bool:
        """Whether every image is stored as it is."""
        return not (self.max_side or self.repacks) and all(kind == "as-is" for kind, _ in self.shares)


def storing_of(repack: str | None, max_side: int | None, quality: int | None, store: Any) -> Storing:
    """What convert()'s options say. Raises ValueError."""
    if repack not in (None, "lossless"):
        raise ValueError(f"repack is {repack!r}; expected 'lossless' or None")
    if max_side is not None and (isinstance(max_side, bool) or not hasattr(max_side, "__index__") or not 1 <= int(max_side) < 1 << 16):
        raise ValueError(f"max_side is {max_side!r}; expected a whole number of pixels from 1 to 65535")
    if quality is not None and (isinstance(quality, bool) or not hasattr(quality, "__index__") or not 1 <= int(quality) <= 100):
        raise ValueError(f"quality is {quality!r}; expected a whole number from 1 to 100")
    if store is None:
        store = "as-is" if quality is None or max_side is not None else "jpeg"
    shares = dict(store) if isinstance(store, Mapping) else {store: 1.0}
    if not shares or any(kind not in STORED for kind in shares):
        raise ValueError(f"store is {store!r}; expected one of {', '.join(STORED)}, or a share of each by name")
    if any(not 0 <= share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"store is {store!r}; expected shares from 0 to 1 that are 1 together")
    if quality is not None and max_side is None and not shares.get("jpeg"):
        raise ValueError(f"quality is {quality!r}, and no image is made anew as JPEG: give max_side, or a share of 'jpeg' in store")
    chosen = tuple((kind, float(share)) for kind, share in shares.items() if share > 0)
    return Storing(chosen, int(max_side or 0), DEFAULT_QUALITY if quality is None else int(quality), repack is not None)
