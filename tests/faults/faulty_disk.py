"""A dataset on a disk that fails when told to: FUSE, served by a child process (fuse_server.py). And what every fault test ends with."""

from __future__ import annotations

import ctypes.util
import gc
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr

READERS = ["mmap", "pread", "direct", "uring"]
ROWS, CHUNK, WIDTH = 2048, 256, 32  # a chunk of x: 32 KiB
ENGINE_THREADS = 32  # of the engine's own, named headrace-*: they retire after 30 s without work
COLUMNS = {
    "x": np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH),
    "y": np.arange(ROWS) * 3,
    "s": [f"sample {i}" for i in range(ROWS)],
}


def write(path: Path, **options: Any) -> Path:
    """Write the columns: raw x, compressed y, strings s, in chunks of 256 samples and one shard; returns the shard's file."""
    hr.write(path, COLUMNS, codec={"x": "none", "y": "zstd", "s": "lz4"}, **{"chunk_samples": CHUNK, **options})
    return next(path.glob("*.hrs"))


def place_of_row(shard: Path, row: int) -> int:
    """Where the value of x of a sample lies in its shard."""
    at = shard.read_bytes().find(COLUMNS["x"][row].tobytes())
    assert at > 0
    return at


def rows_of(batch: dict[str, Any]) -> list[int]:
    """The samples of a batch, each with all its values right."""
    rows = batch["y"] // 3
    assert torch.equal(batch["x"], rows[:, None] * float(WIDTH) + torch.arange(float(WIDTH)))
    assert batch["s"] == [f"sample {i}" for i in rows.tolist()]
    return list(rows.tolist())


def deliver(loader: hr.DataLoader) -> tuple[list[int], list[Exception]]:
    """Drive a pass to its end, going on after errors: the samples of the good batches, and what was raised for the others."""
    rows: list[int] = []
    errors: list[Exception] = []
    iterator = iter(loader)
    while True:
        try:
            rows += rows_of(next(iterator))
        except StopIteration:
            return rows, errors
        except hr.HeadraceError as error:
            errors.append(error)


def why_no_fuse() -> str:
    """What FUSE tests lack on this machine; empty if nothing."""
    if not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    if os.geteuid() != 0:
        return "mounting takes root"
    if importlib.util.find_spec("mfusepy") is None:
        return "the package mfusepy is missing"
    if ctypes.util.find_library("fuse3") is None and ctypes.util.find_library("fuse") is None:
        return "libfuse is missing (Debian: fuse3)"
    return ""


def require(missing: str, what: str) -> None:
    """Skip for what this machine lacks; with HEADRACE_REQUIRE_FAULTS=1, as CI runs, fail."""
    if missing and os.environ.get("HEADRACE_REQUIRE_FAULTS") == "1":
        pytest.fail(f"HEADRACE_REQUIRE_FAULTS=1, but {missing}")
    if missing:
        pytest.skip(f"{what}: {missing}")


class FaultyDisk:
    """`mount` shows the files of `folder`, with the faults of the rules in force (fuse_server.py names them)."""

    def __init__(self, folder: Path, mount: Path) -> None:
        self.folder, self.mount = folder, mount
        mount.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fuse_server.py"), folder, mount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, f"the FUSE server ended with {self._server.wait()}"
        return dict(json.loads(line))

    def rules(self, *rules: dict[str, Any]) -> dict[str, Any]:
        """Put these rules in force, in place of all others; reads that were held go on. Returns the counts."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"rules": rules}) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def counts(self) -> dict[str, Any]:
        """Reads so far, and reads that are held now."""
        assert self._server.stdin is not None
        self._server.stdin.write("{}\n")
        self._server.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._server.stdin is not None
        gc.collect()  # What is still open on it would keep it mounted.
        self._server.stdin.close()
        try:
            self._server.wait(10)
        finally:
            self._server.kill()
            self._server.wait()
            assert self._server.stdout is not None
            self._server.stdout.close()
            subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL, check=False)


def open_files() -> list[str]:
    """What this process has open, but for the rings and wake-ups of engine threads, which end with them."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # The listing's own.
            continue
    return sorted(name for name in names if "io_uring" not in name and "eventfd" not in name)


def threads() -> tuple[int, int]:
    """Threads of this process: others', the engine's."""
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            names.append(Path(f"/proc/self/task/{task}/comm").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    names = [name for name in names if not name.startswith("iou-")]  # The kernel's own, of a ring: they go by themselves.
    engine = sum(name.startswith("headrace") for name in names)
    return len(names) - engine, engine


@contextmanager
def leaves_nothing(*folders: Path) -> Iterator[None]:
    """Afterwards the same files are open, no thread but the engine's few is left, and no temporary file lies in the folders."""
    gc.collect()
    files, (others, _) = open_files(), threads()
    yield
    deadline = time.monotonic() + 20  # A read that was let go has a moment to end.
    while True:
        gc.collect()
        now = open_files()
        if (not Counter(now) - Counter(files) and threads()[0] <= others) or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    assert Counter(now) - Counter(files) == Counter()
    assert threads()[0] <= others
    assert threads()[1] <= ENGINE_THREADS
    for folder in folders:
        assert [path for path in folder.rglob("*") if ".tmp" in path.name] == []
