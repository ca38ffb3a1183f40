"""The test file: real bytes, room checked first, gone afterwards however the run ends."""

from __future__ import annotations

import errno
import os
import zlib
from collections import namedtuple

import pytest

from headrace.bench import scratch_file as module
from headrace.bench.scratch_file import scratch_file
from headrace.errors import ExistsError, StorageError


def test_it_holds_bytes_that_cannot_be_compressed(tmp_path):
    seen = []
    with scratch_file(tmp_path / "f", 20_000_001, advance=lambda done, total: seen.append((done, total))) as path:
        assert path.stat().st_size == 20_000_001
        assert path.stat().st_blocks * 512 >= 20_000_001
        content = path.read_bytes()
        assert len(zlib.compress(content, 1)) > 0.99 * len(content)
    assert seen[-1] == (20_000_001, 20_000_001)
    assert list(tmp_path.iterdir()) == []


def test_it_is_kept_only_when_whole(tmp_path):
    with scratch_file(tmp_path / "f", 4096, keep=True):
        pass
    assert (tmp_path / "f").stat().st_size == 4096

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), scratch_file(tmp_path / "g", 4096, keep=True, advance=interrupt):
        pass
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, OSError])
def test_it_is_removed_however_the_run_ends(tmp_path, error):
    with pytest.raises(error), scratch_file(tmp_path / "f", 4096):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_not_begun(tmp_path, monkeypatch):
    free = namedtuple("Free", "f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda path: free(1000, 4096))
    with (
        pytest.raises(StorageError, match=r"a test file of 1073741824 bytes does not fit, 4096000 bytes are free.*--size"),
        scratch_file(tmp_path / "f", 1 << 30),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="No space left on device") as raised, scratch_file(tmp_path / "f", 4096):
        pass
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_reserve_is_written_to(tmp_path, monkeypatch):
    def unsupported(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(module.os, "posix_fallocate", unsupported)
    with scratch_file(tmp_path / "f", 4096) as path:
        assert path.stat().st_size == 4096


def test_a_file_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "f").write_text("mine")
    with pytest.raises(ExistsError, match="left alone"), scratch_file(tmp_path / "f", 4096):
        pass
    assert (tmp_path / "f").read_text() == "mine"
