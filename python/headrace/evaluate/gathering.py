"""Rows of all ranks together, on each of them. Nothing is pickled."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["gather_rows", "place"]


def place() -> tuple[int, int]:
    """(rank, world size) of torch.distributed if it is initialised, else (0, 1)."""
    distributed = _distributed()
    return (0, 1) if distributed is None else (distributed.get_rank(), distributed.get_world_size())


def _distributed() -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed


def gather_rows(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows of every rank, those of rank 0 first: one collective that each rank takes part in. All have the same dtype and width.

    Ranks may have different numbers of rows, none too. Without torch.distributed the rows as they are.
    """
    distributed = _distributed()
    if distributed is None or distributed.get_world_size() == 1:
        return rows
    import torch

    device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else torch.device("cpu")
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(lengths, torch.tensor([len(rows)], dtype=torch.int64, device=device))
    longest = max(int(length) for length in lengths)
    # As bytes: every dtype travels alike.
    width = int(rows.itemsize * np.prod(rows.shape[1:], dtype=np.int64))
    own = torch.zeros((longest, width), dtype=torch.uint8, device=device)
    raw = np.frombuffer(bytearray(rows.tobytes()), np.uint8).reshape(len(rows), width)
    own[: len(rows)] = torch.from_numpy(raw).to(device)
    parts = [torch.empty_like(own) for _ in lengths]
    distributed.all_gather(parts, own)
    whole = np.concatenate([part[: int(length)].cpu().numpy() for part, length in zip(parts, lengths, strict=True)])
    return whole.view(rows.dtype).reshape(len(whole), *rows.shape[1:])
