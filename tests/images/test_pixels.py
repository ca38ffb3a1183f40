"""Pixels against Pillow, operation by operation: exact mode equals it, the default nearly."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from headrace import images
from headrace.errors import CorruptDataError, HeadraceError, LimitExceededError, TruncatedError
from tests.images.photos import IMAGENET, decoded, jpeg, photo, planes

FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
ODD_SIZES = [(1, 1), (1, 300), (300, 1), (7, 13), (97, 89), (500, 375)]


def resized(encoded: bytes, height: int, width: int, name: str, **options: bool) -> np.ndarray:
    return images.Compose([images.Resize((height, width), name)], **options)(encoded).astype(np.int16)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("width", "height"), ODD_SIZES)
def test_exact_resize_equals_pillow(name: str, width: int, height: int) -> None:
    encoded = jpeg(photo(width, height))
    for to_height, to_width in ((224, 224), (1, 1), (61, 97), (400, 3)):
        expected = planes(decoded(encoded).resize((to_width, to_height), FILTERS[name]))
        np.testing.assert_array_equal(resized(encoded, to_height, to_width, name, exact=True), expected)


@pytest.mark.parametrize(("width", "height", "size", "most"), [(500, 375, 224, 0.0), (500, 375, 100, 2.5), (1600, 1200, 224, 1.5)])
def test_the_default_is_near_pillow(width: int, height: int, size: int, most: float) -> None:
    encoded = jpeg(photo(width, height))
    expected = planes(decoded(encoded).resize((size, size), 2))
    assert np.abs(resized(encoded, size, size, "bilinear") - expected).mean() <= most


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"restart_marker_blocks": 3}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_kinds_of_jpeg(mode: str, options: dict[str, object]) -> None:
    encoded = jpeg(photo(123, 101).convert(mode), **options)
    expected = planes(decoded(encoded).resize((50, 40), 2))
    np.testing.assert_array_equal(resized(encoded, 40, 50, "bilinear", exact=True), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = jpeg(photo(90, 70), exif=exif.tobytes())
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    crop = images.Compose([images.CenterCrop((31, 45))], exact=True)
    left, top = round((turned.width - 45) / 2), round((turned.height - 31) / 2)
    np.testing.assert_array_equal(crop(encoded), planes(turned.crop((left, top, left + 45, top + 31))))
    as_stored = images.Compose([images.CenterCrop((70, 90))], exact=True, exif=False)
    np.testing.assert_array_equal(as_stored(encoded), planes(decoded(encoded)))
    scaled = resized(encoded, 20, 20, "bilinear")
    assert np.abs(scaled - planes(turned.resize((20, 20), 2))).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_other_formats(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = other(photo(50, 31), kind, exif=exif.tobytes())
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    whole = images.Compose([images.CenterCrop((turned.height, turned.width))])
    np.testing.assert_array_equal(whole(encoded), planes(turned))
    as_stored = images.Compose([images.CenterCrop((31, 50))], exif=False)
    np.testing.assert_array_equal(as_stored(encoded), planes(decoded(encoded)))
    part = images.Compose([images.CenterCrop((11, 9))])
    left, top = round((turned.width - 9) / 2), round((turned.height - 11) / 2)
    np.testing.assert_array_equal(part(encoded), planes(turned.crop((left, top, left + 9, top + 11))))
    bare = np.asarray(decoded(encoded))
    at = encoded.index(b"eXIf" if kind == "PNG" else b"EXIF")
    for cut in range(at - 4, at + 12):  # Whatever lengths say, nothing outside is read.
        damaged = encoded[:cut] + b"\xff" + encoded[cut + 1 :]
        with contextlib.suppress(HeadraceError, ValueError):
            assert whole(damaged).size == bare.size


def test_resize_of_the_shorter_side_and_centre_crop() -> None:
    for (width, height), size, longest in itertools.product([(500, 375), (375, 500), (401, 399)], (64, 224), (None, 230)):
        encoded = jpeg(photo(width, height))
        short, long = size, int(size * max(width, height) / min(width, height))
        if longest and long > longest:
            short, long = int(longest * short / long), longest
        to = (short, long) if width <= height else (long, short)
        image = decoded(encoded).resize(to, 2)
        left, top = round((to[0] - 48) / 2), round((to[1] - 40) / 2)
        compose = images.Compose([images.Resize(size, max_size=longest), images.CenterCrop((40, 48))], exact=True)
        np.testing.assert_array_equal(compose(encoded), planes(image.crop((left, top, left + 48, top + 40))))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad(mode: str) -> None:
    encoded = jpeg(photo(40, 30))
    compose = images.Compose([images.CenterCrop((30, 40)), images.Pad((3, 5, 7, 9), fill=(9, 8, 7), padding_mode=mode)], exact=True)
    extra = {"constant_values": 0} if mode == "constant" else {}
    expected = np.pad(planes(decoded(encoded)), ((0, 0), (5, 9), (3, 7)), mode, **extra)
    if mode == "constant":
        inside = np.pad(np.ones((3, 30, 40), bool), ((0, 0), (5, 9), (3, 7)))
        expected = np.where(inside, expected, np.array([9, 8, 7])[:, None, None])
    np.testing.assert_array_equal(compose(encoded), expected)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.77, 1.0, 1.9])
@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation"])
def test_colours_equal_pillow(part: str, factor: float) -> None:
    encoded = jpeg(photo(60, 50))
    enhancer = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}[part]
    compose = images.Compose([images.CenterCrop((50, 60)), images.ColorJitter(**{part: (factor, factor)})], exact=True)
    np.testing.assert_array_equal(compose(encoded), planes(enhancer(decoded(encoded)).enhance(factor)))


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.07, 0.5])
def test_hue_equals_pillow(shift: float) -> None:
    encoded = jpeg(photo(60, 50))
    hue, saturation, value = decoded(encoded).convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int32) + int(shift * 255)).astype(np.uint8)
    expected = Image.merge("HSV", (Image.fromarray(turned, "L"), saturation, value)).convert("RGB")
    compose = images.Compose([images.CenterCrop((50, 60)), images.ColorJitter(hue=(shift, shift))], exact=True)
    np.testing.assert_array_equal(compose(encoded), planes(expected))


def test_grey_and_flips() -> None:
    encoded = jpeg(photo(60, 50))
    crop = images.CenterCrop((50, 60))
    grey = images.Compose([crop, images.Grayscale()], exact=True)(encoded)
    np.testing.assert_array_equal(grey, planes(decoded(encoded).convert("L").convert("RGB")))
    flipped = images.Compose([images.RandomHorizontalFlip(1.0), crop, images.RandomVerticalFlip(1.0)], exact=True)(encoded)
    np.testing.assert_array_equal(flipped, planes(decoded(encoded))[:, ::-1, ::-1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_dtypes_and_layouts(dtype: str, layout: str) -> None:
    import torch

    encoded = jpeg(photo(60, 50))
    compose = images.Compose(
        [images.Resize((20, 30)), images.ToDtype(dtype, scale=True), images.Normalize(*IMAGENET)], layout=layout, exact=True
    )
    levels = planes(decoded(encoded).resize((30, 20), 2)).astype(np.float32)
    mean, std = (np.array(x, np.float32)[:, None, None] for x in IMAGENET)
    expected = torch.from_numpy((levels / np.float32(255) - mean) / std).to(getattr(torch, dtype)).float().numpy()
    got = compose(encoded).astype(np.float32)
    np.testing.assert_array_equal(got if layout == "CHW" else got.transpose(2, 0, 1), expected)
    assert compose.shape == ((3, 20, 30) if layout == "CHW" else (20, 30, 3))


def other(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_equals_pillow(mode: str) -> None:
    image = photo(97, 61).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.arange(97 * 61, dtype=np.uint8).reshape(61, 97)))
    encoded = other(image, "PNG")
    for size in ((61, 97), (20, 30), (100, 3)):
        expected = planes(decoded(encoded).resize(size[::-1], 2))
        np.testing.assert_array_equal(resized(encoded, *size, "bilinear"), expected)


def deep_png(values: np.ndarray, colour: int, *, is_interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a channel, by hand: Pillow writes grey ones only, and none that are interlaced."""
    height, width = values.shape[:2]
    grids = (
        [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
        if is_interlaced
        else [(0, 1, 0, 1)]
    )
    rows = b""
    for y, down, x, across in grids:
        part = values[y::down, x::across]
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part if row.size)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, int(is_interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "RGB", "grey and alpha", "RGBA"])
def test_png_of_16_bits_equals_pillow(colour: int, channels: int, is_interlaced: bool) -> None:
    """As torchvision's ImageFolder has them, by convert("RGB"): grey alone is cut off at 255, of others the upper byte is taken."""
    levels = np.random.default_rng(0).integers(0, 1 << 16, (30, 40, channels)) >> np.arange(40)[:, None] % 12
    encoded = deep_png(levels, colour, is_interlaced=is_interlaced)
    got = images.Compose([images.CenterCrop((30, 40))])(encoded)
    np.testing.assert_array_equal(got, planes(decoded(encoded)))
    by_hand = np.minimum(levels[..., :1], 255) if colour == 0 else levels[..., : 3 if channels > 2 else 1] >> 8
    np.testing.assert_array_equal(got, np.broadcast_to(by_hand.transpose(2, 0, 1), (3, 30, 40)))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 70}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_webp_equals_pillow(mode: str, options: dict[str, object]) -> None:
    encoded = other(photo(97, 61).convert(mode), "WEBP", **options)
    np.testing.assert_array_equal(resized(encoded, 30, 40, "bicubic"), planes(decoded(encoded).resize((40, 30), 3)))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_bad_files_of_other_kinds(kind: str) -> None:
    compose = images.Compose([images.CenterCrop(8)])
    good = other(photo(97, 61), kind)
    for cut in (13, 20, 40, 500, len(good) - 20):
        with pytest.raises(CorruptDataError, match=r"decode (PNG|WebP): "):
            compose(good[:cut])
    with pytest.raises(LimitExceededError, match="97 x 61 is beyond the limit"):
        images.Compose([images.CenterCrop(8)], max_pixels=97 * 61 - 1)(good)
    rng = np.random.default_rng(5)
    for _ in range(500):
        damaged = bytearray(good)
        for at in rng.integers(0, len(good), 4):
            damaged[at] = rng.integers(256)
        with contextlib.suppress(HeadraceError):
            assert compose(bytes(damaged)).shape == (3, 8, 8)
    animated = io.BytesIO()
    if kind == "WEBP":
        photo(20, 20).save(animated, "WEBP", save_all=True, append_images=[photo(20, 20, 1)])
        with pytest.raises(HeadraceError, match="it is animated"):
            compose(animated.getvalue())


