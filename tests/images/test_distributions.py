"""What random transforms draw: torchvision's formulas, compared as distributions with numpy twins of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import stats

from headrace import images
from tests.images.photos import jpeg

DRAWS = 4000
SIDE = 256


def ramp(side: int = SIDE) -> bytes:
    """Red says the column, green the row, from 0 to 255."""
    x, y = (axis * SIDE // side for axis in np.meshgrid(np.arange(side), np.arange(side)))
    return jpeg(Image.fromarray(np.stack([x, y, np.full_like(x, 128)], 2).astype(np.uint8)), quality=100, subsampling=0)


def flat(level: int) -> bytes:
    return jpeg(Image.new("RGB", (64, 64), (level, level, level)), quality=100)


def outputs(compose: images.Compose, encoded: bytes, count: int = DRAWS) -> npt.NDArray[np.float64]:
    return np.stack([compose(encoded, sample=i) for i in range(count)]).astype(np.float64)


def torchvisions_crop(rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params of a square image: (left, top, width, height)."""
    for _ in range(10):
        area = SIDE * SIDE * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= SIDE and 0 < height <= SIDE:
            top, left = int(rng.integers(0, SIDE - height + 1)), int(rng.integers(0, SIDE - width + 1))
            return left, top, width, height
    return 0, 0, SIDE, SIDE


def test_random_resized_crop() -> None:
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    compose = images.Compose([images.RandomResizedCrop(2, scale, ratio, "nearest")], exact=True)
    got = outputs(compose, ramp())
    rng = np.random.default_rng(1)
    expected = np.array([torchvisions_crop(rng, scale, ratio) for _ in range(DRAWS)], np.float64)
    # Two pixels of the output stand at a quarter and three quarters of the part.
    near_x, far_x = got[:, 0, 0, 0], got[:, 0, 0, 1]
    near_y, far_y = got[:, 1, 0, 0], got[:, 1, 1, 0]
    left, top, width, height = expected.T
    for values, twin in (
        (near_x, np.floor(left + width / 4)),
        (far_x, np.floor(left + width * 3 / 4)),
        (near_y, np.floor(top + height / 4)),
        (far_x - near_x, np.floor(width / 2)),
        (far_y - near_y, np.floor(height / 2)),
        ((far_x - near_x) * (far_y - near_y), np.floor(width / 2) * np.floor(height / 2)),
    ):
        assert stats.ks_2samp(values, twin).statistic < 0.05


def test_random_resized_crop_that_never_fits_takes_the_middle() -> None:
    compose = images.Compose([images.RandomResizedCrop(2, (3.0, 4.0), (0.5, 0.5), "nearest")], exact=True)
    got = outputs(compose, ramp(), 5)
    np.testing.assert_allclose(
        got[:, 0, 0], [[96, 160]] * 5, atol=2
    )  # A square's aspect of 1 is above 0.5: half of the width, all of the height.
    np.testing.assert_allclose(got[:, 1, :, 0], [[64, 192]] * 5, atol=2)


def test_random_crop_is_uniform() -> None:
    compose = images.Compose([images.RandomCrop((32 - 7, 32 - 15))], exact=True)
    corners = outputs(compose, ramp(32), 2000)[:, :2, 0, 0] / 8
    for values, places in ((corners[:, 0], 16), (corners[:, 1], 8)):
        counts = np.bincount(np.round(values).astype(int), minlength=places)[:places]
        assert counts.sum() == 2000
        assert stats.chisquare(counts).pvalue > 1e-4


def test_probabilities() -> None:
    for p in (0.0, 0.1, 0.5, 1.0):
        both = images.Compose([images.RandomHorizontalFlip(p), images.RandomVerticalFlip(p), images.Resize((2, 2), "nearest")], exact=True)
        got = outputs(both, ramp(), 2000)
        flips = np.stack([got[:, 0, 0, 0] > got[:, 0, 0, 1], got[:, 1, 0, 0] > got[:, 1, 1, 0]])
        for rate in (*flips.mean(1), (flips[0] & flips[1]).mean() / max(p, 1e-9)):
            assert abs(rate - p) < 5 * math.sqrt(p * (1 - p) / (2000 * max(p, 0.1))) + 1e-9
        grey = outputs(images.Compose([images.RandomGrayscale(p), images.Resize((1, 2), "nearest")]), ramp(), 2000)
        assert abs(np.isclose(grey[:, 0], grey[:, 1], atol=1).all((1, 2)).mean() - p) < 5 * math.sqrt(p * (1 - p) / 2000) + 1e-9


def test_jitter_is_uniform_and_in_every_order() -> None:
    compose = images.Compose([images.ColorJitter(brightness=(0.5, 1.5)), images.CenterCrop(1)])
    factors = (outputs(compose, flat(150))[:, 0, 0, 0] + 0.5) / 150
    assert stats.kstest(factors, stats.uniform(0.5, 1.0).cdf).statistic < 0.04
    # Twice as bright, clipped, and then grey is another level than grey and then twice as bright: both orders occur equally often.
    two = images.Compose([images.ColorJitter(brightness=(2.0, 2.0), contrast=(0.0, 0.0)), images.CenterCrop(1)], exact=True)
    levels, counts = np.unique(outputs(two, ramp(), 1000)[:, 0, 0, 0], return_counts=True)
    assert len(levels) == 2
    assert stats.binomtest(int(counts[0]), 1000).pvalue > 1e-4


def test_random_erasing() -> None:
    scale, ratio = (0.02, 0.33), (0.3, 3.3)
    compose = images.Compose([images.CenterCrop(64), images.ToDtype("float32"), images.RandomErasing(1.0, scale, ratio, (-1, -2, -3))])
    areas = (outputs(compose, ramp(), 1500)[:, 0] == -1).sum((1, 2))
    rng = np.random.default_rng(2)

    def twin() -> int:
        for _ in range(10):
            area = 64 * 64 * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < 64 and width < 64:
                return height * width
        return 0

    assert stats.ks_2samp(areas, [twin() for _ in range(1500)]).statistic < 0.07
    noise = images.Compose([images.CenterCrop(64), images.ToDtype("float32"), images.RandomErasing(1.0, (0.3, 0.3), (1, 1), "random")])
    values = outputs(noise, flat(200), 20)
    assert stats.kstest(values[values < 100], stats.norm.cdf).pvalue > 1e-4


def test_draws_of_steps_and_samples_are_independent() -> None:
    twice = images.Compose([images.RandomHorizontalFlip(), images.RandomHorizontalFlip(), images.Resize((1, 2), "nearest")])
    got = outputs(twice, ramp(), 2000)
    flipped = got[:, 0, 0, 0] > got[:, 0, 0, 1]
    assert abs(flipped.mean() - 0.5) < 0.06
    assert abs(np.corrcoef(flipped[:-1], flipped[1:])[0, 1]) < 0.1
