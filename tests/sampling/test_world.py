"""Rank and world size: arguments first, then torch.distributed, then torchrun's environment, else alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch.distributed

import headrace as hr
from headrace.sampling.world import find_world
from tests.loader.samples import answer_of, ids_of, numbered


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher's environment."""
    for name in list(os.environ):
        if name in ("RANK", "WORLD_SIZE") or name.startswith(("SLURM_", "OMPI_", "HOROVOD_")):
            monkeypatch.delenv(name)


def launched(monkeypatch: pytest.MonkeyPatch, rank: str, world_size: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world_size)


def test_a_process_alone_is_all_of_the_world() -> None:
    assert find_world() == (0, 1)


def test_arguments_precede_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, "1", "2")
    assert find_world() == (1, 2)
    assert find_world(3, 5) == (3, 5)
    assert find_world(0, 1) == (0, 1)


@pytest.mark.parametrize("given", [{"rank": 0}, {"world_size": 2}])
def test_one_of_them_is_not_enough(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rank and world_size go together, got rank="):
        find_world(**given)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_what_does_not_fit_is_refused(rank: int, world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    message = rf"rank must be in \[0, world_size\), got rank={rank} and world_size={world_size}"
    with pytest.raises(ValueError, match=message):
        find_world(rank, world_size)
    launched(monkeypatch, str(rank), str(world_size))
    with pytest.raises(ValueError, match=message):
        find_world()


def test_an_environment_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, "1", "two")
    with pytest.raises(ValueError, match="the environment variable WORLD_SIZE must be an integer, got 'two'"):
        find_world()
    assert find_world(0, 1) == (0, 1)


LAUNCHERS = [  # in the order in which they are asked
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
]


def test_launchers_are_asked_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (rank, size) in reversed(list(enumerate(LAUNCHERS))):
        monkeypatch.setenv(size, str(number + 10))
        if rank != "SLURM_PROCID":
            before = find_world()
            monkeypatch.delenv(rank, raising=False)
            assert find_world() == before  # One of the two is not enough.
        monkeypatch.setenv(rank, "2" if rank == "SLURM_PROCID" else str(number + 3))
        assert find_world() == (int(os.environ[rank]), number + 10)


def test_an_environment_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(
        ValueError, match=r"got rank=4 and world_size=4 \(OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE in the environment\)"
    ):
        find_world()


def test_a_batch_script_of_slurms_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "77", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, value)
    assert find_world() == (0, 1)
    monkeypatch.setenv("SLURM_STEP_ID", "0")  # srun's own
    monkeypatch.setenv("SLURM_PROCID", "5")
    assert find_world() == (5, 8)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "6")  # a step of fewer tasks than the job may have
    assert find_world() == (5, 6)


def test_a_process_group_precedes_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, "7", "9")
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        assert find_world() == (0, 1)
    finally:
        torch.distributed.destroy_process_group()
    assert find_world() == (7, 9)


def test_looking_for_the_world_imports_no_torch() -> None:
    code = "import json, sys; from headrace.sampling.world import find_world; print(json.dumps([find_world(), 'torch' in sys.modules]))"
    assert answer_of(code, env={"RANK": "1", "WORLD_SIZE": "4"}) == [[1, 4], False]


def test_a_loader_takes_its_share_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = numbered(tmp_path / "d", 40)
    launched(monkeypatch, "1", "2")
    loader = hr.DataLoader(dataset, 10)
    assert (loader.rank, loader.world_size, loader.partition.rank, loader.partition.world_size) == (None, None, 1, 2)
    assert ids_of(loader) == [list(range(10, 20)), list(range(30, 40))]
    assert json.loads(json.dumps(loader.state_dict()))["position"] == 40
    stream = dataset.iterable(10)
    assert ids_of(stream) == [list(range(10, 20)), list(range(30, 40))]
    fed = hr.DataLoader(dataset, 10, sampler=range(40))  # A sampler does its own share.
    assert (fed.partition.rank, fed.partition.world_size) == (0, 1)
    assert [i for batch in ids_of(fed) for i in batch] == list(range(40))
