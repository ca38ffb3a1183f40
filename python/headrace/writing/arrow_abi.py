"""The Arrow C data interface by ctypes: structs, capsules, and bounds-checked views of foreign buffers.

Ownership: an imported array is released by `release`; no view made from it may be used after that.
Layout: https://arrow.apache.org/docs/format/CDataInterface.html and CStreamInterface.html.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from headrace.errors import CorruptDataError
from headrace.writing.dtypes import Array

__all__ = [
    "ArrayView",
    "ArrowArray",
    "ArrowArrayStream",
    "ArrowSchema",
    "capsule_pointer",
    "next_array",
    "opened",
    "releasing",
    "stream_schema",
]

NULLABLE = 2


class ArrowSchema(ctypes.Structure):
    """A type."""


class ArrowArray(ctypes.Structure):
    """Values of one type."""


class ArrowArrayStream(ctypes.Structure):
    """Arrays of one type, one after the other."""


_Schema, _ArrayPointer, _Stream = ctypes.POINTER(ArrowSchema), ctypes.POINTER(ArrowArray), ctypes.POINTER(ArrowArrayStream)

ArrowSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(_Schema)),
    ("dictionary", _Schema),
    ("release", ctypes.CFUNCTYPE(None, _Schema)),
    ("private_data", ctypes.c_void_p),
]
ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(_ArrayPointer)),
    ("dictionary", _ArrayPointer),
    ("release", ctypes.CFUNCTYPE(None, _ArrayPointer)),
    ("private_data", ctypes.c_void_p),
]
ArrowArrayStream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, _Stream, _Schema)),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, _Stream, _ArrayPointer)),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, _Stream)),
    ("release", ctypes.CFUNCTYPE(None, _Stream)),
    ("private_data", ctypes.c_void_p),
]

_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = ctypes.c_void_p
_get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def capsule_pointer(capsule: Any, name: bytes, kind: Any) -> Any:
    """A pointer to the struct inside a PyCapsule, which stays the owner. Raises ValueError for a capsule of another name."""
    return ctypes.cast(_get_pointer(capsule, name), ctypes.POINTER(kind))


@contextmanager
def releasing(pointer: Any) -> Iterator[Any]:
    """Calls the struct's release callback at the end, once."""
    try:
        yield pointer
    finally:
        if pointer.contents.release:
            pointer.contents.release(pointer)


@contextmanager
def opened(source: Any) -> Iterator[Any]:
    """The source's stream, released at the end; its capsule lives as long."""
    capsule = source.__arrow_c_stream__()
    with releasing(capsule_pointer(capsule, b"arrow_array_stream", ArrowArrayStream)) as pointer:
        yield pointer


def stream_schema(stream: Any) -> Any:
    """The stream's schema; release it. Raises OSError with the producer's message."""
    schema = ctypes.pointer(ArrowSchema())
    _check(stream, stream.contents.get_schema(stream, schema), "the schema")
    return schema


def next_array(stream: Any) -> Any:
    """The stream's next array, to be released, or None at its end. Raises OSError with the producer's message."""
    array = ctypes.pointer(ArrowArray())
    _check(stream, stream.contents.get_next(stream, array), "the next batch")
    return array if array.contents.release else None


def _check(stream: Any, code: int, what: str) -> None:
    if code != 0:
        message = stream.contents.get_last_error(stream)
        text = message.decode("utf-8", "replace") if message else "no message"
        raise OSError(code, f"the Arrow stream failed to give {what}: {text}")


class ArrayView:
    """One ArrowArray and its field's name; numpy views of its buffers, checked as far as the interface lets one."""

    def __init__(self, pointer: Any, where: str) -> None:
        if not pointer:
            raise CorruptDataError(f"{where}: the Arrow array is missing")
        self.raw = pointer.contents
        self.where = where
        for name in ("length", "offset", "n_buffers", "n_children"):
            if getattr(self.raw, name) < 0:
                raise CorruptDataError(f"{where}: the Arrow array's {name} is {getattr(self.raw, name)}")
        self.length: int = self.raw.length
        self.offset: int = self.raw.offset

    def buffer(self, index: int, dtype: str, begin: int, end: int) -> Array:
        """Elements [begin, end) of a buffer, shared. Raises CorruptDataError if it is missing."""
        if end <= begin:
            return np.empty(0, dtype)
        if index >= self.raw.n_buffers or not self.raw.buffers or not self.raw.buffers[index]:
            raise CorruptDataError(f"{self.where}: buffer {index} of the Arrow array is missing, expected {end} elements of {dtype}")
        size = np.dtype(dtype).itemsize
        block = (ctypes.c_ubyte * ((end - begin) * size)).from_address(self.raw.buffers[index] + begin * size)
        return np.frombuffer(memoryview(block), dtype)

    def valid(self, begin: int, end: int) -> Array | None:
        """bool (end - begin,), True where present; None if nothing is null. Copies bits."""
        if self.raw.null_count == 0 or not self.raw.n_buffers or not self.raw.buffers or not self.raw.buffers[0]:
            return None
        valid = self.bits(0, begin, end)
        return None if bool(valid.all()) else valid

    def bits(self, index: int, begin: int, end: int) -> Array:
        """Bits [begin, end) of a buffer as bool; copies."""
        packed = self.buffer(index, "u1", begin // 8, (end + 7) // 8)
        return np.unpackbits(packed, bitorder="little")[begin % 8 : begin % 8 + end - begin].view(np.bool_)

    def child(self, index: int, name: str) -> ArrayView:
        """A child array. Raises CorruptDataError if there is none."""
        if index >= self.raw.n_children or not self.raw.children:
            raise CorruptDataError(f"{self.where}: the Arrow array has {self.raw.n_children} children, expected {index + 1}")
        return ArrayView(self.raw.children[index], name)

    def dictionary(self) -> ArrayView:
        """The values that indices point at."""
        return ArrayView(self.raw.dictionary, f"{self.where} (dictionary)")

    def demand(self, end: int) -> None:
        """Raises CorruptDataError unless the array, counted from its offset, has `end` elements."""
        if end > self.length:
            raise CorruptDataError(f"{self.where}: the Arrow array has {self.length} elements, expected {end}")
