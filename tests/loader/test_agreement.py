"""Ranks that would read different epochs are told so before they begin: two processes and a real process group."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.loader.samples import numbered

RANK = """
import json, sys, warnings
import torch.distributed as dist
import headrace as hr
from headrace.loader import agreement
from torch.distributed.device_mesh import init_device_mesh

store, rank, world, path, case = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
calls = []
gather = dist.all_gather
dist.all_gather = lambda *a, **k: calls.append(1) or gather(*a, **k)
odd = rank == 1
options = dict(batch_size=5, shuffle=True, seed=3)
if case.startswith("mesh"):
    options["mesh"] = init_device_mesh("cpu", (world // 2, 2), mesh_dim_names=("dp", "tp"))
changes = {"batch": {"batch_size": 6}, "seed": {"seed": 2**64 - 1}, "order": {"order": "window"}, "uneven": {"uneven": "drop"},
           "share": {"rank": 0, "world_size": world}, "off": {"batch_size": 6, "check_ranks": False}}
if case == "off":
    options["check_ranks"] = False
if odd:
    options.update(changes.get(case, {}))
loader = hr.DataLoader(hr.open(path + ("2" if odd and case == "dataset" else "")), **options)
if odd and case == "epoch" or case == "mesh-epoch" and rank >= 2:
    loader.set_epoch(4)
if odd and case == "place":
    state = loader.state_dict()
    loader.load_state_dict({**state, "position": 20})
said = {"error": None, "ids": []}
try:
    if case == "alone" and odd:
        alone = hr.DataLoader(hr.open(path), batch_size=5, rank=0, world_size=1)
        assert len(list(alone)) == 9  # Nobody to ask.
    for _ in range(2):
        said["ids"] += [i for batch in loader for i in batch["id"].tolist()]
except hr.RanksDifferError as error:
    said["error"] = str(error)
said["calls"] = len(calls)
dist.barrier()
dist.destroy_process_group()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 numbered samples, and beside them a dataset of as many others."""
    path = tmp_path_factory.mktemp("ranks") / "d"
    numbered(path, 42)
    numbered(path.with_name("d2"), 42, chunk_samples=7)
    return path


def run(path: Path, store: Path, case: str, world: int = 2) -> list[dict[str, Any]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, store, str(rank), str(world), path, case], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for rank in range(world)
    ]
    ended = [process.communicate(timeout=120) for process in started]  # against hanging, not a measure
    assert [process.returncode for process in started] == [0] * world, ended
    return [json.loads(out) for out, _ in ended]


@pytest.mark.parametrize("case", ["same", "alone"])
def test_ranks_that_agree_read_each_sample_once(path: Path, tmp_path: Path, case: str) -> None:
    ranks = run(path, tmp_path / "store", case)
    assert [rank["error"] for rank in ranks] == [None, None]
    assert [rank["calls"] for rank in ranks] == [2, 2]  # one a pass
    assert sorted(i for rank in ranks for i in rank["ids"][: len(rank["ids"]) // 2]) == list(range(42))


@pytest.mark.parametrize(
    ("case", "difference"),
    [
        ("batch", "rank 1: steps is 4, not 5, batch_size is 6, not 5"),
        ("seed", f"rank 1: seed is {2**64 - 1}, not 3"),
        ("epoch", "rank 1: epoch is 4, not 0"),
        ("place", "rank 1: position is 20, not 0, steps is 3, not 5"),
        ("order", "rank 1: another order (shuffle, order, window, weights of samples or sources)"),
        ("uneven", "rank 1: another remainder (drop_last, uneven)"),
        ("dataset", "rank 1: another dataset"),
        ("share", "ranks 0, 1 read the shares 0, 0: some twice, others never"),
    ],
)
def test_who_differs_in_what_is_named_on_every_rank(path: Path, tmp_path: Path, case: str, difference: str) -> None:
    ranks = run(path, tmp_path / "store", case)
    for rank in ranks:
        assert rank["error"].startswith(f"the ranks do not begin the same pass; {difference}. Every rank needs"), rank
        assert "check_ranks=False" in rank["error"]
        assert rank["ids"] == []


def test_the_check_can_be_turned_off(path: Path, tmp_path: Path) -> None:
    ranks = run(path, tmp_path / "store", "off")
    assert [(rank["error"], rank["calls"]) for rank in ranks] == [(None, 0), (None, 0)]


def test_ranks_of_a_mesh_are_compared_along_its_data_dimensions(path: Path, tmp_path: Path) -> None:
    ranks = run(path, tmp_path / "store", "mesh", world=4)
    assert [rank["error"] for rank in ranks] == [None] * 4
    assert ranks[0]["ids"] == ranks[1]["ids"]
    assert ranks[2]["ids"] == ranks[3]["ids"]
    assert sorted(ranks[0]["ids"][:21] + ranks[2]["ids"][:21]) == list(range(42))


def test_ranks_of_a_mesh_that_differ_are_named(path: Path, tmp_path: Path) -> None:
    ranks = run(path, tmp_path / "store", "mesh-epoch", world=4)
    for number, rank in enumerate(ranks):
        assert f"; rank {number % 2 + 2}: epoch is 4, not 0. Every rank" in rank["error"]
