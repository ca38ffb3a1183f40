"""MixUp and CutMix: whole batches against torch's own operations and numpy twins of the draws; equal for any threads, and after a resume."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

import headrace as hr
from headrace import _native, images
from headrace.errors import TooManyErrorsError
from tests.images.photos import jpeg, make_folder, photo
from tests.images.test_from_torchvision import compose as torchvisions_compose
from tests.images.test_from_torchvision import stand_in
from tests.sampling.order_twin import mix_key

Batches = list[tuple[torch.Tensor, torch.Tensor]]
SIDE = 24
BASE = [images.RandomResizedCrop(SIDE), images.RandomHorizontalFlip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), classes=4)


def read(data: Any, epoch: int = 0, **options: Any) -> Batches:
    loader = hr.DataLoader(data, batch_size=8, shuffle=True, seed=3, **options)
    loader.set_epoch(epoch)
    return [tuple(batch) for batch in loader]


def samples_of(data: Any, epoch: int = 0) -> list[list[int]]:
    """The samples of each batch, by an order of the same seed."""
    numbers = hr.DataLoader(hr.from_arrays({"i": np.arange(len(data))}), batch_size=8, shuffle=True, seed=3)
    numbers.set_epoch(epoch)
    return [batch["i"].tolist() for batch in numbers]


def drawn(mix: _native.ImageMix, samples: list[int], epoch: int) -> tuple[str, float, tuple[int, int, int, int]]:
    key = len(samples)
    for sample in samples:
        key = int(mix_key(key, sample)[0])
    return mix.draw(int(mix_key(3, epoch)[0]), key, height=SIDE, width=SIDE)


def mixed(image: torch.Tensor, label: torch.Tensor, draw: tuple[str, float, tuple[int, int, int, int]], classes: int, hwc: bool) -> Any:
    """What torchvision's v2.MixUp and v2.CutMix do, in torch's own operations."""
    kind, share, (x, y, width, height) = draw
    hot = torch.nn.functional.one_hot(label, classes).float()
    if kind == "none":
        return image, hot
    labels = hot.roll(1, 0).mul_(1.0 - share).add_(hot.mul(share))
    if kind == "mixup":
        return image.roll(1, 0).mul_(1.0 - share).add_(image.mul(share)), labels
    out, rolled = image.clone(), image.roll(1, 0)
    if hwc:
        out[:, y : y + height, x : x + width] = rolled[:, y : y + height, x : x + width]
    else:
        out[..., y : y + height, x : x + width] = rolled[..., y : y + height, x : x + width]
    return out, labels


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
@pytest.mark.parametrize(
    ("dtype", "layout", "mix"),
    [
        ("float32", "CHW", images.MixUp(0.4)),
        ("float16", "CHW", images.MixUp()),
        ("bfloat16", "HWC", images.MixUp(2.0)),
        ("uint8", "CHW", images.CutMix(num_classes=9)),
        ("float32", "HWC", images.CutMix(0.5)),
        ("float16", "CHW", images.RandomChoice([images.MixUp(0.2), images.CutMix()], p=[0.4, 0.6])),
        ("float32", "CHW", images.RandomApply([images.CutMix()], p=0.5)),
    ],
)
def test_batches_are_those_of_torch_operations(folder: Path, dtype: str, layout: str, mix: Any, num_workers: int) -> None:
    to_dtype = [images.ToDtype(dtype, scale=True)]
    plain, mixing = (images.Compose([*BASE, *to_dtype, *extra], layout=layout) for extra in ([], [mix]))
    data = hr.ImageFolder(folder, mixing)
    classes = mix.classes or 4
    kinds = set()
    for epoch in range(2):
        got = read(data, epoch, num_workers=num_workers)
        unmixed = read(hr.ImageFolder(folder, plain), epoch)
        for (image, label), (was, number), samples in zip(got, unmixed, samples_of(data, epoch), strict=True):
            draw = drawn(mixing.native_mix(4), samples, epoch)  # type: ignore[arg-type]
            kinds.add(draw[0])
            expected, shares = mixed(was, number, draw, classes, layout == "HWC")
            assert label.dtype == torch.float32
            assert torch.equal(label, shares)
            assert image.dtype == getattr(torch, dtype)
            assert torch.equal(image, expected)
    assert "mixup" in kinds or "cutmix" in kinds


def test_resume_and_replay_give_the_same_batches(folder: Path) -> None:
    data = hr.ImageFolder(folder, images.Compose([*BASE, images.ToDtype("float32", scale=True), images.MixUp()]))
    whole = read(data, 1, num_workers=2)
    loader = hr.DataLoader(data, batch_size=8, shuffle=True, seed=3, num_workers=2)
    loader.set_epoch(1)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    other = hr.DataLoader(data, batch_size=8, shuffle=True, seed=3)
    other.load_state_dict(state)
    for (image, label), (expected, shares) in zip(other, whole[1:], strict=True):
        assert torch.equal(image, expected)
        assert torch.equal(label, shares)
    image, label = loader.replay(2, 1)
    assert torch.equal(image, whole[2][0])
    assert torch.equal(label, whole[2][1])
    fed = [label for _, label in hr.DataLoader(data, batch_size=8, sampler=list(range(28)), seed=3, num_workers=2)]
    again = hr.DataLoader(data, batch_size=8, sampler=list(range(28)), seed=3)
    steps = iter(again)
    next(steps)
    resumed = hr.DataLoader(data, batch_size=8, sampler=list(range(28)), seed=3, num_workers=1)
    resumed.load_state_dict(again.state_dict())
    assert all(torch.equal(a, b) for a, (_, b) in zip(fed[1:], resumed, strict=True))


def test_a_written_dataset_and_the_field_of_labels(folder: Path, tmp_path: Path) -> None:
    pictures = [jpeg(photo(40, 30, i % 2)) for i in range(10)]
    numbers = {"a": np.arange(10, dtype=np.int32) % 3, "b": np.arange(10, dtype=np.uint8) % 5}
    hr.write(tmp_path / "set", {"picture": pictures, **numbers})
    data = hr.open(tmp_path / "set")
    mix = images.MixUp(num_classes=5, labels_getter="b")
    prepare = {"picture": images.Compose([*BASE, images.ToDtype("float32"), mix])}
    (batch,) = hr.DataLoader(data, batch_size=10, prepare=prepare)
    assert batch["b"].shape == (10, 5)
    assert batch["b"].dtype == torch.float32
    torch.testing.assert_close(batch["b"].sum(1), torch.ones(10))
    assert batch["a"].tolist() == [i % 3 for i in range(10)]
    with pytest.raises(ValueError, match=r"2 fields may be the labels .*'a', 'b'"):
        hr.DataLoader(data, prepare={"picture": images.Compose([*BASE, images.CutMix(num_classes=3)])})
    with pytest.raises(ValueError, match="does not say how many classes"):
        hr.DataLoader(data, prepare={"picture": images.Compose([*BASE, images.CutMix(labels_getter="a")])})
    with pytest.raises(KeyError, match="there is no field 'c'; the dataset has 'picture', 'a', 'b'"):
        hr.DataLoader(data, prepare={"picture": images.Compose([*BASE, images.CutMix(labels_getter="c")])})
    with pytest.raises(ValueError, match=r"one integer a sample.*'picture'"):
        hr.DataLoader(data, prepare={"picture": images.Compose([*BASE, images.CutMix(num_classes=3, labels_getter="picture")])})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_label_beyond_the_classes_is_an_error_of_its_sample(folder: Path, num_workers: int) -> None:
    data = hr.ImageFolder(folder, images.Compose([*BASE, images.CutMix(num_classes=3)]))
    with pytest.raises(ValueError, match=r"sample \d+: mix images: label 3 in field 'label'; expected 0 to 2"):
        read(data, num_workers=num_workers)
    skipping = hr.DataLoader(data, batch_size=8, num_workers=num_workers, on_error="skip", max_errors=7)
    labels = torch.cat([label for _, label in skipping])
    assert labels.shape == (21, 3)
    with pytest.raises(TooManyErrorsError):
        list(hr.DataLoader(data, batch_size=8, num_workers=num_workers, on_error="skip", max_errors=6))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.5])
def test_shares_have_the_distribution_of_beta(alpha: float) -> None:
    mix = _native.ImageMix([("mixup", alpha, 1.0)], 2)
    shares = [mix.draw(7, i, height=8, width=8)[1] for i in range(4000)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    assert all(math.isfinite(_native.ImageMix([("mixup", 1e-4, 1.0)], 2).draw(7, i, height=8, width=8)[1]) for i in range(100))


def torchvisions_boxes(rng: np.random.Generator, alpha: float, height: int, width: int, count: int) -> npt.NDArray[np.float64]:
    """v2.CutMix.make_params: (x1, y1, x2, y2, share)."""
    rows = []
    for _ in range(count):
        share = rng.beta(alpha, alpha)
        r_x, r_y = rng.integers(width), rng.integers(height)
        r = 0.5 * math.sqrt(1.0 - share)
        r_w_half, r_h_half = int(r * width), int(r * height)
        x1, y1 = max(r_x - r_w_half, 0), max(r_y - r_h_half, 0)
        x2, y2 = min(r_x + r_w_half, width), min(r_y + r_h_half, height)
        rows.append((x1, y1, x2, y2, 1.0 - (x2 - x1) * (y2 - y1) / (width * height)))
    return np.array(rows)


def test_boxes_have_torchvisions_distribution() -> None:
    mix = _native.ImageMix([("cutmix", 1.0, 1.0)], 2)
    ours = np.array([(x, y, x + w, y + h, share) for _, share, (x, y, w, h) in (mix.draw(9, i, height=60, width=90) for i in range(4000))])
    theirs = torchvisions_boxes(np.random.default_rng(1), 1.0, 60, 90, 4000)
    for column in range(5):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4


def test_choices_come_as_often_as_they_weigh() -> None:
    choice = images.RandomChoice([images.MixUp(num_classes=2), images.RandomApply([images.CutMix(num_classes=2)], 0.5)], p=[1, 3])
    assert choice.choices() == [("mixup", 1.0, 0.25), ("cutmix", 1.0, 0.375), ("none", 1.0, 0.375)]
    mix = _native.ImageMix(choice.choices(), 2)
    kinds = [mix.draw(1, i, height=4, width=4)[0] for i in range(4000)]
    counts = [kinds.count(kind) for kind in ("mixup", "cutmix", "none")]
    assert stats.chisquare(counts, [1000, 1500, 1500]).pvalue > 1e-4


def test_prints_itself_and_round_trips() -> None:
    mix = images.RandomChoice([images.MixUp(0.2, 10), images.CutMix(1.0, 10)], p=[0.5, 0.5])
    compose = images.Compose([*BASE, images.ToDtype("float32"), mix])
    for again in (images.Compose.from_json(compose.to_json()), pickle.loads(pickle.dumps(compose)), eval(repr(compose), vars(images))):
        assert again == compose
        assert again.mix == mix


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: images.MixUp(0), "alpha is 0; expected a number above 0"),
        (lambda: images.MixUp(num_classes=0), "num_classes is 0"),
        (lambda: images.MixUp(labels_getter=len), "expected the name of the field"),
        (lambda: images.RandomChoice([images.RandomGrayscale()]), "work on whole batches"),
        (lambda: images.RandomChoice([images.MixUp(num_classes=3), images.CutMix(num_classes=4)]), "differ in their labels"),
        (lambda: images.RandomChoice([images.MixUp()], p=[1, 2]), "for each of the 1 transforms"),
        (lambda: images.RandomApply([images.MixUp()], p=0), "a probability above 0"),
        (lambda: images.Compose([*BASE, images.MixUp()]), "uint8 cannot hold parts"),
        (lambda: images.Compose([images.CutMix(), *BASE]), r"transforms\[0\] \(CutMix\): it works on whole batches"),
        (lambda: _native.ImageMix([], 2), "nothing to choose from"),
        (lambda: _native.ImageMix([("mixup", 1.0, 1.0)], 0), "num_classes is 0"),
        (lambda: _native.ImageMix([("blend", 1.0, 1.0)], 2), "no way of mixing called 'blend'"),
    ],
)
def test_what_does_not_fit_is_said(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_from_torchvision() -> None:
    def _find_labels_default_heuristic(inputs: Any) -> Any:
        return inputs

    crop = stand_in("CenterCrop", size=(8, 8))
    floats = stand_in("ToTensor")
    arguments: dict[str, Any] = {"alpha": 0.3, "num_classes": 5, "_labels_getter": _find_labels_default_heuristic}
    both = [stand_in("MixUp", **arguments), stand_in("CutMix", **arguments)]
    for mix, expected in (
        (both[0], images.MixUp(0.3, 5)),
        (both[1], images.CutMix(0.3, 5)),
        (stand_in("RandomChoice", transforms=both, p=[0.5, 0.5]), images.RandomChoice([images.MixUp(0.3, 5), images.CutMix(0.3, 5)])),
        (stand_in("RandomApply", transforms=both[:1], p=0.7), images.RandomApply([images.MixUp(0.3, 5)], 0.7)),
    ):
        got = images.from_torchvision(torchvisions_compose(crop, floats, mix))
        assert got.mix == expected
    with pytest.raises(ValueError, match=r"transforms\[0\] is CenterCrop; only MixUp"):
        images.from_torchvision(torchvisions_compose(crop, stand_in("RandomChoice", transforms=[crop], p=None)))
    with pytest.raises(ValueError, match="names the field of labels"):
        images.from_torchvision(torchvisions_compose(crop, floats, stand_in("MixUp", alpha=1.0, num_classes=2, _labels_getter=len)))
