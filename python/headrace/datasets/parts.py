"""The methods of a dataset that choose among its samples. Each answers views: nothing is copied but row numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets import splits
from headrace.datasets.condition import Condition, Values
from headrace.sampling.options import check_there

__all__ = ["Parts"]

_AT_ONCE = 1 << 16  # rows
Keys = Any  # a field's name, or an array with an entry a sample


class Choosable(Protocol):
    """What the methods need of their class."""

    field_numbers: list[int]

    @property
    def native(self) -> _native.Dataset: ...
    @property
    def schema(self) -> _native.Schema: ...
    @property
    def is_whole(self) -> bool: ...
    def __len__(self) -> int: ...
    def subset(self: Self, rows: npt.ArrayLike) -> Self: ...


Self = TypeVar("Self", bound=Choosable)


class Parts:
    """split(), kfold(), sample(), bootstrap(), split_by() and where(), for a class that has subset()."""

    def split(
        self: Self, *, seed: int = 0, stratify: Keys = None, group: Keys = None, time: Keys = None, **shares: float
    ) -> dict[str, Self]:
        """Cut into parts by name: `ds.split(train=0.8, valid=0.1, test=0.1, stratify="label")["train"]`. Samples stay in their order.

        stratify, group, time: a field's name or an array of shape (len,). stratify: each part holds its share of each class, to one sample.
        group: no group is in two parts, which are as near to their shares as whole groups allow. time: the first part is the earliest, and equal times are
        not divided. Shares of less than 1 together leave the rest out. The same seed gives the same parts.
        Raises ValueError for shares or keys that make no sense, KeyError for an unknown field.
        """
        rows = splits.split_rows(
            len(self),
            shares,
            seed=seed,
            stratify=keys_of(self, "stratify", stratify),
            group=keys_of(self, "group", group),
            time=keys_of(self, "time", time),
        )
        return {name: self.subset(part) for name, part in rows.items()}

    def kfold(self: Self, k: int, *, seed: int = 0, stratify: Keys = None, group: Keys = None) -> Iterator[tuple[Self, Self]]:
        """k pairs (training part, held-out part): each sample is held out once. Keys as in split(). Raises ValueError for fewer samples or groups than k."""
        rows = splits.fold_rows(len(self), k, seed=seed, stratify=keys_of(self, "stratify", stratify), group=keys_of(self, "group", group))
        return ((self.subset(train), self.subset(held)) for train, held in rows)

    def sample(self: Self, amount: int | float, *, seed: int = 0, stratify: Keys = None) -> Self:
        """So many samples (int) or such a fraction of them (float), none twice, in their order; each class with its share if `stratify` is given."""
        return self.subset(splits.sample_rows(len(self), amount, seed=seed, stratify=keys_of(self, "stratify", stratify)))

    def bootstrap(self: Self, n: int, *, seed: int = 0) -> Iterator[tuple[Self, Self]]:
        """n pairs (len(self) samples drawn with replacement, the samples that were not drawn: about 37 %)."""
        return ((self.subset(drawn), self.subset(left)) for drawn, left in splits.bootstrap_rows(len(self), n, seed=seed))

    def split_by(self: Self, splitter: Any, *, y: Keys = None, groups: Keys = None) -> Iterator[tuple[Self, Self]]:
        """Pairs (training part, test part) of any splitter of scikit-learn's: `ds.split_by(StratifiedGroupKFold(5), y="label", groups="patient")`."""
        blank = np.zeros((len(self), 1), np.uint8)
        pairs = splitter.split(blank, keys_of(self, "y", y), keys_of(self, "groups", groups))
        return ((self.subset(train), self.subset(test)) for train, test in pairs)

    def where(self: Self, condition: Condition) -> Self:
        """The samples for which a condition holds: `ds.where(hr.col("distance") > 500)`. Where it is unknown, since a value is null, it does not.

        Chunks whose statistics say that no row can match, or that all do, are not read. Fields of one number or one text a sample.
        Raises KeyError for an unknown field, TypeError for a comparison that makes no sense.
        """
        if not isinstance(condition, Condition):
            raise TypeError(f"where() takes a condition, such as hr.col('x') > 5; got {type(condition).__name__}")
        names = sorted(condition.fields())
        places_of(self, names)
        found: list[npt.NDArray[np.int64]] = []
        for begin, end, certain in _stretches(self, condition, names):
            for first in range(begin, end, _AT_ONCE):
                rows = np.arange(first, min(first + _AT_ONCE, end), dtype=np.int64)
                found.append(rows if certain else rows[condition.rows(columns_of(self, names, rows))[0]])
        return self.subset(np.concatenate([*found, np.zeros(0, np.int64)]))


