"""Rank and world size of this process: from arguments, an initialised torch.distributed, or torchrun's environment. Creates no process group."""

from __future__ import annotations

import os
import sys

__all__ = ["find_world"]


def find_world(rank: int | None = None, world_size: int | None = None) -> tuple[int, int]:
    """Return (rank, world size). Raises ValueError if only one is given, or if they do not fit each other."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank and world_size go together, got rank={rank} and world_size={world_size}")
    if rank is not None and world_size is not None:
        found = (rank, world_size)
    else:
        # Looked up, not imported: a process that has not imported torch has no process group.
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            found = (distributed.get_rank(), distributed.get_world_size())
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            found = (_whole("RANK"), _whole("WORLD_SIZE"))
        else:
            found = (0, 1)
    if not 0 <= found[0] < found[1]:
        raise ValueError(f"rank must be in [0, world_size), got rank={found[0]} and world_size={found[1]}")
    return found


def _whole(name: str) -> int:
    text = os.environ[name]
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"the environment variable {name} must be an integer, got {text!r}; give rank= and world_size= to ignore it"
        ) from None
