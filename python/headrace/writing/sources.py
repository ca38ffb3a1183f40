"""What can be written: recognises a source by what it can do, and says how to read it in batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.writing.arrow import ArrowSource
from headrace.writing.base import Column, Place
from headrace.writing.batches import ColumnSource, Source, take_fields
from headrace.writing.infer import column_of
from headrace.writing.rows import RowSource
from headrace.writing.tensors import is_tensor

__all__ = ["columns_of", "source_of"]

_FETCH_SAMPLES = 256  # asked of __getitems__ at once


def source_of(
    source: Any, *, fields: Sequence[str] | None = None, names: Sequence[str] | None = None, batch_rows: int | None = None
) -> Source:
    """A Source over anything that `write` accepts; `names` are those of a given schema, for parts that have none of their own.

    Raises TypeError for what it does not accept.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(f"cannot write a {type(source).__name__}: a source is samples, not a path; for files use headrace.convert()")
    if batch_rows is not None and batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
    whole = _whole_columns(source, fields, names=names)
    if whole is not None:
        columns, container = whole
        return ColumnSource(columns, container, batch_rows=batch_rows)
    if hasattr(source, "__arrow_c_stream__"):
        return ArrowSource(source, fields=fields, batch_rows=batch_rows)
    if _is_map_style(source):
        return RowSource(_samples_of(source), total=len(source), batch_rows=batch_rows, fields=fields)
    try:
        samples = iter(source)
    except TypeError:
        raise TypeError(
            f"cannot write a {type(source).__name__}; pass a dict of arrays, a structured array, an iterable of samples, "
            "a dataset with __len__ and __getitem__, or something with __arrow_c_stream__"
        ) from None
    total = len(source) if isinstance(source, (list, tuple)) else None
    return RowSource(samples, total=total, batch_rows=batch_rows, fields=fields)


def columns_of(data: Any, names: Sequence[str] | None, first: int) -> tuple[dict[str, Column], str]:
    """(columns by field, container) of one call of Writer.extend. names: the fields if known. first: number of the first sample."""
    if isinstance(data, tuple):
        if names is not None and len(names) != len(data):
            raise ValueError(f"expected {len(names)} columns {list(names)}, found a tuple of {len(data)}")
        keys = list(names) if names is not None else [str(index) for index in range(len(data))]
        return {name: column_of(part, Place(name, first)) for name, part in zip(keys, data, strict=True)}, "tuple"
    if names is not None and len(names) == 1 and not isinstance(data, Mapping) and not _is_table(data):
        return {names[0]: column_of(data, Place(names[0], first))}, "single"
    whole = _whole_columns(data, None, first=first)
    if whole is None:
        raise TypeError(
            f"extend takes a dict or tuple of columns, a structured array or a table, found {type(data).__name__}; use append for a sample"
        )
    columns, container = whole
    if names is not None:
        missing, extra = [name for name in names if name not in columns], [name for name in columns if name not in names]
        if missing or extra:
            raise ValueError(f"expected columns {list(names)}, found {list(columns)} (missing {missing}, unexpected {extra})")
        columns = {name: columns[name] for name in names}
    return columns, container


def _whole_columns(
    source: Any, fields: Sequence[str] | None, *, first: int = 0, names: Sequence[str] | None = None
) -> tuple[dict[str, Column], str] | None:
    """(columns, container) of a source that holds whole columns, else None."""
    parts, container = _parts(source, names if fields is None else fields)
    if parts is None:
        return None
    for name in parts:
        if not isinstance(name, str):
            raise TypeError(f"field names must be str, found {name!r}")
    taken = take_fields(list(parts), fields)
    return {name: column_of(parts[name], Place(name, first)) for name in taken}, container


def _parts(source: Any, names: Sequence[str] | None) -> tuple[dict[str, Any] | None, str]:
    if isinstance(source, np.ndarray) and source.dtype.names is not None:
        return _structured(source, ""), "dict"
    if isinstance(source, np.ndarray) or is_tensor(source):
        return {names[0] if names else "value": source}, "single"
    if isinstance(source, Mapping):
        return dict(source), "dict"
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return _frame_parts(source, names), "dict"
    if type(source).__name__ == "TensorDataset" and hasattr(source, "tensors"):
        return _tuple_parts(source.tensors, names)
    if isinstance(source, tuple) and source and all(_is_column(part) for part in source):
        return _tuple_parts(source, names)
    return None, ""


def _frame_parts(frame: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """The columns of a data frame by their names as text. Raises ValueError for two of one name, unless `names` are others."""
    labels = list(map(str, frame.columns))
    twice = {label for label, times in Counter(labels).items() if times > 1}
    clash = next((label for label in labels if label in twice and (names is None or label in names)), None)
    if clash is not None:
        alike = [label for label in frame.columns if str(label) == clash]
        raise ValueError(f"two columns are named {clash!r} (of the labels {alike}); rename one, or choose the others with fields=[...]")
    return {label: frame.iloc[:, index] for index, label in enumerate(labels) if label not in twice}


def _tuple_parts(parts: Sequence[Any], names: Sequence[str] | None) -> tuple[dict[str, Any], str]:
    keys = list(names) if names is not None else [str(index) for index in range(len(parts))]
    if len(keys) != len(parts):
        raise ValueError(f"expected {len(keys)} columns {keys}, found a tuple of {len(parts)}")
    return dict(zip(keys, parts, strict=True)), "tuple"


def _is_column(part: Any) -> bool:
    return (isinstance(part, np.ndarray) or is_tensor(part)) and part.ndim > 0


def _is_table(data: Any) -> bool:
    return (isinstance(data, np.ndarray) and data.dtype.names is not None) or (hasattr(data, "iloc") and hasattr(data, "columns"))


def _structured(array: np.ndarray[Any, np.dtype[Any]], prefix: str) -> dict[str, Any]:
    """The parts of a structured array; nested ones are flattened to `a.b`. Views."""
    parts: dict[str, Any] = {}
    for name in array.dtype.names or ():
        part = array[name]
        if part.dtype.names is not None:
            parts |= _structured(part, f"{prefix}{name}.")
        else:
            parts[prefix + name] = part
    return parts


def _is_map_style(source: Any) -> bool:
    if isinstance(source, (list, tuple, str, bytes)) or any(base.__name__ == "IterableDataset" for base in type(source).__mro__):
        return False
    return hasattr(source, "__len__") and hasattr(source, "__getitem__")


def _samples_of(dataset: Any) -> Iterator[Any]:
    """All samples of a map-style dataset, in order; many at once where it can."""
    total = len(dataset)
    fetch_many = getattr(dataset, "__getitems__", None)
    if not callable(fetch_many):
        for index in range(total):
            yield _fetch(dataset, index)
        return
    for begin in range(0, total, _FETCH_SAMPLES):
        wanted = list(range(begin, min(begin + _FETCH_SAMPLES, total)))
        samples = fetch_many(wanted)
        if len(samples) != len(wanted):
            raise ValueError(f"{type(dataset).__name__}.__getitems__ gave {len(samples)} samples for {len(wanted)} indices from {begin}")
        yield from samples


def _fetch(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception as error:
        # An IndexError would else read as the end of the samples.
        error.add_note(f"while reading sample {index} of {len(dataset)} from {type(dataset).__name__}")
        raise
