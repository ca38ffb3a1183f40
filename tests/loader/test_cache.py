"""The cache of decoded blocks through the loader: what it keeps against Belady's rule in plain Python, and that it changes no batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace._native import Order, cache_stats

SAMPLES = 120
EPOCHS = 4
ROW = 1024  # int32 values of a sample: 4 KiB, one block


def rows() -> Any:
    return np.random.default_rng(2).integers(0, 9, (SAMPLES, ROW), dtype=np.int32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "dataset"
    codec = {"x": {"codec": "zstd", "filter": "shuffle", "block_bytes": 4 * ROW}}
    hr.write(path, {"x": rows()}, codec=codec, chunk_samples=16)
    return path


@pytest.fixture
def block_cost(written: Path) -> Iterator[int]:
    """What one block costs of the budget; afterwards the budget is the usual one again."""
    hr.set_cache_bytes(1 << 30)
    before = cache_stats()["bytes"]
    loader = hr.DataLoader(hr.open(written), 8)
    for _ in loader:
        pass
    cost = (cache_stats()["bytes"] - before) // SAMPLES
    del loader
    yield cost
    hr.set_cache_bytes(None)


def belady_hits(order: list[int], room: int) -> int:
    """Hits of the best there is: of what is kept and what comes, the block that is wanted last goes."""
    kept: dict[int, int] = {}
    later: dict[int, int] = {}
    nexts = [0] * len(order)
    for at in reversed(range(len(order))):
        nexts[at] = later.get(order[at], len(order))
        later[order[at]] = at
    hits = 0
    for at, block in enumerate(order):
        hits += block in kept
        kept[block] = nexts[at]
        if len(kept) > room:
            del kept[max(kept, key=kept.__getitem__)]
    return hits


def lru_hits(order: list[int], room: int) -> int:
    kept: dict[int, None] = {}
    hits = 0
    for block in order:
        hits += block in kept
        kept.pop(block, None)
        kept[block] = None
        if len(kept) > room:
            del kept[next(iter(kept))]
    return hits


def followed(seed: int, epochs: int, order: str = "global") -> list[int]:
    """What a loader reads, epoch after epoch."""
    layout = {} if order == "global" else {"shard_samples": [SAMPLES], "chunk_samples": [16]}
    orders = [Order(SAMPLES, seed, epoch, order, 2, **layout).indices(0, SAMPLES).tolist() for epoch in range(epochs)]
    return [sample for one in orders for sample in one]


def hits_of(written: Path, source: Any, batch_size: int, seed: int = 5, **options: Any) -> int:
    loader = hr.DataLoader(hr.open(written), batch_size, shuffle=True, seed=seed, window=2, **options)
    order = iter(followed(seed, EPOCHS, options.get("order", "global")))
    for _ in range(EPOCHS):
        for batch in loader:
            found = batch["x"].numpy()
            np.testing.assert_array_equal(found, source[[next(order) for _ in range(len(found))]])
    return int(loader.stats()["cache_hits"])


@pytest.mark.parametrize("order", ["global", "window"])
@pytest.mark.parametrize("room", [0, 1, 30, 60, 119, 120])
def test_hits_are_those_of_beladys_rule(written: Path, block_cost: int, room: int, order: str) -> None:
    hr.set_cache_bytes(room * block_cost)
    hits = hits_of(written, rows(), 1, order=order)
    assert hits == belady_hits(followed(5, EPOCHS, order), room)
    assert cache_stats()["bytes"] <= max(room * block_cost, 1)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_half_the_data_beats_the_least_recently_used_at_any_thread_count(written: Path, block_cost: int, num_workers: int) -> None:
    room = SAMPLES // 2
    hr.set_cache_bytes(room * block_cost)
    hits = hits_of(written, rows(), 4, num_workers=num_workers)
    order = followed(5, EPOCHS)
    best = belady_hits(order, room)
    # Jobs of several threads run ahead of each other, so a block may go just before an earlier job would have found it.
    assert best * 0.85 <= hits <= best
    assert hits > 1.3 * lru_hits(order, room)


@pytest.mark.parametrize("reader", ["pread", "uring"])
def test_readers_that_do_not_map_keep_the_same(written: Path, block_cost: int, reader: str) -> None:
    room = SAMPLES // 2
    hr.set_cache_bytes(room * block_cost)
    loader = hr.DataLoader(hr.open(written, reader=reader), 4, shuffle=True, seed=5, num_workers=2)
    order = iter(followed(5, EPOCHS))
    for _ in range(EPOCHS):
        for batch in loader:
            np.testing.assert_array_equal(batch["x"].numpy(), rows()[[next(order) for _ in range(len(batch["x"]))]])
    # A block is looked for when it is brought in and when it is copied; read from the file only if it was not there.
    decoded = loader.stats()["bytes_decoded"] // (4 * ROW)
    assert decoded <= EPOCHS * SAMPLES - 0.8 * belady_hits(followed(5, EPOCHS), room)


def test_ranks_foresee_their_own_share(written: Path, block_cost: int) -> None:
    room = SAMPLES // 2
    hr.set_cache_bytes(room * block_cost)
    hits, best = 0, 0
    for rank in range(2):
        loader = hr.DataLoader(hr.open(written), 4, shuffle=True, seed=5, rank=rank, world_size=2)
        for _ in range(EPOCHS):
            for _ in loader:
                pass
        hits += int(loader.stats()["cache_hits"])
        order = followed(5, EPOCHS)
        best += belady_hits([s for at, s in enumerate(order) if at // 4 % 2 == rank], room)
    assert 0.8 * best <= hits <= best


def test_one_budget_for_all_loaders(written: Path, block_cost: int) -> None:
    hr.set_cache_bytes(50 * block_cost)
    loaders = [hr.DataLoader(hr.open(written), 4, shuffle=True, seed=seed, num_workers=1) for seed in range(3)]
    iterators = [iter(loader) for loader in loaders]
    for _ in range(SAMPLES // 4):
        for iterator in iterators:
            next(iterator)
        assert cache_stats()["bytes"] <= 50 * block_cost
    stats = loaders[0].stats()
    assert stats["cache_capacity_bytes"] == 50 * block_cost
    assert 0 < stats["cache_bytes"] <= 50 * block_cost
    assert stats["cache_evictions"] > 0
    hr.set_cache_bytes(0)
    assert cache_stats()["bytes"] == 0
    assert cache_stats()["blocks"] == 0


def test_a_dataset_takes_its_blocks_with_it(written: Path, block_cost: int) -> None:
    hr.set_cache_bytes(1 << 30)
    before = cache_stats()["blocks"]
    dataset = hr.open(written)
    loader = hr.DataLoader(dataset, 8)
    for _ in loader:
        pass
    assert cache_stats()["blocks"] == before + SAMPLES
    del loader, dataset
    assert cache_stats()["blocks"] == before


def test_the_budget_without_a_choice_comes_from_prefetch_bytes(written: Path) -> None:
    hr.set_cache_bytes(None)
    before = cache_stats()["capacity_bytes"]
    dataset = hr.open(written)
    assert cache_stats()["capacity_bytes"] == before + (32 << 20)
    loader = hr.DataLoader(dataset, 8, prefetch_bytes=200 << 20)
    next(iter(loader))
    assert cache_stats()["capacity_bytes"] == before + (100 << 20)
    del loader, dataset
    assert cache_stats()["capacity_bytes"] == before


@pytest.mark.parametrize("value", [-1, 1 << 48])
def test_a_budget_that_is_none_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=f"count is {value}; expected 0 to"):
        hr.set_cache_bytes(value)


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_the_environment_gives_the_budget() -> None:
    code = "from headrace._native import cache_stats; print(cache_stats()['capacity_bytes'])"
    assert python(code, HEADRACE_CACHE_BYTES="12345").stdout.split() == ["12345"]
    wrong = python(code, HEADRACE_CACHE_BYTES="1GB")
    assert "HEADRACE_CACHE_BYTES is '1GB'; expected a whole number of bytes" in wrong.stderr


FORKS = """
import os, sys
import headrace as hr
from headrace._native import cache_stats
hr.set_cache_bytes(1 << 20)
dataset = hr.open(sys.argv[1])
loader = hr.DataLoader(dataset, 8, shuffle=True, num_workers=2)
total = sum(int(batch["x"].sum()) for batch in loader)
for _ in range(3):
    running = iter(loader)
    next(running)
    child = os.fork()
    if child == 0:
        assert cache_stats()["blocks"] == 0 and cache_stats()["capacity_bytes"] == 1 << 20
        assert sum(int(batch["x"].sum()) for batch in hr.DataLoader(dataset, 8, num_workers=2)) == total
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("well")
"""


def test_a_child_starts_anew_with_the_budget_of_its_parent(written: Path) -> None:
    done = python(FORKS, written)
    assert done.stdout == "well\n", done.stderr


NO_MEMORY = """
import resource, sys, warnings
import numpy as np
import headrace as hr
hr.set_cache_bytes(1 << 40)
loader = hr.DataLoader(hr.open(sys.argv[1]), 4, shuffle=True, seed=1, num_workers=0)
next(iter(loader))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        assert sum(len(batch["x"]) for batch in loader) == 256
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print([(w.category.__name__, "cache" in str(w.message)) for w in caught])
"""


def test_memory_that_runs_out_costs_one_warning_and_no_batch(tmp_path: Path) -> None:
    samples = np.zeros((256, 1 << 18), np.float32)  # 256 MiB decoded, a few KiB stored
    hr.write(tmp_path / "d", {"x": samples}, codec={"x": {"codec": "zstd"}})
    done = python(NO_MEMORY, tmp_path / "d")
    assert done.stdout.strip() == "[('HeadraceWarning', True)]", done.stderr
