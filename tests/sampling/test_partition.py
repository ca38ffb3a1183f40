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


def cut(num_samples: int, batch_size: int, world_size: int, drop_last: bool) -> list[list[list[int]]]:
    """Batches of positions, [step][rank]: whole global batches, then the rest in equal shares that wrap around to the start."""
    steps = []
    for begin in range(0, num_samples, batch_size * world_size):
        positions = list(range(begin, min(num_samples, begin + batch_size * world_size)))
        whole = len(positions) == batch_size * world_size
        if not whole and drop_last:
            break
        each = batch_size if whole else math.ceil(len(positions) / world_size)
        wrapped = itertools.islice(itertools.chain(positions, itertools.cycle(range(num_samples))), each * world_size)
        steps.append(split(list(wrapped), each))
    return steps


def split(values: list[int], each: int) -> list[list[int]]:
    return [values[i : i + each] for i in range(0, len(values), each)]


@pytest.mark.parametrize("drop_last", [False, True])
def test_every_share_is_that_of_a_plain_cut(drop_last: bool) -> None:
    for num_samples, batch_size, world_size in CASES:
        expected = cut(num_samples, batch_size, world_size, drop_last)
        for rank in range(world_size):
            partition = Partition(batch_size=batch_size, rank=rank, world_size=world_size, drop_last=drop_last)
            assert partition.num_batches(num_samples) == len(expected), partition
            for step, shares in enumerate(expected):
                begin, count = partition.share(num_samples, step)
                assert [p % num_samples for p in range(begin, begin + count)] == shares[rank], (partition, num_samples, step)


def test_steps_left_from_any_position_are_those_of_the_rest() -> None:
    for num_samples, batch_size, world_size in CASES:
        for drop_last in (False, True):
            partition = Partition(batch_size=batch_size, world_size=world_size, drop_last=drop_last)
            for position in range(0, num_samples + 1, batch_size * world_size):
                assert partition.num_batches(num_samples, position) == len(cut(num_samples - position, batch_size, world_size, drop_last))
            assert partition.num_batches(num_samples, num_samples + 1) == 0


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_engine_cuts_the_same_shares(tmp_path: Path, drop_last: bool) -> None:
    dataset = numbered(tmp_path / "d", 23, chunk_samples=4)
    for batch_size, world_size in [(1, 1), (3, 2), (8, 3), (2, 7), (30, 4), (23, 1), (1, 23), (1, 30)]:
        expected = cut(23, batch_size, world_size, drop_last)
        for rank in range(world_size):
            loader = hr.DataLoader(dataset, batch_size, drop_last=drop_last, rank=rank, world_size=world_size)
            assert ids_of(loader) == [shares[rank] for shares in expected]
            assert len(loader) == len(expected)


def test_impossible_partitions_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Partition(batch_size=0)
    for rank, world_size in [(2, 2), (-1, 2), (0, 0)]:
        with pytest.raises(ValueError, match=rf"rank must be in \[0, {world_size}\), got {rank}"):
            Partition(batch_size=1, rank=rank, world_size=world_size)
