"""Format and size of an encoded image, read from its first bytes without decoding it.

Depends on the standard library only. Never raises on damaged input: what cannot be read is None.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ImageHeader", "read_image_header"]


class ImageHeader(NamedTuple):
    """What the header says: a format name, and width and height in pixels."""

    format: str
    width: int
    height: int


def read_image_header(encoded: bytes) -> ImageHeader | None:
    """The header of a JPEG, PNG, GIF, BMP or WebP file, or None if `encoded` is none of them or ends too early."""
    if encoded.startswith(b"\xff\xd8\xff"):
        return _jpeg(encoded)
    if encoded.startswith(b"\x89PNG\r\n\x1a\n") and encoded[12:16] == b"IHDR" and len(encoded) >= 24:
        return ImageHeader("PNG", int.from_bytes(encoded[16:20], "big"), int.from_bytes(encoded[20:24], "big"))
    if encoded[:6] in (b"GIF87a", b"GIF89a") and len(encoded) >= 10:
        return ImageHeader("GIF", int.from_bytes(encoded[6:8], "little"), int.from_bytes(encoded[8:10], "little"))
    if encoded.startswith(b"BM") and len(encoded) >= 26:
        return _bmp(encoded)
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP" and len(encoded) >= 30:
        return _webp(encoded)
    return None


def _jpeg(encoded: bytes) -> ImageHeader | None:
    at = 2
    while at + 9 <= len(encoded):
        if encoded[at] != 0xFF:
            return None
        marker = encoded[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            return ImageHeader("JPEG", int.from_bytes(encoded[at + 7 : at + 9], "big"), int.from_bytes(encoded[at + 5 : at + 7], "big"))
        elif marker in (0xD9, 0xDA):  # end of image, or its data, before any frame
            return None
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def _bmp(encoded: bytes) -> ImageHeader | None:
    header_bytes = int.from_bytes(encoded[14:18], "little")
    if header_bytes == 12:
        return ImageHeader("BMP", int.from_bytes(encoded[18:20], "little"), int.from_bytes(encoded[20:22], "little"))
    if header_bytes < 40:
        return None
    # The height is negative where the first row comes first.
    height = abs(int.from_bytes(encoded[22:26], "little", signed=True))
    return ImageHeader("BMP", int.from_bytes(encoded[18:22], "little"), height)


def _webp(encoded: bytes) -> ImageHeader | None:
    kind = encoded[12:16]
    if kind == b"VP8 " and encoded[23:26] == b"\x9d\x01\x2a":
        return ImageHeader("WebP", int.from_bytes(encoded[26:28], "little") & 0x3FFF, int.from_bytes(encoded[28:30], "little") & 0x3FFF)
    if kind == b"VP8L" and encoded[20] == 0x2F:
        bits = int.from_bytes(encoded[21:25], "little")
        return ImageHeader("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return ImageHeader("WebP", int.from_bytes(encoded[24:27], "little") + 1, int.from_bytes(encoded[27:30], "little") + 1)
    return None
