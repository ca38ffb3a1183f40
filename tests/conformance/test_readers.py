"""One battery for all readers: the same bytes, the same errors, whatever is stored and however it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace._native import Order
from tests.loader.samples import (
    FIELDS,
    ROWS,
    STORAGES,
    assert_same,
    check_sample,
    damage,
    numbered,
    pool_of,
    torch_batch,
    write_all_kinds,
)

READERS = ["auto", "mmap", "pread", "direct", "uring"]
ORDERS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "global": {"shuffle": True, "order": "global"},
    "window": {"shuffle": True, "order": "window", "window": 2},
    "sampler": {"sampler": [i * 7 % ROWS for i in range(ROWS)]},
}
BATCH = 33


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of field, in each storage; several shards."""
    folder = tmp_path_factory.mktemp("readers")
    for storage in STORAGES:
        write_all_kinds(folder / storage, storage)
        assert len(hr.open(folder / storage).native.shards) > 1
    return {storage: folder / storage for storage in STORAGES}


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    """As many threads as the largest case asks for."""
    with pool_of(8):
        yield


def drop_cache(path: Path) -> None:
    """Leave nothing of the files in the page cache, so that readers that look there first have to go further."""
    for file in path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def options_of(order: str) -> dict[str, Any]:
    """What a loader takes for an order, with the seed where there is one."""
    return ORDERS[order] | ({"seed": 5} if "shuffle" in ORDERS[order] else {})


def rows_of(path: Path, order: str) -> list[int]:
    """The samples of an epoch, from the order alone; but the window order needs the chunks: there, samples name themselves."""
    if order == "window":
        batches = hr.DataLoader(hr.open(path, reader="mmap"), BATCH, **options_of(order))
        return [round((float(number) + 30) * 2) for batch in batches for number in batch["brain"].float()]
    if order == "global":
        return [int(i) for i in Order(ROWS, 5, 0).indices(0, ROWS)]
    return list(ORDERS[order].get("sampler", range(ROWS)))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_batches_are_what_was_written(kinds: dict[str, Path], storage: str, order: str, ragged: str) -> None:
    options = options_of(order)
    rows = rows_of(kinds[storage], order)
    assert sorted(rows) == list(range(ROWS))
    expected = [torch_batch(rows[at : at + BATCH], ragged, tuple(FIELDS)) for at in range(0, ROWS, BATCH)]
    for reader in READERS:
        for threads in (0, 1, 2, 8):
            drop_cache(kinds[storage])
            loader = hr.DataLoader(hr.open(kinds[storage], reader=reader), BATCH, num_workers=threads, ragged=ragged, **options)
            for epoch in range(2):  # The second finds what the first has left in caches.
                if "sampler" not in options:
                    loader.set_epoch(0)
                batches = list(loader)
                assert len(batches) == len(expected), (reader, threads, epoch)
                for number, (got, want) in enumerate(zip(batches, expected, strict=True)):
                    assert_same(got, want, f"{reader}, {threads} threads, pass {epoch}, batch {number}")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("reader", READERS)
def test_single_samples_are_what_was_written(kinds: dict[str, Path], storage: str, reader: str) -> None:
    opened = hr.open(kinds[storage], reader=reader)
    for i in (0, 31, 32, 127, 128, ROWS - 1):
        check_sample(opened[i], i)


@pytest.mark.parametrize("prefetch_bytes", [1, 20_000, 200_000])
@pytest.mark.parametrize("order", ["sequential", "window"])
def test_little_memory_changes_nothing(kinds: dict[str, Path], order: str, prefetch_bytes: int) -> None:
    """Too little for two windows, about as much, and enough: read by each batch, or ahead."""
    options = options_of(order)
    expected = list(hr.DataLoader(hr.open(kinds["zstd"]), BATCH, **options))
    for reader in READERS:
        loader = hr.DataLoader(hr.open(kinds["zstd"], reader=reader), BATCH, num_workers=2, prefetch_bytes=prefetch_bytes, **options)
        assert_same(list(loader), expected, f"{reader}, {prefetch_bytes} bytes")


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("order", ["sequential", "window"])
def test_ranks_get_their_share(kinds: dict[str, Path], order: str, world: int) -> None:
    options = options_of(order)
    for rank in range(world):
        expected = list(hr.DataLoader(hr.open(kinds["raw"]), 10, rank=rank, world_size=world, **options))
        for reader in READERS:
            loader = hr.DataLoader(hr.open(kinds["raw"], reader=reader), 10, num_workers=2, rank=rank, world_size=world, **options)
            assert_same(list(loader), expected, f"{reader}, rank {rank} of {world}")


