"""Categories as numbers: by the table that fit() found, or by a hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.prep.categories import Counted, category_names, is_category, keys_of, read_category
from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.step import Learned, Step
from headrace.prep.summary import Summary

__all__ = ["Frequency", "Hash", "OneHot", "Ordinal"]

_CODES = ("int8", "int16", "int32", "int64", *FLOATS)
_MOST_COLUMNS = 1 << 20
Integers = npt.NDArray[np.int64]


class _Encoder(Step):
    """Takes texts, booleans, integers (but uint64), floats and dates; fields=None: all fields of texts.

    Texts are told apart by their bytes, so "" is a category like any other; numbers by value (0.0 and -0.0 are one, infinities are values).
    Null is what a field's validity says, NaN, NaT, and in whole numbers the least int64.
    """

    def suits(self, value: Value) -> bool:
        """What categories may be."""
        return is_category(value) and (self.fields is not None or value.kind in ("string", "bytes"))

    def expects(self) -> str:
        """For an error."""
        return "expected texts, booleans, dates, or numbers of fixed shape but uint64 (Cast that first)"

    def read(self, program: Program, name: str) -> Value:
        """As categories."""
        return read_category(program, name)


class _TableEncoder(_Encoder):
    """Learned: `categories_` in rising order, a component, `counts_` of each, and how many `nulls_`; by field. At most 2^20 categories a component."""

    needs = frozenset({"categories"})
    learns = ("categories", "counts", "nulls")

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The table."""
        assert summary.categories is not None
        return {
            "categories": [one.values for one in summary.categories],
            "counts": [one.counts for one in summary.categories],
            "nulls": np.array([one.nulls for one in summary.categories], np.int64),
        }

    def look_up(self, program: Program, value: Value, made: Value, learned: Learned, codes: Any, unknown: Any, null: Any) -> None:
        """The native step: codes of all categories, end to end; what unknown ones and nulls become, a number a component or one for all."""
        program.add(
            "lookup",
            [value.register],
            made.register,
            **keys_of(value, learned["categories"]),
            values=np.concatenate([np.zeros(0), *codes]).astype(np.float64),
            unknown=np.broadcast_to(np.asarray(unknown, np.float64), value.width).copy(),
            null=np.broadcast_to(np.asarray(null, np.float64), value.width).copy(),
        )


class Ordinal(_TableEncoder):
    """The place of each category among the fitted ones in rising order, from 0, as OrdinalEncoder.

    unknown_value: of a category that was not there at fitting. null_value: of nulls. dtype: delivered as; an integer type, or a float one, where NaN may
    stand for either.
    """

    def __init__(self, *, unknown_value: float = -1, null_value: float = -2, dtype: str = "int64", fields: Any = None) -> None:
        if dtype not in _CODES:
            raise ValueError(f"Ordinal: dtype is {dtype!r}; expected one of {', '.join(_CODES)}")
        for name, value in (("unknown_value", unknown_value), ("null_value", null_value)):
            if dtype in FLOATS:
                continue
            least, greatest = np.iinfo(dtype).min, np.iinfo(dtype).max
            if not (least <= value <= greatest and value == int(value)):
                raise ValueError(f"Ordinal: {name} is {value!r}; expected a whole number that {dtype} holds")
        self.unknown_value, self.null_value, self.dtype, self.fields = unknown_value, null_value, dtype, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One search a value."""
        value = self.read(program, name)
        sizes = [len(one) for one in learned["categories"]]
        if self.dtype not in FLOATS and max(sizes, default=0) - 1 > np.iinfo(self.dtype).max:
            raise ValueError(f"{self}: field {name!r} has {max(sizes)} categories, which {self.dtype} does not hold")
        kind = "float64" if self.dtype in FLOATS else "int64"
        made = program.make(name, kind, value.shape, value.names, self.dtype)
        self.look_up(program, value, made, learned, [np.arange(size) for size in sizes], self.unknown_value, self.null_value)
        program.set(made)


class Frequency(_TableEncoder):
    """The share of the fitted samples that have this category, nulls among them: 0 for one that was not there, the nulls' share for nulls."""

    def __init__(self, *, fields: Any = None) -> None:
        self.fields = fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One search a value."""
        value = self.read(program, name)
        nulls = np.asarray(learned["nulls"])
        rows = [max(1, int(np.sum(counts)) + int(n)) for counts, n in zip(learned["counts"], nulls, strict=True)]
        made = program.make(name, "float64", value.shape, value.names)
        shares = [np.asarray(counts) / n for counts, n in zip(learned["counts"], rows, strict=True)]
        self.look_up(program, value, made, learned, shares, 0, nulls / np.array(rows))
        program.set(made)


class OneHot(_TableEncoder):
    """A column of zeros and ones for each category, as OneHotEncoder(handle_unknown="ignore"): an unknown category is all zeros.

    min_frequency: categories with fewer samples (an int), or a smaller share of them (a float below 1), share one last column. max_categories: columns at
        most, that one among them; the rarest go there, of equally rare ones the first.
    unknown: "zeros", or "infrequent" for that column where there is one.
    nulls: "category": a category of their own, the last, if fit() saw any (else unknown); "zeros".
    The field becomes (batch, columns), float32, under its own name; columns are called `<name>_<category>`, `_null`, `_infrequent`.
    """

    def __init__(
        self,
        max_categories: int | None = None,
        *,
        min_frequency: float | None = None,
        unknown: str = "zeros",
        nulls: str = "category",
        fields: Any = None,
    ) -> None:
        if max_categories is not None and (max_categories % 1 != 0 or max_categories < 1):
            raise ValueError(f"OneHot: max_categories is {max_categories!r}; expected a whole number, at least 1")
        if min_frequency is not None and not (min_frequency >= 1 if isinstance(min_frequency, int) else 0 < min_frequency < 1):
            raise ValueError(f"OneHot: min_frequency is {min_frequency!r}; expected a number of samples, or a share between 0 and 1")
        if unknown not in ("zeros", "infrequent"):
            raise ValueError(f"OneHot: unknown is {unknown!r}; expected zeros or infrequent")
        if nulls not in ("category", "zeros"):
            raise ValueError(f"OneHot: nulls is {nulls!r}; expected category or zeros")
        self.max_categories, self.min_frequency, self.unknown, self.nulls, self.fields = (
            max_categories,
            min_frequency,
            unknown,
            nulls,
            fields,
        )

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The table, and the column of each category."""
        assert summary.categories is not None
        found = [self._columns(one) for one in summary.categories]
        codes = [columns for columns, _ in found]
        if all(columns.max(initial=-1) < 0 for columns in codes):
            raise ValueError(f"{self}: field {value.name!r} has no categories: all its values are null")
        return {**super().learn(value, summary), "codes": codes, "rare": np.array([column for _, column in found], np.int64)}

    def _columns(self, counted: Counted) -> tuple[Integers, int]:
        """Of each category, and then of nulls; and the one that infrequent ones share; -1: none."""
        with_nulls = self.nulls == "category" and counted.nulls > 0
        counts = np.append(counted.counts, counted.nulls) if with_nulls else counted.counts
        rare = infrequent(counts, counted.rows, self.min_frequency, self.max_categories)
        last = int((~rare).sum())
        columns = np.where(rare, last, np.cumsum(~rare) - 1)
        return (columns if with_nulls else np.append(columns, -1)), last if rare.any() else -1

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """A search, and a one among zeros."""
        value = self.read(program, name)
        codes = [np.asarray(one) for one in learned["codes"]]
        sizes = np.array([int(columns.max(initial=-1)) + 1 for columns in codes], np.int64)
        rare = np.asarray(learned["rare"])
        unknown = rare if self.unknown == "infrequent" else np.full(len(codes), -1)
        null = [columns[-1] if columns[-1] >= 0 or self.nulls == "zeros" else unknown[j] for j, columns in enumerate(codes)]
        places = program.make(name, "int64", value.shape, value.names)
        self.look_up(program, value, places, learned, [columns[:-1] for columns in codes], unknown, null)
        labels = [
            label
            for component, categories, columns, shared in zip(value.names, learned["categories"], codes, rare, strict=True)
            for label in _labels(component, category_names(value, categories), columns, int(shared))
        ]
        made = program.make(name, "float32", (len(labels),), labels)
        program.add("one_hot", [places.register], made.register, sizes=sizes)
        program.set(made)


