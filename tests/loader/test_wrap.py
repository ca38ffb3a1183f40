"""hr.wrap(): a torch loader's batches, draws and options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data
from torchdata.stateful_dataloader import StatefulDataLoader

import headrace as hr

TENSORS = data.TensorDataset(torch.arange(43), torch.randn(43, 3, generator=torch.Generator().manual_seed(0)))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(6)


LOADERS: dict[str, Callable[[], Any]] = {
    "in order": lambda: data.DataLoader(TENSORS, 5),
    "shuffled": lambda: data.DataLoader(TENSORS, 5, shuffle=True, drop_last=True),
    "a generator": lambda: data.DataLoader(TENSORS, 5, shuffle=True, generator=generator()),
    "a sampler": lambda: data.DataLoader(TENSORS, 5, sampler=data.WeightedRandomSampler(list(range(43)), 50, generator=generator())),
    "batches": lambda: data.DataLoader(TENSORS, batch_sampler=[[1, 2], [3], [42, 0, 0]]),
    "a BatchSampler": lambda: data.DataLoader(
        TENSORS, batch_sampler=data.BatchSampler(data.RandomSampler(TENSORS, generator=generator()), 7, False)
    ),
    "no batches": lambda: data.DataLoader(TENSORS, batch_size=None, shuffle=True),
    "collate_fn": lambda: data.DataLoader(TENSORS, 5, collate_fn=lambda samples: torch.stack([i for i, _ in samples])),
    "a list": lambda: data.DataLoader(list(range(20)), 3, shuffle=True),  # type: ignore[arg-type]
    "workers": lambda: data.DataLoader(TENSORS, 5, shuffle=True, num_workers=2, prefetch_factor=3, persistent_workers=True),
}


def flat(batches: Any) -> list[Any]:
    return [[part.tolist() for part in batch] if isinstance(batch, list | tuple) else batch.tolist() for batch in batches]


@pytest.mark.parametrize("name", LOADERS)
def test_batches_draws_and_options_are_the_same(name: str) -> None:
    torch.manual_seed(1)
    theirs = LOADERS[name]()
    expected = flat(theirs) + flat(theirs)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    given = LOADERS[name]()
    ours = hr.wrap(given)
    assert type(ours) is hr.DataLoader
    assert flat(ours) + flat(ours) == expected
    assert torch.equal(torch.get_rng_state(), after)
    assert ours.dataset is given.dataset
    for option in ("batch_size", "num_workers", "timeout", "drop_last", "prefetch_factor", "persistent_workers", "pin_memory"):
        assert getattr(ours, option) == getattr(given, option), option
    assert ours.is_native == (name not in ("no batches", "collate_fn", "a list"))


def test_options_beside_the_loaders() -> None:
    given = data.DataLoader(TENSORS, 5, shuffle=True)
    ours = hr.wrap(given, seed=3, rank=1, world_size=2, num_workers=2)
    assert ours.partition.world_size == 2
    assert ours.batch_size == 5
    assert flat(ours) == flat(hr.DataLoader(TENSORS, 5, shuffle=True, seed=3, rank=1, world_size=2))


@pytest.mark.filterwarnings("ignore:.*set_vital")  # torch 2.13, of a call in torchdata 0.11
def test_datasets_on_disk_and_torchdatas_loader(tmp_path: Path) -> None:
    hr.write(tmp_path / "a", {"x": np.arange(50)})
    for given in (data.DataLoader(hr.open(tmp_path / "a"), 8, shuffle=True), StatefulDataLoader(hr.open(tmp_path / "a"), 8)):  # type: ignore[arg-type]
        ours = hr.wrap(given)
        assert ours.is_native
        torch.manual_seed(0)
        found = [batch["x"].tolist() for batch in ours]
        torch.manual_seed(0)
        assert found == [batch["x"].tolist() for batch in given]


class Own(data.DataLoader[Any]):
    def __iter__(self) -> Any:
        return iter([1, 2, 3])


def test_what_cannot_be_wrapped_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a torch"):
        hr.wrap([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Own has its own __iter__"):
        hr.wrap(Own(TENSORS))
    ours = hr.DataLoader(TENSORS)
    assert hr.wrap(ours) is ours
    with pytest.raises(TypeError, match="already"):
        hr.wrap(ours, seed=1)
