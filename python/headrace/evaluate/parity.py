"""Whether two loaders deliver the same: what to run when moving from one to another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Parity", "parity"]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What `parity()` found. True in a condition if both delivered the same samples equally often."""

    samples: tuple[int, int]  # delivered by a and by b
    batches: tuple[int, int]
    same_content: bool  # the same samples, each as often, bit for bit
    same_order: bool  # and in the same order, cut into the same batches
    repeated: tuple[int, int]  # samples that came more than once, by their bytes
    difference: str | None  # the first, in words

    def __bool__(self) -> bool:
        return self.same_content


def parity(a: Iterable[Any], b: Iterable[Any], *, names: tuple[str, str] = ("a", "b")) -> Parity:
    """Compare one pass of two loaders: content first (every sample, all of its fields, dtype, shape and bits), then order.

    a, b: iterables of batches: tensors or arrays of shape (batch, ...), lists of str or bytes, and tuples, lists or dicts of such. Both are
    iterated once, one batch of each at a time, as long as they last; 16 bytes a sample are kept. A field `name` of a dict with `name.length`
    beside it is compared without its padding. `names` appear in `difference`.

    Raises TypeError for a batch that is none of these, ValueError for fields of a batch that differ in length.
    """
    sides = (_Side(names[0], iter(a)), _Side(names[1], iter(b)))
    first: str | None = None
    same_order = True
    while True:
        left, right = sides[0].next(), sides[1].next()
        if left is None and right is None:
            break
        if same_order and (found := _compare(left, right, sides)) is not None:
            first, same_order = found, False
    keys = [side.sorted_keys() for side in sides]
    same_content = bool(np.array_equal(keys[0], keys[1]))
    difference = None
    if not same_content:
        difference = _missing(sides, keys) if _has_same_fields(sides) else first
    elif not same_order:
        difference = f"the same samples in another order: {first}"
    return Parity(
        samples=(sides[0].count, sides[1].count),
        batches=(sides[0].batches, sides[1].batches),
        same_content=same_content,
        same_order=same_content and same_order,
        repeated=(_repeated(keys[0]), _repeated(keys[1])),
        difference=difference,
    )


@dataclass
class _Batch:
    leaves: dict[str, Any]  # path -> one value a sample
    keys: list[bytes]


class _Side:
    """One of the two, as far as it was read."""

    def __init__(self, name: str, batches: Iterator[Any]) -> None:
        self.name = name
        self.iterator = batches
        self.digests: list[bytes] = []
        self.ends: list[int] = []
        self.fields: dict[str, str] | None = None

    @property
    def count(self) -> int:
        return len(self.digests)

    @property
    def batches(self) -> int:
        return len(self.ends)

    def next(self) -> _Batch | None:
        try:
            batch = next(self.iterator)
        except StopIteration:
            return None
        leaves = _leaves(batch)
        lengths = {path: len(values) for path, values in leaves.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"batch {self.batches} of {self.name}: its fields differ in length: {lengths}")
        count = next(iter(lengths.values()), 0)
        keys = [_digest([(path, values[i]) for path, values in leaves.items()]) for i in range(count)]
        self.digests += keys
        self.ends.append(self.count)
        if self.fields is None:
            self.fields = {path: _kind(values) for path, values in leaves.items()}
        return _Batch(leaves, keys)

    def sorted_keys(self) -> npt.NDArray[np.void]:
        return np.sort(np.frombuffer(b"".join(self.digests), dtype="V16").view([("a", "<u8"), ("b", "<u8")]), order=("a", "b"))

    def place_of(self, key: bytes) -> tuple[int, int]:
        """(batch, row) of the first sample with this key."""
        at = self.digests.index(key)
        batch = int(np.searchsorted(self.ends, at, side="right"))
        return batch, at - (self.ends[batch - 1] if batch else 0)


def _leaves(batch: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _collect(batch, "", out)
    for path in [path for path in out if path.endswith(".length")]:
        padded = path.removesuffix(".length")
        if isinstance(out.get(padded), np.ndarray):
            out[padded] = [row[:length] for row, length in zip(out[padded], out[path].tolist(), strict=True)]
    return out


def _collect(part: Any, path: str, out: dict[str, Any]) -> None:
    if isinstance(part, Mapping):
        for key, value in part.items():
            _collect(value, f"{path}.{key}" if path else str(key), out)
    elif isinstance(part, list) and all(isinstance(value, str | bytes) for value in part):
        out[path or "value"] = part
    elif isinstance(part, list | tuple):
        for number, value in enumerate(part):
            _collect(value, f"{path}[{number}]", out)
    elif isinstance(part, np.ndarray) and part.ndim > 0:
        out[path or "value"] = part
    elif hasattr(part, "detach"):  # A tensor; bfloat16, which numpy lacks, as its bits.
        host = part.detach().cpu()
        if str(host.dtype) == "torch.bfloat16":
            import torch

            out[path or "value"] = _Bits(host.view(torch.int16).numpy())
        else:
            _collect(host.numpy(), path, out)
    else:
        raise TypeError(
            f"{path or 'a batch'}: expected tensors, arrays, lists of str or bytes, or tuples, lists or dicts of them, got {part!r:.60}"
        )


class _Bits:
    """Rows of bfloat16, told from int16."""

    def __init__(self, bits: npt.NDArray[np.int16]) -> None:
        self.bits = bits

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, row: int) -> tuple[str, npt.NDArray[np.int16]]:
        return "bfloat16", self.bits[row]


