"""How often each value occurs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.statistics.arrays import as_texts, as_validity, as_values, both, from_state, to_state

__all__ = ["Frequencies"]


class Frequencies:
    """Counts of each value: exact up to `limit` different ones, afterwards of the frequent ones within a bound (Misra, Gries 1982).

    Numbers or texts, one kind for all updates. Beyond `limit` (or 64 MiB of texts) is_exact is False, a count is at most `error` too low, never too high,
    and a value that is not listed occurred at most `error` times; error <= 2 count / limit. The same rows in the same order give the same table. Nulls
    and NaN are counted apart. One thread at a time.
    """

    def __init__(self, limit: int = 65536) -> None:
        self._native = _native.Frequencies(limit)

    def update(self, values: Any, valid: npt.ArrayLike | None = None) -> Frequencies:
        """Add values: numbers of shape (rows,), or texts: the pair (values uint8, offsets int64 of shape (rows + 1,)), or a list of str, bytes and None.

        valid: bool, shape (rows,). Raises ValueError for another kind of values than before, TypeError for what is neither.
        """
        texts = as_texts(values)
        if texts is None:
            self._native.update(as_values(values), as_validity(valid))
        else:
            self._native.update_texts(texts[0], texts[1], both(as_validity(valid), texts[2]))
        return self

    def merge(self, other: Frequencies) -> Frequencies:
        """Add what another one counted. Raises ValueError for another limit or kind of values."""
        self._native.merge(other._native)
        return self

    def items(self, most: int | None = None) -> tuple[npt.NDArray[Any] | list[bytes], npt.NDArray[np.int64]]:
        """(values, counts), the most frequent first, equal counts by value; only the first `most`.

        values: int64, uint64 or float64 of shape (n,), or for texts a list of bytes (UTF-8 where they were str). Empty int64 before any update.
        """
        return self._native.items(len(self) if most is None else most)

    def keep_up_to(self, value: int) -> None:
        """Forget whole numbers, not negative ones, above `value`, as if they had never been added: for samples of hashes. Raises ValueError for texts."""
        self._native.keep_up_to(value)

    def __len__(self) -> int:
        return len(self._native)

    @property
    def limit(self) -> int:
        """Different values that are counted exactly."""
        return self._native.limit

    @property
    def is_exact(self) -> bool:
        """Whether all counts are exact."""
        return self._native.is_exact

    @property
    def error(self) -> int:
        """How much a count may be too low; 0 while exact."""
        return self._native.error

    @property
    def count(self) -> int:
        """Values that are there."""
        return self._native.count

    @property
    def nulls(self) -> int:
        """Nulls and NaN."""
        return self._native.nulls

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("Frequencies", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Frequencies:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native = from_state("Frequencies", _native.Frequencies, state)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Frequencies.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"Frequencies(limit={self.limit}, values={len(self)}, error={self.error})"