@pytest.mark.parametrize("order", ["sequential", "global", "window"])
def test_a_pass_begins_anywhere(kinds: dict[str, Path], order: str) -> None:
    options = options_of(order)
    expected = list(hr.DataLoader(hr.open(kinds["lz4"]), BATCH, **options))
    state = None
    for reader in READERS:
        loader = hr.DataLoader(hr.open(kinds["lz4"], reader=reader), BATCH, num_workers=2, **options)
        iterator = iter(loader)
        for _ in range(5):
            next(iterator)
        state = loader.state_dict() if state is None else state
        other = hr.DataLoader(hr.open(kinds["lz4"], reader=reader), BATCH, num_workers=2, **options)
        other.load_state_dict(state)
        assert_same(list(other), expected[5:], reader)


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("order", ["sequential", "global", "window"])
def test_damage_is_the_same_error_at_the_same_place(tmp_path: Path, codec: str, order: str) -> None:
    """A chunk's block is damaged: each batch that needs it fails, all others come."""
    path = tmp_path / "d"
    values = np.random.default_rng(1).random((256, 512)).astype(np.float16).astype(np.float32)
    values[:, 0] = np.arange(256)
    hr.write(path, {"x": values}, codec=codec, chunk_samples=16)
    stats = hr.open(path).native.field_stats()[0]
    assert (stats["stored_bytes"] < 0.9 * stats["raw_bytes"]) == (codec != "none")
    damage_middle(next(path.glob("*.hrs")))
    shuffled = {} if order == "sequential" else {"shuffle": True, "order": order, "window": 2, "seed": 3}
    answers: dict[str, list[str]] = {}
    for reader in READERS:
        for threads in (0, 1, 2, 8):
            loader = hr.DataLoader(hr.open(path, reader=reader), 4, num_workers=threads, **shuffled)
            seen, iterator = [], iter(loader)
            while True:
                try:
                    seen.append(str(next(iterator)["x"][:, 0].tolist()))
                except StopIteration:
                    break
                except hr.HeadraceError as error:
                    seen.append(f"{type(error).__name__}: {error}")
            answers[f"{reader}, {threads} threads"] = seen
    expected = answers["mmap, 0 threads"]
    assert len(expected) == 64
    assert any(text.startswith("CorruptDataError") and "'x'" in text and "chunk" in text for text in expected)
    assert any(text.startswith("[") for text in expected)
    for name, seen in answers.items():
        assert seen == expected, name


def damage_middle(shard: Path) -> None:
    """Invert one byte about the middle of the file, in a block rather than in the zeros between them; the file stays the same."""
    stamp, whole = shard.stat(), shard.read_bytes()
    place = next(at for at in range(len(whole) // 2, len(whole)) if bytes(8) not in whole[at - 64 : at + 64])
    with shard.open("r+b") as file:
        file.seek(place)
        file.write(bytes([whole[place] ^ 0xFF]))
    os.utime(shard, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_damaged_samples_are_left_out_alike(tmp_path: Path, policy: str) -> None:
    numbered(tmp_path / "d", 256, chunk_samples=64)
    damage(tmp_path / "d", 1, [64])
    expected = None
    for reader in READERS:
        for threads in (0, 2):
            loader = hr.DataLoader(hr.open(tmp_path / "d", reader=reader), 16, True, num_workers=threads, seed=3, on_error=policy)
            ids = [batch["id"].tolist() for batch in loader]
            expected = ids if expected is None else expected
            assert ids == expected, (reader, threads)
    assert expected is not None
    assert not {i for batch in expected for i in batch} & set(range(64, 128))


def test_verify_decides_alike(tmp_path: Path) -> None:
    """A damaged raw block is delivered as it is with verify="never", and is an error in each pass otherwise."""
    numbered(tmp_path / "d", 256, chunk_samples=64)
    damage(tmp_path / "d", 1, [64])
    for reader in READERS:
        for verify in ("once", "always", "never"):
            loader = hr.DataLoader(hr.open(tmp_path / "d", reader=reader, verify=verify), 64, num_workers=2)
            for _ in range(2):
                loader.set_epoch(0)
                failed, iterator = 0, iter(loader)
                while True:
                    try:
                        next(iterator)
                    except StopIteration:
                        break
                    except hr.CorruptDataError:
                        failed += 1
                assert failed == (0 if verify == "never" else 1), (reader, verify)


def test_auto_says_what_it_chose_and_why(kinds: dict[str, Path]) -> None:
    opened = hr.open(kinds["raw"])
    assert opened.reader == "auto"
    assert opened.native.reader == "mmap"
    assert opened.reader_choice.startswith("mmap: it fits into memory, so that later passes need no device: 0.0 GiB on disk, ")
    assert opened.select(["text"]).reader_choice == opened.reader_choice
    for reader in ("mmap", "pread"):
        assert hr.open(kinds["raw"], reader=reader).reader_choice == reader
