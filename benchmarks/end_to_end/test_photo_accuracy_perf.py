"""What the default's decoding at a fraction of the size costs: PSNR against exact=True, and the accuracy of a small network trained on each.

The task: from which of 26 real photos is this part? Parts are 384x384 and become 64x64, so that nearly all are decoded at 1/2 or 1/4.
Networks of one seed begin alike and see the same crops in the same order, so they differ by the decoding alone.

HEADRACE_BENCH_PHOTO_FOLDER=P  where the photos lie (default /usr/share/backgrounds); workloads/photo_parts.py says which packages have them
HEADRACE_BENCH_SEEDS=N         networks of each kind (default 8), HEADRACE_BENCH_EPOCHS=N (default 15)
"""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

import headrace
from benchmarks.workloads.photo_parts import PACKAGES, PhotoParts
from headrace import images

SEEDS = int(os.environ.get("HEADRACE_BENCH_SEEDS", "8"))
EPOCHS = int(os.environ.get("HEADRACE_BENCH_EPOCHS", "15"))
SIDE = 64
NORMALISED = [images.ToDtype("float32", scale=True), images.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
TRAIN = [images.RandomResizedCrop(SIDE, scale=(0.25, 1.0)), images.RandomHorizontalFlip()]
TEST = [images.Resize(SIDE), images.CenterCrop(SIDE)]


@pytest.fixture(scope="module")
def parts(folder: Path) -> PhotoParts:
    below = Path(os.environ.get("HEADRACE_BENCH_PHOTO_FOLDER", "/usr/share/backgrounds"))
    photos = PhotoParts.find(below)
    if len(photos) < 10:
        pytest.skip(f"{len(photos)} photos below {below}; Debian's packages {', '.join(PACKAGES)} have them (HEADRACE_BENCH_PHOTO_FOLDER)")
    return PhotoParts.prepare(folder, photos)


def loader(parts: PhotoParts, kind: str, steps: list[Any], *, seed: int = 0, **modes: Any) -> Any:
    folder = headrace.ImageFolder(parts.root / kind, images.Compose(steps, **modes))
    return headrace.DataLoader(folder, 64, shuffle=kind == "train", num_workers=2, seed=seed)


def network(classes: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64), (64, 96)):
        layers += [
            torch.nn.Conv2d(before, after, 3, padding=1, bias=False),
            torch.nn.BatchNorm2d(after),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        ]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(96, classes))


def trained(parts: PhotoParts, seed: int, *, exact: bool) -> torch.nn.Module:
    batches = loader(parts, "train", [*TRAIN, *NORMALISED], seed=seed, exact=exact)
    model = network(parts.photos, seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=EPOCHS * len(batches))
    for _ in range(EPOCHS):
        for x, y in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: torch.nn.Module, batches: Any) -> float:
    """Percent of the test's parts that are named rightly."""
    right = [(model(x).argmax(1) == y).float() for x, y in batches]
    return float(torch.cat(right).mean()) * 100


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Of each image, in dB; those that are equal are left out."""
    squares = ((a.astype(np.float64) - b) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255.0**2 / squares[squares > 0])


def pixels(parts: PhotoParts, kind: str, **modes: Any) -> npt.NDArray[np.uint8]:
    return np.concatenate([np.asarray(x) for x, _ in loader(parts, kind, TRAIN if kind == "train" else TEST, **modes)])


def mean_and_half(values: list[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval by Student's distribution."""
    return statistics.fmean(values), float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


@pytest.mark.informational
@pytest.mark.parametrize("kind", ["train", "test"])
def test_psnr(parts: PhotoParts, kind: str, report: Any) -> None:
    exact, fast, gap = (pixels(parts, kind, **modes) for modes in ({"exact": True}, {}, {"reducing_gap": 2.0}))
    found, wider = psnr(fast, exact), psnr(gap, exact)
    name = "RandomResizedCrop" if kind == "train" else "Resize and CenterCrop"
    report(
        f"photos, {name}: the default against exact=True, median PSNR",
        float(np.median(found)),
        unit="dB",
        images=len(exact),
        of_which_equal=len(exact) - len(found),
        one_in_a_hundred_below=float(np.quantile(found, 0.01)),
        least=float(found.min()),
        mean_difference_in_levels=float(np.abs(fast.astype(np.int16) - exact).mean()),
        median_with_reducing_gap_2=float(np.median(wider)) if len(wider) else "equal",
    )


@pytest.mark.informational
@pytest.mark.timeout(0)  # Minutes of training.
def test_accuracy(parts: PhotoParts, report: Any) -> None:
    tests = {mode: loader(parts, "test", [*TEST, *NORMALISED], exact=mode == "exact") for mode in ("fast", "exact")}
    found: dict[tuple[str, str], list[float]] = {(a, b): [] for a in tests for b in tests}
    for seed in range(SEEDS):
        for mode in tests:
            model = trained(parts, seed, exact=mode == "exact")
            for other, batches in tests.items():
                found[mode, other].append(accuracy(model, batches))
    same = [a - b for a, b in zip(found["fast", "fast"], found["exact", "exact"], strict=True)]
    crossed = [a - b for a, b in zip(found["fast", "exact"], found["fast", "fast"], strict=True)]
    means = {name: mean_and_half(values) for name, values in found.items()}
    difference, half = mean_and_half(same)
    report(
        "photos, accuracy: trained and tested on the default, less trained and tested on exact=True",
        difference,
        unit="percentage points",
        half_of_the_95_percent_interval=half,
        networks_of_each=SEEDS,
        test_images=len(tests["fast"].dataset),
        crossed="trained on the default, tested on exact=True, less tested on the default: {:+.2f} +- {:.2f}".format(
            *mean_and_half(crossed)
        ),
        **{f"accuracy_{a}_tested_on_{b}": "{:.2f} +- {:.2f} %".format(*means[a, b]) for a, b in found},
    )
    assert means["exact", "exact"][0] > 50, "the network has not learned the task, so its accuracy says nothing"
