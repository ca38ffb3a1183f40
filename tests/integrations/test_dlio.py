"""The DLIO benchmark (MLPerf Storage's) with headrace's loader, alone and on two ranks of MPI."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integrations.launch import JOBS, lines_of, run

FILES, SAMPLES, BATCH, EPOCHS = 6, 4, 2, 2  # files of so many samples


def dlio(folder: Path, ranks: int, kind: str, *, generate: bool, loader: str = "dlio_job.RecordedLoader") -> None:
    """A run of unet3d's workload, made small."""
    settings: dict[str, Any] = {
        "workflow.generate_data": generate, "workflow.train": True, "workflow.checkpoint": False, "dataset.format": kind,
        "dataset.num_files_train": FILES, "dataset.num_samples_per_file": SAMPLES, "dataset.record_length": 4096,
        "dataset.record_length_stdev": 512, "dataset.record_length_resize": 4096, "dataset.data_folder": folder / "data",
        "reader.batch_size": BATCH, "reader.read_threads": 1, "reader.data_loader_sampler": "index",
        "reader.data_loader_classname": loader, "train.epochs": EPOCHS, "train.computation_time": 0.001,
    }  # fmt: skip
    overrides = [f"++workload.{name}={value}" for name, value in settings.items()]
    command = [sys.executable, JOBS / "dlio_job.py", folder, "workload=unet3d_h100", *overrides, f"hydra.run.dir={folder / 'out'}"]
    several = [Path(sys.executable).parent / "mpiexec", "-launcher", "fork", "-n", ranks] if ranks > 1 else []
    run([*several, *command], DFTRACER_ENABLE="0")


def stored(folder: Path, kind: str) -> list[str]:
    """Digests of the samples in DLIO's own files."""
    found = []
    for file in sorted((folder / "data" / "train").glob(f"*.{kind}")):
        array = np.load(file)["x"] if kind == "npz" else np.load(file)
        found += [hashlib.sha256(np.ascontiguousarray(array[..., i]).tobytes()).hexdigest()[:16] for i in range(SAMPLES)]
    assert len(set(found)) == FILES * SAMPLES
    return sorted(found)


@pytest.mark.parametrize(("ranks", "kind"), [(1, "npz"), (2, "npy")])
def test_dlio_measures_headrace(tmp_path: Path, ranks: int, kind: str) -> None:
    dlio(tmp_path, ranks, kind, generate=True)
    epochs: dict[int, list[str]] = {}
    for rank in range(ranks):
        steps = lines_of(tmp_path, rank)
        assert [epoch for epoch, _ in steps] == [epoch for epoch in range(1, EPOCHS + 1) for _ in range(FILES * SAMPLES // BATCH // ranks)]
        for epoch, samples in steps:
            assert len(samples) == BATCH
            epochs.setdefault(epoch, []).extend(samples)
    assert [sorted(samples) for samples in epochs.values()] == [stored(tmp_path, kind)] * EPOCHS
    assert epochs[1] != epochs[2]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["num_accelerators"] == ranks
    assert len(summary["metric"]["train_au_percentage"]) == EPOCHS
    (made,) = (tmp_path / "data" / "headrace").iterdir()
    if ranks == 1:
        before = made.stat().st_mtime_ns
        dlio(tmp_path, ranks, kind, generate=False)
        assert [path.stat().st_mtime_ns for path in (tmp_path / "data" / "headrace").iterdir()] == [before]  # Used again.


def test_a_format_that_it_does_not_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"headrace reads DLIO's formats npz and npy, not jpeg"):
        dlio(tmp_path, 1, "jpeg", generate=True)
