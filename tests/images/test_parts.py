"""Parts of an ImageFolder, and of arrays: chosen by label without reading a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import headrace as hr
from headrace import images
from tests.images.photos import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> hr.ImageFolder:
    return hr.ImageFolder(make_folder(tmp_path_factory.mktemp("photos"), classes=3, each=10), images.Compose([images.Resize((8, 8))]))


def test_stratified_parts_of_a_folder(folder: hr.ImageFolder) -> None:
    parts = folder.split(train=0.8, valid=0.2, stratify="label", seed=3)
    assert [np.bincount(part.targets).tolist() for part in parts.values()] == [[8, 8, 8], [2, 2, 2]]
    assert sorted(parts["train"].samples + parts["valid"].samples) == sorted(folder.samples)
    assert parts["valid"].classes == folder.classes
    assert parts["valid"].transform == folder.transform
    (batch,) = hr.DataLoader(parts["valid"], batch_size=6)
    expected = torch.stack([torch.from_numpy(folder.transform(path)) for path, _ in parts["valid"].samples])
    assert torch.equal(batch[0], expected)
    held = [path for _, test in folder.kfold(5, stratify="label") for path, _ in test.samples]
    assert sorted(held) == sorted(path for path, _ in folder.samples)
    assert len(folder.sample(0.5, stratify="label")) == 15
    assert [len(drawn) for drawn, _ in folder.bootstrap(2)] == [30, 30]


def test_where_reads_no_file(folder: hr.ImageFolder, tmp_path: Path) -> None:
    chosen = folder.where(hr.col("label") >= 1)
    assert chosen.targets == [1] * 10 + [2] * 10
    other = make_folder(tmp_path / "photos", classes=2, each=3)
    gone = hr.ImageFolder(other)
    for path, _ in gone.samples:
        Path(path).unlink()
    assert gone.where(hr.col("label") == 1).targets == [1] * 3
    with pytest.raises(KeyError, match="there is no field 'class'; the dataset has 'image', 'label'"):
        gone.where(hr.col("class") == 1)


def test_parts_of_arrays() -> None:
    data = hr.from_arrays({"x": np.arange(20, dtype=np.float32), "y": np.arange(20) % 4, "group": np.arange(20) // 5})
    parts = data.split(a=0.5, b=0.5, stratify="y")
    assert all(min(np.bincount(part[:]["y"])) >= 2 for part in parts.values())
    assert sorted(np.concatenate([part[:]["x"] for part in parts.values()])) == list(range(20))
    assert data.where((hr.col("x") > 3) & (hr.col("y") == 0))[:]["x"].tolist() == [4, 8, 12, 16]
    for train, test in data.kfold(4, group="group"):
        assert not set(train[:]["group"]) & set(test[:]["group"])
    inner = data.subset([3, 2, 1]).where(hr.col("x") < 3)
    assert inner[:]["x"].tolist() == [2, 1]
