"""Numbers cut into buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.prep.program import Program, Value
from headrace.prep.step import Learned, Step
from headrace.prep.steps.encode import one_hot
from headrace.prep.summary import Summary

__all__ = ["Bucketize"]


class Bucketize(Step):
    """The bucket that a number lies in, int64: how many edges are at or below it, as numpy's digitize; right=True: below it.

    edges: rising numbers, for all components; len(edges) + 1 buckets. n: in place of edges, that many buckets of about equally many fitted samples: the
        edges are the quantiles i / n of each component (numpy's, exact while it has few values, beyond that within the rank error of
        headrace.statistics.Quantiles); equal ones count once, so there may be fewer buckets.
    Infinities lie in the first and last bucket. null_value: the number of nulls. onehot: columns of zeros and ones instead, in which nulls are all zeros.
    Learned with n: `edges_`, an array a component, by field.
    """

    learns = ("edges",)

    def __init__(
        self,
        edges: Sequence[float] | None = None,
        *,
        n: int | None = None,
        right: bool = False,
        onehot: bool = False,
        null_value: int = -1,
        fields: Any = None,
    ) -> None:
        if (edges is None) == (n is None):
            raise ValueError("Bucketize: give either edges or n, a number of buckets")
        if n is not None and (n % 1 != 0 or n < 1):
            raise ValueError(f"Bucketize: n is {n!r}; expected a whole number, at least 1")
        if edges is not None and not all(a < b for a, b in zip(edges, list(edges)[1:], strict=False)):
            raise ValueError(f"Bucketize: the edges {list(edges)[:5]} do not rise")
        self.edges = None if edges is None else [float(edge) for edge in edges]
        self.n, self.right, self.onehot, self.null_value, self.fields = n, right, onehot, null_value, fields
        self.needs = frozenset() if n is None else frozenset({"quantiles"})

    def learn(self, value: Value, summary: Summary) -> Learned:
        """The quantiles between buckets."""
        assert self.n is not None
        if self.n == 1:
            return {"edges": [np.zeros(0)] * value.width}
        marks = summary.quantile(np.arange(1, self.n) / self.n)
        return {"edges": [np.unique(column[~np.isnan(column)]) for column in marks.T]}

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One search a value."""
        value = program.read(name)
        edges = learned["edges"] if self.edges is None else [np.array(self.edges)] * value.width
        made = program.make(name, "int64", value.shape, value.names, "int64")
        sizes = [len(one) for one in edges]
        program.add(
            "bucketize",
            [value.register],
            made.register,
            edges=np.concatenate([np.zeros(0), *edges]),
            sizes=np.array(sizes, np.int64),
            right=np.array([self.right], np.int64),
            null=np.array([-1 if self.onehot else self.null_value], np.int64),
        )
        program.set(one_hot(program, made, [size + 1 for size in sizes]) if self.onehot else made)
