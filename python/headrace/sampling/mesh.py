"""The share of a rank in a torch DeviceMesh: ranks that differ in a data dimension read different data, all others the same.

Imports no torch: the mesh is whatever the caller made. Creates no process group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.sampling.world import find_world

__all__ = ["data_dimensions", "find_in_mesh", "find_share"]

# By the names in use: torchtitan, Lightning, Accelerate, Megatron, torch's own examples.
_DATA = {"dp", "ddp", "fsdp", "hsdp", "data", "data_parallel", "replicate", "shard", "dp_replicate", "dp_shard", "dp_mod_ep", "batch"}
_MODEL = {"tp", "sp", "cp", "pp", "ep", "tensor", "sequence", "context", "pipeline", "expert", "model"}
_MODEL |= {f"{name}_parallel" for name in ("tensor", "sequence", "context", "pipeline", "expert", "model")}


def data_dimensions(mesh: Any) -> list[int]:
    """The dimensions of a mesh along which data differs, by their names. Raises TypeError for what is no mesh, ValueError for names that say nothing.

    A mesh of one dimension, a slice such as mesh["workers"], is that dimension, unless its name is one of tensor, sequence, context, pipeline or expert
    parallelism ("tp", "sp", "cp", "pp", "ep" and longer forms): then every rank reads the same.
    """
    if not hasattr(mesh, "get_coordinate") or not hasattr(mesh, "mesh_dim_names"):
        raise TypeError(f"mesh must be a torch DeviceMesh, got {type(mesh).__name__}")
    names: Sequence[str] | None = mesh.mesh_dim_names
    if names is None:
        if mesh.ndim == 1:
            return [0]
        raise ValueError(
            f"mesh has {mesh.ndim} dimensions without names; name them (mesh_dim_names=) and pass the data dimensions: mesh=mesh['dp']"
        )
    unknown = [name for name in names if name.lower() not in _DATA | _MODEL]
    if unknown and len(names) > 1:
        raise ValueError(
            f"mesh has the dimensions {', '.join(map(repr, names))}, and {unknown[0]!r} does not say whether its ranks read the same data; "
            "pass the data dimensions alone: mesh=mesh['dp'] or mesh=mesh['dp_replicate', 'dp_shard']"
        )
    return [i for i, name in enumerate(names) if name.lower() not in _MODEL]


def find_in_mesh(mesh: Any) -> tuple[int, int]:
    """Return (rank, world size) among the data dimensions of a mesh, the first the slowest. Raises ValueError for a process that is not in the mesh."""
    dimensions = data_dimensions(mesh)
    place = mesh.get_coordinate()
    if place is None:
        raise ValueError("this process is not in the mesh; give its loader rank= and world_size=, or make none here")
    rank, size = 0, 1
    for dimension in dimensions:
        rank = rank * int(mesh.size(dimension)) + int(place[dimension])
        size *= int(mesh.size(dimension))
    return rank, size


def find_share(rank: int | None, world_size: int | None, mesh: Any) -> tuple[int, int]:
    """Return (rank, world size) of whose share a loader reads: as find_world() says, or among a mesh's data dimensions. Raises ValueError, TypeError."""
    if mesh is None:
        return find_world(rank, world_size)
    if rank is not None or world_size is not None:
        raise ValueError("mesh says rank and world size; leave rank= and world_size= out")
    return find_in_mesh(mesh)
