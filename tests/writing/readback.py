"""Reads a dataset back through the extension alone, so that what is tested here is what was written."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np

from headrace._native import Dataset


def fields_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    return {field.name: field for field in Dataset(os.fspath(path)).schema.fields}


def read(path: str | os.PathLike[str], name: str) -> Any:
    """All values of a field: an array; (values, offsets) if ragged; a list if variable. Nulls are None in lists."""
    dataset = Dataset(os.fspath(path))
    index = dataset.schema.names.index(name)
    batch = dataset.fetch(np.arange(len(dataset)), [index])
    field = dataset.schema.fields[index]
    values = batch.numpy(0)
    if field.kind == "tensor":
        return np.array(values)
    if field.kind == "ragged":
        return tuple(np.array(part) for part in values)
    if field.nullable:
        return [value if here else None for value, here in zip(values, batch.valid(0).tolist(), strict=True)]
    return list(values)


def ragged(path: str | os.PathLike[str], name: str) -> list[Any]:
    """The values of a ragged field, one list a sample."""
    values, offsets = read(path, name)
    return [values[begin:end].tolist() for begin, end in pairwise(offsets)]


def valid(path: str | os.PathLike[str], name: str) -> list[bool]:
    dataset = Dataset(os.fspath(path))
    result: list[bool] = dataset.fetch(np.arange(len(dataset)), [dataset.schema.names.index(name)]).valid(0).tolist()
    return result


def size(path: str | os.PathLike[str]) -> int:
    return len(Dataset(os.fspath(path)))
