"""Which categories a field has and how often each occurs; and categories as the parameters of native steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.summary import Summary
from headrace.statistics import Frequencies

__all__ = [
    "Categories",
    "CategoryCollector",
    "Counted",
    "category_names",
    "chosen_texts",
    "is_category",
    "keys_of",
    "read_category",
    "unit_of",
]

LIMIT = 1 << 20  # categories of a component
NULL_INT = np.iinfo(np.int64).min
Categories = list[str] | npt.NDArray[Any]  # rising: texts by their UTF-8 bytes; bytes that are none as lone surrogates
_DATE = re.compile(r"datetime64\[(\d*)([A-Za-z]+)\]")


@dataclass(frozen=True)
class Counted:
    """The categories of one component, how often each occurs, and how many nulls there are."""

    values: Categories
    counts: npt.NDArray[np.int64]
    nulls: int

    @property
    def rows(self) -> int:
        """All that was counted, nulls too."""
        return int(self.counts.sum()) + self.nulls


class CategoryCollector:
    """Takes the values of one field, batch by batch: texts as (values, valid, offsets), numbers as (rows, width)."""

    def __init__(self, value: Value) -> None:
        self._value = value
        self._tables = [Frequencies(LIMIT) for _ in range(value.width)]

    def update(self, values: Any, threads: int | None = None) -> None:
        """Count them."""
        if isinstance(values, tuple):
            texts, valid, offsets = values
            self._tables[0].update((texts, offsets), valid)
            return
        for column, table in zip(values.T, self._tables, strict=True):
            own = np.ascontiguousarray(column)
            table.update(own, own != NULL_INT if own.dtype == np.int64 else None)

    def summary(self) -> Summary:
        """Categories in rising order. Raises ValueError for more of them than are counted exactly."""
        for name, table in zip(self._value.names, self._tables, strict=True):
            if not table.is_exact:
                raise ValueError(f"field {name!r} has more than {LIMIT} categories (or 64 MiB of them); use Hash(n), which needs no table")
        counted = tuple(_counted(table) for table in self._tables)
        nothing = np.full(len(counted), np.nan)
        return Summary(
            np.array([int(one.counts.sum()) for one in counted], np.int64),
            np.array([one.nulls for one in counted], np.int64),
            np.zeros(len(counted), np.int64),
            nothing,
            nothing,
            nothing,
            nothing,
            categories=counted,
        )


def _counted(table: Frequencies) -> Counted:
    values, counts = table.items()
    if isinstance(values, list):
        order = sorted(range(len(values)), key=values.__getitem__)
        return Counted([values[i].decode("utf-8", "surrogateescape") for i in order], counts[order], table.nulls)
    rising = np.argsort(values, kind="stable")
    return Counted(values[rising], counts[rising], table.nulls)


def chosen_texts(texts: tuple[Any, Any, Any], kept: npt.NDArray[np.bool_]) -> tuple[Any, Any, Any]:
    """Some rows of (values, valid, offsets)."""
    values, valid, offsets = texts
    sizes = np.diff(offsets)
    ends = np.concatenate([[0], np.cumsum(sizes[kept])]).astype(np.int64)
    return values[offsets[0] : offsets[-1]][np.repeat(kept, sizes)], valid[kept], ends


def is_category(value: Value) -> bool:
    """Whether encoders take it: texts, numbers but uint64, dates."""
    if value.kind in ("string", "bytes"):
        return True
    is_date = value.source is not None and value.kind == "tensor" and value.dtype.startswith(("datetime64", "timedelta64"))
    return (value.is_number and not (value.source is not None and value.dtype == "uint64")) or is_date


def read_category(program: Program, name: str) -> Value:
    """The field in the register that its categories are told apart in: texts, whole numbers, or floats."""
    value = program.values[name]
    if value.kind in ("string", "bytes"):
        return program.read(name, "text")
    is_float = value.dtype in ("float16", "bfloat16", *FLOATS)
    return program.read(name, "int64" if value.type == "int64" or (value.register < 0 and not is_float) else None)


def keys_of(value: Value, categories: Sequence[Categories]) -> dict[str, Any]:
    """The parameters `keys` and `sizes` of a native lookup."""
    sizes = np.array([len(one) for one in categories], np.int64)
    if value.type == "text":
        return {"keys": [text.encode("utf-8", "surrogateescape") for text in categories[0]], "sizes": sizes}
    dtype = np.int64 if value.type == "int64" else np.float64
    return {"keys": np.concatenate([np.zeros(0, dtype), *(np.asarray(one, dtype) for one in categories)]), "sizes": sizes}


def unit_of(dtype: str) -> tuple[int, str]:
    """Multiple and unit of a datetime64. Raises TypeError for one without."""
    found = _DATE.fullmatch(dtype)
    if found is None:
        raise TypeError(f"{dtype} has no unit; expected datetime64[unit]")
    return int(found[1] or 1), found[2]


def category_names(value: Value, categories: Categories) -> list[str]:
    """How categories are called in names of columns."""
    if isinstance(categories, list):
        return list(categories)
    if value.source is not None and value.dtype == "bool":
        return [str(bool(one)) for one in categories]
    if value.source is not None and value.dtype.startswith("datetime64"):
        return [str(np.array(int(one)).astype(value.dtype)) for one in categories]
    return [str(one) for one in categories.tolist()]
