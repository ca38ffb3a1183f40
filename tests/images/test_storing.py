"""convert(max_side=, quality=, store=): images made smaller, made anew, or as plain pixels, each share of them; and the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headrace as hr
from headrace import images
from headrace._native import encode_image, image_size
from headrace.cli.main import main
from headrace.errors import CorruptDataError, HeadraceError, TruncatedError, UnsupportedVersionError
from headrace.writing.formats.image_storing import Storing, storing_of
from tests.images.photos import decoded, jpeg, make_folder, photo, planes


def test_smaller_images_are_pillows() -> None:
    encoded = jpeg(photo(500, 375), quality=95)
    small = encode_image(encoded, max_side=200, pixels=True)
    assert small.startswith(b"P6\n200 150\n255\n")
    ours = planes(decoded(small))
    theirs = planes(decoded(encoded).resize((200, 150), Image.Resampling.BICUBIC))
    assert np.abs(ours - theirs).max() <= 24  # Decoded at half the size first.
    assert np.abs(ours - theirs).mean() < 1.0
    unscaled = encode_image(encoded, max_side=400, pixels=True)
    np.testing.assert_array_equal(planes(decoded(unscaled)), planes(decoded(encoded).resize((400, 300), Image.Resampling.BICUBIC)))
    assert image_size(encode_image(jpeg(photo(90, 301)), max_side=100)) == (30, 100)


def test_jpeg_made_anew_has_the_quality_and_decodes_alike_everywhere() -> None:
    picture = photo(301, 227)
    previous = np.inf
    for quality in (50, 80, 95):
        made = encode_image(encode_image(jpeg(picture, quality=100), pixels=True), quality=quality)
        theirs = jpeg(decoded(jpeg(picture, quality=100)), quality=quality)
        assert Image.open(io.BytesIO(made)).quantization == Image.open(io.BytesIO(theirs)).quantization
        error = float(np.abs(planes(decoded(made)) - planes(picture)).mean())
        assert error < previous
        previous = error
        whole = images.Compose([images.CenterCrop((227, 301))])
        np.testing.assert_array_equal(whole(made), planes(decoded(made)))


def test_plain_pixels_are_the_decoded_ones() -> None:
    encoded = jpeg(photo(97, 61))
    raw = encode_image(encoded, pixels=True)
    np.testing.assert_array_equal(planes(decoded(raw)), planes(decoded(encoded)))
    compose = images.Compose([images.RandomResizedCrop(24), images.RandomHorizontalFlip()], exact=True)
    for sample in range(20):
        np.testing.assert_array_equal(compose(raw, sample=sample), compose(encoded, sample=sample))


@pytest.mark.parametrize(
    ("damaged", "error"),
    [
        (b"P6", CorruptDataError),
        (b"P6 4 4", CorruptDataError),
        (b"P6 4 4 255", TruncatedError),
        (b"P6 4 4 65535\n" + bytes(96), UnsupportedVersionError),
        (b"P6 x 4 255\n", CorruptDataError),
        (b"P6 0 4 255\n", CorruptDataError),
        (b"P6 4 4 255\n" + bytes(47), TruncatedError),
        (b"P6 4000000000 4000000000 255\n" + bytes(48), CorruptDataError),
        (b"P6 999999999 999999999 255\n" + bytes(48), TruncatedError),
    ],
)
def test_damaged_pixels_are_errors(damaged: bytes, error: type[HeadraceError]) -> None:
    with pytest.raises(error, match="decode PPM"):
        images.Compose([images.CenterCrop(4)])(damaged)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_stays(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = jpeg(photo(90, 70), exif=exif.tobytes(), subsampling=0)
    compose = images.Compose([images.Resize((32, 32))], exact=True)
    for made in (encode_image(encoded, quality=100), encode_image(encoded, pixels=True)):
        assert np.abs(compose(made).astype(int) - compose(encoded).astype(int)).mean() < 3
    assert Image.open(io.BytesIO(encode_image(encoded))).getexif().get(0x0112, 1) == orientation


def stored(path: Path) -> list[bytes]:
    return [bytes(image) for image in hr.open(path)[:]["image"]]


def test_shares(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos", classes=3, each=20)
    hr.convert(root, tmp_path / "out", store={"as-is": 0.25, "jpeg": 0.25, "raw": 0.5}, quality=70)
    files = [Path(path).read_bytes() for path, _ in hr.ImageFolder(root).samples]
    got = stored(tmp_path / "out")
    kinds = ["raw" if new.startswith(b"P6") else "as-is" if new == old else "jpeg" for new, old in zip(got, files, strict=True)]
    storing = Storing((("as-is", 0.25), ("jpeg", 0.25), ("raw", 0.5)))
    assert kinds == [storing.kind(i) for i in range(60)]
    assert {kind: kinds.count(kind) > 5 for kind in set(kinds)} == {"as-is": True, "jpeg": True, "raw": True}
    many = [storing.kind(i) for i in range(4000)]
    assert [abs(many.count(kind) / 4000 - share) < 0.03 for kind, share in storing.shares] == [True] * 3
    for threads in (1, 8):
        hr.convert(root, tmp_path / f"again{threads}", store={"as-is": 0.25, "jpeg": 0.25, "raw": 0.5}, quality=70, threads=threads)
        assert stored(tmp_path / f"again{threads}") == got
    loader = hr.DataLoader(hr.open(tmp_path / "out"), batch_size=60, prepare=images.Compose([images.Resize((16, 16))]))
    (batch,) = loader
    for i in range(60):
        assert np.abs(batch["image"][i].numpy().astype(int) - images.Compose([images.Resize((16, 16))])(files[i]).astype(int)).mean() < 6


def test_only_larger_images_are_made_smaller(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "photos")
    damaged = Path(hr.ImageFolder(root).samples[2][0])
    damaged.write_bytes(damaged.read_bytes()[:300])
    hr.convert(root, tmp_path / "out", max_side=80)
    for new, (path, _) in zip(stored(tmp_path / "out"), hr.ImageFolder(root).samples, strict=True):
        old = Path(path).read_bytes()
        if Path(path) != damaged and max(decoded(old).size) > 80:
            assert max(decoded(new).size) == 80
        else:
            assert new == old


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_side": 0}, "max_side is 0"),
        ({"quality": 101}, "quality is 101"),
        ({"store": "png"}, "store is 'png'; expected one of as-is, jpeg, raw"),
        ({"store": {"raw": 0.5, "jpeg": 0.6}}, "1 together"),
        ({"store": "raw", "quality": 80}, "no image is made anew"),
        ({"repack": "fast"}, "repack is 'fast'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    given = {"repack": None, "max_side": None, "quality": None, "store": None, **options}
    with pytest.raises(ValueError, match=message):
        storing_of(**given)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "photos")
    options = ["--max-side", "64", "--quality", "60", "--store", "raw=0.5,jpeg=0.5", "--repack", "lossless"]
    assert main(["convert", str(root), str(tmp_path / "out"), "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 21
    assert all(max(image_size(image)) <= 64 for image in stored(tmp_path / "out"))
    assert main(["convert", str(root), str(tmp_path / "other"), "--quality", "101"]) != 0
    assert "--quality is 101" in capsys.readouterr().err
