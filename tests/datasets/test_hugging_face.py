"""Hugging Face datasets on the native engine: batches equal its own under torch's loader, values, dtypes and containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr

ROWS = 57


def table() -> Any:
    rng = np.random.default_rng(3)
    features = datasets.Features(
        {
            "i": datasets.Value("int32"),
            "u": datasets.Value("uint8"),
            "h": datasets.Value("float16"),
            "f": datasets.Value("float32"),
            "d": datasets.Value("float64"),
            "text": datasets.Value("string"),
            "b": datasets.Value("bool"),
            "ids": datasets.Sequence(datasets.Value("int64")),
            "fixed": datasets.Sequence(datasets.Value("float32"), length=3),
            "grid": datasets.Array2D((2, 3), "float32"),
            "label": datasets.ClassLabel(names=["a", "b", "c"]),
        }
    )
    values = {
        "i": rng.integers(-1000, 1000, ROWS),
        "u": rng.integers(0, 255, ROWS),
        "h": rng.standard_normal(ROWS).astype(np.float16),
        "f": rng.standard_normal(ROWS).astype(np.float32),
        "d": rng.standard_normal(ROWS),
        "text": [f"täxt {i}" * (i % 4) for i in range(ROWS)],
        "b": rng.integers(0, 2, ROWS).astype(bool),
        "ids": rng.integers(0, 1 << 40, (ROWS, 7)).tolist(),
        "fixed": rng.standard_normal((ROWS, 3)).astype(np.float32).tolist(),
        "grid": rng.standard_normal((ROWS, 2, 3)).astype(np.float32),
        "label": rng.integers(0, 3, ROWS),
    }
    return datasets.Dataset.from_dict(values, features=features)


def same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif theirs and not isinstance(theirs[0], str):
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert ours == theirs


VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda d: d,
    "shuffle": lambda d: d.shuffle(seed=4),
    "select": lambda d: d.select([5, 5, 0, 56, 3, 9, 8]),
    "select of shuffle": lambda d: d.shuffle(seed=1).select(range(3, 40)),
    "a slice": lambda d: d.select(range(10, 31)),
    "several chunks": lambda d: datasets.concatenate_datasets([d, d.select(range(5, 9)), d]),
    "a split": lambda d: d.train_test_split(0.3, seed=2)["train"],
    "fewer columns": lambda d: d.select_columns(["text", "grid", "i"]),
    "torch's Subset": lambda d: data.Subset(d.shuffle(seed=2), [4, 4, 0, 30]),
}


@pytest.mark.parametrize("workers", [0, 2, 8])
@pytest.mark.parametrize("form", [None, "torch", "numpy"])
@pytest.mark.parametrize("view", VIEWS)
def test_batches_equal_its_own(view: str, form: str | None, workers: int) -> None:
    dataset = VIEWS[view](table().with_format(form))
    torch.manual_seed(8)
    theirs = [batch for _ in range(2) for batch in data.DataLoader(dataset, 5, shuffle=True)]
    torch.manual_seed(8)
    loader = hr.DataLoader(dataset, 5, shuffle=True, num_workers=workers, parallel="native")
    ours = [batch for _ in range(2) for batch in loader]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        same(one, other)


def test_nothing_is_copied_but_what_arrow_packs() -> None:
    whole = table().with_format("torch")
    found = hr.DataLoader(whole).source
    addresses = {buffer.address for column in whole.data.table.columns for chunk in column.chunks for buffer in chunk.buffers() if buffer}
    held = [part for name, parts in found.columns.items() if name != "b" for part in parts]
    assert {part.__array_interface__["data"][0] for part in held} <= addresses


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "transform": (lambda d: d.with_transform(lambda batch: {"i": batch["i"]}), "transform"),
    "options": (lambda d: d.with_format("torch", dtype=torch.float64), "options"),
    "nulls": (lambda d: datasets.Dataset.from_dict({"a": [1, None, 3]}), "nulls"),
    "ragged": (lambda d: datasets.Dataset.from_dict({"a": [[1], [1, 2], [3]]}), "differing lengths"),
    "texts alone": (lambda d: d.select_columns(["text"]), "no column of numbers"),
    "dates": (lambda d: datasets.Dataset.from_dict({"a": np.array(["2020-01-01"], "M8[s]")}), "timestamp"),
    "struct": (lambda d: datasets.Dataset.from_dict({"a": [{"b": 1}]}), "feature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why_and_runs_as_torch_runs_it(name: str) -> None:
    make, reason = REFUSED[name]
    dataset = make(table())
    loader = hr.DataLoader(dataset, 1)
    assert not loader.is_native
    assert reason in loader.fallback_reason
    with pytest.raises(TypeError, match=reason):
        hr.DataLoader(dataset, parallel="native")
    if name in ("transform", "options", "texts alone", "struct"):
        for one, other in zip(loader, data.DataLoader(dataset, 1), strict=True):
            same(one, other)


def test_a_format_set_later_is_followed() -> None:
    dataset = table()
    loader = hr.DataLoader(dataset, 4)
    assert next(iter(loader))["f"].dtype == torch.float64
    dataset.set_format("torch", columns=["f", "ids"])
    batch = next(iter(loader))
    assert list(batch) == ["f", "ids"]
    assert batch["f"].dtype == torch.float32


def test_a_pass_resumes_and_other_texts_are_another_dataset() -> None:
    loader = hr.DataLoader(table().with_format("torch"), 5, shuffle=True)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = [batch["text"] for batch in iterator]
    resumed = hr.DataLoader(table().with_format("torch"), 5, shuffle=True)
    resumed.load_state_dict(state)
    assert [batch["text"] for batch in resumed] == rest
    changed = table().map(lambda row: {"text": row["text"] + "!"}).with_format("torch")
    with pytest.raises(hr.ChangedError, match="fingerprint"):
        hr.DataLoader(changed, 5, shuffle=True).load_state_dict(state)