def test_bad_images_are_errors_that_say_what_is_wrong() -> None:
    compose = images.Compose([images.RandomResizedCrop(16)])
    good = jpeg(photo(300, 200))
    for cut in (0, 1, 3, 20, 300, len(good) // 2, len(good) - 2):
        with pytest.raises(CorruptDataError):
            compose(good[:cut])
    with pytest.raises(TruncatedError, match="no end-of-image marker"):
        compose(good[: len(good) // 2])
    with pytest.raises(CorruptDataError, match="a header of 0 x 0 pixels"):
        compose(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(CorruptDataError, match="neither as a JPEG, a PNG, a WebP nor a PPM file"):
        compose(b"GIF89a" + bytes(100))
    with pytest.raises(LimitExceededError, match="300 x 200 is beyond the limit of 59999 pixels"):
        images.Compose([images.CenterCrop(4)], max_pixels=59_999)(good)
    middle = bytearray(good)
    middle[len(good) // 2 : len(good) // 2 + 40] = bytes(40)
    with pytest.raises(HeadraceError, match="decode JPEG: "):
        images.Compose([images.CenterCrop((200, 300))])(bytes(middle[: len(good) // 2 + 40]) + b"\xff\xd9")
    with pytest.raises(ValueError, match="it is smaller"):
        images.Compose([images.RandomCrop(400)])(good)


@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"restart_marker_blocks": 5}]
)
def test_where_nothing_is_scaled_parts_are_exact(options: dict[str, object]) -> None:
    encoded = jpeg(photo(333, 251), **options)
    whole = np.asarray(decoded(encoded))
    rng = np.random.default_rng(4)
    for exact in (False, True):
        for _ in range(60):
            height, width = int(rng.integers(1, 252)), int(rng.integers(1, 334))
            top, left = round((251 - height) / 2), round((333 - width) / 2)
            crop = images.Compose([images.CenterCrop((height, width))], layout="HWC", exact=exact)
            np.testing.assert_array_equal(crop(encoded), whole[top : top + height, left : left + width])
