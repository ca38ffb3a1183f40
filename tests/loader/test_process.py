"""fork, exit, Ctrl-C, descriptors: a loader never hangs and never takes the process along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import headrace as hr


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 samples of 32 bytes, compressed y."""
    where = tmp_path_factory.mktemp("process") / "d"
    columns = {"x": np.arange(20_000 * 8, dtype=np.float32).reshape(-1, 8), "y": np.arange(20_000)}
    hr.write(where, columns, codec={"x": "none", "y": "zstd"}, chunk_samples=256)
    return where


def run(script: str, path: Path, *, send: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script; with `send`, interrupt it that many seconds after it printed `ready`."""
    code = f"import headrace as hr, sys, os, threading, signal\npath = {str(path)!r}\n" + textwrap.dedent(script)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if send is not None:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(send)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


EXITS = {
    "sys.exit": ("it = iter(loader); next(it); sys.exit(3)", 3, ""),
    "os._exit": ("it = iter(loader); next(it); os._exit(4)", 4, ""),
    "end of script with a live iterator": ("it = iter(loader); next(it)", 0, ""),
    "unhandled exception": ("it = iter(loader); next(it); raise KeyError('mine')", 1, "KeyError: 'mine'"),
    "iterator in a daemon thread": (
        "t = threading.Thread(target=lambda: [b for _ in range(99) for b in loader], daemon=True); t.start(); sys.exit(5)",
        5,
        "",
    ),
    "used at exit": ("import atexit; it = iter(loader); atexit.register(lambda: next(it)); next(it)", 0, ""),
}


@pytest.mark.parametrize("name", EXITS)
def test_exit_keeps_its_code_and_says_nothing(path: Path, name: str) -> None:
    script, code, words = EXITS[name]
    done = run("loader = hr.DataLoader(hr.open(path), 64, True, num_workers=2)\n" + script, path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    if not words:
        assert done.stderr == ""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.05])
def test_ctrl_c_ends_the_loop_and_the_loader_goes_on(path: Path, delay: float) -> None:
    script = """
    loader = hr.DataLoader(hr.open(path), 64, True, num_workers=2)
    try:
        print("ready", flush=True)
        while True:
            for batch in loader:
                pass
    except KeyboardInterrupt:
        print("interrupted", sum(len(b["y"]) for b in loader))
    """
    done = run(script, path, send=delay)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted 20000\n"


def test_fork_while_the_engine_runs(path: Path) -> None:
    dataset = hr.open(path)
    loader = hr.DataLoader(dataset, 64, True, num_workers=2)
    for round_ in range(20):
        iterator = iter(loader)
        next(iterator)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            try:
                try:
                    next(iterator)
                except hr.ForkError:
                    assert int(dataset[7]["y"]) == 7
                    assert sum(len(b["y"]) for b in hr.DataLoader(dataset, 1000, num_workers=2)) == 20_000
                    assert sum(len(b["y"]) for b in loader) == 20_000
                    status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, round_
        assert len(next(iterator)["y"]) == 64


@pytest.mark.parametrize("reader", ["mmap", "pread", "uring"])
def test_many_shards_within_few_descriptors(tmp_path: Path, reader: str) -> None:
    hr.write(tmp_path / "d", {"y": np.arange(3000)}, codec="none", chunk_samples=8, shard_bytes=64)
    script = f"""
    import resource
    dataset = hr.open(path, reader={reader!r})
    assert len(dataset.native.shards) > 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    import torch
    dataset = hr.open(path, reader={reader!r})
    print(sum(int(b["y"].sum()) for b in hr.DataLoader(dataset, 100, True, num_workers=2)))
    """
    done = run(script, tmp_path / "d")
    assert done.stdout == f"{3000 * 2999 // 2}\n", done.stderr


def test_a_replaced_dataset_is_seen_by_the_next_open_only(path: Path, tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"y": np.arange(1000)}, chunk_samples=100)
    hr.write(tmp_path / "other", {"y": -np.arange(1000)}, chunk_samples=100)
    dataset = hr.open(tmp_path / "d")
    loader = hr.DataLoader(dataset, 100, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    (tmp_path / "d").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "d")
    assert [int(b["y"][0]) for b in iterator] == list(range(100, 1000, 100))
    fresh = hr.open(tmp_path / "d")
    assert int(fresh[1]["y"]) == -1
    with pytest.raises(hr.ChangedError, match="fingerprint"):
        hr.DataLoader(fresh, 100).load_state_dict(state)


def test_the_reader_in_use_is_named(path: Path) -> None:
    for reader in ("mmap", "pread"):
        loader = hr.DataLoader(hr.open(path, reader=reader), 1000)
        assert sum(len(b["y"]) for b in loader) == 20_000
        assert loader.stats()["reader"] == reader
    for reader in ("direct", "uring"):  # pread where the system refuses them
        loader = hr.DataLoader(hr.open(path, reader=reader), 1000)
        assert sum(len(b["y"]) for b in loader) == 20_000
        assert loader.stats()["reader"] in (reader, "pread")
