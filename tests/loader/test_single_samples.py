"""batch_size=None over headrace's own datasets: each sample as torch's default_convert makes it, and as batches have what torch cannot convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr

COLUMNS: dict[str, Any] = {
    "when": np.arange("2020-01-01", "2020-01-06", dtype="datetime64[D]"),
    "took": np.arange(5).astype("timedelta64[ms]") * 1500,
    "code": np.array([b"ab", b"cd", b"e", b"f", b"g"]),
    "label": np.array(["x", "yy", "z", "w", "v"]),
    "name": [f"n{i}" for i in range(5)],
    "x": np.arange(10.0).reshape(5, 2),
    "y": np.arange(5),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path: Path = tmp_path_factory.mktemp("single") / "d"
    hr.write(path, COLUMNS)
    return hr.open(path)


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["stored", "subset", "arrays"])
def test_each_sample_is_a_row_of_the_batch(kind: str, workers: int, dataset: hr.Dataset) -> None:
    arrays = {name: values for name, values in COLUMNS.items() if isinstance(values, np.ndarray)}
    source: Any = {"stored": dataset, "subset": data.Subset(dataset, range(5)), "arrays": hr.from_arrays(arrays)}[kind]
    batch = next(iter(hr.DataLoader(source, 5)))
    samples = list(hr.DataLoader(source, batch_size=None, num_workers=workers))
    assert len(samples) == 5
    for i, sample in enumerate(samples):
        assert list(sample) == list(batch)
        for name, value in sample.items():
            assert_same(value, batch[name][i])
    assert samples[1]["when"].item() == (np.datetime64("2020-01-02") - np.datetime64("1970-01-01")).astype(int)


def test_all_else_is_torchs(dataset: hr.Dataset) -> None:
    plain = dataset.select(["x", "y", "name"])
    for source in (plain, plain.as_tuple(), plain.select(["y"])):
        for ours, theirs in zip(hr.DataLoader(source, batch_size=None), data.DataLoader(source, batch_size=None), strict=True):
            assert type(ours) is type(theirs)
            pairs = zip(ours.values(), theirs.values(), strict=True) if isinstance(ours, dict) else zip(ours, theirs, strict=True)
            for one, two in pairs:
                assert_same(one, two)
    whole = list(hr.DataLoader(dataset, batch_size=None, collate_fn=lambda sample: sample["when"]))
    assert whole == list(COLUMNS["when"])
