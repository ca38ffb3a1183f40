"""The native read benchmark: what it counts, what it refuses, that it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from headrace._native import read_benchmark
from headrace.errors import NotFoundError

READERS = ["mmap", "pread", "direct", "uring"]
BLOCK = 16384


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files: 10 blocks and a tail, 6 blocks."""
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(os.urandom(10 * BLOCK + 77))
    paths[1].write_bytes(os.urandom(6 * BLOCK))
    return paths


def run(paths: list[Path], **options: Any) -> dict[str, Any]:
    return read_benchmark(
        [str(p) for p in paths], **{"block_bytes": BLOCK, "depth": 4, "reader": "pread", "random": True, "seconds": 30.0} | options
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_reads_each_block_once(files: list[Path], reader: str, random: bool, threads: int) -> None:
    result = run(files, reader=reader, random=random, threads=threads)
    assert result["operations"] == result["blocks"] == 16
    assert result["bytes"] == 16 * BLOCK
    assert 0 < result["seconds"] < 30
    latency = result["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"] < 30
    assert (result["reader"] == reader) == (result["fallback"] == "")


@pytest.mark.parametrize("reader", READERS)
def test_loops_until_the_time_is_up(files: list[Path], reader: str) -> None:
    result = run(files, reader=reader, seconds=0.5, loop=True)
    assert result["operations"] > 16
    assert result["seconds"] < 10


@pytest.mark.parametrize("reader", READERS)
def test_one_block_is_read_however_short_the_time(files: list[Path], reader: str) -> None:
    result = run(files, reader=reader, seconds=1e-9, threads=2)
    assert 1 <= result["operations"] <= 2 * 4  # two threads may both be the first


@pytest.mark.parametrize("reader", READERS)
def test_every_read_is_in_the_histogram(files: list[Path], reader: str) -> None:
    result = run(files, reader=reader, loop=True, seconds=0.1)
    assert sum(result["latency_counts"].values()) == result["operations"]
    assert max(result["latency_counts"]) * 1e-9 <= result["latency_seconds"]["max"] * 65 / 64


def test_bytes_of_the_device_are_counted(files: list[Path]) -> None:
    os.sync()
    before = run(files, reader="pread")["device_bytes"]
    if before is None:
        pytest.fail("this kernel does not count the bytes that a process reads")
    assert run(files, reader="pread")["device_bytes"] == 0  # Warm now.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block_bytes": 0}, "block_bytes is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 5000}, "depth is 5000"),
        ({"threads": 0}, "threads is 0"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"reader": "fast"}, "reader is 'fast'"),
        ({"reader": "direct", "block_bytes": 1000}, "direct reads need a multiple of 4096"),
        ({"block_bytes": 1 << 20}, "hold no whole block"),
        ({"block_bytes": 64 << 20, "depth": 1024}, "more than 1 GiB of buffers"),
    ],
)
def test_refuses_options(files: list[Path], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(files, **options)


def test_refuses_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="paths is empty"):
        run([])
    with pytest.raises(NotFoundError):
        run([tmp_path / "absent"])


def test_ctrl_c_ends_it(files: list[Path]) -> None:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(files, seconds=60.0, loop=True)
    assert time.monotonic() - start < 30
