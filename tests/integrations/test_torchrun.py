"""headrace.DataLoader under torchrun, with DDP and FSDP, killed and restarted."""

from __future__ import annotations

from pathlib import Path

import pytest
from integrations.launch import lines_of, torchrun

import headrace as hr


def shares(path: Path, epoch: int, rank: int, world_size: int = 2) -> list[list[int]]:
    """A rank's batches of an epoch, from a loader in this process."""
    loader = hr.DataLoader(hr.open(path), batch_size=4, shuffle=True, seed=3, rank=rank, world_size=world_size)
    loader.set_epoch(epoch)
    return [batch["id"].tolist() for batch in loader]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_killed_rank_costs_no_batch_and_repeats_none(path: Path, tmp_path: Path, kind: str) -> None:
    torchrun("torchrun_job.py", path, tmp_path, kind, 3, restarts=1)
    for rank in range(2):
        *steps, end = lines_of(tmp_path, rank)
        assert [[epoch, ids] for epoch, ids, _ in steps] == [[epoch, ids] for epoch in range(2) for ids in shares(path, epoch, rank)]
        assert end == {"batches": 3, "restarts": 1}  # Of the second attempt: the rest of the second epoch.


def test_the_ranks_read_all_samples(path: Path) -> None:
    both = [i for rank in range(2) for ids in shares(path, 0, rank) for i in ids]
    assert sorted(both) == list(range(42))
