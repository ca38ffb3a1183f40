"""NumPy .npz files: arrays with the same first dimension, each a field; members are decompressed as they are needed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import numpy as np

from headrace._native import Field
from headrace.errors import CorruptDataError, LimitExceededError, TruncatedError
from headrace.writing.base import Column, Place
from headrace.writing.batches import SLICE_BYTES, Batch, Source, take_fields
from headrace.writing.dtypes import Array
from headrace.writing.formats.npy import Chain, Header, read_header, refuse_pickle
from headrace.writing.infer import column_of
from headrace.writing.sources import source_of

__all__ = ["NpzSource", "npz_source"]

_DEFLATE_RATIO = 1032  # the most that deflate can shrink, so a larger declared size is a lie


def npz_source(
    paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None, allow_unsafe_types: bool = False
) -> Source:
    """A field an array. Several files follow each other."""
    return Chain([_source(path, fields, allow_unsafe_types) for path in paths], paths)


def _source(path: str, fields: Sequence[str] | None, allow_unsafe_types: bool) -> Source:
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        by_name = {info.filename.removesuffix(".npy"): info for info in members}
        if len(by_name) < len(members):
            raise ValueError(f"{path}: two arrays have one name, among {sorted(info.filename for info in members)}; save it anew")
        names = take_fields(list(by_name), fields)
        if not names:
            raise ValueError(f"{path} holds no arrays")
        chosen = {name: _header(archive, by_name[name], path) for name in names}
    rows = {name: header.shape[0] if header.shape else None for name, header in chosen.items()}
    if len(set(rows.values())) != 1 or None in rows.values():
        shapes = ", ".join(f"{name} {header.shape}" for name, header in chosen.items())
        raise ValueError(f"{path}: the arrays need the same first dimension (samples), found {shapes}; choose some with fields=[...]")
    whole = [name for name, header in chosen.items() if header.dtype.hasobject or header.dtype.names or header.fortran_order]
    if any(chosen[name].dtype.hasobject for name in whole):
        refuse_pickle(f"{path}: {next(name for name in whole if chosen[name].dtype.hasobject)}", allow_unsafe_types)
    if whole:  # Nothing smaller than the array can be cut from these.
        with np.load(path, allow_pickle=allow_unsafe_types) as arrays:
            return source_of({name: arrays[name] for name in names})
    return NpzSource(path, chosen)


class NpzSource(Source):
    """Reads all members side by side, a slice of samples at a time."""

    def __init__(self, path: str, headers: dict[str, Header]) -> None:
        self._path = path
        self._headers = headers
        self.total = next(iter(headers.values())).shape[0]

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        empty = {name: np.empty((0, *header.shape[1:]), header.dtype) for name, header in self._headers.items()}
        return [_column(name, array).field(name) for name, array in empty.items()]

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        rows = self.total or 0
        row_bytes = sum(header.data_bytes for header in self._headers.values()) // max(rows, 1)
        step = max(1, min(SLICE_BYTES // max(row_bytes, 1), 1 << 20))
        with ExitStack() as stack:
            stack.enter_context(_reading(self._path))
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            members = {name: stack.enter_context(archive.open(_member(archive, name))) for name in self._headers}
            for name, member in members.items():
                read_header(member, f"{self._path}: {name}")
            for begin in range(0, rows, step):
                count = min(step, rows - begin)
                parts = {name: self._rows(name, member, count) for name, member in members.items()}
                yield Batch({name: _column(name, part) for name, part in parts.items()}, count)

    def _rows(self, name: str, member: IO[bytes], count: int) -> Array:
        header = self._headers[name]
        array = np.empty((count, *header.shape[1:]), header.dtype)
        target = memoryview(array.reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(target):
            read = member.readinto(target[done:])  # type: ignore[attr-defined]
            if not read:
                raise TruncatedError(f"{self._path}: {name} ends {len(target) - done} bytes early; it is not whole: fetch it anew")
            done += read
        return array


def _column(name: str, array: Array) -> Column:
    return column_of(array, Place(name))


def _member(archive: zipfile.ZipFile, name: str) -> str:
    return name if name in archive.NameToInfo else f"{name}.npy"


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Header:
    where = f"{path}: {info.filename}"
    with archive.open(info) as member:
        header = read_header(member, where)
    if header.dtype.hasobject:
        return header
    if header.header_bytes + header.data_bytes != info.file_size:
        raise CorruptDataError(f"{where}: the archive says {info.file_size} bytes, the header {header.header_bytes + header.data_bytes}")
    if info.file_size > info.compress_size * _DEFLATE_RATIO + 1024 and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LimitExceededError(
            f"{where}: declares {info.file_size} bytes in {info.compress_size} stored ones, more than deflate can shrink"
        )
    return header


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError) and "encrypted" not in str(error):
            raise
        raise CorruptDataError(f"cannot read {path}: {error}") from error
