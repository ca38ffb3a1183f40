"""A collate_fn that is set on a loader after it was made acts from the next pass on, as with torch's loader."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.data as data

import headrace as hr
from tests.loader.samples import numbered


def first_column(samples: list[Any]) -> list[int]:
    return [int(sample[0]) for sample in samples]


@pytest.mark.parametrize("workers", [0, 2])
def test_over_tensors_torch_serves_from_then_on(workers: int) -> None:
    def run(make: Any) -> list[Any]:
        torch.manual_seed(2)
        loader = make(data.TensorDataset(torch.arange(10)), 4, shuffle=True, num_workers=workers)
        out: list[Any] = [batch[0].tolist() for batch in loader]
        loader.collate_fn = first_column
        out += [*loader, len(loader)]
        return out + list(copy.deepcopy(loader))

    assert run(hr.DataLoader) == run(data.DataLoader)


def test_the_loader_says_so_and_has_a_place_again() -> None:
    loader = hr.DataLoader(data.TensorDataset(torch.arange(10)), 4)
    loader.collate_fn = first_column
    iterator = iter(loader)
    assert not loader.is_native
    assert "collate_fn" in loader.fallback_reason
    assert next(iterator) == [0, 1, 2, 3]
    state = loader.state_dict()
    again = hr.DataLoader(data.TensorDataset(torch.arange(10)), 4, collate_fn=first_column)
    again.load_state_dict(state)
    assert list(again) == list(iterator) == [[4, 5, 6, 7], [8, 9]]


def test_over_headraces_own_datasets_the_engine_goes_on(tmp_path: Path) -> None:
    loader = hr.DataLoader(numbered(tmp_path / "d", 10), 4)
    whole = [batch["id"].tolist() for batch in loader]
    loader.collate_fn = lambda samples: [(int(sample["id"]), sample["name"]) for sample in samples]
    assert list(loader) == [[(i, f"n{i}") for i in batch] for batch in whole]
    assert loader.is_native
    loader.collate_fn = data.default_collate
    assert [batch["id"].tolist() for batch in loader] == whole


def test_headraces_order_over_tensors_cannot_be_torchs() -> None:
    loader = hr.DataLoader(data.TensorDataset(torch.arange(10)), 4, shuffle=True, seed=3)
    loader.collate_fn = first_column
    with pytest.raises(ValueError, match="give it when the loader is made"):
        iter(loader)
