"""The storage benchmark: what it reads, how it judges what the counters say, and that it cleans up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace._native import read_benchmark
from headrace.bench import StorageOptions, bench_storage, storage, storage_plan, storage_point
from headrace.bench.file_system import FileSystem, file_system_of
from headrace.errors import NotFoundError, StorageError

BLOCK = 65536
DISK = FileSystem(path="/", type="ext4", kind="device", device="", logical_block_bytes=512, model="")


def options(**changes: Any) -> StorageOptions:
    """One short point, without fio."""
    facts: dict[str, Any] = {
        "patterns": ("random",),
        "block_bytes": (BLOCK,),
        "depths": (4,),
        "readers": ("pread",),
        "seconds": 0.05,
        "fio": "off",
    }
    return StorageOptions(**{**facts, **changes})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(40 * BLOCK + 1))
    return path


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file were on a device whose reads are counted."""
    monkeypatch.setattr(storage, "file_system_of", lambda path: DISK)


def counting(monkeypatch: pytest.MonkeyPatch, device_bytes: Callable[[dict[str, Any]], int | None]) -> None:
    """Replace what the kernel counted for each pass."""

    def run(*paths: Any, **facts: Any) -> dict[str, Any]:
        answer = read_benchmark(*paths, **facts)
        return {**answer, "device_bytes": device_bytes(answer)}

    monkeypatch.setattr(storage_point, "read_benchmark", run)


@pytest.mark.parametrize("reader", ["mmap", "pread", "direct", "uring"])
def test_a_cold_file_is_read_from_its_device(file, reader):
    if file_system_of(file).kind == "memory":
        assert bench_storage(file, options()).state == "warm"
        return
    measured = bench_storage(file, options(readers=(reader,), patterns=("sequential", "random")))
    assert (measured.kind, measured.state, measured.files) == ("file", "cold", [str(file)])
    assert [result.pattern for result in measured.results] == ["sequential", "random"]
    for result in measured.results:
        assert result.reader == reader
        assert result.bytes == result.operations * BLOCK > 0
        assert result.bytes_per_second == pytest.approx(result.bytes / result.seconds)
        assert 0 < result.latency_p50_seconds <= result.latency_p99_seconds <= result.latency_p999_seconds
        assert 0 <= result.cpu_share <= 1
        assert result.resident_before == 0.0
        if file_system_of(file).counted:
            assert (result.proof, result.reason) == ("proven", "")
            assert result.device_share is not None
            assert result.device_share >= 0.95


def test_a_warm_file_is_not(file):
    measured = bench_storage(file, options(state="warm", readers=("mmap", "pread", "uring")))
    assert measured.state == "warm"
    assert [result.resident_before for result in measured.results] == [1.0] * 3
    if file_system_of(file).counted:
        assert [result.proof for result in measured.results] == ["proven"] * 3
        assert [result.device_bytes for result in measured.results] == [0] * 3
    assert "direct" not in {result.reader for result in bench_storage(file, options(state="warm", readers=None)).results}


def test_a_small_cold_file_is_dropped_and_read_again(file, on_disk):
    result = bench_storage(file, options(seconds=1.0)).results[0]
    assert result.passes > 1
    assert result.operations > 40
    assert result.seconds >= 0.2


def test_every_axis_is_crossed(file, on_disk):
    measured = bench_storage(
        file, options(patterns=None, block_bytes=(4096, BLOCK), depths=(1, 2), readers=("pread", "mmap"), threads=(1, 2), seconds=0.01)
    )
    combinations = {(r.pattern, r.block_bytes, r.depth, r.reader, r.threads) for r in measured.results}
    assert len(combinations) == len(measured.results) == 2 * 2 * 2 * 2 * 2
    assert set(measured.memory_copy_bytes_per_second) == {1, 2}


def test_rounds_alternate_and_the_middle_one_is_shown(file, on_disk, monkeypatch):
    order: list[int] = []

    def run(*paths: Any, **facts: Any) -> dict[str, Any]:
        order.append(facts["depth"])
        return {**read_benchmark(*paths, **facts), "device_bytes": 1 << 40, "seconds": 100.0 * (1 + len(order) % 3)}

    monkeypatch.setattr(storage_point, "read_benchmark", run)
    measured = bench_storage(file, options(depths=(1, 2), rounds=3))
    assert order == [1, 2, 2, 1, 1, 2]
    for result in measured.results:
        assert len(result.round_bytes_per_second) == 3
        assert result.bytes_per_second == sorted(result.round_bytes_per_second)[1]


