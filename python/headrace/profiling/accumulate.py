"""The accumulators behind a profile: of one field, of all numbers together, of whole rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.profiling.columns import Numbers, Texts, kind_of
from headrace.profiling.summary import FieldProfile, Histogram
from headrace.statistics import CoMoments, Distinct, Frequencies, Moments, Quantiles

__all__ = ["SHARES", "FieldStatistics", "Rows"]

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_FREQUENT_NUMBERS = 4096  # different ones that are counted: a table that stays in cache
_FREQUENT_TEXTS = 65536
_TRACKED_ROWS = 1 << 20
Task = Callable[[], object]


class FieldStatistics:
    """Everything that is counted of one field. Tasks of one batch may run side by side; batches follow each other."""

    def __init__(self, field: _native.Field, rank_error: float, seed: int, components: int) -> None:
        self.name, self.dtype, self.shape = field.name, field.dtype, tuple(field.shape)
        self.kind = kind_of(field)
        self.of = "values" if self.kind in ("number", "time") else "lengths"
        width = int(np.prod(self.shape, dtype=np.int64)) * (2 if self.dtype.startswith("complex") else 1)
        self.width = width if self.of == "values" else 1
        self.rows = self.null_rows = 0
        self.moments, self.quantiles = Moments(1), Quantiles(1, rank_error, seed)
        has_each = 1 < self.width <= components
        is_numeric = self.kind == "ragged" and self.dtype[0] not in "SUc" and "64[" not in self.dtype
        self.inner = (Moments(1), Quantiles(1, rank_error, seed ^ 1)) if is_numeric else None
        self.each = (Moments(self.width), Quantiles(self.width, rank_error, seed ^ 1)) if has_each else None
        counted = self.kind in ("number", "time", "text") and self.width <= max(1, components)  # Values of wide tensors are no categories.
        self.frequencies = Frequencies(_FREQUENT_TEXTS if self.kind == "text" else _FREQUENT_NUMBERS) if counted else None
        self.distinct = Distinct() if counted else None
        # Beside the figures in float64: what it cannot hold of large integers.
        self.is_whole = self.of == "lengths" or self.kind == "time" or (self.dtype[0] in "biu" and self.dtype != "bfloat16")
        self.has_bounds = self.of == "values" and re.match(r"u?int64|(datetime|timedelta)64", self.dtype) is not None
        self.bounds: tuple[int, int] | None = None

    def tasks(self, column: Numbers | Texts, threads: int) -> list[Task]:
        """What is to be done with a batch's column, in any order."""
        if isinstance(column, Texts):
            return self._text_tasks(column, threads)
        return self._number_tasks(column, threads)

    def _number_tasks(self, column: Numbers, threads: int) -> list[Task]:
        values, valid = column.values, column.valid
        flat = values.reshape(-1, 1)
        each = None if valid is None else valid.reshape(-1) if valid.ndim == 2 else np.repeat(valid, values.shape[1])
        self.rows += len(values)

        tasks: list[Task] = [
            lambda: self.moments.update(flat, each, threads=threads),
            lambda: self.quantiles.update(flat, each, threads=threads),
        ]
        if self.frequencies is not None and self.distinct is not None:
            frequencies, distinct = self.frequencies, self.distinct
            tasks += [lambda: frequencies.update(flat[:, 0], each), lambda: distinct.update(flat[:, 0], each, threads=threads)]
        if self.each is not None:
            moments, quantiles = self.each
            tasks += [lambda: moments.update(values, valid, threads=threads), lambda: quantiles.update(values, valid, threads=threads)]
        if self.has_bounds:
            tasks.append(lambda: self._bound(flat[:, 0], each))
        return tasks

    def _bound(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> None:
        kept = values if valid is None else values[valid]
        if len(kept):
            self._widen((int(kept.min()), int(kept.max())))

    def _widen(self, other: tuple[int, int]) -> None:
        mine = self.bounds
        self.bounds = other if mine is None else (min(mine[0], other[0]), max(mine[1], other[1]))

    def _text_tasks(self, column: Texts, threads: int) -> list[Task]:
        lengths, valid = column.lengths(), column.valid
        self.rows += len(lengths)
        tasks: list[Task] = [
            lambda: self.moments.update(lengths, valid, threads=threads),
            lambda: self.quantiles.update(lengths, valid, threads=threads),
        ]
        if self.inner is not None:
            (moments, quantiles), flat = self.inner, column.values.reshape(-1, 1)
            tasks += [lambda: moments.update(flat, threads=threads), lambda: quantiles.update(flat, threads=threads)]
        if self.frequencies is not None and self.distinct is not None:
            frequencies, distinct, pair = self.frequencies, self.distinct, (column.values, column.offsets)
            tasks += [lambda: frequencies.update(pair, valid), lambda: distinct.update(pair, valid, threads=threads)]
        return tasks

    def merge(self, other: FieldStatistics) -> None:
        """Add what another one counted of the same field."""
        self.rows += other.rows
        self.moments.merge(other.moments)
        self.quantiles.merge(other.quantiles)
        for ours, theirs in ((self.each, other.each), (self.inner, other.inner)):
            if ours is not None and theirs is not None:
                ours[0].merge(theirs[0])
                ours[1].merge(theirs[1])
        if self.frequencies is not None and other.frequencies is not None:
            self.frequencies.merge(other.frequencies)
        if self.distinct is not None and other.distinct is not None:
            self.distinct.merge(other.distinct)
        if other.bounds is not None:
            self._widen(other.bounds)

    def summary(self, bins: int, most: int) -> FieldProfile:
        """The figures, with histograms of `bins` bins and the `most` frequent values."""
        frequent, frequent_error, distinct, distinct_error = self._counted(most)
        whole = self._figures(self.moments, self.quantiles, 0, bins)
        if self.bounds is not None:
            whole["min"], whole["max"] = self.bounds
        components = []
        if self.each is not None:
            components = [self._part(f"{self.name}[{self._place(c)}]", *self.each, c, bins) for c in range(self.width)]
        if self.inner is not None:
            components = [self._part(f"{self.name}[...]", *self.inner, 0, bins)]
        return FieldProfile(
            name=self.name,
            kind=self.kind,
            dtype=self.dtype if self.kind in ("number", "time", "ragged") else "",
            shape=self.shape,
            of=self.of,
            rows=self.rows,
            distinct=distinct,
            distinct_error=distinct_error,
            frequent=frequent,
            frequent_error=frequent_error,
            components=components,
            **whole,
        )

    def _part(self, name: str, moments: Moments, quantiles: Quantiles, c: int, bins: int) -> FieldProfile:
        return FieldProfile(
            name=name,
            kind="number" if self.kind == "ragged" else self.kind,
            dtype=self.dtype,
            shape=(),
            of="values",
            rows=self.rows,
            distinct=None,
            distinct_error=0.0,
            frequent=[],
            frequent_error=0,
            **self._figures(moments, quantiles, c, bins),
        )

    def _place(self, component: int) -> str:
        shape = (*self.shape, 2) if self.dtype.startswith("complex") else self.shape
        return ",".join(map(str, np.unravel_index(component, shape)))

    def _figures(self, moments: Moments, quantiles: Quantiles, c: int, bins: int) -> dict[str, Any]:
        def number(value: npt.NDArray[np.float64]) -> float | None:
            return None if np.isnan(value[c]) else float(value[c])

        count = int(moments.count[c])
        found = quantiles.quantile(SHARES)[:, c].tolist() if count else []
        return {
            "nulls": int(moments.nulls[c]),
            "infinities": int(moments.infinities[c]),
            "values": count,
            "mean": number(moments.mean),
            "deviation": number(moments.deviation()),
            "skew": number(moments.skew),
            "min": number(moments.min),
            "max": number(moments.max),
            "quantiles": dict(zip(SHARES, found, strict=True)) if count else {},
            "rank_error": 0.0 if quantiles.is_exact else quantiles.rank_error,
            "histogram": _histogram(quantiles, c, float(moments.min[c]), float(moments.max[c]), bins, self.is_whole) if count else None,
        }

    def _counted(self, most: int) -> tuple[list[tuple[Any, int]], int, float | None, float]:
        if self.frequencies is None or self.distinct is None:
            return [], 0, None, 0.0
        values, counts = self.frequencies.items(most)
        listed = [_as_text(value) for value in values] if isinstance(values, list) else values.tolist()
        if self.dtype == "bool":
            listed = [bool(value) for value in listed]
        # Beyond the bound's noise only: what occurred less may be missing.
        frequent = [(value, count) for value, count in zip(listed, counts.tolist(), strict=True) if count > self.frequencies.error]
        if self.frequencies.is_exact:
            return frequent, 0, len(self.frequencies), 0.0
        return frequent, self.frequencies.error, self.distinct.estimate, self.distinct.relative_error


def _as_text(value: bytes) -> str:
    return value.decode("utf-8", errors="backslashreplace")


def _histogram(quantiles: Quantiles, column: int, low: float, high: float, bins: int, is_whole: bool) -> Histogram:
    if low == high:
        return Histogram(np.array([low, high]), np.array([int(quantiles.count[column])]))
    edges = _whole_edges(low, high, bins) if is_whole else _even_edges(low, high, bins)
    below = quantiles.counts_below(edges, column)
    below[0], below[-1] = 0, quantiles.count[column]
    return Histogram(edges, np.diff(below))


def _even_edges(low: float, high: float, bins: int) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        edges: npt.NDArray[np.float64] = np.linspace(low, high, bins + 1).astype(np.float64)
        # Halves, where the whole is wider than float64 reaches.
        halves: npt.NDArray[np.float64] = np.linspace(low / 2, high / 2, bins + 1).astype(np.float64) * 2
    return edges if np.isfinite(edges).all() else halves


def _whole_edges(low: float, high: float, bins: int) -> npt.NDArray[np.float64]:
    """As many integers in each bin; else every few bins hold one more, and look fuller."""
    step = max(1.0, math.ceil((high - low + 1) / bins))
    edges: npt.NDArray[np.float64] = (low + step * np.arange(math.ceil((high - low + 1) / step) + 1)).astype(np.float64)
    return edges


class Rows:
    """Whole rows: how the numbers vary together, and how many rows occur again."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.together = CoMoments(len(names)) if len(names) > 1 else None
        self.rows = 0
        self._table = Frequencies(_TRACKED_ROWS)
        self._share = 0  # hashes below 2^(64 - share) are followed

    def add_numbers(self, columns: list[Numbers], threads: int) -> None:
        """The columns behind `names`, side by side."""
        if self.together is None:
            return
        values = np.concatenate([column.values.astype(np.float64, copy=False) for column in columns], axis=1)
        if any(column.valid is not None for column in columns):
            masks = [_mask(column) for column in columns]
            self.together.update(values, np.ascontiguousarray(np.concatenate(masks, axis=1)), threads=threads)
        else:
            self.together.update(values, threads=threads)

    def add_rows(self, columns: list[Numbers | Texts], rows: int) -> None:
        """All columns of a batch."""
        hashes = np.zeros(rows, np.uint64)
        for column in columns:
            if isinstance(column, Numbers):
                _native.mix_rows(column.values, column.valid, hashes)
            elif rows:
                _mix_texts(column, rows, hashes)
        self.rows += rows
        self._follow(hashes, None)

    def _follow(self, hashes: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64] | None) -> None:
        kept = hashes <= np.uint64(self._greatest)
        for begin in range(0, len(hashes), _TRACKED_ROWS // 4):
            part = slice(begin, begin + _TRACKED_ROWS // 4)
            now = hashes[part][kept[part]]
            self._table.update(now if counts is None else np.repeat(now, counts[part][kept[part]]))
            if len(self._table) > _TRACKED_ROWS // 2:
                self._thin()
                kept = hashes <= np.uint64(self._greatest)

    def _thin(self) -> None:
        """Follow half as many hashes from now on: those that stay are a fair share of all rows, each with all its repeats."""
        while len(self._table) > _TRACKED_ROWS // 2:
            self._share += 1
            self._table.keep_up_to(self._greatest)

    @property
    def _greatest(self) -> int:
        """The greatest hash that is followed."""
        return (1 << (64 - self._share)) - 1

    def merge(self, other: Rows) -> None:
        """Add what another one counted of the same fields."""
        if self.together is not None and other.together is not None:
            self.together.merge(other.together)
        self.rows += other.rows
        self._share = max(self._share, other._share)
        found = [self._table.items(), other._table.items()]
        self._table = Frequencies(_TRACKED_ROWS)
        for hashes, counts in found:
            self._follow(np.asarray(hashes).astype(np.uint64), counts)

    @property
    def duplicates(self) -> tuple[int, float]:
        """(rows that repeat an earlier one, the standard error of that number; 0: exact up to equal hashes of 64 bits)."""
        _, counts = self._table.items()
        repeats = int((counts - 1).sum())
        if self._share == 0:
            return repeats, 0.0
        # Each different row is followed with probability 2^-share.
        scale = 1 << self._share
        return repeats * scale, float(np.sqrt(((counts - 1.0) ** 2).sum() * scale * (scale - 1)))


def _mix_texts(column: Texts, rows: int, hashes: npt.NDArray[np.uint64]) -> None:
    """Texts of a row one after the other, where it holds several; then their lengths tell where each ends."""
    a_row = (len(column.offsets) - 1) // rows
    values = np.ascontiguousarray(column.values)
    unit_bytes = values.nbytes // max(1, len(values))
    offsets = np.ascontiguousarray(column.offsets[::a_row] if a_row else np.zeros(rows + 1, np.int64)) * unit_bytes
    whole = column.valid if a_row == 1 else None
    _native.mix_texts(values.reshape(-1).view(np.uint8), offsets, whole, hashes)
    if a_row > 1:
        _native.mix_rows(column.lengths().reshape(rows, a_row), None if column.valid is None else column.valid.reshape(rows, a_row), hashes)


def _mask(column: Numbers) -> npt.NDArray[np.bool_]:
    if column.valid is None:
        return np.ones(column.values.shape, np.bool_)
    return column.valid if column.valid.ndim == 2 else np.repeat(column.valid[:, None], column.values.shape[1], axis=1)
