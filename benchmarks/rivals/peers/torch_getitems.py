"""torch's DataLoader on a dataset with `__getitems__`: whole batches in one call, the best that torch can be given."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.rivals.peers import torch_map_style
from benchmarks.rivals.peers.samples import Arrays


class WholeBatches(torch_map_style.OneByOne):
    """Gathers a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> Any:
        """The finished batch of these samples."""
        return tuple(value if isinstance(value, list) else torch.from_numpy(value) for value in self.arrays.batch(indices))


def as_is(batch: Any) -> Any:
    """The batch is finished."""
    return batch


class Peer(torch_map_style.Peer):
    """The same loader with one call a batch."""

    name = "torch, __getitems__"

    def make_dataset(self, arrays: Arrays) -> Any:
        """The dataset that the loader reads."""
        return WholeBatches(arrays, self.shape.samples)

    def collate(self) -> Any:
        """None is needed."""
        return as_is