def _parts(value: Any) -> tuple[str, bytes]:
    """(type and shape in words, bytes) of one sample's value."""
    if isinstance(value, str):
        return "str", value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return "bytes", value
    kind, array = value if isinstance(value, tuple) else ("", np.asarray(value))
    return f"{kind or array.dtype} {array.shape}", np.ascontiguousarray(array).tobytes()


def _digest(fields: list[tuple[str, Any]]) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    for path, value in fields:
        kind, data = _parts(value)
        # Lengths before contents: no two different samples write the same.
        hasher.update(f"{len(path)} {path} {kind} {len(data)} ".encode())
        hasher.update(data)
    return hasher.digest()


def _kind(values: Any) -> str:
    return _parts(values[0])[0].split(" ")[0] if len(values) else "nothing"


def _has_same_fields(sides: tuple[_Side, _Side]) -> bool:
    return sides[0].fields == sides[1].fields


def _compare(left: _Batch | None, right: _Batch | None, sides: tuple[_Side, _Side]) -> str | None:
    """The first difference of two batches that came at the same time, in words."""
    number = max(side.batches for side in sides) - 1
    for one, other in ((0, 1), (1, 0)):
        if (left, right)[other] is None:
            return f"{sides[other].name} ends after {sides[other].batches} batches, {sides[one].name} goes on"
    assert left is not None
    assert right is not None
    if left.keys == right.keys:
        return None
    here = f"batch {number}"
    if list(left.leaves) != list(right.leaves):
        return f"{here}: fields {list(left.leaves)} of {sides[0].name}, {list(right.leaves)} of {sides[1].name}"
    if len(left.keys) != len(right.keys):
        return f"{here}: {len(left.keys)} samples of {sides[0].name}, {len(right.keys)} of {sides[1].name}"
    row = next(i for i, (x, y) in enumerate(zip(left.keys, right.keys, strict=True)) if x != y)
    for path in left.leaves:
        a, b = left.leaves[path][row], right.leaves[path][row]
        if _parts(a) != _parts(b):
            return f"{here}, row {row}, field {path!r}: {_words(a, b)} of {sides[0].name}, {_words(b, a)} of {sides[1].name}"
    raise AssertionError("two digests differ, but no field does")


def _words(value: Any, other: Any) -> str:
    kind, _data = _parts(value)
    if kind != _parts(other)[0]:
        return kind
    if isinstance(value, str | bytes):
        return f"{value!r:.80}"
    array, against = (np.asarray(v[1] if isinstance(v, tuple) else v) for v in (value, other))
    if array.ndim == 0:
        return f"{array.item()!r}"
    width = array.dtype.itemsize
    a, b = (np.frombuffer(np.ascontiguousarray(v).tobytes(), np.uint8).reshape(-1, width) for v in (array, against))
    at = int(np.argmax((a != b).any(axis=1)))
    return f"{array.reshape(-1)[at].item()!r} at {tuple(int(i) for i in np.unravel_index(at, array.shape))}"


def _missing(sides: tuple[_Side, _Side], keys: list[npt.NDArray[np.void]]) -> str:
    counts = [dict(zip(*(part.tolist() for part in np.unique(k, return_counts=True)), strict=True)) for k in keys]
    words = []
    for one, other in ((0, 1), (1, 0)):
        lacking = [key for key, count in counts[one].items() if counts[other].get(key, 0) < count]
        if lacking:
            places = sorted(sides[one].place_of(np.array(key, "<u8").tobytes()) for key in lacking)
            batch, row = places[0]
            words.append(
                f"{len(lacking)} samples of {sides[one].name} are missing or rarer in {sides[other].name}, the first is row {row} of batch {batch}"
            )
    return "; ".join(words)


def _repeated(keys: npt.NDArray[np.void]) -> int:
    return int((np.unique(keys, return_counts=True)[1] > 1).sum()) if len(keys) else 0
