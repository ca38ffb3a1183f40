"""Samples that come one at a time, gathered into columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from headrace._native import Field
from headrace.writing.arrow_column import speaks_arrow
from headrace.writing.base import Place
from headrace.writing.batches import Batch, Source, take_fields
from headrace.writing.infer import column_of_values
from headrace.writing.tensors import is_tensor

__all__ = ["RowBuffer", "RowSource"]

DEFAULT_ROWS = 4096
_BUFFER_BYTES = 32 << 20
_OBJECT_BYTES = 32  # a Python number
_FIXED = frozenset((int, float, bool, complex, str, bytes, type(None)))  # values that nobody can change


class RowBuffer:
    """Gathers samples until there are enough for a batch: `batch_rows`, or about 32 MiB.

    The first sample says whether samples are dicts, tuples (or named tuples) or single values; each later one must agree.
    """

    def __init__(self, *, batch_rows: int | None = None, fields: Sequence[str] | None = None) -> None:
        if batch_rows is not None and batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
        self._batch_rows = batch_rows or DEFAULT_ROWS
        self._fields = fields
        self._values: list[list[Any]] = []
        self._bytes = 0
        self._rows = 0
        self._taken = 0
        self.names: list[str] = []
        self.container = ""
        self._split: Callable[[Any], Iterable[Any]] = self._split_single

    def __len__(self) -> int:
        return self._rows

    @property
    def full(self) -> bool:
        """Whether it is time to drain()."""
        return self._rows >= self._batch_rows or self._bytes >= _BUFFER_BYTES

    def expect(self, names: Sequence[str], container: str) -> None:
        """Fix what samples look like before the first one."""
        self.names, self.container = list(names), container
        self._split = {"dict": self._split_dict, "tuple": self._split_tuple, "single": self._split_single}[container]
        self._values = [[] for _ in self.names]

    def skip(self, rows: int) -> None:
        """Count samples that went another way, so that messages give the right number."""
        self._taken += rows

    def append(self, sample: Any) -> None:
        """Take one sample; arrays and lists are copied, so the caller may reuse them.

        Raises TypeError or ValueError naming the sample's number.
        """
        if not self.container:
            self._learn(sample)
        size = 0
        parts = tuple(self._split(sample))
        for values, value in zip(self._values, parts, strict=True):
            values.append(_kept(value))
            size += _size(value)
        self._bytes += size
        self._rows += 1

    def drain(self) -> Batch:
        """What was gathered, as columns; the buffer is empty then."""
        columns = {name: column_of_values(values, Place(name, self._taken)) for name, values in zip(self.names, self._values, strict=True)}
        batch = Batch(columns, self._rows)
        self._taken += self._rows
        self._values = [[] for _ in self.names]
        self._rows = self._bytes = 0
        return batch

    @property
    def _number(self) -> int:
        return self._taken + self._rows

    def _learn(self, sample: Any) -> None:
        if isinstance(sample, dict):
            odd = next((name for name in sample if not isinstance(name, str)), None)
            if odd is not None:
                raise TypeError(f"sample {self._number}: keys must be str, found {odd!r}")
            self.expect(take_fields(list(sample), self._fields), "dict")
        elif isinstance(sample, tuple):
            names = list(getattr(sample, "_fields", ())) or list(self._fields or map(str, range(len(sample))))
            self.expect(names, "tuple")
        else:
            self.expect(self._fields or ["value"], "single")
        if not self.names or (self.container == "single" and len(self.names) != 1):
            raise ValueError(f"sample {self._number}: expected {len(self.names)} fields {self.names}, found {_describe(sample)}")

    def _split_dict(self, sample: Any) -> Iterable[Any]:
        if not isinstance(sample, dict):
            raise TypeError(f"sample {self._number}: expected a dict with keys {self.names}, found {_describe(sample)}")
        try:
            parts = [sample[name] for name in self.names]
        except KeyError:
            raise self._wrong_keys(sample) from None
        if self._fields is None and len(sample) != len(self.names):
            raise self._wrong_keys(sample)
        return parts

    def _wrong_keys(self, sample: dict[Any, Any]) -> ValueError:
        missing = [name for name in self.names if name not in sample]
        extra = [name for name in sample if name not in self.names]
        what = f"missing {missing}" if missing else f"unexpected {extra}"
        return ValueError(f"sample {self._number}: expected a dict with keys {self.names}, found one with {what}")

    def _split_tuple(self, sample: Any) -> Iterable[Any]:
        if not isinstance(sample, (tuple, list)) or len(sample) != len(self.names):
            raise ValueError(f"sample {self._number}: expected a tuple of {len(self.names)} values {self.names}, found {_describe(sample)}")
        return sample

    def _split_single(self, sample: Any) -> Iterable[Any]:
        if isinstance(sample, dict):
            raise TypeError(f"sample {self._number}: expected a single value, found {_describe(sample)}")
        return (sample,)


class RowSource(Source):
    """An iterable of samples, streamed: at most one batch is held. Its first batch decides the fields."""

    def __init__(
        self, samples: Iterable[Any], *, total: int | None = None, batch_rows: int | None = None, fields: Sequence[str] | None = None
    ) -> None:
        self.total = total
        self._buffer = RowBuffer(batch_rows=batch_rows, fields=fields)
        self._samples = iter(samples)
        self._first: Batch | None = None

    def expect(self, names: Sequence[str], container: str) -> None:
        """Fix what samples look like, as a given schema says."""
        self._buffer.expect(names, container)
        self.container = container

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        if self._first is None:
            self._first = self._next_batch()
            self.container = self._buffer.container or "dict"
        if self._first is None:
            raise ValueError("the source has no samples, so there is no schema to write; pass schema=")
        return [column.field(name) for name, column in self._first.columns.items()]

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        batch, self._first = self._first, None
        while batch is not None or (batch := self._next_batch()) is not None:
            yield batch
            batch = None

    def _next_batch(self) -> Batch | None:
        for sample in self._samples:
            self._buffer.append(sample)
            if self._buffer.full:
                break
        return self._buffer.drain() if len(self._buffer) else None


def _describe(sample: Any) -> str:
    if isinstance(sample, (tuple, list)):
        return f"a {type(sample).__name__} of {len(sample)} values"
    return "a dict" if isinstance(sample, dict) else type(sample).__name__


def _kept(value: Any) -> Any:
    """The value as it is now: callers fill one buffer again and again."""
    kind = type(value)
    if kind in _FIXED or isinstance(value, (str, bytes, np.generic)):
        return value
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (list, tuple)):
        return value[:] if _FIXED.issuperset(map(type, value)) else [_kept(part) for part in value]
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if hasattr(value, "iloc"):
        return value.copy()
    if hasattr(value, "__array_interface__") or (hasattr(value, "__array__") and not speaks_arrow(value)):
        return np.asarray(value).copy()  # an image, an array of another library, whose own copy cannot be relied on
    return value


def _size(value: Any) -> int:
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size + _OBJECT_BYTES
    if isinstance(value, (str, bytes, bytearray, list, tuple)):
        return len(value) * (8 if isinstance(value, (list, tuple)) else 1) + _OBJECT_BYTES
    return _OBJECT_BYTES
