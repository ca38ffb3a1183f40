"""Columns of Python str or bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace._native import Field
from headrace.writing.base import Column, NativeColumn, NullColumn, Place, Valid, checked_valid, expected, offsets_of

__all__ = ["TextColumn"]

BytesLike = bytes | bytearray | memoryview


class TextColumn(Column):
    """A list of str (kind "string") or bytes-like (kind "bytes"), None where null. Encoding copies."""

    def __init__(self, texts: Sequence[str | BytesLike | None], kind: str) -> None:
        self.texts = texts
        self.kind = kind

    def __len__(self) -> int:
        return len(self.texts)

    def field(self, name: str) -> Field:
        """The field that holds these values."""
        return Field(name, self.kind, nullable=any(text is None for text in self.texts))

    def slice(self, begin: int, end: int) -> Column:
        """Samples [begin, end); shares memory."""
        return TextColumn(self.texts[begin:end], self.kind)

    def row_bytes(self) -> float:
        """About how many bytes a sample takes."""
        probe = self.texts[:: max(len(self.texts) // 1000, 1)]
        return 49.0 + sum(len(text) for text in probe if text is not None) / max(len(probe), 1)

    def encode(self, field: Field, place: Place) -> NativeColumn:
        """What the native writer takes; see Column."""
        nulls = [row for row, text in enumerate(self.texts) if text is None]
        if len(nulls) == len(self.texts) and nulls:
            return NullColumn(len(nulls)).encode(field, place)
        valid: Valid | None = None
        if nulls:
            mask = np.ones(len(self.texts), np.bool_)
            mask[nulls] = False
            valid = checked_valid(mask, field, place)
        if field.kind == "tensor" and not field.shape and field.dtype[0] == ("U" if self.kind == "string" else "S"):
            return self._encode_fixed(field, place, valid)
        if field.kind != self.kind and not (self.kind == "bytes" and field.kind == "image"):
            found = "str" if self.kind == "string" else "bytes"
            raise ValueError(f"{place.column}: expected {expected(field)}, found {found}")
        pieces = self._pieces(place)
        lengths = np.fromiter(map(len, pieces), np.uint64, len(pieces))
        return np.frombuffer(b"".join(pieces), np.uint8), offsets_of(lengths), valid

    def _pieces(self, place: Place) -> list[bytes]:
        if self.kind == "bytes":
            return [b"" if text is None else _flat(text) for text in self.texts]
        try:
            return [b"" if text is None else text.encode() for text in self.texts]  # type: ignore[union-attr]
        except UnicodeEncodeError:
            for row, text in enumerate(self.texts):
                _encoded(text, place, row)
            raise

    def _encode_fixed(self, field: Field, place: Place, valid: Valid | None) -> NativeColumn:
        width = int(field.dtype[1:])
        for row, text in enumerate(self.texts):
            if text is not None and len(text) > width:
                raise ValueError(f"{place.sample(row)}: expected at most {width} for {field.dtype}, found length {len(text)}")
        empty: str | bytes = "" if self.kind == "string" else b""
        return np.array([empty if text is None else text for text in self.texts], dtype=f"<{field.dtype}"), None, valid


def _flat(text: object) -> bytes:
    return text if isinstance(text, bytes) else bytes(text)  # type: ignore[call-overload]


def _encoded(text: object, place: Place, row: int) -> None:
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{place.sample(row)}: not encodable as UTF-8 at character {error.start}: {error.reason}") from error
