"""Datasets of many shards: what open() finds, and what the first use of a shard does."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headrace as hr

SHARDS, ROWS = 40, 64  # of each; open() looks inside the first 32
LATE = SHARDS - 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """40 shards of one chunk."""
    hr.write(tmp_path / "d", {"y": np.arange(SHARDS * ROWS)}, codec="none", chunk_samples=ROWS, shard_bytes=8 * ROWS)
    assert len(hr.open(tmp_path / "d").native.shards) == SHARDS
    return tmp_path / "d"


def shard_file(path: Path, number: int) -> Path:
    """The file that holds samples [number * ROWS, (number + 1) * ROWS)."""
    first = struct.pack("<q", number * ROWS)
    return next(file for file in path.glob("*.hrs") if file.read_bytes()[4096:8192].find(first + struct.pack("<q", number * ROWS + 1)) >= 0)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


@pytest.mark.parametrize("number", [0, LATE])
@pytest.mark.parametrize(("damage", "error"), [(Path.unlink, hr.NotFoundError), (cut, ValueError), (grow, ValueError)])
def test_open_finds_a_file_that_is_missing_or_of_another_size(
    path: Path, number: int, damage: Callable[[Path], None], error: type[Exception]
) -> None:
    file = shard_file(path, number)
    damage(file)
    with pytest.raises(error, match=file.name):
        hr.open(path)


def test_a_damaged_index_is_found_by_open_or_by_the_first_use_of_its_shard(path: Path) -> None:
    for number, at_open in ((LATE, False), (0, True)):
        file = shard_file(path, number)
        data = bytearray(file.read_bytes())
        (index,) = struct.unpack_from("<Q", data, len(data) - 128 + 56)
        data[index + 16] ^= 1
        file.write_bytes(data)
        if at_open:
            with pytest.raises(hr.CorruptDataError, match=file.name):
                hr.open(path)
            continue
        dataset = hr.open(path)
        assert dataset[LATE * ROWS - 1]["y"] == LATE * ROWS - 1
        for _ in range(2):
            with pytest.raises(hr.CorruptDataError, match=file.name):
                dataset[LATE * ROWS]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_threads_open_shards_side_by_side(path: Path, workers: int) -> None:
    before = hr.num_threads()
    hr.set_num_threads(8)
    try:
        for epoch in range(5):
            loader = hr.DataLoader(hr.open(path), 33, True, num_workers=workers, seed=epoch)
            assert sorted(int(y) for batch in loader for y in batch["y"]) == list(range(SHARDS * ROWS))
    finally:
        hr.set_num_threads(before)
