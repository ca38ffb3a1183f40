"""How positions become batches of ranks: against a plain cut of a list, for every small case."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

import headrace as hr
from headrace.sampling.partition import Partition
from tests.loader.samples import ids_of, numbered

CASES = list(itertools.product([0, 1, 2, 5, 16, 17, 23], [1, 2, 3, 8, 30], [1, 2, 3, 4, 7]))


def cut(num_samples: int, batch_size: int, world_size: int, drop_last: bool, uneven: str = "pad") -> list[list[list[int]]]:
    """Batches of positions, [step][rank]: whole global batches, then the rest in equal shares that wrap around to the start, or leave some out."""
    steps = []
    for begin in range(0, num_samples, batch_size * world_size):
        positions = list(range(begin, min(num_samples, begin + batch_size * world_size)))
        whole = len(positions) == batch_size * world_size
        if not whole and drop_last:
            break
        each = batch_size if whole else len(positions) // world_size if uneven == "drop" else math.ceil(len(positions) / world_size)
        if each == 0:
            break
        wrapped = itertools.islice(itertools.chain(positions, itertools.cycle(range(num_samples))), each * world_size)
        steps.append(split(list(wrapped), each))
    return steps


def split(values: list[int], each: int) -> list[list[int]]:
    return [values[i : i + each] for i in range(0, len(values), each)]


UNEVEN = ["pad", "drop", "exact"]


@pytest.mark.parametrize("uneven", UNEVEN)
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_share_is_that_of_a_plain_cut(drop_last: bool, uneven: str) -> None:
    for num_samples, batch_size, world_size in CASES:
        expected = cut(num_samples, batch_size, world_size, drop_last, uneven)
        valid: list[int] = []
        for rank in range(world_size):
            partition = Partition(batch_size=batch_size, rank=rank, world_size=world_size, drop_last=drop_last, uneven=uneven)
            assert partition.num_batches(num_samples) == len(expected), partition
            for step, shares in enumerate(expected):
                begin, count = partition.share(num_samples, step)
                assert [p % num_samples for p in range(begin, begin + count)] == shares[rank], (partition, num_samples, step)
                valid.extend(range(begin, begin + partition.valid(num_samples, step)))
        assert len(valid) == len(set(valid))  # Each position is valid once, and all are, but those that were left out.
        if uneven != "drop" and not drop_last:
            assert sorted(valid) == list(range(num_samples))


def test_steps_left_from_any_position_are_those_of_the_rest() -> None:
    for num_samples, batch_size, world_size in CASES:
        for drop_last in (False, True):
            partition = Partition(batch_size=batch_size, world_size=world_size, drop_last=drop_last)
            for position in range(0, num_samples + 1, batch_size * world_size):
                assert partition.num_batches(num_samples, position) == len(cut(num_samples - position, batch_size, world_size, drop_last))
            assert partition.num_batches(num_samples, num_samples + 1) == 0


@pytest.mark.parametrize("uneven", UNEVEN)
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_engine_cuts_the_same_shares(tmp_path: Path, drop_last: bool, uneven: str) -> None:
    dataset = numbered(tmp_path / "d", 23, chunk_samples=4)
    for batch_size, world_size in [(1, 1), (3, 2), (8, 3), (2, 7), (30, 4), (23, 1), (1, 23), (1, 30)]:
        expected = cut(23, batch_size, world_size, drop_last, uneven)
        for rank in range(world_size):
            loader = hr.DataLoader(dataset, batch_size, drop_last=drop_last, rank=rank, world_size=world_size, uneven=uneven)
            batches = list(loader)
            assert ids_of(batches) == [shares[rank] for shares in expected]
            assert len(loader) == len(expected)
            if uneven == "exact":
                counts = [batch["valid"].sum().item() for batch in batches]
                assert counts == [loader.partition.valid(23, step) for step in range(len(expected))]


def test_impossible_partitions_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Partition(batch_size=0)
    for rank, world_size in [(2, 2), (-1, 2), (0, 0)]:
        with pytest.raises(ValueError, match=rf"rank must be in \[0, {world_size}\), got {rank}"):
            Partition(batch_size=1, rank=rank, world_size=world_size)
