"""How a native batch becomes what a user receives: numpy columns, torch tensors, or a list of samples.

A sample is a dict, a tuple or a single value, as the dataset was written (`schema.container`). A nullable tensor or ragged field comes with its
validity: in a dict as `<name>.valid`, else as the pair (values, valid). Null strings, bytes and images are None in lists; delivered as offsets
(strings="offsets") they are empty, with their validity beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace._native import Batch, Field
from headrace.errors import import_extra

__all__ = ["BatchLayout", "CollatedLayout", "NestedLayout", "bfloat16_to_float32"]


def bfloat16_to_float32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Widen bfloat16 bit patterns, exactly; a copy. numpy has no bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _find_from_dlpack() -> Callable[[Any], Any]:
    torch = import_extra("torch", "torch", "torch tensors")
    # What torch.utils.dlpack.from_dlpack calls after looking for a __dlpack__ that a capsule does not have.
    found: Callable[[Any], Any] = getattr(torch._C, "_from_dlpack", torch.utils.dlpack.from_dlpack)
    return found


class BatchLayout:
    """The keys of a batch and where each one's bytes come from."""

    def __init__(self, fields: Sequence[Field], container: str) -> None:
        self.fields = list(fields)
        self.container = container
        self._from_dlpack: Callable[[Any], Any] | None = None
        self._names = [field.name for field in self.fields]
        # Every field is one tensor and nothing else: the common case, kept short because it runs with cold caches, once a batch.
        self._is_plain = all(field.kind == "tensor" and not field.nullable and field.dtype[0] not in "SU" for field in self.fields)

    def assemble(self, values: list[Any], valid: list[Any], lengths: list[Any]) -> Any:
        """Put one value a field into the container; `valid` and `lengths` hold None where a field has none."""
        if self.container == "dict":
            out: dict[str, Any] = {}
            for field, value, ok, length in zip(self.fields, values, valid, lengths, strict=True):
                out[field.name] = value
                if length is not None:
                    out[f"{field.name}.length"] = length
                if ok is not None:
                    out[f"{field.name}.valid"] = ok
            return out
        parts = []
        for value, ok, length in zip(values, valid, lengths, strict=True):
            extra = tuple(part for part in (length, ok) if part is not None)
            parts.append((value, *extra) if extra else value)
        return parts[0] if self.container == "single" else tuple(parts)

    def to_torch(self, batch: Batch, strings: str = "lists") -> Any:
        """Torch tensors over the batch's own memory (no copy); dates as int64, fixed strings as lists.

        strings: strings, bytes and images as "lists" of str and bytes (None where null), or as "offsets": the pair (values, offsets), uint8 bytes
        one after the other and int64 (len + 1,), both over the batch's memory; a null sample is empty.
        ragged: padded (len, longest, ...) with `<name>.length` int64 beside it, or the pair (values, offsets), as the batch was made.
        """
        if self._from_dlpack is None:
            self._from_dlpack = _find_from_dlpack()
        tensor = self._from_dlpack
        if self._is_plain:
            plain = map(tensor, batch.dlpacks())
            if self.container == "dict":
                return dict(zip(self._names, plain))  # noqa: B905 - as many capsules as fields, and each keyword costs
            return next(plain) if self.container == "single" else tuple(plain)
        values: list[Any] = []
        valid: list[Any] = []
        lengths: list[Any] = []
        for i, field in enumerate(self.fields):
            kind, length, ok = field.kind, None, None
            if kind == "tensor":
                values.append(batch.numpy(i).tolist() if field.dtype[0] in "SU" else tensor(batch.dlpack(i)))
            elif kind == "ragged":
                if field.dtype[0] in "SU":
                    raise TypeError(f"field {field.name!r}: ragged {field.dtype} has no torch form; read it with dataset[i]")
                if batch.is_padded(i):
                    values.append(tensor(batch.dlpack(i)))
                    length = tensor(batch.dlpack(i, "lengths"))
                else:
                    values.append((tensor(batch.dlpack(i)), tensor(batch.dlpack(i, "offsets"))))
            elif strings == "offsets":
                values.append((tensor(batch.dlpack(i)), tensor(batch.dlpack(i, "offsets"))))
            else:
                values.append(batch.numpy(i))
            if field.nullable and (kind in ("tensor", "ragged") or strings == "offsets"):
                ok = tensor(batch.dlpack(i, "valid"))
            valid.append(ok)
            lengths.append(length)
        return self.assemble(values, valid, lengths)

    def to_numpy(self, batch: Batch) -> Any:
        """Numpy columns over the batch's memory: tensors stacked, ragged fields as a list of arrays, strings and bytes as lists.

        bfloat16 is widened to float32 (a copy).
        """
        valid = [batch.valid(i) if f.nullable and f.kind in ("tensor", "ragged") else None for i, f in enumerate(self.fields)]
        return self.assemble([self._column(batch, i) for i in range(len(self.fields))], valid, [None] * len(self.fields))

    def to_samples(self, batch: Batch) -> list[Any]:
        """One sample each, as `dataset[i]` gives them; arrays share the batch's memory."""
        columns = [list(self._column(batch, i)) for i in range(len(self.fields))]
        valid = [list(batch.valid(i)) if f.nullable and f.kind in ("tensor", "ragged") else None for i, f in enumerate(self.fields)]
        if self.container == "dict":
            named: dict[str, list[Any]] = {}
            for field, column, ok in zip(self.fields, columns, valid, strict=True):
                named[field.name] = column
                if ok is not None:
                    named[f"{field.name}.valid"] = ok
            keys = list(named)
            return [dict(zip(keys, row, strict=True)) for row in zip(*named.values(), strict=True)]
        paired = [column if ok is None else list(zip(column, ok, strict=True)) for column, ok in zip(columns, valid, strict=True)]
        return paired[0] if self.container == "single" else list(zip(*paired, strict=True))

    def _column(self, batch: Batch, i: int) -> Any:
        field = self.fields[i]
        raw = batch.numpy(i)
        widen = field.dtype == "bfloat16" and field.kind in ("tensor", "ragged")
        if field.kind == "ragged":
            values = raw if batch.is_padded(i) else raw[0]
            values = bfloat16_to_float32(values) if widen else values
            if batch.is_padded(i):
                return [row[:length] for row, length in zip(values, batch.lengths(i).tolist(), strict=True)]
            offsets = raw[1]
            return [values[a:b] for a, b in itertools.pairwise(offsets.tolist())]
        return bfloat16_to_float32(raw) if widen else raw


