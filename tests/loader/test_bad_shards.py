"""Shards that turn out to be damaged when they are first used: each of their samples is an error of its own, whatever the threads and readers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr

SHARDS, ROWS = 40, 16  # of each; open() looks inside the first 32
BAD = 37
BAD_ROWS = list(range(BAD * ROWS, (BAD + 1) * ROWS))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 shards of one chunk; the index of shard 37 is damaged, which open() does not see."""
    path = tmp_path_factory.mktemp("shards") / "d"
    ids = np.arange(SHARDS * ROWS)
    hr.write(path, {"id": ids, "text": [f"sample {i}" for i in ids]}, codec="none", chunk_samples=ROWS, shard_bytes=8 * ROWS)
    first = struct.pack("<qq", BAD_ROWS[0], BAD_ROWS[1])
    file = next(file for file in path.glob("*.hrs") if first in file.read_bytes()[4096:8192])
    data = bytearray(file.read_bytes())
    (index,) = struct.unpack_from("<Q", data, len(data) - 128 + 56)
    data[index + 16] ^= 1
    file.write_bytes(data)
    return path


def outcome(path: Path, workers: int, reader: str = "mmap", **options: Any) -> tuple[list[list[int]], list[int], int]:
    loader = hr.DataLoader(hr.open(path, reader=reader), 33, True, seed=5, num_workers=workers, **options)
    batches = [batch["id"].tolist() for batch in loader]
    stats, skipped = loader.stats(), loader.state_dict()["skipped"]
    assert stats["skipped"] == len(skipped)
    return batches, skipped, stats["errors"]


@pytest.mark.parametrize("order", ["global", "window"])
@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_every_sample_of_the_shard_is_an_error_of_its_own(path: Path, policy: str, order: str) -> None:
    expected = outcome(path, 0, on_error=policy, order=order, window=3)
    batches, skipped, errors = expected
    seen = [i for batch in batches for i in batch]
    assert sorted(skipped) == BAD_ROWS
    if policy == "skip":
        assert sorted(seen) == [i for i in range(SHARDS * ROWS) if i not in BAD_ROWS]
        assert errors == ROWS
    else:
        assert len(seen) == SHARDS * ROWS
        assert set(seen) == set(range(SHARDS * ROWS)) - set(BAD_ROWS)
        assert errors >= ROWS  # A draw may meet the shard again.
    for workers, reader in ((1, "mmap"), (2, "mmap"), (8, "mmap"), (0, "pread"), (1, "pread"), (2, "pread"), (8, "pread")):
        assert outcome(path, workers, reader, on_error=policy, order=order, window=3) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_they_count_against_the_budget_and_travel_in_the_state(path: Path, workers: int) -> None:
    with pytest.raises(hr.TooManyErrorsError, match=rf"(?s){ROWS} samples failed, max_errors is {ROWS - 1}.*\.hrs"):
        list(hr.DataLoader(hr.open(path), SHARDS * ROWS, num_workers=workers, on_error="skip", max_errors=ROWS - 1))
    loader = hr.DataLoader(hr.open(path), 64, num_workers=workers, on_error="skip", max_errors=ROWS)
    for _ in range(2):
        assert sum(len(batch["id"]) for batch in loader) == (SHARDS - 1) * ROWS
    again = hr.DataLoader(hr.open(path), 64, on_error="skip", max_errors=ROWS)
    again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert again.stats()["skipped"] == ROWS


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_without_a_policy_the_batch_fails_and_the_pass_goes_on(path: Path, workers: int) -> None:
    loader = hr.DataLoader(hr.open(path), ROWS, num_workers=workers)
    iterator = iter(loader)
    seen = [next(iterator)["id"][0].item() for _ in range(BAD)]
    with pytest.raises(hr.CorruptDataError, match=rf"(?s)step {BAD}.*sample {BAD_ROWS[0]}: .*\.hrs.*and {ROWS - 1} more samples"):
        next(iterator)
    assert [*seen, *(batch["id"][0].item() for batch in iterator)] == [i for i in range(0, SHARDS * ROWS, ROWS) if i != BAD * ROWS]
    assert loader.stats()["errors"] == ROWS


def test_a_sequence_that_reaches_into_the_shard_fails_too(path: Path) -> None:
    numbers = np.arange(SHARDS * ROWS)
    view = hr.open(path).select(["id"]).sequences(4, stride=1)
    loader = hr.DataLoader(view, 10, on_error="skip", num_workers=2)
    seen = [row for batch in loader for row in batch["id"].tolist()]
    assert seen == [
        rows for rows in np.stack([numbers[i : len(numbers) - 3 + i] for i in range(4)], 1).tolist() if not set(rows) & set(BAD_ROWS)
    ]
    assert loader.state_dict()["skipped"] == list(range(BAD_ROWS[0] - 3, BAD_ROWS[-1] + 1))
