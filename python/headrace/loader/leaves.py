"""The tensors of a batch, wherever they stand in it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from types import NoneType
from typing import Any

import torch

__all__ = ["map_leaves"]

_HOST_TYPES = frozenset({str, bytes, NoneType, bool, int, float})


def map_leaves(data: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same containers with leaf(x) for each tensor, and for each other object that has `.to()`; anything else stays as it is.

    Types are kept as torch's pin_memory() keeps them: mappings, named tuples, tuples, sequences, and subclasses of these.
    """
    if isinstance(data, torch.Tensor):
        return leaf(data)
    if isinstance(data, str | bytes | bytearray | memoryview):
        return data
    if isinstance(data, Mapping):
        mapped = {key: map_leaves(value, leaf) for key, value in data.items()}
        return _rebuilt(data, mapped) if type(data) is not dict else mapped
    if callable(getattr(data, "to", None)):
        return leaf(data)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(map_leaves(value, leaf) for value in data))
    if isinstance(data, Sequence):
        # Strings of a whole batch, most often: no Python step for each.
        if type(data) in (list, tuple) and _HOST_TYPES.issuperset(map(type, data)):
            return data
        values = [map_leaves(value, leaf) for value in data]
        return _rebuilt(data, values) if type(data) is not list else values
    return data


def _rebuilt(data: Any, values: Any) -> Any:
    """`values` in a container of the type of `data`, or as they are where that type cannot be made so."""
    try:
        if isinstance(data, MutableMapping):  # Its type may have more to it than its items.
            clone = copy.copy(data)
            clone.update(values)
            return clone
        if isinstance(data, MutableSequence):
            changed = copy.copy(data)
            for i, value in enumerate(values):
                changed[i] = value
            return changed
        return type(data)(values)
    except TypeError:
        return values
