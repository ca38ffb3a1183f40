"""convert(repack="lossless"): files that decode faster, to the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headrace as hr
from headrace import images
from headrace._native import repack_jpeg
from headrace.errors import HeadraceError, TruncatedError
from tests.images.photos import decoded, jpeg, make_folder, photo, planes, train_transform


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"keep_rgb": True}])
def test_pixels_stay(mode: str, options: dict[str, object]) -> None:
    encoded = jpeg(photo(301, 227).convert(mode), **options)
    repacked = repack_jpeg(encoded)
    np.testing.assert_array_equal(planes(decoded(repacked)), planes(decoded(encoded)))
    compose = images.Compose([images.RandomResizedCrop(64, scale=(0.01, 0.5))])
    for sample in range(40):
        np.testing.assert_array_equal(compose(repacked, sample=sample), compose(encoded, sample=sample))


def test_metadata_stays() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = bytes(range(256)) * 10
    image = Image.open(io.BytesIO(repack_jpeg(jpeg(photo(60, 40), exif=exif.tobytes(), icc_profile=profile))))
    assert image.getexif()[0x0112] == 6
    assert image.info["icc_profile"] == profile


def test_damaged_restart_markers_are_errors_or_images() -> None:
    repacked = repack_jpeg(jpeg(photo(200, 300)))
    compose = images.Compose([images.RandomResizedCrop(16, scale=(0.01, 0.1))])
    markers = [i for i in range(len(repacked) - 1) if repacked[i] == 0xFF and 0xD0 <= repacked[i + 1] <= 0xD7]
    assert len(markers) == (13 * 19 - 1) // 8  # One after every 48 blocks: 8 units of 16x16 pixels.
    errors = 0
    for at in markers:
        for other in (0xD0, 0xD7, 0xD9, 0x00, 0xC0):
            damaged = repacked[: at + 1] + bytes([other]) + repacked[at + 2 :]
            try:
                assert compose(damaged, sample=at).shape == (3, 16, 16)
            except HeadraceError:
                errors += 1
    assert errors > 0


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"restart_marker_blocks": 1}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 500}]
)
def test_restart_markers_of_others_change_no_pixel(mode: str, options: dict[str, int]) -> None:
    """Wherever they stand, across the ends of rows too."""
    image = photo(301, 227).convert(mode)
    plain, marked = jpeg(image), jpeg(image, **options)
    assert b"\xff\xdd" in marked
    np.testing.assert_array_equal(planes(decoded(marked)), planes(decoded(plain)))
    for compose in (images.Compose([images.RandomResizedCrop(20, scale=(0.01, 1.0))]), images.Compose([images.RandomCrop(40)], exact=True)):
        for sample in range(40):
            np.testing.assert_array_equal(compose(marked, sample=sample), compose(plain, sample=sample))


def test_convert(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos")
    cut = Path(hr.ImageFolder(root).samples[2][0])
    cut.write_bytes(cut.read_bytes()[:300])
    hr.convert(root, tmp_path / "plain")
    hr.convert(root, tmp_path / "packed", repack="lossless")
    plain, packed = (
        hr.DataLoader(hr.open(tmp_path / name), 21, on_error="skip", prepare=train_transform()) for name in ("plain", "packed")
    )
    for a, b in zip(next(iter(plain)).values(), next(iter(packed)).values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(TruncatedError, match="sample 2: "):
        next(iter(hr.DataLoader(hr.open(tmp_path / "packed"), 21, prepare=train_transform())))
    with pytest.raises(ValueError, match="repack is 'lossy'"):
        hr.convert(root, tmp_path / "other", repack="lossy")
