"""Images through the loader: equal to one at a time, for any threads, reader, resume and world size; damaged ones are errors of their samples."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import headrace as hr
from headrace import images
from headrace.errors import ChangedError, LimitExceededError, NotFoundError, TruncatedError
from tests.images.photos import jpeg, make_folder, photo, train_transform


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("dataset") / "out"
    hr.convert(folder, path)
    return str(path)


def batches(data: Any, **options: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(batch["image"], batch["label"]) if isinstance(batch, dict) else tuple(batch) for batch in hr.DataLoader(data, **options)]


def one_by_one(folder: Path, transform: images.Compose, order: list[int], epoch: int, seed: int) -> torch.Tensor:
    paths = [path for path, _ in hr.ImageFolder(folder).samples]
    return torch.stack([torch.from_numpy(transform(paths[i], seed=seed, epoch=epoch, sample=i)) for i in order])


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
@pytest.mark.parametrize("kind", ["folder", "mmap", "pread"])
def test_batches_are_what_one_sample_at_a_time_gives(folder: Path, dataset: str, kind: str, num_workers: int) -> None:
    transform = train_transform()
    data = hr.ImageFolder(folder, transform) if kind == "folder" else hr.open(dataset, reader=kind)
    loader = hr.DataLoader(data, batch_size=4, shuffle=True, seed=5, num_workers=num_workers, prepare=transform)
    for epoch in range(2):
        loader.set_epoch(epoch)
        got = [tuple(batch.values()) if isinstance(batch, dict) else tuple(batch) for batch in loader]
        labels = torch.cat([label for _, label in got])
        pictures = torch.cat([image for image, _ in got])
        assert pictures.shape == (21, 3, 32, 32)
        assert pictures.dtype == torch.float32
        replayed = torch.cat(
            [loader.replay(step, epoch)[0] if kind == "folder" else loader.replay(step, epoch)["image"] for step in range(6)]
        )
        assert torch.equal(pictures, replayed)
        expected = one_by_one(folder, transform, list(range(21)), epoch, 5)
        matches = [int((expected == picture).flatten(1).all(1).nonzero()[0]) for picture in pictures]
        assert sorted(matches) == list(range(21))
        assert [i // 7 for i in matches] == labels.tolist()


def test_ranks_and_a_resume_change_nothing(folder: Path) -> None:
    data = hr.ImageFolder(folder, train_transform())
    whole = torch.cat([image for image, _ in batches(data, batch_size=6, shuffle=True, seed=3)])
    shares = [batches(data, batch_size=3, shuffle=True, seed=3, rank=rank, world_size=2, num_workers=2) for rank in range(2)]
    together = torch.cat([torch.cat([a[0], b[0]]) for a, b in zip(*shares, strict=True)])
    assert torch.equal(together[:18], whole[:18])
    loader = hr.DataLoader(data, batch_size=6, shuffle=True, seed=3, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    fresh = hr.DataLoader(data, batch_size=6, shuffle=True, seed=3, num_workers=1)
    fresh.load_state_dict(state)
    assert torch.equal(torch.cat([image for image, _ in fresh]), whole[6:])


def test_epochs_differ_and_a_sampler_is_followed(folder: Path) -> None:
    data = hr.ImageFolder(folder, train_transform())
    loader = hr.DataLoader(data, batch_size=7, sampler=torch.utils.data.SequentialSampler(data), num_workers=2)
    first, second = (torch.cat([image for image, _ in loader]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, one_by_one(folder, train_transform(), list(range(21)), 0, 0))
    assert torch.equal(second, one_by_one(folder, train_transform(), list(range(21)), 1, 0))


def test_folder_is_torchvisions(folder: Path) -> None:
    data = hr.ImageFolder(folder)
    assert data.classes == ["class_0", "class_1", "class_2"]
    assert data.class_to_idx == {"class_0": 0, "class_1": 1, "class_2": 2}
    expected = [
        (str(path), label)
        for label in range(3)
        for parent in (folder / f"class_{label}", folder / f"class_{label}" / "inner")
        for path in sorted(parent.glob("*.jpg"))
    ]
    assert data.samples == data.imgs == expected
    assert data.targets == [label for _, label in expected]
    encoded, label = data[-1]
    assert (encoded, int(label)) == (Path(expected[-1][0]).read_bytes(), 2)
    plain = batches(data, batch_size=5, num_workers=2)
    assert [one for image, _ in plain for one in image] == [Path(path).read_bytes() for path, _ in expected]
    again = pickle.loads(pickle.dumps(data))
    assert (again.samples, again.fingerprint) == (data.samples, data.fingerprint)


def test_single_samples_and_pickles_of_loaders(folder: Path) -> None:
    transform = train_transform()
    data = hr.ImageFolder(folder, transform)
    image, label = data[4]
    np.testing.assert_array_equal(image, transform(data.samples[4][0], sample=4))
    assert int(label) == 0
    columns, labels = data[[1, 20]]
    assert columns.shape == (2, 3, 32, 32)
    assert labels.tolist() == [0, 2]
    loader = hr.DataLoader(data, batch_size=21)
    others = copy.copy(loader), pickle.loads(pickle.dumps(loader))
    expected = next(iter(loader))[0]
    assert all(torch.equal(next(iter(other))[0], expected) for other in others)
    collated = hr.DataLoader(data, batch_size=3, collate_fn=lambda samples: [image.shape for image, _ in samples])
    assert next(iter(collated)) == [(3, 32, 32)] * 3


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_damaged_images(tmp_path: Path, on_error: str, num_workers: int) -> None:
    root = make_folder(tmp_path / "photos")
    good = hr.ImageFolder(root)
    cut, text = good.samples[3][0], good.samples[16][0]
    Path(cut).write_bytes(Path(cut).read_bytes()[:400])
    Path(text).write_bytes(b"no image at all")
    hr.convert(root, tmp_path / "out")
    transform = train_transform()
    for data in (hr.ImageFolder(root, transform), hr.open(tmp_path / "out")):
        with pytest.raises(TruncatedError, match=r"sample 3: .*decode JPEG: ") as caught:
            batches(data, batch_size=7, num_workers=num_workers, prepare=transform)
        assert cut in str(caught.value) if isinstance(data, hr.ImageFolder) else "chunk" in str(caught.value)
        loader = hr.DataLoader(data, batch_size=7, num_workers=num_workers, on_error=on_error, prepare=transform)
        first = list(loader)
        assert loader.state_dict()["skipped"] == [3, 16]
        assert loader.stats()["skipped"] == 2
        total = sum(len(batch[0] if isinstance(batch, (tuple, list)) else batch["image"]) for batch in first)
        assert total == (19 if on_error == "skip" else 21)
        again = hr.DataLoader(data, batch_size=7, num_workers=2 - num_workers, on_error=on_error, prepare=transform)
        for a, b in zip(first, again, strict=True):
            a, b = (tuple(x.values()) if isinstance(x, dict) else x for x in (a, b))
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_files_that_go_or_change(tmp_path: Path) -> None:
    data = hr.ImageFolder(make_folder(tmp_path), images.Compose([images.Resize((8, 8))]))
    Path(data.samples[5][0]).unlink()
    with pytest.raises(NotFoundError, match=r"sample 5: .*\.jpg"):
        batches(data, batch_size=21)
    assert len(batches(data, batch_size=21, on_error="skip")[0][0]) == 20
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="no image in the classes empty"):
        hr.ImageFolder(tmp_path)
    assert hr.ImageFolder(tmp_path, allow_empty=True).classes == ["class_0", "class_1", "class_2", "empty"]
    with pytest.raises(NotFoundError, match="no class folders"):
        hr.ImageFolder(tmp_path / "empty")
    loader = hr.DataLoader(hr.ImageFolder(tmp_path, data.transform, allow_empty=True), batch_size=4)
    state = loader.state_dict()
    (tmp_path / "class_0" / "new.jpg").write_bytes(jpeg(photo(20, 20)))
    other = hr.DataLoader(hr.ImageFolder(tmp_path, data.transform, allow_empty=True), batch_size=4)
    with pytest.raises(ChangedError):
        other.load_state_dict(state)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
def test_files_of_any_size(tmp_path: Path, num_workers: int) -> None:
    root = make_folder(tmp_path / "photos")
    transform = images.Compose([images.Resize((8, 8))])
    data = hr.ImageFolder(root, transform)
    large, endless = Path(data.samples[4][0]), Path(data.samples[9][0])
    noise = np.random.default_rng(1).integers(0, 256, (2400, 2400, 3), np.uint8)
    with large.open("wb") as file:  # More than a thread's buffer keeps.
        Image.fromarray(noise).save(file, "PNG", compress_level=0)
    assert large.stat().st_size > 16 << 20
    with endless.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitExceededError, match=rf"sample 9: read {endless}: its 1099511627776 bytes are more than the \d+ that"):
        batches(data, batch_size=5, num_workers=num_workers)
    loader = hr.DataLoader(data, batch_size=5, num_workers=num_workers, on_error="skip")
    delivered = torch.cat([image for image, _ in loader])
    assert loader.stats()["slab_bytes"] < 4 << 20  # Files are not part of a batch.
    assert torch.equal(delivered, one_by_one(root, transform, [i for i in range(21) if i != 9], 0, 0))


def test_nulls_and_other_fields(tmp_path: Path) -> None:
    encoded = jpeg(photo(40, 30))
    samples = [{"id": i, "photo": None if i % 3 == 1 else encoded, "text": f"{i}"} for i in range(10)]
    hr.write(tmp_path / "out", samples)
    compose = images.Compose([images.Resize((6, 9)), images.ToDtype("float16", scale=True)], layout="HWC")
    loader = hr.DataLoader(hr.open(tmp_path / "out"), batch_size=10, prepare={"photo": compose}, num_workers=2)
    batch = next(iter(loader))
    assert batch["photo"].shape == (10, 6, 9, 3)
    assert batch["photo"].dtype == torch.float16
    assert batch["photo.valid"].tolist() == [i % 3 != 1 for i in range(10)]
    assert batch["photo"][1].abs().max() == 0
    np.testing.assert_array_equal(batch["photo"][0].numpy(), compose(encoded))
    assert batch["text"] == [str(i) for i in range(10)]


def test_prepare_that_does_not_fit(folder: Path, dataset: str) -> None:
    compose = images.Compose([images.Resize((8, 8))])
    data = hr.open(dataset)
    with pytest.raises(KeyError, match="there is no field 'photo'"):
        hr.DataLoader(data, prepare={"photo": compose})
    with pytest.raises(ValueError, match="'label' holds tensor values"):
        hr.DataLoader(data, prepare={"label": compose})
    with pytest.raises(TypeError, match=r"expected a headrace\.images\.Compose"):
        hr.DataLoader(data, prepare=lambda image: image)
    with pytest.raises(ValueError, match="0 fields of encoded images"):
        hr.DataLoader(data.select(["label"]), prepare=compose)
    with pytest.raises(ValueError, match="prepare: only for datasets that the native engine reads"):
        hr.DataLoader([1, 2], prepare=compose)


def test_class_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in (b"a", b"b\xff", "\u5bab".encode()):
        folder = os.path.join(os.fsencode(tmp_path), b"photos", name)
        os.makedirs(folder)
        Path(os.fsdecode(folder), os.fsdecode(b"\xfe.jpg")).write_bytes(jpeg(photo(20, 10)))
    found = hr.ImageFolder(tmp_path / "photos", images.Compose([images.CenterCrop(4)]))
    assert found.classes == ["a", "b\udcff", "\u5bab"]
    assert [label.tolist() for _, label in hr.DataLoader(found, 3)] == [[0, 1, 2]]
    hr.convert(tmp_path / "photos", tmp_path / "dataset")
    assert json.loads(hr.open(tmp_path / "dataset").schema.metadata)["classes"] == found.classes


def test_a_transform_that_the_engine_cannot_run_is_refused_at_once(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"transform is function; expected a headrace\.images\.Compose"):
        hr.ImageFolder(folder, lambda image: image)
