"""prefetch_bytes bounds what batches under way take, though nobody knows the size of a padded batch before its lengths were read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace.errors import HeadraceError

BATCH = 64
LONG = 20_000
BUDGET = 16 << 20
BATCH_BYTES = BATCH * (LONG * 8 + 8)  # padded to its longest: 10 MB, where the mean length says 0.2 MB


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every batch of 64 in turn holds a long sample among short ones; sample i holds i times one."""
    path = tmp_path_factory.mktemp("skewed") / "d"
    lengths = np.full(30 * BATCH, 10)
    lengths[5::BATCH] = LONG
    headrace.write(path, {"x": [np.full(length, float(i)) for i, length in enumerate(lengths)]}, codec="zstd")
    return path


def wait_until_ahead(loader: Any) -> dict[str, Any]:
    """Until what runs ahead stands still."""
    before: dict[str, Any] = {}
    while True:
        stats: dict[str, Any] = loader.stats()
        if before and all(stats[name] == before[name] for name in ("bytes_in_flight", "batches_ready", "blocks_decoded") if name in stats):
            return stats
        before = stats
        time.sleep(0.1)


@pytest.mark.parametrize("reader", ["mmap", "pread"])
@pytest.mark.parametrize("num_workers", [1, 2, 8])
def test_padded_batches_wait_for_room(skewed: Path, reader: str, num_workers: int) -> None:
    loader = headrace.DataLoader(
        headrace.open(skewed, reader=reader), BATCH, num_workers=num_workers, prefetch_bytes=BUDGET, prefetch_factor=8
    )
    for number, batch in enumerate(loader):
        if number in (0, 7):
            wait_until_ahead(loader)
        assert batch["x"].shape == (BATCH, LONG)
        lengths = batch["x.length"].tolist()
        assert lengths == [LONG if i == 5 else 10 for i in range(BATCH)]
        assert batch["x"][:, 0].tolist() == [float(number * BATCH + i) for i in range(BATCH)]
        assert batch["x"].sum().item() == sum(n * float(number * BATCH + i) for i, n in enumerate(lengths))
    stats = loader.stats()
    # The next to be delivered is built whatever it takes; what it was read into counts too.
    assert stats["peak_bytes"] <= BUDGET + 2 * BATCH_BYTES
    assert stats["batches"] == 30


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_beyond_the_memory_is_refused(tmp_path: Path, num_workers: int) -> None:
    path = tmp_path / "d"
    samples = [np.zeros(3, np.uint8)] * 4095
    samples.insert(1234, np.zeros(200_000_000, np.uint8))
    headrace.write(path, {"text": samples}, codec="zstd")
    loader = headrace.DataLoader(headrace.open(path), 4096, num_workers=num_workers)
    with pytest.raises(
        HeadraceError, match=r"4096 samples.*field 'text' is padded to the 200000000 values of sample 1234.*ragged='offsets'"
    ):
        next(iter(loader))
    loader = headrace.DataLoader(headrace.open(path), 4096, num_workers=num_workers, ragged="offsets")
    batch = next(iter(loader))
    assert batch["text"][1].tolist()[1233:1237] == [3 * 1233, 3 * 1234, 3 * 1234 + 200_000_000, 3 * 1235 + 200_000_000]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_large_batches_use_the_same_memory_again(num_workers: int) -> None:
    rows = np.zeros((9, 24 << 20), np.uint8)  # Batches of 72 MiB.
    rows[:, 0] = np.arange(9)
    loader = headrace.DataLoader(headrace.from_arrays({"x": rows}), 3, num_workers=num_workers, prefetch_bytes=1 << 30)
    for _ in range(6):
        assert [number for batch in loader for number in batch["x"][:, 0].tolist()] == list(range(9))
    stats = loader.stats()
    assert stats["slabs_made"] <= 5  # Three under way, one that is delivered, one that the caller still holds.
    assert stats["slabs_made"] + stats["slabs_reused"] == 18


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_sizes_that_differ_do_not_pile_up(tmp_path: Path, num_workers: int) -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.uniform(np.log(1e3), np.log(4e6), 80)).astype(int)  # 8 KB to 32 MB a batch
    headrace.write(tmp_path / "d", {"x": [np.full(length, float(i)) for i, length in enumerate(lengths)]}, codec="zstd")
    budget = 128 << 20
    loader = headrace.DataLoader(headrace.open(tmp_path / "d"), 1, num_workers=num_workers, prefetch_bytes=budget)
    for _ in range(2):
        for i, batch in enumerate(loader):
            assert batch["x"].shape == (1, lengths[i])
            assert batch["x"][0, -1] == i
            # Half of it is for batches under way; free ones are kept within it, or up to 64 MiB. One is delivered, one held by the caller.
            assert loader.stats()["slab_bytes"] <= budget // 2 + (64 << 20) + 2 * (36 << 20)
