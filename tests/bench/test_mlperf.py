"""MLPerf Storage's shapes: what is written, what counts, and what the rules say of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import headrace
from headrace._native import chosen_cache_bytes
from headrace.bench import mlperf
from headrace.bench.device_counters import Judgement
from headrace.bench.mlperf import WORKLOADS, MlperfEpoch, MlperfResult, Workload, bench_mlperf
from headrace.errors import ExistsError

TINY = Workload(
    sample_bytes=40_000, deviation_bytes=4_000, batch_size=5, compute_seconds={"a100": 0.002, "h100": 0.001}, least_utilisation=0.5
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "tiny", TINY)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_reads_all_of_what_it_wrote(tmp_path: Path, workers: int) -> None:
    said: list[tuple[str, int, int]] = []
    before = chosen_cache_bytes()
    found = bench_mlperf(
        "tiny",
        tmp_path / "d",
        accelerator="a100",
        size_bytes=2_000_000,
        num_workers=workers,
        epochs=2,
        keep=True,
        advance=lambda *a: said.append(a),
    )
    dataset = headrace.open(tmp_path / "d")
    sizes = [len(dataset[i]["x"]) for i in range(len(dataset))]
    assert found.samples == len(sizes) == 50
    assert sum(sizes) <= found.data_bytes <= sum(sizes) + 16 * 50  # and where each begins
    assert 36_000 < found.data_bytes / 50 < 44_000
    assert len(set(sizes)) > 40
    assert [epoch.steps for epoch in found.epochs] == [10, 10]
    assert all(0 < epoch.utilisation <= 1 for epoch in found.epochs)
    assert found.wanted_bytes_per_second == pytest.approx(found.data_bytes / 50 * 5 / 0.002)
    assert {("writing", 50, 50), ("epoch 1", 10, 10), ("epoch 2", 10, 10)} <= set(said)
    assert chosen_cache_bytes() == before


@pytest.mark.usefixtures("tiny")
def test_what_comes_out_of_the_page_cache_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlperf, "drop_files", lambda files: [path.read_bytes() for path in files])
    found = bench_mlperf("tiny", tmp_path / "d", size_bytes=2_000_000, num_workers=0, reader="mmap", epochs=1)
    assert found.counted == []
    assert found.utilisation is None
    assert not found.passes
    assert not (tmp_path / "d").exists()


def epoch_of(utilisation: float, proof: str = "proven") -> MlperfEpoch:
    judgement = Judgement(proof=proof, reason="", device_bytes=None, device_share=None)
    return MlperfEpoch(utilisation=utilisation, samples_per_second=1, bytes_per_second=1, steps=1, judgement=judgement)


@pytest.mark.parametrize(
    ("epochs", "utilisation", "passes"),
    [
        ([epoch_of(0.95), epoch_of(0.91)], 0.91, True),
        ([epoch_of(0.95), epoch_of(0.89)], 0.89, False),
        ([epoch_of(0.95), epoch_of(1.0, "tainted")], 0.95, False),
        ([epoch_of(1.0, "unproven")], None, False),
    ],
)
def test_the_lowest_that_counts_decides(epochs: list[MlperfEpoch], utilisation: float | None, passes: bool) -> None:
    names = {one.name: 0 for one in dataclasses.fields(MlperfResult)}
    found = MlperfResult(**(names | {"least_utilisation": 0.9, "epochs": epochs}))
    assert (found.utilisation, found.passes) == (utilisation, passes)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"workload": "bert"}, ValueError, "workload must be one of unet3d"),
        ({"accelerator": "b200"}, ValueError, "accelerator must be one of a100, h100"),
        ({"epochs": 0}, ValueError, "at least 1"),
        ({"size_bytes": 1000}, ValueError, "three steps take"),
        ({"size_bytes": 1 << 60}, ValueError, "bytes free"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        bench_mlperf(**({"workload": "resnet50", "folder": tmp_path / "d"} | options))  # type: ignore[arg-type]
    assert not (tmp_path / "d").exists()


def test_a_folder_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExistsError, match="is there already"):
        bench_mlperf("resnet50", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "headrace",
        "bench",
        "mlperf",
        "cosmoflow",
        str(tmp_path / "d"),
        "--size",
        "12MiB",
        "--epochs",
        "1",
        "--json",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["epochs"][0]["judgement"]["proof"] == "proven" else 1)
    assert (document["batch_size"], document["samples"], document["compute_seconds"]) == (1, 4, 0.0035)
