"""A Pipeline beside the transform of an ImageFolder: both run, in one pass, and neither changes what the other makes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import headrace as hr
from headrace import images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("photos")
    for number in range(24):
        folder = path / ("cat", "dog", "owl")[number % 3]
        folder.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return path


def transform(*last: Any) -> images.Compose:
    return images.Compose([images.RandomResizedCrop(16), images.RandomHorizontalFlip(), images.ToDtype("float32", scale=True), *last])


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_images_and_labels_are_prepared_in_one_pass(root: Path, workers: int) -> None:
    folder = hr.ImageFolder(root, transform())
    pipe = hr.prep.Pipeline([hr.prep.OneHot(fields="label")]).fit(folder)
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "num_workers": workers}
    loader = hr.DataLoader(folder, 5, prepare=pipe, **options)
    plain = hr.DataLoader(folder, 5, **options)
    for epoch in range(2):
        plain.set_epoch(epoch)
        loader.set_epoch(epoch)
        again = pickle.loads(pickle.dumps(loader))  # As a spawned process gets it.
        for (image, label), *others in zip(plain, loader, again, strict=True):
            for made, shares in others:
                torch.testing.assert_close(made, image, rtol=0, atol=0)
                torch.testing.assert_close(shares, torch.nn.functional.one_hot(label, 3).float(), rtol=0, atol=0)


def test_an_image_without_a_transform_stays_encoded(root: Path) -> None:
    folder = hr.ImageFolder(root)
    pipe = hr.prep.Pipeline([hr.prep.OneHot(fields="label")]).fit(folder)
    image, shares = next(iter(hr.DataLoader(folder, 4, prepare=pipe)))
    assert image == list(folder[:4][0])
    assert shares.tolist() == [[1.0, 0.0, 0.0]] * 4


@pytest.mark.parametrize("mix", [images.MixUp(), images.CutMix()])
def test_mixed_labels_and_a_pipeline_are_refused(root: Path, mix: Any) -> None:
    folder = hr.ImageFolder(root, transform(mix))
    pipe = hr.prep.Pipeline([hr.prep.OneHot(fields="label")]).fit(folder)
    with pytest.raises(ValueError, match="mixes images and their labels, beside which no Pipeline runs"):
        hr.DataLoader(folder, 4, prepare=pipe)


def test_folds_prepare_both(root: Path) -> None:
    folder = hr.ImageFolder(root, transform())
    shapes = set()

    def fit(train: Any, prepare: Any) -> Any:
        for image, shares in hr.DataLoader(train, 4, prepare=prepare):
            shapes.add((tuple(image.shape[1:]), tuple(shares.shape[1:])))
        return lambda image: image.mean((1, 2, 3)) + torch.arange(len(image))

    pipe = hr.prep.Pipeline([hr.prep.Standardize(fields="label")])
    found = hr.evaluate.cross_validate(fit, folder, 3, prepare=pipe, stratify="label", task="regression", metrics=["mse"], batch_size=8)
    assert shapes == {((3, 16, 16), ())}
    assert found.folds[0].test_samples == 8
