"""Two loaders that deliver the same are said to; of those that do not, the first difference is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data

import headrace
from headrace.evaluate import parity

SAMPLES = 103
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(SAMPLES, 3)).astype(np.float32), np.arange(SAMPLES)


def batches(indices: Any, size: int = 10, **changes: Any) -> list[dict[str, Any]]:
    """By hand: dicts of arrays."""
    out = []
    for begin in range(0, len(indices), size):
        part = np.asarray(indices[begin : begin + size])
        out.append({"x": changes.get("x", X)[part], "y": changes.get("y", Y)[part]})
    return out


def test_a_headrace_loader_and_torchs(tmp_path: Path) -> None:
    headrace.write(tmp_path / "d", {"x": X, "y": Y})

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"x": X[index], "y": int(Y[index])}

    theirs = torch.utils.data.DataLoader(Rows(), 10, shuffle=True)
    ours = headrace.DataLoader(headrace.open(tmp_path / "d"), 10, shuffle=True)
    found = parity(ours, theirs)
    assert found
    assert found.same_content
    assert not found.same_order
    assert found.samples == (SAMPLES, SAMPLES)
    assert found.batches == (11, 11)
    assert found.repeated == (0, 0)
    assert found.difference is not None
    assert found.difference.startswith("the same samples in another order: batch 0, row ")
    same = parity(headrace.DataLoader(headrace.open(tmp_path / "d"), 10), torch.utils.data.DataLoader(Rows(), 10))
    assert same.same_content
    assert same.same_order
    assert same.difference is None


def test_a_changed_value_is_found() -> None:
    changed = X.copy()
    changed[57, 1] = 7
    found = parity(batches(range(SAMPLES)), batches(range(SAMPLES), x=changed))
    assert not found
    assert found.difference == (
        "1 samples of a are missing or rarer in b, the first is row 7 of batch 5; "
        "1 samples of b are missing or rarer in a, the first is row 7 of batch 5"
    )
    assert "field 'x'" in str(parity(batches([57]), batches([57], x=changed.astype(np.float64))).difference)


def test_the_last_bit_counts_and_so_does_the_sign_of_zero() -> None:
    zeros = np.zeros((4, 3), np.float32)
    assert not parity(batches(range(4), x=zeros), batches(range(4), x=-zeros))
    nans = np.full((4, 3), np.nan, np.float32)
    assert parity(batches(range(4), x=nans), batches(range(4), x=nans.copy()))


@pytest.mark.parametrize(
    ("indices", "repeated", "words"),
    [
        ([*range(50), 49, *range(51, SAMPLES)], 1, "1 samples of a are missing or rarer in b, the first is row 0 of batch 5"),
        (range(SAMPLES - 1), 0, "1 samples of a are missing or rarer in b, the first is row 2 of batch 10"),
    ],
    ids=["twice", "missing"],
)
def test_exactly_once(indices: Any, repeated: int, words: str) -> None:
    found = parity(batches(range(SAMPLES)), batches(list(indices)))
    assert not found
    assert found.repeated == (0, repeated)
    assert str(found.difference).startswith(words)


def test_other_batches_are_another_order() -> None:
    found = parity(batches(range(SAMPLES), 10), batches(range(SAMPLES), 20), names=("old", "new"))
    assert found.same_content
    assert not found.same_order
    assert found.difference == "the same samples in another order: batch 0: 10 samples of old, 20 of new"
    shorter = parity(batches(range(20), 10), batches(range(20), 20))
    assert shorter.same_content


def test_fields_and_types_are_named() -> None:
    found = parity(batches(range(20)), batches(range(20), y=Y.astype(np.int32)), names=("theirs", "ours"))
    assert found.difference == "batch 0, row 0, field 'y': int64 () of theirs, int32 () of ours"
    renamed = [{"x": b["x"], "z": b["y"]} for b in batches(range(20))]
    assert parity(batches(range(20)), renamed).difference == "batch 0: fields ['x', 'y'] of a, ['x', 'z'] of b"


def test_padding_does_not_count(tmp_path: Path) -> None:
    values = [np.arange(n, dtype=np.float32) for n in (3, 1, 4, 1, 5, 9, 2, 6)]
    headrace.write(tmp_path / "d", {"x": values, "name": [f"n{i}" for i in range(8)]})
    dataset = headrace.open(tmp_path / "d")
    found = parity(headrace.DataLoader(dataset, 2), headrace.DataLoader(dataset, 4, shuffle=True))
    assert found.same_content
    assert not found.same_order


def test_bfloat16_and_nested_batches() -> None:
    values = torch.arange(6).to(torch.bfloat16)
    left = [(values, {"a": [b"x"] * 6})]
    assert parity(left, [(values.clone(), {"a": [b"x"] * 6})])
    assert parity(left, [(values.view(torch.int16), {"a": [b"x"] * 6})]).difference == (
        "batch 0, row 0, field '[0]': bfloat16 () of a, int16 () of b"
    )
    assert parity(left, [(values, {"a": [b"x"] * 5 + [b"y"]})]).difference is not None


def test_what_is_no_batch() -> None:
    with pytest.raises(TypeError, match="expected tensors"):
        parity([object()], [])
    with pytest.raises(ValueError, match="batch 0 of b: its fields differ in length"):
        parity([], [{"x": np.zeros(3), "y": np.zeros(4)}])
