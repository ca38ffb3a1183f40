"""What a batch brings beside the dataset's fields: which of its samples are valid, and which source each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headrace import _native

if TYPE_CHECKING:
    from headrace.loader.engine_loader import EngineLoader

__all__ = ["VALID", "add_extras", "add_to_batch", "valid_mask"]

VALID = "valid"


def valid_mask(batch: _native.Batch) -> torch.Tensor:
    """True for the samples that are this rank's share of the epoch, False for those repeated to fill it up; bool, shape (len,), its own memory."""
    mask = torch.zeros(len(batch), dtype=torch.bool)
    mask[: batch.valid_samples] = True
    return mask


def add_extras(loader: EngineLoader, host: Any, batch: _native.Batch) -> Any:
    """A batch with the source of each sample, if the mixture names a field for it, and with the mask of uneven="exact", last."""
    name = getattr(loader.source, "source_name", None)
    if name is not None:
        host = add_to_batch(host, name, torch.from_numpy(loader.source.source_of(batch.indices)))  # type: ignore[union-attr]
    return add_to_batch(host, VALID, valid_mask(batch)) if loader.uneven == "exact" else host


def add_to_batch(batch: Any, name: str, value: torch.Tensor) -> Any:
    """Put one more tensor into a batch: under its name in a dict, last in a tuple or list, else as the pair (batch, tensor).

    Raises ValueError if a dict has that name already.
    """
    if isinstance(batch, dict):
        if name in batch:
            raise ValueError(
                f"the batch has a field {name!r} of its own, where the loader would put its own tensor of that name; leave the field out"
            )
        return {**batch, name: value}
    if isinstance(batch, list):
        return [*batch, value]
    return (*batch, value) if type(batch) is tuple else (batch, value)
