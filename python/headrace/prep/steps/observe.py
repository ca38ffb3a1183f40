"""What joint steps watch during a pass: numbers side by side, the classes of a target, a sample of rows."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.prep.categories import NULL_INT
from headrace.prep.program import Program, Value
from headrace.statistics import ClassMoments

__all__ = ["Classes", "Rows", "SampledRows", "target_of"]

_MOST_CLASSES = 1024
Floats = npt.NDArray[np.float64]


Kind = TypeVar("Kind")


class Rows(Generic[Kind]):
    """Hands the fields of each batch to a statistic's update(rows, threads=...), side by side, and the target behind them as floats: NaN where it is null."""

    def __init__(self, values: dict[str, Value], target: str | None, statistic: Kind) -> None:
        self.values, self.target, self.statistic = values, target, statistic

    def update(self, columns: dict[str, Any], threads: int) -> None:
        """Add a batch."""
        names = [name for name in self.values if name != self.target]
        rows = columns[names[0]] if len(names) == 1 else np.concatenate([columns[name] for name in names], axis=1)
        statistic: Any = self.statistic
        if self.target is None:
            statistic.update(rows, threads=threads)
        else:
            statistic.update(rows, _as_floats(columns[self.target]), threads=threads)


def _as_floats(column: Any) -> Floats:
    flat = column.reshape(-1)
    return np.where(flat == NULL_INT, np.nan, flat) if flat.dtype == np.int64 else np.asarray(flat, np.float64)


def target_of(program: Program, name: str) -> Value:
    """The target's register: whole numbers as they are, others as float64."""
    value = program.values[name]
    return value if value.type == "int64" else program.read(name, "float64")


class Classes:
    """Moments of each class, classes as they come: at most 1024 of them."""

    def __init__(self, width: int) -> None:
        self._moments = ClassMoments(width, _MOST_CLASSES)
        self._numbers: dict[float, int] = {}

    def update(self, values: Any, targets: Floats, threads: int | None = None) -> None:
        """Add rows; those without a class are left out. Raises ValueError for more classes."""
        known, places = np.unique(targets, return_inverse=True)
        for one in known[~np.isnan(known)].tolist():
            self._numbers.setdefault(one, len(self._numbers))
        if len(self._numbers) > _MOST_CLASSES:
            raise ValueError(f"the target has more than {_MOST_CLASSES} classes; expected classes, not a number to regress on")
        numbers = np.array([self._numbers.get(one, -1) for one in known.tolist()], np.int64)
        self._moments.update(values, numbers[places.reshape(-1)], threads=threads)

    def found(self) -> tuple[Floats, npt.NDArray[np.int64], Floats, Floats]:
        """Rising classes, and of those with complete rows: counts, means (classes, width), and the scatter inside them."""
        classes = np.array(list(self._numbers), np.float64)
        order = np.argsort(classes)
        counts, means = self._moments.count[: len(classes)][order], self._moments.mean[: len(classes)][order]
        there = counts > 0
        return classes[order][there], counts[there], means[there], self._moments.within


class SampledRows:
    """Up to `most` complete rows with their targets: those whose number, mixed with the seed, is smallest, so that neither batches nor threads matter."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self._seed = most, np.uint64(seed)
        self._next = 0
        self._keys = np.zeros(0, np.uint64)
        self._rows: Any = None
        self._targets = np.zeros(0)

    def update(self, values: Any, targets: Floats, threads: int | None = None) -> None:
        """Add rows."""
        keys = _mixed(np.arange(self._next, self._next + len(values), dtype=np.uint64), self._seed)
        self._next += len(values)
        whole = np.isfinite(values).all(axis=1) & np.isfinite(targets)
        if len(self._keys) >= self.most:
            whole &= keys < self._keys.max()
        rows = np.asarray(values[whole], np.float64)
        keys = np.concatenate([self._keys, keys[whole]])
        rows = rows if self._rows is None else np.concatenate([self._rows, rows])
        targets = np.concatenate([self._targets, targets[whole]])
        chosen = np.argsort(keys, kind="stable")[: self.most]
        self._keys, self._rows, self._targets = keys[chosen], rows[chosen], targets[chosen]

    def found(self) -> tuple[Floats, Floats]:
        """(rows, width) and targets."""
        return np.zeros((0, 0)) if self._rows is None else self._rows, self._targets


def _mixed(numbers: npt.NDArray[np.uint64], seed: np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64 of Steele, Lea, Flood 2014."""
    with np.errstate(over="ignore"):
        z = numbers + (seed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
        return out
