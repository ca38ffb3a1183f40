"""With torch's samplers and generators the order is theirs, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from tests.loader.samples import (
    ids_of,
    numbered,
)

N = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples in several shards."""
    return numbered(tmp_path_factory.mktemp("loader") / "d", N, codec="zstd", chunk_samples=8, shard_bytes=1)


class Backwards(data.Sampler[int]):
    """A sampler that torch does not know, without a length."""

    def __iter__(self) -> Any:
        return iter(range(N - 1, -1, -3))


def choices(dataset: Any) -> dict[str, Callable[[], dict[str, Any]]]:
    """Ways to say which samples come in which order; fresh generators each time."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(8)

    weights = [float(i % 4) for i in range(N)]
    return {
        "generator": lambda: {"shuffle": True, "generator": generator()},
        "RandomSampler": lambda: {"sampler": data.RandomSampler(dataset, generator=generator())},
        "replacement": lambda: {"sampler": data.RandomSampler(dataset, True, 70, generator())},
        "weighted": lambda: {"sampler": data.WeightedRandomSampler(weights, 90, generator=generator())},
        "subset": lambda: {"sampler": data.SubsetRandomSampler(range(5, 60), generator=generator())},
        "distributed": lambda: {"sampler": data.DistributedSampler(dataset, 3, 1, seed=4)},
        "a list": lambda: {"sampler": [3, 3, -1, 0, 99]},
        "tensors": lambda: {"sampler": list(torch.arange(20, 0, -1))},
        "one's own": lambda: {"sampler": Backwards()},
        "batches": lambda: {"batch_sampler": data.BatchSampler(data.RandomSampler(dataset, generator=generator()), 11, True)},
        "lists of batches": lambda: {"batch_sampler": [[1, 2, 3], [4], (9, 9), np.array([7, 0])]},
    }


@pytest.mark.parametrize("name", choices([0] * N))
def test_the_order_is_torchs_bit_for_bit(dataset: hr.Dataset, name: str) -> None:
    theirs = data.DataLoader(dataset, **({"batch_size": 8} if "batch" not in name else {}), **choices(dataset)[name]())
    expected = [ids_of(theirs), ids_of(theirs)]
    for workers in (0, 2):
        ours = hr.DataLoader(dataset, **({"batch_size": 8} if "batch" not in name else {}), num_workers=workers, **choices(dataset)[name]())
        assert [ids_of(ours), ids_of(ours)] == expected
        if name != "one's own":
            assert len(ours) == len(theirs)


def test_a_sampler_that_fails_or_leaves_the_dataset_says_so(dataset: hr.Dataset) -> None:
    def broken() -> Any:
        yield from range(20)
        raise KeyError("mine")

    for workers in (0, 2):
        loader = hr.DataLoader(dataset, 5, sampler=broken(), num_workers=workers)
        with pytest.raises(KeyError, match="mine"):
            list(loader)
        with pytest.raises(IndexError, match="index 100 is outside the dataset's 100 samples"):
            list(hr.DataLoader(dataset, 5, sampler=[1, 100], num_workers=workers))
