"""Hugging Face `datasets.Dataset` read through its Arrow buffers: numbers in place by the native engine, texts by Arrow, a batch at a time.

Nothing of the library is imported: a dataset is known by its class, and what it holds by its table, format and indices. What cannot be delivered exactly
as its own samples collate (images, transforms, nulls, lists of differing lengths) is refused with the reason, and runs as torch runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace._native import Batch, Field
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout
from headrace.datasets.view import NO_CHANGE, Change

__all__ = ["HuggingFaceTable", "is_hugging_face", "read_table", "stamp_of"]

_FORMATS = (None, "python", "numpy", "torch")
_HASHED_TEXTS = 64  # rows whose texts count in the fingerprint


def is_hugging_face(dataset: Any) -> bool:
    """Whether it is a map-style `datasets.Dataset` itself: a subclass may have changed what a sample is."""
    kind = type(dataset)
    return kind.__name__ == "Dataset" and kind.__module__.partition(".")[0] == "datasets" and hasattr(dataset, "_format_type")


def stamp_of(dataset: Any) -> Any:
    """What read_table() looks at: set_format() and the like change a dataset in place."""
    columns = dataset._format_columns
    chosen = None if columns is None else tuple(columns)
    return id(dataset), id(dataset._data), id(dataset._indices), dataset._format_type, chosen, str(dataset._format_kwargs)


class TableLayout(BatchLayout):
    """Numbers from the batch, texts from Arrow by the rows of the batch."""

    def __init__(self, fields: Sequence[Field], order: Sequence[str], texts: Mapping[str, Any], rows: Any, transposed: bool) -> None:
        """order: of all columns. texts: Arrow columns. rows: of a sample in them; None: the same. transposed: lists as a tensor for each element."""
        super().__init__(fields, "dict")
        self._order, self._texts, self._rows, self._transposed = order, texts, rows, transposed
        self._depths = {field.name: len(field.shape) for field in fields}

    def to_torch(self, batch: Batch, strings: str = "lists") -> Any:
        """A dict of tensors over the batch's memory and lists of str or bytes, keyed in the table's order."""
        values = super().to_torch(batch, strings)
        if self._transposed:
            values = {name: _transposed(value, self._depths[name]) for name, value in values.items()}
        if self._texts:
            found = batch.indices if self._rows is None else self._rows[batch.indices]
            values.update({name: column.take(found).to_pylist() for name, column in self._texts.items()})
        return {name: values[name] for name in self._order}


def _transposed(tensor: Any, depth: int) -> Any:
    return tensor if depth == 0 else [_transposed(one, depth - 1) for one in tensor.unbind(1)]


class HuggingFaceTable(ArrayDataset):
    """A Hugging Face dataset as arrays over its Arrow buffers. Batches equal its own, collated by torch."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], texts: Mapping[str, Any], order: Sequence[str], rows: Any, like: Any) -> None:
        """columns: of numbers, cut alike. texts: Arrow columns. rows: which; None: all. like: the dataset, for format and name."""
        self._texts, self._order, self._transposed = texts, order, like._format_type in (None, "python")
        super().__init__(columns, "dict", rows, path=f"datasets.Dataset {like._fingerprint}")
        wanted = {field.name: _delivered(field, like) for field in self._schema.fields if field.dtype != "bool"}
        self._apply(NO_CHANGE.with_dtypes(wanted, self._schema.names, self.path))

    def _apply(self, change: Change) -> None:
        super()._apply(change)
        rows = self.rows if change.rows is None else change.rows if self.rows is None else self.rows[change.rows]
        self.layout = TableLayout(self._schema.fields, self._order, self._texts, rows, self._transposed)
        self._text_rows = rows

    @property
    def fingerprint(self) -> int:
        """Hash of the numbers as ArrayDataset's, and of the texts of rows spread over all."""
        hashed = self.native.fingerprint
        chosen = np.unique(np.linspace(0, max(0, len(self) - 1), _HASHED_TEXTS).astype(np.int64))[: len(self)]
        for column in self._texts.values():
            texts = column.take(chosen if self._text_rows is None else self._text_rows[chosen]).to_pylist()
            hashed = _native.xxh3_64(repr(texts).encode(), hashed)
        return hashed

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("the native form of a Hugging Face dataset is not pickled; pickle the dataset")


