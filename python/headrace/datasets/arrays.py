"""A dataset over arrays that the process holds already: read in place by the native engine, nothing converted or copied but into batches."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.layout import BatchLayout, CollatedLayout, NestedLayout
from headrace.datasets.parts import Parts
from headrace.datasets.rows import absolute_rows, refuse_truth
from headrace.datasets.view import NO_CHANGE, Change

if TYPE_CHECKING:
    import torch

__all__ = ["ArrayDataset", "from_arrays"]


class ArrayDataset(Parts):
    """Samples whose fields are rows of arrays: numpy arrays, memory-mapped files, torch tensors on the CPU.

    `dataset[i]` is one sample (dict, tuple or value, as given) of numpy values; `dataset[[1, 2]]` and slices give columns; results are copies.
    The arrays are read when a batch is built: changing them changes later batches. Tensors that torch moves (share_memory_(), a worker process that
    gets them) are found again at the next pass or read; a pass that is under way then raises ChangedError. Pickles with its arrays.
    split(), kfold(), sample(), bootstrap() and where() answer views, as those of hr.open()'s datasets do.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]],
        container: str,
        rows: npt.NDArray[np.int64] | None = None,
        path: str = "memory",
        structure: Any = None,
        change: Change = NO_CHANGE,
    ) -> None:
        """columns: for each field its parts, one after the other; all fields cut alike. rows: which of them, in what order; default all.

        structure: how a batch of tensors nests, where the container does not say it: a field's number, a list or dict of structures.
        """
        self.path = path
        self.columns = {name: list(parts) for name, parts in columns.items()}
        self.rows = rows
        self.structure = structure
        self.change = change
        self._container = container
        self._build()

    def _build(self) -> None:
        """Make the native table of where the arrays lie now."""
        columns = {name: [_as_array(name, part) for part in parts] for name, parts in self.columns.items()}
        self._tensors = [part for parts in self.columns.values() for part in parts if is_tensor(part)]
        self._places = [place_of(tensor) for tensor in self._tensors]
        firsts = [parts[0] for parts in columns.values()]
        fields = [_native.Field(name, dtype=dtype, shape=array.shape[1:]) for name, (array, dtype) in zip(columns, firsts, strict=True)]
        arrays = [[parts[i][0] for parts in columns.values()] for i in range(len(next(iter(columns.values()))))]
        table = _native.make_table(_native.Schema(fields, self._container), arrays)
        self._table = table if self.rows is None else _native.subset_table(table, self.rows)
        self.field_numbers = list(range(len(fields)))
        self._apply(self.change)

    def _apply(self, change: Change) -> None:
        self.change = change
        self._native = change.of(self._table, self.field_numbers)
        self._length = len(self._native)
        self._schema = _native.Schema(self._native.schema.fields, self._container)
        fields = self._schema.fields
        self.layout = BatchLayout(fields, self._container) if self.structure is None else NestedLayout(fields, self.structure)

    def is_current(self, native: _native.Dataset) -> bool:
        """Whether this native table still says where the arrays lie: torch moves tensors to shared memory, their owner gives them another storage."""
        return native is self._native and all(place_of(tensor) == place for tensor, place in zip(self._tensors, self._places, strict=True))

    def _view(self, change: Change) -> ArrayDataset:
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._apply(change)
        return view

    def subset(self, rows: npt.ArrayLike) -> ArrayDataset:
        """Return a view of these samples only, in this order, as Dataset.subset() does."""
        return self._view(self.change.with_rows(rows, self._length))

    def sequences(self, length: int, stride: int = 1) -> ArrayDataset:
        """Return a view whose sample i is the run of rows [i * stride, i * stride + length), as Dataset.sequences() does."""
        return self._view(self.change.with_sequences(length, stride))

    def cast(self, dtypes: Mapping[str, Any]) -> ArrayDataset:
        """Return a view that delivers fields as other dtypes, as Dataset.cast() does."""
        return self._view(self.change.with_dtypes(dtypes, self._schema.names, self.path))

    def collated(self) -> ArrayDataset:
        """Return a view whose batches come in the containers of torch's default collate: lists where samples are tuples."""
        view = self._view(self.change)
        if type(view.layout) is BatchLayout:
            view.layout = CollatedLayout(view._schema.fields, view._container)
        return view

    def parts(self) -> list[list[Any]]:
        """For each field its arrays and tensors, as they were given."""
        return list(self.columns.values())

    @property
    def is_whole(self) -> bool:
        """False: rows in memory have no statistics that could say which of them match."""
        return False

    @property
    def schema(self) -> _native.Schema:
        """The fields, in order."""
        return self._schema

    @property
    def native(self) -> _native.Dataset:
        """The native dataset: another one once a tensor has moved."""
        if not self.is_current(self._native):
            self._build()
        return self._native

    @property
    def fingerprint(self) -> int:
        """Hash of names, dtypes, shapes, length and of 64 rows spread over all."""
        return self.native.fingerprint

    @property
    def origin(self) -> tuple[int, npt.NDArray[np.int64] | None, int]:
        """As Dataset.origin; rows that from_arrays() was given count as the whole."""
        whole = replace(self.change, rows=None).of(self._table, self.field_numbers)
        return self._table.fingerprint, self.change.rows, len(whole)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex | slice | Sequence[int] | npt.NDArray[Any]) -> Any:
        refuse_truth(index)
        if isinstance(index, slice):
            chosen = np.arange(*index.indices(self._length), dtype=np.int64)
        elif hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0:
            return self.__getitems__([operator.index(index)])[0]
        else:
            chosen = absolute_rows(np.asarray(index), self._length)
        return self.layout.to_numpy(self.native.fetch(chosen, self.field_numbers))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Read many samples in one native call."""
        return self.layout.to_samples(self.native.fetch(absolute_rows(np.asarray(indices), self._length), self.field_numbers))

    def __iter__(self) -> Iterator[Any]:
        for begin in range(0, self._length, 1024):
            yield from self.__getitems__(range(begin, min(begin + 1024, self._length)))

    def absolute(self, indices: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Indices from the front, checked. Raises IndexError, TypeError."""
        return absolute_rows(indices, self._length)

    def note_fallback(self) -> None:
        """Nothing to say: memory needs no reader."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The views, not the tensors: to pickle a tensor for another process would move it, and a view of a few rows would take all along.
        columns = {name: [_with_dtype(*_as_array(name, part)) for part in parts] for name, parts in self.columns.items()}
        return ArrayDataset, (columns, self._container, self.rows, self.path, self.structure, self.change)

    def __repr__(self) -> str:
        return f"ArrayDataset(samples={self._length}, fields={self._schema.names})"


class _Bits:
    """bfloat16 values as 2-byte integers, since numpy has no such type."""

    def __init__(self, array: npt.NDArray[np.uint16]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)


def is_tensor(values: Any) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def place_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Where a tensor's values lie, and how."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _with_dtype(array: npt.NDArray[Any], dtype: str) -> Any:
    return _Bits(array) if dtype == "bfloat16" else array


def _as_array(name: str, values: Any) -> tuple[npt.NDArray[Any], str]:
    """The numpy view of an array or tensor, and its dtype's name. Raises TypeError for what cannot be read in place."""
    if isinstance(values, _Bits):
        return values.array, "bfloat16"
    if is_tensor(values):
        return _tensor_view(name, values)
    if not isinstance(values, np.ndarray):
        raise TypeError(f"field {name!r}: expected a numpy array or a torch tensor, got {type(values).__name__}")
    if values.ndim == 0:
        raise TypeError(f"field {name!r}: an array without rows (0 dimensions)")
    if values.dtype.kind not in "biufcmMSU" or not values.dtype.isnative:
        raise TypeError(f"field {name!r}: dtype {values.dtype} cannot be read in place; convert it, or use headrace.write")
    return _rows_contiguous(name, values), str(values.dtype) if values.dtype.kind not in "SU" else _text_dtype(values.dtype)