class Hash(_Encoder):
    """A bucket from 0 to n - 1, by the XXH3 hash of a category: nothing is learned, any category has one, and it is the same on every machine.

    Texts hash by their bytes, whole numbers, booleans and dates as 8 bytes (int64), floats as 8 bytes (float64). seed: another one gives other buckets.
    null_value: the number of nulls. onehot: n columns of zeros and ones, in which nulls are all zeros, in place of the int64 number.
    """

    def __init__(self, n: int, *, seed: int = 0, null_value: int = -1, onehot: bool = False, fields: Any = None) -> None:
        if n % 1 != 0 or not 1 <= n < 2**63:
            raise ValueError(f"Hash: n is {n!r}; expected a whole number, at least 1 and below 2^63")
        self.n, self.seed, self.null_value, self.onehot, self.fields = n, seed, null_value, onehot, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One hash a value."""
        value = self.read(program, name)
        made = program.make(name, "int64", value.shape, value.names, "int64")
        null = -1 if self.onehot else self.null_value
        program.add(
            "hash",
            [value.register],
            made.register,
            buckets=np.array([self.n], np.int64),
            seed=np.array([self.seed], np.int64),
            null=np.array([null], np.int64),
        )
        if self.onehot:
            made = one_hot(program, made, [self.n] * value.width)
        program.set(made)


def one_hot(program: Program, codes: Value, sizes: Sequence[int]) -> Value:
    """Codes as zeros and a one, `sizes` columns a component, called by their number. Not set() yet. Raises ValueError for more columns than a field holds."""
    if sum(sizes) > _MOST_COLUMNS:
        raise ValueError(f"{codes.name!r}: {sum(sizes):,} columns of zeros and ones; expected at most {_MOST_COLUMNS:,}")
    labels = [f"{component}_{i}" for component, size in zip(codes.names, sizes, strict=True) for i in range(size)]
    made = program.make(codes.name, "float32", (len(labels),), labels)
    program.add("one_hot", [codes.register], made.register, sizes=np.array(sizes, np.int64))
    return made


def infrequent(counts: Integers, rows: int, min_frequency: float | None, max_categories: int | None) -> npt.NDArray[np.bool_]:
    """Which categories share the last column: scikit-learn's rule."""
    rare = np.zeros(len(counts), np.bool_)
    if min_frequency is not None:
        rare = counts < (min_frequency if isinstance(min_frequency, int) else rows * min_frequency)
    if max_categories is not None and max_categories < len(counts) - int(rare.sum()) + 1:
        if max_categories == 1:
            rare[:] = True
        else:
            rare[np.argsort(counts, kind="stable")[: -(max_categories - 1)]] = True
    return rare


def _labels(component: str, names: Sequence[str], columns: Integers, rare: int) -> list[str]:
    """Of each column. columns: of each category, and then of nulls."""
    labels = {int(column): name for column, name in zip(columns, [*names, "null"], strict=True)}
    if rare >= 0:
        labels[rare] = "infrequent"
    return [f"{component}_{labels[column]}" for column in range(int(columns.max(initial=-1)) + 1)]
