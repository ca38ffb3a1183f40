"""How many different values there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from headrace import _native
from headrace.statistics.arrays import as_texts, as_validity, as_values, both, from_state, thread_count, to_state

__all__ = ["Distinct"]


class Distinct:
    """Estimates the number of different values in 2^precision bytes (HyperLogLog with Ertl's estimator), whatever their order and their number.

    Numbers or texts, one kind for all updates; nulls and NaN are left out. The relative standard error is 1.04 / sqrt(2^precision): 0.8 % for 14.
    One thread at a time.
    """

    def __init__(self, precision: int = 14) -> None:
        self._native = _native.Distinct(precision)

    def update(self, values: Any, valid: npt.ArrayLike | None = None, *, threads: int | None = None) -> Distinct:
        """Add values, as Frequencies.update() takes them."""
        texts = as_texts(values)
        if texts is None:
            self._native.update(as_values(values), as_validity(valid), thread_count(threads))
        else:
            self._native.update_texts(texts[0], texts[1], both(as_validity(valid), texts[2]), thread_count(threads))
        return self

    def merge(self, other: Distinct) -> Distinct:
        """Add what another one saw: exactly as if it had been seen here. Raises ValueError for another precision or kind of values."""
        self._native.merge(other._native)
        return self

    @property
    def estimate(self) -> float:
        """How many different values there were, about."""
        return self._native.estimate

    @property
    def relative_error(self) -> float:
        """The relative standard error of the estimate."""
        return self._native.relative_error

    @property
    def precision(self) -> int:
        """The registers' number is 2 to this power."""
        return self._native.precision

    def state_dict(self) -> dict[str, Any]:
        """All of it as a JSON-able dict."""
        return to_state("Distinct", self._native)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Distinct:
        """What state_dict() described. Raises ValueError for anything else."""
        made = cls.__new__(cls)
        made._native = from_state("Distinct", _native.Distinct, state)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Distinct.from_state, (self.state_dict(),)

    def __repr__(self) -> str:
        return f"Distinct(precision={self.precision}, estimate={self.estimate:.6g})"
