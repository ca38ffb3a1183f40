"""Arrow types: what a C schema says, as plain values, and the fields they are stored in."""

from __future__ import annotations

import json
import math
import struct
from ctypes import string_at
from dataclasses import dataclass
from typing import Any

from headrace._native import Field
from headrace.errors import CorruptDataError
from headrace.writing.arrow_abi import NULLABLE
from headrace.writing.base import timezone_metadata

__all__ = ["ArrowType", "Layout", "Leaf", "layout_of", "leaves_of", "parse_type"]

_NUMBERS = {
    "c": "int8",
    "C": "uint8",
    "s": "int16",
    "S": "uint16",
    "i": "int32",
    "I": "uint32",
    "l": "int64",
    "L": "uint64",
    "e": "float16",
    "f": "float32",
    "g": "float64",
}
_UNITS = {"s": "s", "m": "ms", "u": "us", "n": "ns"}
_TEXTS = {"u": "string", "U": "string", "vu": "string", "z": "bytes", "Z": "bytes", "vz": "bytes"}
_MAX_DEPTH = 64


@dataclass(frozen=True)
class ArrowType:
    """One ArrowSchema, copied."""

    name: str
    format: str
    nullable: bool
    children: tuple[ArrowType, ...]
    dictionary: ArrowType | None
    metadata: dict[str, str]


@dataclass(frozen=True)
class Layout:
    """How a type is stored. `raw` is the dtype in the Arrow buffer, `dtype` the stored one; tensor and ragged kinds only."""

    kind: str
    dtype: str = "uint8"
    raw: str = "u1"
    shape: tuple[int, ...] = ()
    metadata: str = ""

    def field(self, name: str, nullable: bool) -> Field:
        """The field that holds these values."""
        return Field(name, self.kind, self.dtype, self.shape, nullable, metadata=self.metadata)


@dataclass(frozen=True)
class Leaf:
    """A field to be: its dotted name and the child indices that lead to it."""

    name: str
    path: tuple[int, ...]
    type: ArrowType
    layout: Layout
    nullable: bool


def parse_type(pointer: Any, where: str = "schema", depth: int = 0) -> ArrowType:
    """Copy an ArrowSchema. Raises CorruptDataError for one that is not whole."""
    if not pointer or depth > _MAX_DEPTH:
        raise CorruptDataError(f"the Arrow schema of {where} is missing or nested deeper than {_MAX_DEPTH}")
    raw = pointer.contents
    if raw.format is None or raw.n_children < 0 or (raw.n_children and not raw.children):
        raise CorruptDataError(f"the Arrow schema of {where} has no format or no children where it counts {raw.n_children}")
    name = (raw.name or b"").decode("utf-8", "replace")
    children = tuple(parse_type(raw.children[i], f"{where}.{i}", depth + 1) for i in range(raw.n_children))
    dictionary = parse_type(raw.dictionary, f"{where} (dictionary)", depth + 1) if raw.dictionary else None
    return ArrowType(name, raw.format.decode(), bool(raw.flags & NULLABLE), children, dictionary, _metadata(raw.metadata))


def _metadata(address: int | None) -> dict[str, str]:
    result: dict[str, str] = {}
    if not address:
        return result
    position = address + 4
    for _ in range(struct.unpack("=i", string_at(address, 4))[0]):
        pair = []
        for _ in range(2):
            size = struct.unpack("=i", string_at(position, 4))[0]
            pair.append(string_at(position + 4, size).decode("utf-8", "replace"))
            position += 4 + size
        result[pair[0]] = pair[1]
    return result


def leaves_of(root: ArrowType) -> list[Leaf]:
    """The fields of a record batch's type; structs are flattened to `a.b`. Raises TypeError naming the column and the cast to make."""
    if root.format != "+s":
        raise TypeError(f"the Arrow stream delivers {root.format!r}, expected record batches (a struct); wrap the array in a table")
    leaves = list(_leaves(root, "", (), False))
    names = [leaf.name for leaf in leaves]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two columns are named {name!r}; rename one")
    return leaves


