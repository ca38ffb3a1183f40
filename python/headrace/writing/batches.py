"""Columns that belong together, and where they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace._native import Field
from headrace.errors import LimitExceededError
from headrace.writing.base import Column

__all__ = ["SLICE_BYTES", "Batch", "ColumnSource", "Source", "rows_of", "take_fields"]

SLICE_BYTES = 32 << 20  # large enough that the per-call cost vanishes, small enough that Ctrl-C and progress stay quick
_SLICE_ROWS = 1 << 20
_MAX_FIELDS = 4096  # the format's limit, refused before the data is looked through
_SHOWN_NAMES = 50


@dataclass(frozen=True)
class Batch:
    """`rows` samples: one Column a field."""

    columns: Mapping[str, Column]
    rows: int


class Source(ABC):
    """Something that a dataset can be written from, once."""

    container: str = "dict"
    total: int | None = None  # samples, if known

    @abstractmethod
    def fields(self) -> list[Field]:
        """The fields that hold the samples; may read the first of them."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """All samples, in order. A batch's columns are valid until the next one is asked for."""

    def progress(self, samples: int) -> tuple[int, int | None, str]:
        """(done, total or None, unit) once so many samples are written."""
        return samples, self.total, "samples"


class ColumnSource(Source):
    """Whole columns in memory (or mapped): delivered in slices that share their memory."""

    def __init__(self, columns: Mapping[str, Column], container: str = "dict", *, batch_rows: int | None = None) -> None:
        self.columns = columns
        self.container = container
        self.total = rows_of(columns)
        self.batch_rows = batch_rows

    def fields(self) -> list[Field]:
        """The fields that hold the samples."""
        return [column.field(name) for name, column in self.columns.items()]

    def batches(self) -> Iterator[Batch]:
        """All samples, in order."""
        total = rows_of(self.columns)
        if total == 0:
            return
        row_bytes = max(sum(column.row_bytes() for column in self.columns.values()), 1.0)
        step = self.batch_rows or max(1, min(int(SLICE_BYTES / row_bytes), _SLICE_ROWS))
        for begin in range(0, total, step):
            end = min(begin + step, total)
            yield Batch({name: column.slice(begin, end) for name, column in self.columns.items()}, end - begin)


def rows_of(columns: Mapping[str, Column]) -> int:
    """The number of samples that all columns have. Raises ValueError naming two that differ."""
    first = next(iter(columns), None)
    if first is None:
        raise ValueError("there are no fields to write")
    rows = len(columns[first])
    for name, column in columns.items():
        if len(column) != rows:
            raise ValueError(f"field {name!r} has {len(column)} samples, but field {first!r} has {rows}")
    return rows


def take_fields(names: Sequence[str], fields: Sequence[str] | None) -> list[str]:
    """The names to write, in order. Raises ValueError for a field that is not there or is named twice, LimitExceededError for too many."""
    if isinstance(fields, str):
        raise TypeError(f"fields is the text {fields!r}; expected a list of names")
    known = set(names)
    for name in fields or ():
        if name not in known:
            raise ValueError(f"fields names {name!r}, which is none of {_listed(names)}")
    if fields is not None and len(set(fields)) != len(fields):
        raise ValueError(f"fields names a field twice: {list(fields)}")
    taken = list(names if fields is None else fields)
    if len(taken) > _MAX_FIELDS:
        raise LimitExceededError(
            f"there are {len(taken)} fields; the limit is {_MAX_FIELDS}: choose some with fields=[...], or store columns of one type as one array"
        )
    return taken


def _listed(names: Sequence[str]) -> str:
    return str(list(names)) if len(names) <= _SHOWN_NAMES else f"the {len(names)}: {', '.join(map(repr, names[:_SHOWN_NAMES]))}, ..."
