"""The smallest window whose order mixes as well as asked for: window="auto"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace import _native

__all__ = ["automatic_window", "distance_from_uniform", "window_target"]

Indices = npt.NDArray[np.int64]
_TARGET = 0.1
_SEGMENTS, _SEGMENT = 1024, 256  # of longer epochs: so many runs of so many positions
_CELL, _MOST_BINS = 32, 64


def window_target(window: str) -> float:
    """The distance that "auto" (0.1) or "auto:0.05" asks for. Raises ValueError for another text."""
    word, colon, number = window.partition(":")
    try:
        target = float(number) if colon else _TARGET
    except ValueError:
        target = -1.0
    if word != "auto" or not 0 < target < 1:
        raise ValueError(f"window must be a number of chunks, 'auto', or 'auto:D' with a distance D between 0 and 1, got {window!r}")
    return target


def automatic_window(target: float, layout: Sequence[tuple[int, int]], seed: int) -> int:
    """The smallest of 1, 2, 4, ... chunks whose order has at most that `distance` (of `headrace.evaluate.order`), else all chunks.

    layout: (samples, samples of a chunk) of each shard. A function of its arguments: every rank and every resumed run finds the same. Looks at epoch 0,
    at 262,144 positions at most. Chunks that are so few that no window mixes them well leave the largest.
    """
    samples = sum(count for count, _ in layout)
    chunks = sum(-(-count // chunk) for count, chunk in layout)
    if samples < 2:
        return 1
    window = 1
    while window < chunks and _distance_of(window, samples, layout, seed) > target:
        window *= 2
    return max(1, min(window, chunks))


def _distance_of(window: int, samples: int, layout: Sequence[tuple[int, int]], seed: int) -> float:
    order = _native.Order(samples, seed, 0, "window", window, [count for count, _ in layout], [chunk for _, chunk in layout])
    if samples <= _SEGMENTS * _SEGMENT:
        positions, found = np.arange(samples, dtype=np.int64), order.indices(0, samples)
    else:
        begins = np.linspace(0, samples - _SEGMENT, _SEGMENTS).astype(np.int64)
        positions = (begins[:, None] + np.arange(_SEGMENT)).reshape(-1)
        found = np.concatenate([order.indices(int(begin), int(begin) + _SEGMENT) for begin in begins])
    bins = max(2, min(_MOST_BINS, math.isqrt(len(found) // _CELL)))
    return distance_from_uniform(positions, found, samples, bins)


def distance_from_uniform(positions: Indices, found: Indices, samples: int, bins: int) -> float:
    """How far samples are from being spread over positions as by a uniform permutation: 0 for that, 1 for the stored order.

    Positions and samples are cut into `bins` equal parts; the total variation distance of the counts of the grid of both from equal counts, less what
    chance makes of it, over what the stored order has.
    """
    # An epoch that draws with replacement may be longer than there are samples: bins of what there is.
    size = max(samples, int(found.max()) + 1)
    cell = (positions * bins // samples) * bins + found * bins // size
    counts = np.bincount(cell, minlength=bins * bins) / len(found)
    spread = 0.5 * float(np.abs(counts - 1 / (bins * bins)).sum())
    # Of a cell of expected count m, the mean absolute deviation is sqrt(2 m / pi).
    chance = 0.5 * bins * math.sqrt(2 / (math.pi * len(found)))
    return max(0.0, min(1.0, (spread - chance) / max(1e-9, 1 - 1 / bins - chance)))
