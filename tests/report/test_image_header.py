import io

import pytest
from PIL import Image

from headrace.report.image_header import ImageHeader, read_image_header


def encoded(name, size=(500, 375), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 60_000}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("WebP", {"exif": b"Exif\x00\x00"}),
    ],
)
def test_format_and_size_agree_with_pillow(name, options):
    assert read_image_header(encoded(name, **options)) == ImageHeader(name, 500, 375)


def test_a_bitmap_stored_from_the_top_has_a_positive_height():
    bitmap = bytearray(encoded("BMP"))
    bitmap[22:26] = (-375).to_bytes(4, "little", signed=True)
    assert read_image_header(bytes(bitmap)) == ImageHeader("BMP", 500, 375)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WebP"])
def test_every_truncation_is_answered_without_an_error(name):
    whole = encoded(name, size=(64, 48))
    for length in range(len(whole)):
        assert read_image_header(whole[:length]) in (None, ImageHeader(name, 64, 48))


def test_what_is_no_image_is_none():
    for raw in (b"", b"hello", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00", b"BM", b"RIFF\0\0\0\0WEBPVP8?" + bytes(20)):
        assert read_image_header(raw) is None
