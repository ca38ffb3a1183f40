"""A picture of encoded images, and below each what a transform makes of it: what the model would see."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import HeadraceError, import_extra
from headrace.images.compose import Compose
from headrace.images.transforms import Normalize, ToDtype

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["contact_sheet"]

_GAP = 4
_PAPER = (255, 255, 255)
_DAMAGED = (200, 0, 0)


def contact_sheet(
    encoded: Sequence[bytes | None],
    samples: Sequence[int],
    compose: Compose | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    side: int = 160,
    columns: int = 8,
) -> Image:
    """Draw images in tiles of side x side pixels, `columns` in a row; with `compose`, a second row below each shows what a loader of this seed and epoch
    delivers, its levels turned back into colours. A damaged one is red, a null one empty. samples: their numbers. Raises MissingExtraError without Pillow.
    """
    image = import_extra("PIL.Image", "images", "a contact sheet")
    columns = min(columns, max(1, len(encoded)))
    deep = 1 if compose is None else 2
    rows = math.ceil(len(encoded) / columns)
    step = side + _GAP
    sheet: Image = image.new("RGB", (columns * step + _GAP, max(1, rows) * (deep * step + _GAP) + _GAP), _PAPER)
    for i, (content, sample) in enumerate(zip(encoded, samples, strict=True)):
        left, top = _GAP + i % columns * step, _GAP + i // columns * (deep * step + _GAP)
        if content is None:
            continue
        _paste(sheet, _original(image, content), left, top, side)
        if compose is not None:
            _paste(sheet, _prepared(image, content, compose, seed, epoch, sample), left, top + step, side)
    return sheet


def _original(image: Any, content: bytes) -> Image | None:
    try:
        opened: Image = image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
    return opened


def _prepared(image: Any, content: bytes, compose: Compose, seed: int, epoch: int, sample: int) -> Image | None:
    try:
        values = compose(content, seed=seed, epoch=epoch, sample=sample).astype(np.float32)
    except (HeadraceError, ValueError):
        return None
    values = values if compose.layout == "HWC" else values.transpose(1, 2, 0)
    for transform in compose.transforms[::-1]:
        if isinstance(transform, Normalize):
            values = values * np.array(transform.std, np.float32) + np.array(transform.mean, np.float32)
        elif isinstance(transform, ToDtype) and transform.scale and transform.dtype != "uint8":
            values = values * np.float32(255)
    made: Image = image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    return made


def _paste(sheet: Image, tile: Image | None, left: int, top: int, side: int) -> None:
    if tile is None:
        sheet.paste(_DAMAGED, (left, top, left + side, top + side))
        return
    scale = side / max(tile.size)
    fitted = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))))
    sheet.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
