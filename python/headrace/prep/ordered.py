"""Nulls interpolated along the rows, in a stream: rows wait until it is known what comes after their nulls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["interpolated"]

Floats = npt.NDArray[np.float64]
_MOST_WAITING = 1 << 24  # rows


class _Column:
    """One component: its last value so far, and how many rows ago that was."""

    def __init__(self) -> None:
        self.value, self.rows_ago = np.nan, 0

    def known(self, column: Floats) -> int:
        """Rows from the front whose values are settled: all up to the last one that is there."""
        there = np.flatnonzero(~np.isnan(column))
        return int(there[-1]) + 1 if len(there) else 0

    def fill(self, column: Floats, size: int) -> None:
        """Interpolate the first `size` rows in place; those before any value take the first, those after all values the last."""
        there = np.flatnonzero(~np.isnan(column))
        at, values = there.astype(np.float64), column[there]
        if not np.isnan(self.value):
            at, values = np.concatenate([[-1.0 - self.rows_ago], at]), np.concatenate([[self.value], values])
        if len(at) == 0:
            return
        missing = np.flatnonzero(np.isnan(column[:size]))
        inside = there[there < size]
        if len(inside):
            self.value, self.rows_ago = float(column[inside[-1]]), size - 1 - int(inside[-1])
        else:
            self.rows_ago += size
        column[missing] = np.interp(missing.astype(np.float64), at, values)


def interpolated(batches: Iterable[dict[str, Any]], names: list[str]) -> Iterator[dict[str, Any]]:
    """The same rows in other batches, with the nulls (NaN) of these fields, arrays (rows, width) of float64, interpolated.

    How the rows are cut changes nothing. Raises ValueError where a field has more than 2^24 nulls in a row.
    """
    waiting: dict[str, Any] = {}
    columns: dict[tuple[str, int], _Column] = {}
    for batch in batches:
        waiting = {name: _joined(waiting.get(name), part) for name, part in batch.items()}
        rows = len(next(iter(waiting.values())))
        ready = {
            name: min((columns.setdefault((name, j), _Column()).known(c) for j, c in enumerate(waiting[name].T)), default=rows)
            for name in names
        }
        size = min([rows, *ready.values()])
        if rows - size > _MOST_WAITING:
            late = min(ready, key=lambda name: ready[name])
            raise ValueError(f"interpolate: field {late!r} has more than {_MOST_WAITING} nulls in a row; impute it with a constant")
        if size:
            yield _cut(waiting, names, columns, size)
            waiting = {name: part[size:] for name, part in waiting.items()}
    if waiting and len(next(iter(waiting.values()))):
        yield _cut(waiting, names, columns, len(next(iter(waiting.values()))))


def _cut(waiting: dict[str, Any], names: list[str], columns: dict[tuple[str, int], _Column], size: int) -> dict[str, Any]:
    for name in names:
        for j in range(waiting[name].shape[1]):
            column = waiting[name][:, j].copy()
            columns[name, j].fill(column, size)
            waiting[name][:size, j] = column[:size]
    return {name: part[:size] for name, part in waiting.items()}


def _joined(before: Any, part: Any) -> Any:
    if isinstance(part, list):
        return [*(before or []), *part]
    return np.array(part) if before is None or len(before) == 0 else np.concatenate([before, part])
