"""A line an epoch through the logger "headrace.epochs", where somebody asks for it and nowhere else."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

import headrace as hr


@pytest.fixture
def loader(tmp_path: Path) -> hr.DataLoader:
    hr.write(tmp_path / "d", {"x": np.arange(1000, dtype=np.int64)})
    return hr.DataLoader(hr.open(tmp_path / "d"), 64, shuffle=True, num_workers=1)


def test_one_line_an_epoch_with_its_own_figures(loader: hr.DataLoader, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="headrace.epochs"):
        list(loader)
        list(loader)
        next(iter(loader))  # Not ended: not told.
    lines = [record.getMessage() for record in caplog.records if record.name == "headrace.epochs"]
    assert [line.split(":")[0] for line in lines] == ["epoch 0", "epoch 1"]
    for line in lines:
        assert re.match(
            r"epoch \d: 1,000 samples in 16 batches, [\d.]+ s, [\d,]+ samples/s, .* 1 threads, 4 batches ahead, reader mmap$", line
        )


def test_nobody_who_did_not_ask_hears_it(loader: hr.DataLoader, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):  # Of all loggers.
        list(loader)
    assert [record for record in caplog.records if record.name == "headrace.epochs"] == []


def test_samples_that_failed_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hr.write(tmp_path / "d", {"x": np.arange(1000, dtype=np.int64)}, codec="none", chunk_samples=100)
    shard = next((tmp_path / "d").glob("*.hrs"))
    stored = bytearray(shard.read_bytes())
    at = stored.find(np.arange(10, 20, dtype=np.int64).tobytes())
    stored[at] ^= 1
    shard.write_bytes(stored)
    loader = hr.DataLoader(hr.open(tmp_path / "d"), 64, on_error="skip", max_errors=1000)
    with caplog.at_level(logging.INFO, logger="headrace.epochs"):
        list(loader)
    assert re.search(r"; \d+ samples failed$", caplog.records[-1].getMessage())
