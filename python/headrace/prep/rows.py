"""Where a pipeline's rows come from: a dataset, through the engine, or arrays and frames in memory. Both run the same native plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.arrays import ArrayDataset, is_tensor
from headrace.datasets.shards import Dataset

__all__ = ["ArrayRows", "Counted", "DatasetRows", "Rows", "rows_of", "threads_of"]

_BATCH_BYTES = 2 << 20  # of the values that a batch reads
_MOST_BYTES = 32 << 20  # of them, where its rows are a span of what is counted
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Counted:
    """Rows that the engine counted while it built a batch, in place of their values: for Collector.add()."""

    batch: _native.Batch
    field: int


class DatasetRows:
    """The samples of a dataset in their order, in batches of a fixed number: what is learned depends on neither chunks nor threads."""

    def __init__(self, dataset: Dataset | ArrayDataset) -> None:
        self.dataset = dataset
        self.fields = list(dataset.schema.fields)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(
        self, plan: _native.FieldPlan, names: Sequence[str], threads: int, inputs: Sequence[str], widths: Mapping[str, int] | None = None
    ) -> Iterator[Columns]:
        """What the plan makes of these inputs, by these names; arrays are the batch's memory, alive as long as they are. Texts are (values, valid, offsets).

        widths: names of which moments are enough, and their values a row: they may come as Counted.
        """
        texts = set(plan.texts)
        spans = {names.index(name): _native.Moments(width).span_rows for name, width in (widths or {}).items()}
        for batch in self.native_batches(plan, threads, inputs, spans):
            columns: dict[str, Any] = {}
            for i, name in enumerate(names):
                is_there = batch.is_there(i)
                columns[name] = _text_parts(batch, i) if i in texts else batch.numpy(i) if is_there else Counted(batch, i)
            yield columns

    def native_batches(
        self,
        plan: _native.FieldPlan | None,
        threads: int,
        only: Sequence[str] | None = None,
        spans: Mapping[int, int] | None = None,
    ) -> Iterator[_native.Batch]:
        """The engine's batches. only: fields that are read, in this order. spans: what may be counted, and the rows of its spans."""
        fields = {field.name: (field, number) for field, number in zip(self.fields, self.dataset.field_numbers, strict=True)}
        chosen = [fields[name] for name in (fields if only is None else only)]
        batch_size, counted = _whole_spans([field for field, _ in chosen], spans or {})
        pipeline = _native.Pipeline(
            self.dataset.native,
            fields=[number for _, number in chosen],
            batch_size=batch_size,
            num_threads=threads,
            ragged="offsets",
            field_plan=plan,
            counted=counted,
        )
        pipeline.start(0, 0)
        while (batch := pipeline.next()) is not None:
            yield batch


class ArrayRows:
    """Rows of arrays: numbers with their validity, or texts with their offsets."""

    def __init__(self, columns: Mapping[str, Any], known: Mapping[str, _native.Field] | None = None) -> None:
        """columns: arrays, tensors, or sequences of str and None; all of one length. known: fields of another kind, which no step looks at.

        Raises TypeError, ValueError naming the field.
        """
        self.given = dict(columns)
        self.parts: dict[str, tuple[Any, Any, Any]] = {}
        self.fields: list[_native.Field] = []
        lengths = {}
        for name, values in self.given.items():
            if name.endswith(".valid") and name.removesuffix(".valid") in self.given:
                continue
            if known is not None and name in known:
                self.fields.append(known[name])
                lengths[name] = len(values)
                continue
            field, parts, lengths[name] = _parts_of(name, values, self.given.get(f"{name}.valid"))
            self.fields.append(field)
            self.parts[name] = parts
        if not self.fields:
            raise ValueError("there are no fields")
        if len(set(lengths.values())) > 1:
            raise ValueError("the fields differ in length: " + ", ".join(f"{name} has {length}" for name, length in lengths.items()))
        self._rows = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._rows

    def batches(
        self,
        plan: _native.FieldPlan,
        names: Sequence[str],
        threads: int,
        inputs: Sequence[str] = (),
        widths: Mapping[str, int] | None = None,
    ) -> Iterator[Columns]:
        """What the plan makes, by these names, as DatasetRows.batches() does; all of it as values."""
        step = batch_rows(self.fields)
        for begin in range(0, self._rows, step):
            yield self.run(plan, names, threads, inputs, begin, min(self._rows, begin + step))

    def run(
        self, plan: _native.FieldPlan, names: Sequence[str], threads: int, inputs: Sequence[str], begin: int = 0, end: int | None = None
    ) -> Columns:
        """The same for the rows from begin to end."""
        end = self._rows if end is None else end
        cut = [_cut(self.parts[name], begin, end) for name in inputs]
        return dict(zip(names, plan.apply(cut, end - begin, threads), strict=True))


Rows = DatasetRows | ArrayRows


def row_bytes(fields: Sequence[_native.Field]) -> int:
    """Of the tensors of a row."""
    return sum(
        math.prod(field.shape) * (np.dtype(field.dtype).itemsize if field.dtype != "bfloat16" else 2)
        for field in fields
        if field.kind == "tensor"
    )