class CollatedLayout(BatchLayout):
    """The same values in the containers that torch's default collate makes of such samples: lists for tuples, and texts as they were held."""

    def to_torch(self, batch: Batch, strings: str = "lists") -> Any:
        """Torch tensors over the batch's own memory (no copy)."""
        parts = super().to_torch(batch, strings)
        if self.container == "tuple":
            return [tuple(part) if isinstance(part, list) else _as_lists(part) for part in parts]
        return _as_lists(parts)


def _as_lists(part: Any) -> Any:
    return [_as_lists(inner) for inner in part] if isinstance(part, tuple) else part


class NestedLayout(BatchLayout):
    """Tensors nested in lists and dicts, as torch's default collate nests them: `structure` is a field's number, or a list or dict of structures."""

    def __init__(self, fields: Sequence[Field], structure: Any) -> None:
        super().__init__(fields, "tuple")
        self.structure = structure

    def to_torch(self, batch: Batch, strings: str = "lists") -> Any:
        """Torch tensors over the batch's own memory (no copy), nested."""
        return _nested(self.structure, super().to_torch(batch, strings))


def _nested(structure: Any, values: Sequence[Any]) -> Any:
    if isinstance(structure, int):
        return values[structure]
    if isinstance(structure, dict):
        return {key: _nested(inner, values) for key, inner in structure.items()}
    return [_nested(inner, values) for inner in structure]
