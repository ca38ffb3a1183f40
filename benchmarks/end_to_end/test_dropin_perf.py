"""Datasets as people have them, without conversion: tensors, Hugging Face tables, Python code; identical batches checked before the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from benchmarks.interleave import interleaved

BATCH = 1024
TENSOR_ROWS, TABLE_ROWS, PYTHON_ROWS = 200_000, 1_000_000, 20_000
THREADS = 2


def drain(batches: Iterable[Any]) -> int:
    """Take all batches; returns how many."""
    return sum(1 for _ in batches)


def assert_identical(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        values = zip(one.values(), other.values(), strict=True) if isinstance(other, dict) else zip(one, other, strict=True)
        for a, b in values:
            assert torch.equal(a, b) if isinstance(b, torch.Tensor) else a == b


def seeded(make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A loader that shuffles by a generator of its own; two of the same seed give the same batches."""
    return make(*arguments, shuffle=True, generator=torch.Generator().manual_seed(1), **options)


@pytest.mark.gate
def test_tensors(benchmark: Any, report: Any) -> None:
    x = torch.randn(TENSOR_ROWS, 32)
    dataset = data.TensorDataset(x)
    assert_identical(seeded(hr.DataLoader, dataset, BATCH, num_workers=THREADS), seeded(data.DataLoader, dataset, BATCH))
    ours, theirs = seeded(hr.DataLoader, dataset, BATCH, num_workers=THREADS), seeded(data.DataLoader, dataset, BATCH)

    def chunks() -> int:
        order = torch.randperm(TENSOR_ROWS)
        return sum(1 for begin in range(0, TENSOR_ROWS, BATCH) if len(x[order[begin : begin + BATCH]]))

    timings = interleaved({"ours": lambda: drain(ours), "X[perm]": chunks}, rounds=15)
    slow = interleaved({"ours": lambda: drain(ours), "torch": lambda: drain(theirs)}, rounds=3)
    benchmark.pedantic(lambda: drain(ours), rounds=3)
    report(
        "time of headrace / X[perm] in chunks",
        1 / timings.speed_ratio("ours", "X[perm]"),
        at_most=1.3,
        our_samples_per_second=TENSOR_ROWS / timings.median("ours"),
        spread=timings.spread("ours", "X[perm]"),
    )
    report(
        "headrace / torch's loader, TensorDataset",
        slow.speed_ratio("ours", "torch"),
        at_least=20.0,
        peer="torch DataLoader",
        our_samples_per_second=TENSOR_ROWS / slow.median("ours"),
        their_samples_per_second=TENSOR_ROWS / slow.median("torch"),
    )


@pytest.mark.gate
@pytest.mark.parametrize("texts", [False, True], ids=["numbers", "numbers and texts"])
def test_hugging_face(benchmark: Any, report: Any, texts: bool) -> None:
    columns: dict[str, Any] = {"x": np.random.default_rng(0).standard_normal(TABLE_ROWS).astype(np.float32), "y": np.arange(TABLE_ROWS)}
    if texts:
        columns["text"] = [f"row number {i}" for i in range(TABLE_ROWS)]
    table = datasets.Dataset.from_dict(columns).with_format("torch").shuffle(seed=1)
    few = table.select(range(20_000))  # A whole pass of its own loader takes minutes.
    assert_identical(seeded(hr.DataLoader, few, BATCH, num_workers=THREADS), seeded(data.DataLoader, few, BATCH))
    ours, theirs = seeded(hr.DataLoader, table, BATCH, num_workers=THREADS), seeded(data.DataLoader, few, BATCH)
    timings = interleaved({"ours": lambda: drain(ours), "theirs": lambda: drain(theirs)}, rounds=3)
    benchmark.pedantic(lambda: drain(ours), rounds=3)
    report(
        f"headrace / torch's loader, Hugging Face dataset, {'with texts' if texts else 'numbers'}",
        timings.speed_ratio("ours", "theirs") * TABLE_ROWS / len(few),
        at_least=20.0,
        peer="torch DataLoader",
        our_samples_per_second=TABLE_ROWS / timings.median("ours"),
        their_samples_per_second=len(few) / timings.median("theirs"),
    )


class Squares(data.Dataset[Any]):
    """A sample costs a few microseconds of Python: as much of the loader's own cost shows as ever will."""

    def __len__(self) -> int:
        return PYTHON_ROWS

    def __getitem__(self, index: int) -> Any:
        return torch.full((32,), float(index)), index


@pytest.mark.gate
@pytest.mark.parametrize("workers", [0, 2])
def test_python_code(benchmark: Any, report: Any, workers: int) -> None:
    assert_identical(
        seeded(hr.DataLoader, Squares(), 128, num_workers=workers), seeded(data.DataLoader, Squares(), 128, num_workers=workers)
    )
    ours, theirs = seeded(hr.DataLoader, Squares(), 128, num_workers=workers), seeded(data.DataLoader, Squares(), 128, num_workers=workers)
    timings = interleaved({"ours": lambda: drain(ours), "torch": lambda: drain(theirs)}, rounds=21 if workers == 0 else 9)
    benchmark.pedantic(lambda: drain(ours), rounds=1)
    report(
        f"time of headrace / torch's loader, Python dataset, num_workers={workers}",
        1 / timings.speed_ratio("ours", "torch"),
        at_most=1.03,
        our_samples_per_second=PYTHON_ROWS / timings.median("ours"),
        spread=timings.spread("ours", "torch"),
    )