def batch_rows(fields: Sequence[_native.Field]) -> int:
    """Rows of a batch: a function of the fields alone."""
    return int(min(max(_BATCH_BYTES // max(row_bytes(fields), 16), 256), 1 << 16))


def _whole_spans(fields: Sequence[_native.Field], spans: Mapping[int, int]) -> tuple[int, list[int]]:
    """Rows of a batch that are whole spans of what is counted, and what that is: all whose spans (powers of two) are not too large for a batch."""
    usual, most = batch_rows(fields), _MOST_BYTES // max(row_bytes(fields), 1)
    counted = [number for number, rows in spans.items() if rows <= max(usual, most)]
    if not counted:
        return usual, []
    return max(1 << (usual.bit_length() - 1), *(spans[number] for number in counted)), counted


def rows_of(data: Any) -> Rows:
    """A dataset, a mapping of arrays, a pandas or polars frame. Raises TypeError for anything else."""
    if isinstance(data, Dataset | ArrayDataset):
        return DatasetRows(data)
    if isinstance(data, Mapping):
        return ArrayRows(data)
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return ArrayRows(columns_of(data))
    raise TypeError(f"expected a headrace dataset, a dict of arrays, or a pandas or polars frame; got {type(data).__name__}")


def threads_of(num_threads: int | None) -> int:
    """Threads of the engine: all of its pool by default."""
    return _native.num_threads() if num_threads is None else int(num_threads)


def columns_of(frame: Any) -> dict[str, Any]:
    """A pandas or polars frame's columns as arrays, by their names as texts. Missing floats are NaN; whole numbers and booleans of which some are missing
    keep their dtype, with a mask `<name>.valid` beside them. Raises ValueError for two columns of one name.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"two columns of the frame are called {next(name for name in names if names.count(name) > 1)!r}; rename one")
    out: dict[str, Any] = {}
    for name in frame.columns:
        series = frame[name]
        out[str(name)], valid = _of_polars(series) if hasattr(series, "to_pandas") else _of_pandas(series)
        if valid is not None:
            out[f"{name}.valid"] = valid
    return out


def _of_polars(series: Any) -> tuple[Any, Any]:
    kind = str(series.dtype)
    if kind in ("String", "Utf8", "Enum") or kind.startswith("Categorical"):
        return series.to_list(), None
    if series.null_count() and kind.startswith(("Int", "UInt", "Boolean")):
        return series.fill_null(False if kind == "Boolean" else 0).to_numpy(), series.is_not_null().to_numpy()
    return series.to_numpy(), None


def _of_pandas(series: Any) -> tuple[Any, Any]:
    if series.dtype.kind == "M" and getattr(series.dtype, "tz", None) is not None:  # What its clocks show, as `series.dt` has it.
        return series.dt.tz_localize(None).to_numpy(), None
    if series.dtype.kind not in "iufb":
        return series.to_numpy(), None
    dtype = np.dtype(getattr(series.dtype, "numpy_dtype", series.dtype))  # of nullable and Arrow's dtypes
    missing = series.isna().to_numpy()
    if dtype.kind == "f":
        return series.to_numpy(dtype=dtype, na_value=np.nan), None
    if not missing.any():
        return series.to_numpy(dtype=dtype), None
    return series.to_numpy(dtype=dtype, na_value=dtype.type(0)), ~missing


def _parts_of(name: str, values: Any, valid: Any) -> tuple[_native.Field, tuple[Any, Any, Any], int]:
    if is_tensor(values):
        values = values.detach().cpu().numpy()
    if valid is not None:
        valid = np.ascontiguousarray(np.asarray(valid), dtype=np.bool_)
    if not isinstance(values, np.ndarray) or values.dtype.kind in "OUST":
        return _texts_of(name, list(values))
    if values.ndim == 0 or values.dtype.kind not in "biufmM":
        raise TypeError(
            f"field {name!r}: an array of {values.dtype} with {values.ndim} dimensions; expected rows of numbers, dates or texts"
        )
    array = np.ascontiguousarray(values)
    field = _native.Field(name, dtype=str(array.dtype), shape=array.shape[1:], nullable=valid is not None)
    return field, (array, valid, None), len(array)


def _is_missing(value: Any) -> bool:
    """None, and what pandas has for a missing text: NaN, NA, NaT."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


def _texts_of(name: str, values: list[Any]) -> tuple[_native.Field, tuple[Any, Any, Any], int]:
    for value in values:
        if not isinstance(value, str) and not _is_missing(value):
            raise TypeError(f"field {name!r}: {value!r} among its values; expected texts (str) or None")
    valid = np.array([isinstance(value, str) for value in values], np.bool_)
    try:
        encoded = [value.encode() if isinstance(value, str) else b"" for value in values]
    except UnicodeEncodeError as error:
        raise ValueError(f"field {name!r}: {error.object!r} is no text that UTF-8 has ({error})") from error
    offsets = np.array([0, *itertools.accumulate(map(len, encoded))], np.int64)
    return (
        _native.Field(name, kind="string", nullable=True),
        (np.frombuffer(b"".join(encoded) or b"\0", np.uint8), valid, offsets),
        len(values),
    )


def _text_parts(batch: _native.Batch, number: int) -> tuple[Any, Any, Any]:
    """Texts that a plan made, as FieldPlan.apply() gives them; the batch's own memory."""
    values, offsets = batch.texts(number)
    return values, batch.valid(number), offsets


def _cut(parts: tuple[Any, Any, Any], begin: int, end: int) -> tuple[Any, Any, Any]:
    values, valid, offsets = parts
    return (
        values if offsets is not None else values[begin:end],
        None if valid is None else valid[begin:end],
        None if offsets is None else offsets[begin : end + 1],
    )
