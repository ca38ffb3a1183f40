"""Views that change what a sample is: runs of rows, chosen ones, values of another dtype. Made by the engine while it gathers; nothing is converted twice."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.rows import absolute_rows

__all__ = ["NO_CHANGE", "Change"]


@dataclass(frozen=True)
class Change:
    """What a view changes. Plain values: it pickles."""

    length: int = 0  # rows of a sample; 0: each row is one
    stride: int = 1  # rows from one sample's start to the next one's
    dtypes: tuple[tuple[str, str], ...] = ()  # (field, delivered dtype)
    rows: npt.NDArray[np.int64] | None = field(default=None, compare=False)  # which of those samples; None: all

    def with_sequences(self, length: SupportsIndex, stride: SupportsIndex) -> Change:
        """Samples of `length` rows. Raises TypeError, ValueError."""
        if self.rows is not None:
            raise ValueError("sequences: this is a subset, whose samples do not lie side by side; make sequences() first, then subset()")
        if self.length:
            raise ValueError(
                f"sequences: this already is a view of sequences (length {self.length}, stride {self.stride}); make it from the dataset"
            )
        rows, step = operator.index(length), operator.index(stride)
        for name, value in (("length", rows), ("stride", step)):
            if not 1 <= value < 1 << 48:
                raise ValueError(f"sequences: {name} is {value}; expected at least 1 row (and less than 2^48)")
        return replace(self, length=rows, stride=step)

    def with_rows(self, rows: npt.ArrayLike, size: int) -> Change:
        """These of the `size` samples there are now; negative ones count from the end. Raises IndexError, TypeError."""
        chosen = absolute_rows(np.asarray(rows), size)
        return replace(self, rows=chosen if self.rows is None else self.rows[chosen])

    def with_dtypes(self, dtypes: Mapping[str, Any], fields: Sequence[str], path: str) -> Change:
        """Fields delivered as these dtypes. Raises KeyError for an unknown field, TypeError for what names no dtype."""
        for name in dtypes:
            if name not in fields:
                raise KeyError(f"{path} has no field {name!r}; it has {', '.join(map(repr, fields))}")
        return replace(
            self, dtypes=tuple({**dict(self.dtypes), **{name: _dtype_name(name, dtype) for name, dtype in dtypes.items()}}.items())
        )

    def of(self, native: _native.Dataset, fields: Sequence[int]) -> _native.Dataset:
        """The native view of these fields, or the dataset itself if nothing changes. Raises ValueError naming field and dtypes."""
        names = native.schema.names
        dtypes = [(names.index(name), dtype) for name, dtype in self.dtypes if names.index(name) in fields]
        if not self.length and not dtypes and self.rows is None:
            return native
        return native.view(fields, self.length, self.stride, dtypes, self.rows)


NO_CHANGE = Change()


def _dtype_name(field: str, dtype: Any) -> str:
    """numpy's name of a dtype: of a name, a numpy or a torch dtype."""
    name = str(dtype) if type(dtype).__module__ == "torch" else dtype
    if isinstance(name, str):
        name = name.removeprefix("torch.")
        return name if name == "bfloat16" else _numpy_name(field, name)
    return _numpy_name(field, dtype)


def _numpy_name(field: str, dtype: Any) -> str:
    try:
        return str(np.dtype(dtype))
    except TypeError as error:
        raise TypeError(
            f"cast: field {field!r}: {dtype!r} names no dtype; expected one such as 'int64', np.float32 or torch.bfloat16"
        ) from error
