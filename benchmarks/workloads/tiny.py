"""Datasets of very many very small samples: one byte each, 10,000 samples a chunk, 1,000 chunks a shard."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["CHUNK_SAMPLES", "check", "prepare"]

CHUNK_SAMPLES = 10_000
SHARD_CHUNKS = 1_000
_PERIOD = 250  # sample i holds i % 250: what a batch delivers can be checked without an index


def prepare(folder: Path, samples: int) -> Path:
    """Write the dataset, unless it is there; uncompressed, so that what is measured is headrace's own bookkeeping. About 1.2 bytes a sample."""
    path = folder / f"tiny-{samples}"
    if not path.exists():
        unfinished = folder / f"unfinished-tiny-{samples}"
        shutil.rmtree(unfinished, ignore_errors=True)
        part = np.tile(np.arange(_PERIOD, dtype=np.uint8), 10_000)
        with headrace.Writer(unfinished, codec="none", chunk_samples=CHUNK_SAMPLES, shard_bytes=CHUNK_SAMPLES * SHARD_CHUNKS) as writer:
            for begin in range(0, samples, len(part)):
                writer.extend({"x": part[: samples - begin]})
        unfinished.rename(path)
    page_in(list(path.iterdir()))
    return path


def check(values: torch.Tensor, indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Raises AssertionError unless these are the values of these samples."""
    assert np.array_equal(values.numpy(), (indices % _PERIOD).astype(np.uint8))
