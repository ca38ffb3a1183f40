"""What a pass delivers: content, exactly once, the same for any number of threads, any reader, any world."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import headrace as hr
from headrace.loader.engines import MAX_IDLE

N = 1000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 samples: raw x, compressed y, strings s; several shards."""
    where = tmp_path_factory.mktemp("engine") / "d"
    columns = {"x": np.arange(N * 4, dtype=np.float32).reshape(N, 4), "y": np.arange(N) * 3, "s": [f"sample {i}" for i in range(N)]}
    hr.write(where, columns, codec={"x": "none", "y": "zstd", "s": "lz4"}, chunk_samples=64, shard_bytes=12_000)
    assert len(hr.open(where).native.shards) > 1
    return where


def indices_of(batches: list[dict[str, torch.Tensor]]) -> list[list[int]]:
    return [(batch["y"] // 3).tolist() for batch in batches]


@pytest.mark.parametrize("order", ["global", "window"])
def test_each_sample_once_with_its_values(path: Path, order: str) -> None:
    seen: list[int] = []
    for batch in hr.DataLoader(hr.open(path), 64, shuffle=True, num_workers=2, order=order, window=3):
        rows = batch["y"] // 3
        assert torch.equal(batch["x"], rows[:, None] * 4.0 + torch.arange(4.0))
        assert batch["s"] == [f"sample {i}" for i in rows.tolist()]
        seen += rows.tolist()
    assert sorted(seen) == list(range(N))
    assert seen != list(range(N))


@pytest.mark.parametrize("order", ["global", "window"])
def test_batches_equal_for_any_threads_reader_and_prefetch(path: Path, order: str) -> None:
    before = hr.num_threads()
    hr.set_num_threads(8)
    try:
        expected = indices_of(list(hr.DataLoader(hr.open(path), 33, shuffle=True, seed=5, order=order, window=3)))
        for workers in (0, 1, 2, 8):
            for reader in ("mmap", "pread", "direct", "uring"):
                loader = hr.DataLoader(
                    hr.open(path, reader=reader), 33, True, num_workers=workers, seed=5, order=order, window=3, prefetch_factor=workers + 1
                )
                assert indices_of(list(loader)) == expected
    finally:
        hr.set_num_threads(before)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_cut_the_global_batches(path: Path, world: int) -> None:
    whole = indices_of(list(hr.DataLoader(hr.open(path), 48, shuffle=True)))
    parts = [indices_of(list(hr.DataLoader(hr.open(path), 48 // world, True, rank=rank, world_size=world))) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    for step in range(len(whole) - 1):
        assert [i for part in parts for i in part[step]] == whole[step]
    last = [i for part in parts for i in part[-1]]
    assert last[: len(whole[-1])] == whole[-1]
    assert set().union(*(i for part in parts for i in part)) == set(range(N))


def test_resume_equals_the_uninterrupted_run_on_another_world(path: Path) -> None:
    loader = hr.DataLoader(hr.open(path), 32, shuffle=True, num_workers=2)
    iterator = iter(loader)
    for _ in range(7):
        next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(state)) < 1024
    rest = indices_of(list(iterator))
    for world, workers in ((1, 0), (2, 2)):
        parts = []
        for rank in range(world):
            resumed = hr.DataLoader(hr.open(path), 32 // world, True, num_workers=workers, rank=rank, world_size=world)
            resumed.load_state_dict(state)
            parts.append(indices_of(list(resumed)))
        assert [[i for part in parts for i in part[step]] for step in range(len(rest))] == rest
    with pytest.raises(hr.ChangedError, match="seed: saved 0, now 9"):
        hr.DataLoader(hr.open(path), 32, shuffle=True, seed=9).load_state_dict(state)


def test_epochs_differ_advance_and_may_be_chosen(path: Path) -> None:
    loader = hr.DataLoader(hr.open(path), 100, shuffle=True)
    first, second = indices_of(list(loader)), indices_of(list(loader))
    assert first != second
    loader.set_epoch(0)
    assert indices_of(list(loader)) == first
    assert (loader.replay(4, epoch=1)["y"] // 3).tolist() == second[4]


def test_torchs_generator_and_sampler_are_followed(path: Path) -> None:
    ours = hr.DataLoader(hr.open(path), 32, shuffle=True, generator=torch.Generator().manual_seed(4))
    theirs = torch.utils.data.DataLoader(torch.arange(N), 32, shuffle=True, generator=torch.Generator().manual_seed(4))
    assert indices_of(list(ours)) == [batch.tolist() for batch in theirs]
    sampler = torch.utils.data.SubsetRandomSampler(range(100), generator=torch.Generator().manual_seed(1))
    again = torch.utils.data.SubsetRandomSampler(range(100), generator=torch.Generator().manual_seed(1))
    expected = torch.utils.data.DataLoader(torch.arange(N), 7, sampler=again)
    assert indices_of(list(hr.DataLoader(hr.open(path), 7, sampler=sampler, num_workers=2))) == [b.tolist() for b in expected]


def test_batches_that_are_kept_are_never_overwritten(path: Path) -> None:
    loader = hr.DataLoader(hr.open(path), 16, shuffle=True, num_workers=2)
    kept = [*loader, *loader]
    del loader
    for batch in kept:
        assert torch.equal(batch["x"][:, 0], (batch["y"] // 3) * 4.0)


def test_a_plain_torch_loader_reads_whole_batches(path: Path) -> None:
    for workers in (0, 2):
        batches = list(torch.utils.data.DataLoader(hr.open(path), 50, num_workers=workers))
        assert torch.equal(torch.cat([b["y"] for b in batches]), torch.arange(N) * 3)


def test_iterable_yields_each_sample_once_over_workers(path: Path) -> None:
    for workers in (0, 2):
        stream = hr.open(path).iterable(batch_size=64, shuffle=True)
        batches = list(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers))
        assert sorted(i for batch in indices_of(batches) for i in batch) == list(range(N))


def test_damage_is_raised_skipped_or_replaced(path: Path, tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"y": np.arange(200)}, codec="none", chunk_samples=50)
    shard = next((tmp_path / "d").glob("*.hrs"))
    data = bytearray(shard.read_bytes())
    at = data.index(np.arange(10).tobytes())  # the values of chunk 0
    data[at] ^= 1
    shard.write_bytes(data)
    with pytest.raises(hr.CorruptDataError, match=r"(?s)sample \d+.*chunk 0.*'y'"):
        list(hr.DataLoader(hr.open(tmp_path / "d"), 20))
    for policy, count in (("skip", 150), ("replace", 200)):
        expected = None
        for workers in (0, 2):
            loader = hr.DataLoader(hr.open(tmp_path / "d"), 20, True, num_workers=workers, on_error=policy)
            seen = [batch["y"].tolist() for batch in loader]
            assert sum(map(len, seen)) == count
            assert min(min(batch) for batch in seen) >= 50
            assert set(range(50)) <= set(loader.state_dict()["skipped"])
            expected = expected or seen
            assert seen == expected
    with pytest.raises(hr.TooManyErrorsError, match="max_errors is 3"):
        list(hr.DataLoader(hr.open(tmp_path / "d"), 20, on_error="skip", max_errors=3))


def test_engines_that_nobody_uses_are_let_go_and_what_they_did_is_kept(path: Path) -> None:
    loader = hr.DataLoader(hr.open(path), 10, num_workers=1)
    iterators = [iter(loader) for _ in range(12)]
    for iterator in iterators:
        next(iterator)
    del iterator
    while iterators:
        iterators.pop()
    assert len(loader._engines._live) == len(loader._engines._idle) == MAX_IDLE
    stats = loader.stats()
    assert (stats["batches"], stats["samples"], stats["batches_in_flight"]) == (12, 120, 0)


def test_engines_are_taken_and_given_by_many_threads(path: Path) -> None:
    loader = hr.DataLoader(hr.open(path), 50)
    loader.set_epoch(0)
    errors: list[BaseException] = []

    def replay() -> None:
        try:
            for step in range(200):
                assert len(loader.replay(step % 3)["x"]) == 50
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=replay) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert len(loader._engines._live) <= 8 + MAX_IDLE
