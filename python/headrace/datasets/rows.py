"""Row numbers as users give them, checked against a length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["absolute_rows", "refuse_truth"]


def refuse_truth(index: Any) -> None:
    """Raise TypeError for a bool as an index: it is a whole number only by history."""
    if isinstance(index, bool | np.bool_):
        raise TypeError(f"an index is a whole number, a slice or a sequence of them, got {index}")


def absolute_rows(indices: npt.NDArray[Any], length: int) -> npt.NDArray[np.int64]:
    """One-dimensional integers (negative ones from the end) or a mask of `length`, as int64 from the front. Raises IndexError, TypeError."""
    if indices.shape == (0,):
        return np.empty(0, dtype=np.int64)
    if indices.dtype == np.bool_:
        if indices.shape != (length,):
            raise IndexError(f"a boolean index needs shape ({length},), got {indices.shape}")
        return np.flatnonzero(indices).astype(np.int64)
    if indices.dtype == object and all(isinstance(index, int) for index in indices.flat):
        raise IndexError(f"index {max(indices.flat, key=abs)} is outside the dataset's {length} samples")  # Beyond 64 bits.
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be a one-dimensional sequence of integers, got shape {indices.shape} of {indices.dtype}")
    wrong = indices >= length
    if indices.dtype.kind == "i":
        wrong |= indices < -length
    if wrong.any():
        raise IndexError(f"index {int(indices[wrong][0])} is outside the dataset's {length} samples")
    chosen = indices.astype(np.int64)
    return np.where(chosen < 0, chosen + length, chosen)
