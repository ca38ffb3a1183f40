"""Rank and world size of this process. Creates no process group, imports nothing.

What is looked at, the first that says something:
1. the arguments rank= and world_size=, or mesh= (sampling/mesh.py);
2. torch.distributed, once its process group is initialised;
3. the launcher's environment: torchrun (RANK, WORLD_SIZE); Open MPI (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE); Horovod (HOROVOD_RANK,
   HOROVOD_SIZE); Slurm (SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS). Slurm is last, since the others run inside its jobs;
4. else rank 0 of 1.
A launcher that sets one of its variables only, is not looked at. A batch script of Slurm's outside of srun is one process, whatever SLURM_NTASKS says.
"""

from __future__ import annotations

import os
import sys

__all__ = ["find_world"]

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


def find_world(rank: int | None = None, world_size: int | None = None) -> tuple[int, int]:
    """Return (rank, world size). Raises ValueError if only one is given, or if they do not fit each other."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank and world_size go together, got rank={rank} and world_size={world_size}")
    found, place = ((rank, world_size), "") if rank is not None and world_size is not None else _found()
    if not 0 <= found[0] < found[1]:
        raise ValueError(f"rank must be in [0, world_size), got rank={found[0]} and world_size={found[1]}{place}")
    return found


def _found() -> tuple[tuple[int, int], str]:
    """What nobody gave, and where it was found."""
    # Looked up, not imported: a process that has not imported torch has no process group.
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return (distributed.get_rank(), distributed.get_world_size()), ""
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ and not (rank == "SLURM_PROCID" and _is_batch_script()):
            return (_whole(rank), _whole(size)), f" ({rank} and {size} in the environment)"
    return (0, 1), ""


def _is_batch_script() -> bool:
    """Whether this is a job's own script rather than a task of a step: both have the variables of the job."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_STEP_ID" not in os.environ


def _whole(name: str) -> int:
    text = os.environ[name]
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"the environment variable {name} must be an integer, got {text!r}; give rank= and world_size= to ignore it"
        ) from None
