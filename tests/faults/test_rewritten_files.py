"""A shard rewritten in place while it is open, same inode: ChangedError, and never a batch of old and new samples."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, COLUMNS, READERS, ROWS, deliver, place_of_row, rows_of, write

PAUSE = 0.05  # longer than a mapped file goes unwatched


def overwrite(file: Path, at: int, content: bytes, *, keep_time: bool = False) -> None:
    """Write into a file in place, as an editor or a careless copy would."""
    stamp = file.stat()
    with file.open("r+b") as out:
        out.seek(at)
        out.write(content)
    later = stamp.st_mtime_ns + (0 if keep_time else 1_000_000_000)  # Even a file system with coarse times tells them apart.
    os.utime(file, ns=(stamp.st_atime_ns, later))


@pytest.mark.parametrize("workers", [0, 1, 8])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_changed_before_it_is_read_is_told_from_a_damaged_one(tmp_path: Path, reader: str, workers: int) -> None:
    shard = write(tmp_path / "d")
    place = place_of_row(shard, 1000)
    for keep_time, error_type in ((False, hr.ChangedError), (True, hr.CorruptDataError)):
        dataset = hr.open(tmp_path / "d", reader=reader)
        overwrite(shard, place, COLUMNS["x"][7].tobytes(), keep_time=keep_time)
        loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=workers)
        rows, errors = deliver(loader)
        assert 1000 not in rows
        assert set(range(ROWS)) - set(range(768, 1024)) <= set(rows)  # Other chunks are as they were.
        for error in errors:
            assert type(error) is error_type, repr(error)
            assert "chunk 3" in str(error)
            assert ".hrs" in str(error)
        overwrite(shard, place, COLUMNS["x"][1000].tobytes())
    assert deliver(hr.DataLoader(hr.open(tmp_path / "d", reader=reader), CHUNK)) == (list(range(ROWS)), [])


@pytest.mark.parametrize("verify", ["once", "always"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_mapped_file_changed_after_it_was_checked_is_noticed(tmp_path: Path, workers: int, verify: str) -> None:
    shard = write(tmp_path / "d")
    dataset = hr.open(tmp_path / "d", verify=verify)
    loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=workers)
    assert deliver(loader) == (list(range(ROWS)), [])
    place = place_of_row(shard, 1000)
    overwrite(shard, place, COLUMNS["x"][7].tobytes())
    if verify == "once":
        time.sleep(PAUSE)
    for _ in range(2):
        rows, errors = deliver(loader)  # Which sees to it that no wrong value is delivered.
        assert set(range(ROWS)) - set(range(768, 1024)) <= set(rows)
        assert errors
        assert all(type(error) is hr.ChangedError for error in errors), errors
    with pytest.raises(hr.ChangedError, match="changed while in use"):
        dataset[1000]
    assert int(dataset[5]["y"]) == 15
    overwrite(shard, place, COLUMNS["x"][1000].tobytes())
    assert deliver(loader) == (list(range(ROWS)), [])  # What checks out is served, whatever the file's time.


@pytest.mark.parametrize("reader", READERS)
def test_a_new_time_alone_changes_nothing(tmp_path: Path, reader: str) -> None:
    shard = write(tmp_path / "d")
    loader = hr.DataLoader(hr.open(tmp_path / "d", reader=reader), 100, True, num_workers=2)
    for _ in range(3):
        rows, errors = deliver(loader)
        assert (sorted(rows), errors) == (list(range(ROWS)), [])
        os.utime(shard)
        time.sleep(PAUSE)


@pytest.mark.parametrize("reader", READERS)
def test_blocks_that_are_read_again_are_checked_again_if_the_file_changed(tmp_path: Path, reader: str) -> None:
    """More than the block cache holds, so that the second pass reads anew."""
    count, width = 24_000, 512
    x = np.arange(count, dtype=np.float32)[:, None] + np.arange(width, dtype=np.float32)
    hr.write(tmp_path / "d", {"x": x}, codec="none", chunk_samples=1000)
    shard = next((tmp_path / "d").glob("*.hrs"))
    loader = hr.DataLoader(hr.open(tmp_path / "d", reader=reader), 250, num_workers=2, prefetch_bytes=8 << 20)

    def good_and_changed() -> tuple[int, int]:
        good = changed = 0
        iterator = iter(loader)
        while True:
            try:
                batch = next(iterator)["x"]
            except StopIteration:
                return good, changed
            except hr.ChangedError:
                changed += 1
                continue
            assert np.array_equal(batch.numpy(), x[int(batch[0, 0]) : int(batch[0, 0]) + 250])
            good += 1

    assert good_and_changed() == (count // 250, 0)
    whole = shard.read_bytes()
    for row in range(0, count, 1000):  # Every chunk gets one wrong value.
        overwrite(shard, whole.index(x[row : row + 2].tobytes()), np.float32(-1).tobytes())
    time.sleep(PAUSE)
    good, changed = good_and_changed()
    assert changed > 0
    assert good + changed == count // 250


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", READERS)
def test_old_and_new_never_mix_while_the_file_is_rewritten(tmp_path: Path, reader: str, workers: int) -> None:
    shard = write(tmp_path / "d")
    old = shard.read_bytes()
    new = bytearray(old)
    for row in range(ROWS):
        place = old.index(COLUMNS["x"][row].tobytes())
        new[place : place + 4] = np.float32(-row - 1).tobytes()
    stop = threading.Event()

    def rewrite() -> None:
        with shard.open("r+b") as file:
            while not stop.is_set():
                for content in (new, old):
                    os.pwrite(file.fileno(), content, 0)
                    time.sleep(0.001)

    thread = threading.Thread(target=rewrite)
    seen, errors = 0, []
    try:
        for round_ in range(6):
            try:
                dataset = hr.open(tmp_path / "d", reader=reader, verify="always")
            except hr.HeadraceError as error:  # It may change while it is opened, too.
                errors.append(error)
                continue
            if round_ == 0:
                thread.start()
            loader = hr.DataLoader(dataset, 64, True, num_workers=workers)
            for _ in range(4):
                rows, found = deliver(loader)
                seen += len(rows)
                errors += found
    finally:
        stop.set()
        thread.join()
    assert seen + len(errors) > 0
    assert all(isinstance(error, (hr.ChangedError, hr.CorruptDataError)) for error in errors), errors[:3]


def test_a_renamed_replacement_is_not_a_change(tmp_path: Path) -> None:
    """As publishing does it: who has the old file open goes on with it."""
    shard = write(tmp_path / "d")
    loaders = [hr.DataLoader(hr.open(tmp_path / "d", reader=reader), CHUNK, num_workers=2) for reader in READERS]
    first = [deliver(loader) for loader in loaders]
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    other.rename(shard)
    time.sleep(PAUSE)
    assert [deliver(loader) for loader in loaders] == first == [(list(range(ROWS)), [])] * 4


def test_rows_of_refuses_a_wrong_value() -> None:
    """The oracle of this folder."""
    import torch

    batch = {"x": torch.from_numpy(COLUMNS["x"][:2].copy()), "y": torch.tensor([0, 3]), "s": ["sample 0", "sample 1"]}
    assert rows_of(batch) == [0, 1]
    batch["x"][1, 5] += 1
    with pytest.raises(AssertionError):
        rows_of(batch)