def _leaves(node: ArrowType, prefix: str, path: tuple[int, ...], nullable: bool) -> list[Leaf]:
    result = []
    for index, child in enumerate(node.children):
        name = f"{prefix}.{child.name}" if prefix else child.name
        inner, maybe_null = (*path, index), nullable or child.nullable
        if child.format == "+s" and child.dictionary is None:
            result += _leaves(child, name, inner, maybe_null)
        else:
            result.append(Leaf(name, inner, child, layout_of(child, name), maybe_null))
    return result


def layout_of(node: ArrowType, where: str) -> Layout:
    """How a type is stored. Raises TypeError naming the column and the cast to make."""
    if node.dictionary is not None:
        return layout_of(node.dictionary, where)
    code = node.format
    if code in _TEXTS:
        return Layout(_TEXTS[code])
    if code.startswith("w:"):
        return Layout("bytes")
    if code.startswith("+w:"):
        return _fixed_list(node, where)
    if code in ("+l", "+L"):
        inner = _inner(node, where)
        return Layout("ragged", inner.dtype, inner.raw, inner.shape, inner.metadata)
    scalar = _scalar(code)
    if scalar is None:
        raise TypeError(f"field {where!r}: the Arrow type {_describe(code)} cannot be stored; {_remedy(code)}")
    return scalar


def _scalar(code: str) -> Layout | None:
    if code in _NUMBERS:
        return Layout("tensor", _NUMBERS[code], _NUMBERS[code])
    if code == "b":
        return Layout("tensor", "bool", "bits")
    if code in ("tdD", "tdm"):
        return Layout("tensor", f"datetime64[{'D' if code == 'tdD' else 'ms'}]", "int32" if code == "tdD" else "int64")
    if code[:2] == "ts":
        zone = code[4:]
        return Layout("tensor", f"datetime64[{_UNITS[code[2]]}]", "int64", metadata=timezone_metadata(zone) if zone else "")
    if code[:2] in ("tt", "tD"):
        raw = "int32" if code in ("tts", "ttm") else "int64"
        return Layout("tensor", f"timedelta64[{_UNITS[code[2]]}]", raw)
    return None


def _inner(node: ArrowType, where: str) -> Layout:
    inner = layout_of(node.children[0], f"{where}[]") if len(node.children) == 1 else None
    if inner is None or inner.kind != "tensor" or node.children[0].dictionary is not None:
        raise TypeError(
            f"field {where!r}: lists can hold numbers, dates and fixed-size lists of them only; flatten the column, or store it as text"
        )
    return inner


def _fixed_list(node: ArrowType, where: str) -> Layout:
    size, inner = int(node.format[3:]), _inner(node, where)
    shape: tuple[int, ...] = (size, *inner.shape)
    if node.metadata.get("ARROW:extension:name") == "arrow.fixed_shape_tensor":
        declared = {"shape": [size], **json.loads(node.metadata.get("ARROW:extension:metadata") or "{}")}
        if declared.get("permutation") not in (None, list(range(len(declared["shape"])))):
            raise TypeError(f"field {where!r}: a fixed_shape_tensor with a permutation cannot be stored; make it contiguous")
        shape = (*map(int, declared["shape"]), *inner.shape)
        if math.prod(map(int, declared["shape"])) != size:
            raise CorruptDataError(f"field {where!r}: a fixed_shape_tensor of shape {declared['shape']} in lists of {size}")
    return Layout("tensor", inner.dtype, inner.raw, shape, inner.metadata)


_KINDS = {
    "n": "null",
    "d": "decimal",
    "tiM": "interval",
    "+m": "map",
    "+u": "union",
    "+r": "run-end-encoded",
    "+v": "list view",
    "+s": "struct",
}


def _describe(code: str) -> str:
    return next((name for prefix, name in _KINDS.items() if code.startswith(prefix)), repr(code))


def _remedy(code: str) -> str:
    if code.startswith("d:"):
        return "cast it to float64, or to int64 of the smallest unit (pyarrow: column.cast('float64'))"
    if code == "n":
        return "all its values are null and it has no type; cast it to one, or leave it out with fields=[...]"
    if code.startswith("+r"):
        return "decode it first (pyarrow: pyarrow.compute.run_end_decode)"
    if code.startswith("+v"):
        return "cast it to a list"
    return "cast it to numbers, text or bytes, or leave it out with fields=[...]"
