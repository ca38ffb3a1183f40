"""What from_sklearn() makes: one field of all that a fitted transformer gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.step import Step
from headrace.prep.table import Column, Node, gathered, run_node

__all__ = ["Translated"]


class Translated(Step):
    """A fitted transformer of another library, as from_sklearn() reads it: the fields' numbers and texts side by side become `name`, (batch, columns).

    source: what it was. columns: how many columns it takes. node: what is done (headrace.prep.table). labels: names of the columns that come out.
    Arithmetic is in float64; dtype: delivered as. The fields themselves are no longer delivered.
    """

    is_joint = True

    def __init__(
        self,
        source: str,
        node: Node,
        *,
        fields: Sequence[str],
        columns: int,
        labels: Sequence[str],
        name: str = "features",
        dtype: str = "float32",
    ) -> None:
        if dtype not in FLOATS:
            raise ValueError(f"from_sklearn: dtype is {dtype!r}; expected float32 or float64")
        self.source, self.node, self.fields, self.columns = source, node, list(fields), columns
        self.labels, self.name, self.dtype = list(labels), name, dtype

    def suits(self, value: Value) -> bool:
        """Numbers and texts."""
        return value.is_number or value.kind in ("string", "bytes")

    def expects(self) -> str:
        """For an error."""
        return "expected numbers of fixed shape, or texts"

    def emit_all(self, program: Program, names: list[str]) -> None:
        """All its nodes. Raises TypeError, ValueError."""
        table: list[Column] = []
        for name in self.fields:
            is_text = program.values[name].kind in ("string", "bytes")
            value = program.read(name, "text" if is_text else "float64")
            table += [Column(value.register, i, value.type) for i in range(value.width)]
        if len(table) != self.columns:
            raise ValueError(f"{self}: the fields {self.fields[:5]} have {len(table)} values a sample; it was fitted on {self.columns}")
        try:
            made = run_node(program, table, self.node)
        except (KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"{self}: what it says to do is damaged ({type(error).__name__}: {error}); translate it again") from error
        if not made:
            raise ValueError(f"{self}: no column is left of it")
        labels = self.labels if len(self.labels) == len(made) else [f"{self.name}_{i}" for i in range(len(made))]
        out = program.make(self.name, "float64", (len(made),), labels, self.dtype, nullable=True)
        program.add("concat", [gathered(program, made, "columns that it passes through")], out.register)
        for name in self.fields:
            program.remove(name)
        program.check_new(self.name, self)
        program.set(out)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Translated) and _same(self.get_params(), other.get_params())

    def __hash__(self) -> int:
        return hash((self.source, self.name))

    def __repr__(self) -> str:
        shown = self.fields[0] if len(self.fields) == 1 else self.fields[:4] + ["..."] * (len(self.fields) > 4)
        return f"from_sklearn({self.source}, fields={shown!r})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
    return bool(a == b or (a != a and b != b))
