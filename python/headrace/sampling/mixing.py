"""The order of several sources mixed in fixed shares.

Depends on numpy and the native core only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native

__all__ = ["MixedOrder", "slots_of"]

_LONGEST = 4096  # slots of a cycle


class MixedOrder:
    """Which sample of which source stands at each position of an epoch, a function of (seed, epoch, position).

    Positions come in cycles that hold each source exactly in its share. Within an epoch a source gives each of its samples once before any comes again.
    weights: one number a source, or a function of the epoch that gives them; None: each source as often as it has samples, which come once each. Shares are
    exact where they have a common denominator up to 4096, else the nearest with such a one; no source of a weight above 0 is left out.
    sources: (first sample, samples, step) each, in the numbers of the dataset that holds them all.
    """

    name = "mixed"  # to the engine

    def __init__(
        self,
        sources: Sequence[tuple[int, int, int]],
        weights: npt.ArrayLike | Callable[[int], npt.ArrayLike] | None,
        num_samples: int | None = None,
    ) -> None:
        self.sources = [(int(begin), int(size), int(step)) for begin, size, step in sources]
        samples = sum(size for _, size, _ in self.sources)
        if num_samples is not None and not 1 <= num_samples <= 1 << 48:
            raise ValueError(f"num_samples must be at least 1 and at most 2^48, got {num_samples}")
        self.num_samples = samples if num_samples is None else num_samples
        if self.num_samples == 0:
            raise ValueError("the sources have no samples")
        self.set_weights(weights)

    def set_weights(self, weights: Any) -> None:
        """Other shares, from the next pass on. Raises ValueError for weights that do not fit the sources; of a function, when an epoch asks for them."""
        if weights is not None and not callable(weights):
            self._slots_for(weights)  # Refused here, with what was there before kept.
            weights = np.array(weights, dtype=np.float64)
        self._weights = weights
        self._made: tuple[int, list[int], _native.Mixture] | None = None

    def slots(self, epoch: int) -> list[int]:
        """Places of each source in a cycle of an epoch; all 0 without weights."""
        return self._at(epoch)[0]

    def native(self, epoch: int) -> _native.Mixture:
        """What the engine follows in an epoch."""
        return self._at(epoch)[1]

    def _at(self, epoch: int) -> tuple[list[int], _native.Mixture]:
        key = epoch if callable(self._weights) else -1
        if self._made is None or self._made[0] != key:
            slots = self._slots_for(self._weights(epoch) if callable(self._weights) else self._weights)
            self._made = key, slots, _native.Mixture([(*source, count) for source, count in zip(self.sources, slots, strict=True)])
        return self._made[1:]

    def _slots_for(self, weights: Any) -> list[int]:
        if weights is None:
            return [0] * len(self.sources)
        array = np.asarray(weights, dtype=np.float64)
        if array.shape != (len(self.sources),):
            raise ValueError(f"weights have shape {array.shape} for {len(self.sources)} sources; expected one number each")
        if not np.isfinite(array).all() or (array < 0).any() or array.sum() <= 0:
            raise ValueError(f"weights must be finite, not negative and not all 0, got {array.tolist()}")
        empty = [i for i, (_, size, _) in enumerate(self.sources) if size == 0 and array[i] > 0]
        if empty:
            raise ValueError(f"source {empty[0]} is empty, and has the weight {array[empty[0]]}")
        return slots_of(array)

    def describe(self, epoch: int) -> str:
        """The shares in an epoch, equal for equal ones: what a saved place is compared by."""
        if not any(self.slots(epoch)):
            return "by size"
        text = ":".join(map(str, self.slots(epoch)))
        return text if len(text) <= 100 else hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def indices(self, begin: int = 0, end: int | None = None, *, seed: int = 0, epoch: int = 0) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end) of an epoch, shape (end - begin,), int64; any position is computed alone. Raises ValueError."""
        return self.native(epoch).indices(seed, epoch, begin, self.num_samples if end is None else end)

    def source_of(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The number of the source of each sample, int64, the shape of `indices`."""
        begins = np.array([begin for begin, _, _ in self.sources], dtype=np.int64)
        # Of sources that begin at the same sample all but the last are empty.
        return np.searchsorted(begins, np.asarray(indices), side="right") - 1

    def __len__(self) -> int:
        return self.num_samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


def slots_of(weights: npt.NDArray[np.float64]) -> list[int]:
    """Whole numbers nearly in proportion to weights, which are finite, not negative and not all 0; their sum, the length of a cycle, is at most 4096.

    The smallest that are exact (to 1e-9), else the nearest. Raises ValueError for more than 4096 weights above 0.
    """
    shares = weights / weights.sum()
    used = shares > 0
    if used.sum() > _LONGEST:
        raise ValueError(f"{used.sum()} sources have a weight; at most {_LONGEST} can be mixed")
    best, best_error = np.zeros(0), np.inf
    for cycle in range(int(used.sum()), _LONGEST + 1):
        counts = np.maximum(np.floor(shares * cycle), used)
        rest = cycle - int(counts.sum())
        while rest < 0:  # from those that have most
            most = int(np.argmax(counts))
            given = min(-rest, int(counts[most]) - 1)
            counts[most] -= given
            rest += given
        counts[np.argsort(counts - shares * cycle, kind="stable")[:rest]] += 1  # to those that lost most
        error = float(np.abs(counts / cycle - shares).max())
        if error < best_error - 1e-12:
            best, best_error = counts, error
        if best_error < 1e-9:
            break
    return [int(count) for count in best]
