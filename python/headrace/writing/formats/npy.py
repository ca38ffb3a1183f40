"""NumPy .npy files, mapped rather than read; and the header that .npz members share with them. Nothing is unpickled unasked."""

from __future__ import annotations

import math
import os
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from headrace._native import Field
from headrace.errors import CorruptDataError, TruncatedError, UnsafeDataError
from headrace.writing.batches import Batch, Source
from headrace.writing.dtypes import Array
from headrace.writing.sources import source_of

__all__ = ["Chain", "Header", "npy_source", "read_header"]


@dataclass(frozen=True)
class Header:
    """What an .npy header says of the array that follows it, `header_bytes` from the start."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    header_bytes: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the array's elements."""
        size = self.dtype.itemsize
        for dim in self.shape:
            size *= dim
        return size


def npy_source(
    paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None, allow_unsafe_types: bool = False
) -> Source:
    """A sample an entry of the first dimension; a structured array gives a field for each part. Several files follow each other."""
    return Chain([source_of(_open(path, allow_unsafe_types), fields=fields) for path in paths], paths)


class Chain(Source):
    """Sources with the same fields, one after the other. A field is nullable if it is in any of them."""

    def __init__(self, sources: Sequence[Source], paths: Sequence[str]) -> None:
        self._sources = list(sources)
        self.container = self._sources[0].container
        self._fields = self._sources[0].fields()
        for source, path in zip(self._sources[1:], paths[1:], strict=True):
            self._join(source.fields(), path, paths[0])
        totals = [source.total for source in self._sources]
        self.total = sum(total for total in totals if total is not None) if None not in totals else None

    def _join(self, fields: list[Field], path: str, first: str) -> None:
        here, there = [_signature(field) for field in fields], [_signature(field) for field in self._fields]
        if here != there:
            raise ValueError(f"{path} holds {here}, but {first} holds {there}; files that are converted together need the same fields")
        self._fields = [after if after.nullable else before for before, after in zip(self._fields, fields, strict=True)]

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        return self._fields

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        for source in self._sources:
            yield from source.batches()


def _signature(field: Field) -> tuple[str, str, str, tuple[int, ...]]:
    return field.name, field.kind, field.dtype, field.shape


def _open(path: str, allow_unsafe_types: bool) -> Array | Mapping[str, Array]:
    with open(path, "rb") as file:
        header = read_header(file, path)
        if header.dtype.hasobject:
            refuse_pickle(path, allow_unsafe_types)
            array: Array = np.load(path, allow_pickle=True)
            return array
        size = os.fstat(file.fileno()).st_size
    if size < header.header_bytes + header.data_bytes:
        raise TruncatedError(f"{path} has {size} bytes, expected {header.header_bytes + header.data_bytes}; it is not whole: fetch it anew")
    if not header.shape:
        raise ValueError(f"{path} holds a single value; expected an array whose first dimension is samples")
    if header.data_bytes == 0:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", header.header_bytes, header.shape, order)  # type: ignore[call-overload,no-any-return]


def refuse_pickle(where: str, allowed: bool) -> None:
    """Raises UnsafeDataError unless the caller allowed what reading a pickle may do."""
    if not allowed:
        raise UnsafeDataError(
            f"{where} holds pickled Python objects, and reading them can run any code; if you trust the file, pass allow_unsafe_types=True"
        )


def read_header(file: IO[bytes], where: str) -> Header:
    """Read an .npy header, leaving the file at the data. Raises CorruptDataError."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"unknown version {version}")
        # Version 3 differs from 2 by allowing UTF-8 in field names, which latin-1 would garble.
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, EOFError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise CorruptDataError(f"{where} is no .npy data: {error}") from error
    if any(type(dim) is not int or dim < 0 for dim in shape):
        raise CorruptDataError(f"{where}: the header has a dimension that is no size, {shape}")
    if math.prod(dim for dim in shape if dim) * dtype.itemsize >= 1 << 63:
        raise CorruptDataError(f"{where}: the header has the shape {shape}, which no memory holds")
    if version == (3, 0) and dtype.names is not None:
        dtype = _renamed(dtype, [name.encode("latin-1").decode() for name in dtype.names])
    return Header(shape, fortran_order, dtype, file.tell())


def _renamed(dtype: np.dtype[Any], names: list[str]) -> np.dtype[Any]:
    parts = [dtype.fields[name] for name in dtype.names or () if dtype.fields is not None]
    formats, offsets = [part[0] for part in parts], [part[1] for part in parts]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize})
