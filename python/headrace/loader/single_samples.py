"""Samples one by one, as batch_size=None delivers them: what torch's default_convert makes of them, and what it cannot convert as batches have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.utils.data as data

__all__ = ["convert_sample"]

_default: Any = data.default_convert  # It has no annotations.


def convert_sample(sample: Any) -> Any:
    """Arrays and numbers as tensors, dates and durations as int64 in their own unit, fixed-width texts as str and bytes; dicts and tuples stay such."""
    if isinstance(sample, np.ndarray | np.generic):
        if sample.dtype.kind in "mM":
            return torch.as_tensor(np.asarray(sample).view(np.int64))
        return sample.tolist() if sample.dtype.kind in "SU" else _default(sample)
    if type(sample) is dict:
        return {key: convert_sample(value) for key, value in sample.items()}
    if type(sample) in (tuple, list):
        # Lists, as default_convert makes of tuples that have no names.
        return [convert_sample(value) for value in sample]
    return _default(sample)