def _stretches(dataset: Choosable, condition: Condition, names: list[str]) -> Iterator[tuple[int, int, bool]]:
    """(first row, end, whether all of them match) of what may match."""
    native = dataset.native
    if not dataset.is_whole:
        yield 0, len(dataset), False
        return
    stats = {name: _stats_of(native, native.schema.names.index(name)) for name in names}
    one = stats[names[0]]
    may, may_not = condition.chunks(stats)
    for begin, size, some, others in zip(
        one["first_sample"].tolist(), one["num_samples"].tolist(), may.tolist(), may_not.tolist(), strict=True
    ):
        if some:
            yield begin, begin + size, not others


def _stats_of(native: _native.Dataset, field: int) -> dict[str, npt.NDArray[Any]]:
    stats = dict(native.chunk_stats(field))
    dtype = native.schema.fields[field].dtype
    if dtype.startswith(("datetime64", "timedelta64")):
        stats |= {name: stats[name].view(dtype) for name in ("min", "max")}
    return stats


def places_of(dataset: Choosable, names: list[str]) -> list[int]:
    """Where fields stand in the schema. Raises KeyError for an unknown one."""
    known = dataset.schema.names
    for name in names:
        if name not in known:
            raise KeyError(f"there is no field {name!r}; the dataset has {', '.join(map(repr, known))}")
    return [known.index(name) for name in names]


def columns_of(dataset: Choosable, names: list[str], rows: npt.NDArray[np.int64]) -> dict[str, Values]:
    """Values of fields at these rows, and which are there; no other field is read. Raises KeyError for an unknown one."""
    places = places_of(dataset, names)
    batch = dataset.native.fetch(rows, [dataset.field_numbers[place] for place in places])
    out: dict[str, Values] = {}
    for number, (name, place) in enumerate(zip(names, places, strict=True)):
        field = dataset.schema.fields[place]
        values: Any = batch.numpy(number)
        if not isinstance(values, np.ndarray):
            if isinstance(values, tuple):
                raise TypeError(f"field {name!r} holds arrays of varying length; expected one value a sample")
            values = np.array(["" if value is None else value for value in values], dtype=object)
        out[name] = (values, np.array(batch.valid(number)) if field.nullable else None)
    return out


def keys_of(dataset: Choosable, what: str, keys: Keys) -> npt.NDArray[Any] | None:
    """The values of a field, or the user's own array. Raises ValueError for nulls, NaN, NaT and other lengths."""
    if keys is None:
        return None
    if isinstance(keys, str):
        parts = []
        for begin in range(0, len(dataset), _AT_ONCE):
            values, valid = columns_of(dataset, [keys], np.arange(begin, min(begin + _AT_ONCE, len(dataset)), dtype=np.int64))[keys]
            if valid is not None and not valid.all():
                raise ValueError(f"{what}={keys!r}: sample {begin + int(np.argmin(valid))} is null; leave such out with where()")
            parts.append(values)
        found = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    else:
        found = np.asarray(keys)
    if found.shape != (len(dataset),):
        raise ValueError(f"{what}: expected one value a sample, shape ({len(dataset)},), got {found.shape}")
    check_there(what, found)
    return found