def _text_dtype(dtype: np.dtype[Any]) -> str:
    return f"S{dtype.itemsize}" if dtype.kind == "S" else f"U{dtype.itemsize // 4}"


def _tensor_view(name: str, tensor: torch.Tensor) -> tuple[npt.NDArray[Any], str]:
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.requires_grad or tensor.is_conj() or tensor.is_neg():
        raise TypeError(
            f"field {name!r}: only plain CPU tensors that need no gradient are read in place, got {tensor.device}, {tensor.layout}, "
            f"requires_grad={tensor.requires_grad}"
        )
    if tensor.dim() == 0:
        raise TypeError(f"field {name!r}: a tensor without rows (0 dimensions)")
    tensor = tensor.detach()  # The view keeps this storage, also if the tensor is given another one.
    if tensor.dtype == torch.bfloat16:
        return _rows_contiguous(name, tensor.view(torch.int16).numpy().view(np.uint16)), "bfloat16"
    try:
        array = tensor.numpy()
    except TypeError as error:
        raise TypeError(f"field {name!r}: {tensor.dtype} has no native form") from error
    return _rows_contiguous(name, array), str(array.dtype)


def _rows_contiguous(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    expected = array.itemsize
    for extent, stride in zip(reversed(array.shape[1:]), reversed(array.strides[1:]), strict=True):
        if extent > 1 and stride != expected and array.size > 0:
            raise TypeError(
                f"field {name!r}: the values of a row are not contiguous (strides {array.strides}); make it so: np.ascontiguousarray"
            )
        expected *= extent
    return array


def from_arrays(arrays: Mapping[str, Any] | Sequence[Any], rows: npt.ArrayLike | None = None) -> ArrayDataset:
    """Make a dataset of arrays in memory (or memory-mapped), without conversion: headrace.DataLoader serves it on native threads.

    arrays: a dict of arrays (samples are dicts) or a tuple or list of arrays (samples are tuples), all of the same length; numpy arrays of any
    plain dtype (object excepted), or torch tensors on the CPU. Rows may be strided, the values of one row are contiguous. Nothing is copied.
    rows: int64 indices that choose and order samples.
    Raises TypeError for what cannot be read in place, ValueError for unequal lengths or no array, IndexError for a row that is not there.
    """
    named = dict(arrays) if isinstance(arrays, Mapping) else {str(i): array for i, array in enumerate(arrays)}
    if not named:
        raise ValueError("from_arrays needs at least one array")
    lengths = {name: len(array) for name, array in named.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError("the arrays differ in length: " + ", ".join(f"{name} has {length}" for name, length in lengths.items()))
    container = "dict" if isinstance(arrays, Mapping) else "tuple"
    length = next(iter(lengths.values()))
    chosen = None if rows is None else absolute_rows(np.asarray(rows), length)
    return ArrayDataset({name: [array] for name, array in named.items()}, container, chosen)