def read_table(dataset: Any) -> HuggingFaceTable:
    """The native form of a Hugging Face dataset. Raises TypeError or ValueError saying why there is none."""
    if dataset._format_type not in _FORMATS:
        raise TypeError(f"its format is {dataset._format_type!r}: a transform, or another library's values")
    if dataset._format_kwargs:
        raise TypeError(f"its format has options: {', '.join(map(str, dataset._format_kwargs))}")
    if dataset._output_all_columns and dataset._format_columns is not None:
        raise TypeError("it delivers columns of two formats (output_all_columns)")
    chosen = dataset._format_columns
    order = [name for name in dataset._data.column_names if chosen is None or name in chosen]
    table = dataset._data.table.select(order)
    for name in order:
        _check_feature(name, dataset._info.features[name])
    texts = {name: table.column(name) for name in order if _is_text(table.schema.field(name).type)}
    for name, column in texts.items():
        if column.null_count:
            raise TypeError(f"column {name!r} has nulls")
    numbers = [name for name in order if name not in texts]
    if not numbers:
        raise TypeError("it has no column of numbers")
    parts = [batch for batch in table.select(numbers).to_batches() if batch.num_rows] or table.select(numbers).to_batches()
    if not parts:
        raise ValueError("it is empty")
    columns = {name: [_numbers(name, part.column(i)) for part in parts] for i, name in enumerate(numbers)}
    rows = None if dataset._indices is None else dataset._indices.column(0).to_numpy().astype(np.int64)
    return HuggingFaceTable(columns, texts, order, rows, dataset)


def _delivered(field: Field, dataset: Any) -> str:
    """The dtype that torch's collate makes of the dataset's own samples."""
    if not field.dtype.startswith("float"):
        return "int64"
    if dataset._format_type not in (None, "python"):
        return "float32"
    # Older Arrow (16 is one) gives a half as numpy's, newer as a Python float.
    is_numpys = field.dtype == "float16" and isinstance(_first_number(dataset._data.table.column(field.name)), np.float16)
    return "float16" if is_numpys else "float64"


def _first_number(column: Any) -> Any:
    """The first value of an Arrow column, the first of that if it is a list, and so on; None without one."""
    value = column[0].as_py() if len(column) else None
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _check_feature(name: str, feature: Any) -> None:
    """Raise TypeError for a feature that the library decodes: its samples are not what the table holds."""
    kind = type(feature).__name__
    if kind in ("List", "Sequence", "LargeList"):
        _check_feature(name, feature.feature)
    elif kind not in ("Value", "ClassLabel", "Array2D", "Array3D", "Array4D", "Array5D"):
        raise TypeError(f"column {name!r} is of the feature {kind}")


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "binary", "large_binary")


def _numbers(name: str, array: Any) -> npt.NDArray[Any]:
    """The numpy view of an Arrow array of numbers, or of lists that are all as long. Raises TypeError."""
    array = getattr(array, "storage", array)  # of an extension type
    if array.null_count:
        raise TypeError(f"column {name!r} has nulls")
    kind = str(array.type)
    if kind.startswith("fixed_size_list"):
        length = int(array.type.list_size)
        inner = array.values.slice(array.offset * length, len(array) * length)
        return _reshaped(_numbers(name, inner), len(array), length)
    if kind.startswith(("list", "large_list")):
        offsets = array.offsets.to_numpy()
        length = int(offsets[1] - offsets[0]) if len(array) else 0
        if not np.all(np.diff(offsets) == length):
            raise TypeError(f"column {name!r} has lists of differing lengths")
        return _reshaped(_numbers(name, array.values.slice(int(offsets[0]), len(array) * length)), len(array), length)
    if kind == "bool":  # Bits in Arrow: a byte each from here on, once.
        copied: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return copied
    if kind not in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "halffloat", "float", "double"):
        raise TypeError(f"column {name!r} is of the type {kind}")
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=True)
    return values


def _reshaped(values: npt.NDArray[Any], rows: int, length: int) -> npt.NDArray[Any]:
    return values.reshape(rows, length, *values.shape[1:])
