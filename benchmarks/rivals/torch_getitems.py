"""torch's DataLoader on a dataset with `__getitems__`: whole batches in one call, the best that torch can be given."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.rivals.torch_map_style import MapStyle, TorchMapStyle
from benchmarks.workloads.tabular import Tabular


class BatchStyle(MapStyle):
    """Gathers a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> Any:
        """The finished batch of these samples."""
        chosen = torch.tensor(indices)
        return self.features[chosen], self.labels[chosen]


def as_is(batch: Any) -> Any:
    """The batch is finished."""
    return batch


class TorchGetitems(TorchMapStyle):
    """The same loader with one call a batch."""

    name = "torch, __getitems__"
    collate = staticmethod(as_is)

    def make_dataset(self, workload: Tabular) -> Any:
        """The dataset that the loader reads."""
        return BatchStyle(workload)
