"""Shares in a device mesh: from its data dimensions alone, with real meshes over a process group that talks to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

import headrace as hr
from headrace.sampling.mesh import find_in_mesh, find_share
from tests.loader.samples import ids_of, numbered

WORLD = 8


@pytest.fixture
def rank(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process group of 8, seen from one of its ranks."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=request.param, world_size=WORLD)
    yield request.param
    torch.distributed.destroy_process_group()


everyone = pytest.mark.parametrize("rank", range(WORLD), indirect=True)


@everyone
def test_ranks_of_one_data_place_read_the_same(rank: int) -> None:
    mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("dp_replicate", "dp_shard", "tp"))
    assert find_in_mesh(mesh) == (rank // 2, 4)
    assert find_in_mesh(mesh["dp_replicate", "dp_shard"]) == (rank // 2, 4)
    assert find_in_mesh(mesh["dp_shard"]) == (rank // 2 % 2, 2)
    assert find_in_mesh(mesh["tp"]) == (0, 1)
    assert find_in_mesh(init_device_mesh("cpu", (2, 4), mesh_dim_names=("pp", "dp"))) == (rank % 4, 4)
    assert find_in_mesh(init_device_mesh("cpu", (WORLD,))) == (rank, WORLD)
    assert find_in_mesh(init_device_mesh("cpu", (WORLD,), mesh_dim_names=("workers",))) == (rank, WORLD)


@pytest.mark.parametrize("rank", [5], indirect=True)
def test_what_does_not_say_which_ranks_read_alike_is_refused(rank: int) -> None:
    mesh = init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "ring"))
    with pytest.raises(ValueError, match="'dp', 'ring', and 'ring' does not say"):
        find_in_mesh(mesh)
    assert find_in_mesh(mesh["dp"]) == (1, 2)
    with pytest.raises(ValueError, match="2 dimensions without names"):
        find_in_mesh(init_device_mesh("cpu", (2, 4)))
    with pytest.raises(ValueError, match="not in the mesh"):
        find_in_mesh(DeviceMesh("cpu", [0, 1]))
    with pytest.raises(TypeError, match="must be a torch DeviceMesh, got str"):
        find_in_mesh("dp")
    with pytest.raises(ValueError, match="leave rank= and world_size= out"):
        find_share(0, 2, mesh["dp"])


@everyone
def test_a_loader_reads_the_share_of_its_data_place(rank: int, tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "d", 48)
    mesh = init_device_mesh("cpu", (4, 2), mesh_dim_names=("dp", "tp"))
    groups = len(torch.distributed.distributed_c10d._world.pg_map)
    loader = hr.DataLoader(dataset, 3, mesh=mesh, check_ranks=False)
    assert (loader.mesh, loader.rank, loader.partition.rank, loader.partition.world_size) == (mesh, None, rank // 2, 4)
    begin = rank // 2 * 3
    assert ids_of(loader) == [list(range(step + begin, step + begin + 3)) for step in range(0, 48, 12)]
    assert len(torch.distributed.distributed_c10d._world.pg_map) == groups
    with pytest.raises(ValueError, match="mesh and uneven cut headrace's own order"):
        hr.DataLoader(dataset, 3, sampler=range(48), mesh=mesh)
