"""Parts of a folder of images: the engine's batches equal torch's own over the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data
from PIL import Image

import headrace as hr
from headrace import images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir()
        for i in range(9):
            Image.fromarray(rng.integers(0, 255, (20 + i, 24, 3), dtype=np.uint8)).save(root / label / f"{i}.jpg")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_equal_torchs(folder: Path, workers: int) -> None:
    transform = images.Compose([images.Resize((16, 16))])
    part: Any = data.random_split(hr.ImageFolder(folder, transform), [13, 5], generator=torch.Generator().manual_seed(1))[0]
    ours = list(hr.DataLoader(part, 4, num_workers=workers, parallel="native"))
    theirs = list(data.DataLoader(part, 4))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_transform_set_later_is_followed(folder: Path) -> None:
    dataset = hr.ImageFolder(folder)
    part: Any = data.Subset(dataset, [17, 0, 3])
    loader = hr.DataLoader(part, 4)
    encoded, labels = next(iter(loader))
    assert encoded == tuple(dataset[i][0] for i in (17, 0, 3))
    assert labels.tolist() == [1, 0, 0]
    dataset.transform = images.Compose([images.Resize((8, 8))])
    assert next(iter(loader))[0].shape == (3, 3, 8, 8)
