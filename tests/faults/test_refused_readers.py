"""What a system may refuse: rings, direct reads, locked memory. Another way serves the same samples, one line of the log says so, stats() agrees.

The messages themselves: tests/datasets/test_fallback.py.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, ROWS, deliver, require, why_no_fuse, write
from tests.loader.samples import answer_of

# Runs with one call refused from some moment on; prints what the log got, which reader serves, and whether all was read.
REFUSED = """
import ctypes, errno, json, logging, os, resource, struct, sys
import headrace as hr
from tests.faults.faulty_disk import CHUNK, ROWS, deliver
from tests.system_calls import URING_SETUP, refuse_call

path, reader, what, when, workers = *sys.argv[1:5], int(sys.argv[5])
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append([record.name, record.levelname, record.getMessage()])
logging.getLogger("headrace").addHandler(Keep())
logging.getLogger("headrace").setLevel(logging.INFO)
import torch
torch.zeros(3)

def refuse():
    if what == "memory lock":
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        libc = ctypes.CDLL(None, use_errno=True)
        head, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 0, 0, 0, 0, 0, 0)  # No capability is left: root's are no excuse.
        assert libc.capset(head, data) == 0
    else:
        refuse_call(URING_SETUP, getattr(errno, what))

if when == "before opening":
    refuse()
dataset = hr.open(path, reader=reader)
if when == "before reading":
    refuse()
whole = True
for _ in range(3):
    loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=workers)
    whole = whole and deliver(loader) == (list(range(ROWS)), [])
print(json.dumps({"lines": lines, "used": loader.stats()["reader"], "whole": whole}))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("refused") / "d"
    write(where)
    return where


@pytest.mark.parametrize(
    ("error", "when", "workers"),
    [("EPERM", "before reading", 2), ("ENOSYS", "before opening", 2), ("ENOMEM", "before reading", 0)],
)
def test_refused_rings_are_replaced_and_noted_once(path: Path, error: str, when: str, workers: int) -> None:
    answer = answer_of(REFUSED, path, "uring", error, when, workers)
    assert answer["whole"]
    assert answer["used"] == "pread"
    assert [line[:2] for line in answer["lines"]] == [["headrace", "INFO"]]
    assert f"{path}: reader 'uring' was asked for, 'pread' is used: the system refuses io_uring: " in answer["lines"][0][2]


@pytest.mark.parametrize("reader", ["uring", "direct"])
def test_no_memory_to_lock_is_no_obstacle(path: Path, reader: str) -> None:
    answer = answer_of(REFUSED, path, reader, "memory lock", "before opening", 2)
    assert answer["whole"]
    assert answer["used"] in (reader, "pread")  # Kernels before 5.12 count a ring against RLIMIT_MEMLOCK.
    assert len(answer["lines"]) == (answer["used"] != reader)


@pytest.fixture(scope="module")
def file_systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The dataset on tmpfs and on an overlay."""
    require(why_no_fuse(), "needs FUSE")  # Mounting takes root, too.
    where = tmp_path_factory.mktemp("mounts")
    mounts = {}
    try:
        for name in ("tmpfs", "base", "overlay"):
            mounts[name] = where / name
            mounts[name].mkdir()
            kind, options = ("tmpfs", "size=64m")
            if name == "overlay":
                for part in ("upper", "work"):
                    (where / "base" / part).mkdir()
                write(where / "base" / "lower" / "d")
                kind, options = "overlay", f"lowerdir={where}/base/lower,upperdir={where}/base/upper,workdir={where}/base/work"
            subprocess.run(["mount", "-t", kind, "-o", options, kind, mounts[name]], check=True)
        write(mounts["tmpfs"] / "d")
        yield mounts
    finally:
        for name in ("overlay", "base", "tmpfs"):
            subprocess.run(["umount", "-l", where / name], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("file_system", ["tmpfs", "overlay"])
@pytest.mark.parametrize("reader", ["direct", "uring", "pread", "mmap"])
def test_file_systems_without_a_device_are_read(
    file_systems: dict[str, Path], file_system: str, reader: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_systems[file_system] / "d"
    with caplog.at_level(logging.INFO, logger="headrace"):
        dataset = hr.open(path, reader=reader)
        loaders: list[Any] = [hr.DataLoader(dataset, CHUNK, num_workers=2) for _ in range(2)]
        assert [deliver(loader) for loader in loaders] == [(list(range(ROWS)), [])] * 2
    used = loaders[0].stats()["reader"]
    assert used in (reader, "pread")
    noted = [record.getMessage() for record in caplog.records]
    assert len(noted) == (used != reader), noted
    assert all(f"{path}: reader {reader!r} was asked for, {used!r} is used: " in line for line in noted)


@pytest.mark.parametrize("rows", [1, 7, 500, 1023])
@pytest.mark.parametrize("reader", ["direct", "uring"])
def test_the_misaligned_tail_of_a_file_is_read(tmp_path: Path, reader: str, rows: int) -> None:
    """The last block ends where no block of the device does, and the file soon after."""
    import numpy as np

    hr.write(tmp_path / "d", {"y": np.arange(rows) * 3, "s": [f"s{i}" for i in range(rows)]}, codec="none", chunk_samples=rows)
    shard = next((tmp_path / "d").glob("*.hrs"))
    assert shard.stat().st_size % 512 != 0
    dataset = hr.open(tmp_path / "d", reader=reader)
    batch = next(iter(hr.DataLoader(dataset, rows, num_workers=1)))
    assert batch["y"].tolist() == [3 * i for i in range(rows)]
    assert batch["s"] == [f"s{i}" for i in range(rows)]
    shutil.rmtree(tmp_path / "d")