def test_one_tainted_round_taints_the_point(file, on_disk, monkeypatch):
    rounds: list[int] = []
    measure = storage_point.Runner.measure

    def counted(*arguments: Any, **options: Any) -> Any:
        rounds.append(1)
        return measure(*arguments, **options)

    monkeypatch.setattr(storage_point.Runner, "measure", counted)
    counting(monkeypatch, lambda answer: 0 if len(rounds) == 2 else answer["bytes"])
    measured = bench_storage(file, options(readers=("mmap",), rounds=3))
    assert len(rounds) == 3
    assert measured.tainted == 1


def test_a_cold_run_that_the_cache_fed_is_tainted(file, on_disk, monkeypatch):
    counting(monkeypatch, lambda answer: answer["bytes"] // 2)
    measured = bench_storage(file, options(readers=("pread", "mmap")))
    assert measured.tainted == 2
    assert measured.best == {}
    for result in measured.results:
        assert result.proof == "tainted"
        assert result.device_share == pytest.approx(0.5)
        assert "only 50 % of the bytes came from the device" in result.reason
        assert result.binding == ""


def test_a_cold_run_on_a_file_that_stays_in_memory_is_tainted(file, monkeypatch):
    # Nothing injected: the drop is left out, and the kernel's own counters tell.
    if not file_system_of(file).counted:
        pytest.skip("needs a filesystem with O_DIRECT")
    file.read_bytes()
    monkeypatch.setattr(storage_point.page_cache, "drop_files", lambda files: None)
    measured = bench_storage(file, options())
    assert measured.tainted == 1
    assert "100 % of the file stayed in memory" in measured.results[0].reason


def test_a_warm_run_that_read_the_device_is_tainted(file, on_disk, monkeypatch):
    counting(monkeypatch, lambda answer: answer["bytes"] // 10)
    measured = bench_storage(file, options(state="warm"))
    assert measured.tainted == 1
    assert "10 % of the bytes came from the device" in measured.results[0].reason


def test_counters_that_say_nothing_leave_it_unproven(file, monkeypatch):
    overlay = FileSystem(path="/", type="overlay", kind="overlay", device="", logical_block_bytes=None, model="")
    monkeypatch.setattr(storage, "file_system_of", lambda path: overlay)
    counting(monkeypatch, lambda answer: 0)
    measured = bench_storage(file, options())
    assert (measured.tainted, measured.unproven) == (0, 1)
    assert "overlay" in measured.remark
    assert measured.best["random"].result == 0


def test_memory_is_never_cold(file):
    tmpfs = Path("/dev/shm")
    if file_system_of(tmpfs).kind != "memory":
        pytest.fail("this test needs /dev/shm to be a tmpfs, as Linux has it")
    with pytest.raises(ValueError, match="tmpfs is memory: nothing is ever cold there"):
        bench_storage(tmpfs, options(state="cold", size_bytes=1 << 20))
    measured = bench_storage(tmpfs, options(size_bytes=1 << 20))
    assert (measured.state, measured.tainted, measured.unproven) == ("warm", 0, 0)


def test_a_directory_gets_a_test_file_that_goes_again(tmp_path):
    measured = bench_storage(tmp_path, options(size_bytes=1 << 20))
    assert (measured.kind, measured.file_bytes, measured.kept) == ("test file", 1 << 20, False)
    assert list(tmp_path.iterdir()) == []
    kept = bench_storage(tmp_path / "mine", options(size_bytes=1 << 20, keep=True))
    assert kept.kept
    assert (tmp_path / "mine").stat().st_size == 1 << 20


def test_an_interrupted_run_leaves_no_test_file(tmp_path):
    def interrupt(label: str, done: int, total: int, unit: str) -> None:
        if label == "measuring" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench_storage(tmp_path, options(size_bytes=1 << 20, depths=(1, 2)), advance=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_read_and_said_in_samples(tmp_path):
    headrace.write(tmp_path / "d", {"x": np.random.default_rng(0).random((20000, 16))}, codec="none")
    measured = bench_storage(tmp_path / "d", options(patterns=("sequential",)))
    assert (measured.kind, measured.files_total) == ("dataset", len(measured.files))
    best = measured.best["sequential"]
    stored = sum(Path(name).stat().st_size for name in measured.files)
    assert best.samples_per_second == pytest.approx(best.bytes_per_second / (stored / 20000))
    with pytest.raises(ValueError, match="this is a dataset"):
        bench_storage(tmp_path / "d", options(size_bytes=1 << 20))


def test_of_many_shards_some_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_plan, "_MAX_FILES", 3)
    rows = np.random.default_rng(0).random((4000, 16))
    headrace.write(tmp_path / "d", {"x": rows}, codec="none", chunk_samples=200, shard_bytes=1 << 16)
    measured = bench_storage(tmp_path / "d", options(block_bytes=(4096,)))
    assert measured.files_total > 3
    assert len(set(measured.files)) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patterns": ("zigzag",)}, "patterns must be some of sequential, random, got 'zigzag'"),
        ({"readers": ()}, "readers must be some of .*, got none"),
        ({"depths": (0,)}, "depths must be from 1 to 1024, got 0"),
        ({"depths": (-3,)}, "depths must be from 1 to 1024, got -3"),
        ({"threads": (65,)}, "threads must be from 1 to 64, got 65"),
        ({"block_bytes": (1 << 30,)}, "block_bytes must be from 1 to 67108864"),
        ({"seconds": 0.0}, "seconds must be above 0"),
        ({"rounds": 0}, "rounds must be from 1 to 1000, got 0"),
        ({"seconds": float("nan")}, "seconds must be above 0"),
        ({"state": "tepid"}, "state must be 'cold' or 'warm'"),
        ({"fio": "yes"}, "fio must be one of auto, off, all"),
        ({"size_bytes": 100}, "smaller than one block of 4096"),
        ({"state": "warm", "readers": ("direct",)}, "there is no warm run of them"),
        ({"state": "warm", "drop_machine_cache": True}, "emptying it before makes no sense"),
    ],
)
def test_options_that_make_no_sense(changes, words):
    with pytest.raises(ValueError, match=words):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"block_bytes": (1000,), "readers": ("direct",)}, "a block of 1000 bytes cannot be read direct: it must be a multiple of 4096"),
        ({"block_bytes": (64 << 20,)}, "a block of 67108864 bytes is larger than the largest file"),
        ({"depths": (1024,), "block_bytes": (2 << 20,), "threads": (64,)}, "more than 1 GiB of buffers"),
        ({"size_bytes": 1 << 20}, "there is a file; --size is for a test file"),
        ({"keep": True}, "keep is for a test file"),
    ],
)
def test_points_that_the_file_cannot_have(file, on_disk, changes, words):
    with pytest.raises(ValueError, match=words):
        bench_storage(file, options(**changes))


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(NotFoundError, match="no such file, dataset or directory"):
        bench_storage(tmp_path / "absent", options())
    with pytest.raises(NotFoundError, match="no such file, dataset or directory"):
        bench_storage(tmp_path / "no" / "parent", options(size_bytes=1 << 20))
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="the file is empty"):
        bench_storage(tmp_path / "empty", options())
    with pytest.raises(ValueError, match="found a device, pipe or socket"):
        bench_storage("/dev/null", options(state="cold"))
    with pytest.raises(StorageError, match="does not fit"):
        bench_storage(tmp_path, options(size_bytes=1 << 59))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def fake_fio(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """A program in fio's place that also writes down what it was called with."""
    program = folder / "fio"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/calls\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setattr(storage, "fio_path", lambda: str(program))
    return folder / "calls"


def test_fio_stands_beside_ours(file, tmp_path, on_disk, monkeypatch):
    read = {"io_bytes": 1000, "bw_bytes": 1e6, "iops": 10.0, "runtime": 50}
    counting(monkeypatch, lambda answer: answer["bytes"])
    calls = fake_fio(tmp_path, monkeypatch, f"echo '{json.dumps({'jobs': [{'error': 0, 'read': read}]})}'")
    measured = bench_storage(file, options(fio="auto", readers=("uring", "pread"), depths=(1, 8)))
    exact = [(result.reader, result.depth) for result in measured.results if result.fio is not None]
    assert exact == [("uring", 1), ("uring", 8), ("pread", 1)]  # nothing of fio's is like pread with advice ahead
    for result in measured.results:
        assert (result.fio_ratio is None) == (result.fio is None)
        if result.fio_ratio is not None:
            assert result.fio_ratio == pytest.approx(result.bytes_per_second / 1e6)
    assert measured.fio_ratio is not None
    assert sum("--rw=randread" in line for line in calls.read_text().splitlines()) == 3


def test_a_fio_that_fails_does_not_end_ours(file, tmp_path, on_disk, monkeypatch):
    fake_fio(tmp_path, monkeypatch, "echo 'no engine' >&2; exit 1")
    result = bench_storage(file, options(fio="auto", readers=("uring",))).results[0]
    assert result.fio is None
    assert "no engine" in result.fio_error
    assert result.bytes > 0


def test_fio_that_is_absent_is_said(file, on_disk, monkeypatch):
    monkeypatch.setattr(storage, "fio_path", lambda: None)
    measured = bench_storage(file, options(fio="auto"))
    assert (measured.fio_path, measured.fio_absence) == (None, "not installed")
    assert measured.results[0].fio_line.startswith("fio --name=headrace ")
    with pytest.raises(ValueError, match="fio is not installed"):
        bench_storage(file, options(fio="all"))
