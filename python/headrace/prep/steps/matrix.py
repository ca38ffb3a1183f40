"""What steps share that look at several numbers of a sample at once: the chosen fields side by side, as one field."""

from __future__ import annotations

from typing import Any

from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.step import Learned, Step

__all__ = ["MatrixStep", "labels_of", "side_by_side"]


class MatrixStep(Step):
    """Takes the numbers of all its fields, side by side; they become one field, `name` (None: the field's own if there is one, else "features").

    fields=None: all fields of numbers that earlier steps made (Concat's). In float64 if one of the fields is held so, else in float32.
    """

    is_joint = True
    remakes = True

    name: str | None
    target: str | None = None

    def suits(self, value: Value) -> bool:
        """Numbers; by default those that steps made."""
        return value.is_number and (self.fields is not None or value.source is None)

    def chosen(self, values: dict[str, Value], among: Any) -> list[str]:
        """The fields, and behind them, while it is not fitted, the target's."""
        names = [name for name in super().chosen(values, list(values)) if name != self.target]
        if not names:
            raise ValueError(f"{self}: there are no fields for it; name them (fields=...), or put a Concat before it")
        if self.target is None or self.learned:
            return names
        if self.target not in values:
            raise KeyError(f"{self}: there is no field {self.target!r}, its target; there are {', '.join(map(repr, values))}")
        if not values[self.target].is_number or values[self.target].width != 1:
            raise TypeError(f"{self}: its target {self.target!r} is not one number a sample (Ordinal makes one of texts)")
        return [*names, self.target]

    def keep(self, values: dict[str, Value], learned: Learned) -> dict[str, Learned]:
        """What finish() gives: all of it with the first field."""
        return {name: (learned if i == 0 else {}) for i, name in enumerate(values)}

    def emit_all(self, program: Program, names: list[str]) -> None:
        """The fields side by side, and what becomes of them."""
        names = [name for name in names if name != self.target]
        parts = [program.read(name) for name in names]
        labels = labels_of({part.name: part for part in parts})
        kind = side_by_side(parts)
        register = parts[0].register
        if len(parts) > 1:
            register = program.register(kind, len(labels))
            program.add("concat", [part.register for part in parts], register)
        dtype = max((part.dtype for part in parts if part.source is None and part.dtype in FLOATS), default="float32")
        for name in names:
            program.remove(name)
        name = self.name or (names[0] if len(names) == 1 else "features")
        program.check_new(name, self)
        made = self.make(
            program, Value(name, (len(labels),), tuple(labels), dtype, register=register, type=kind), self.learned_of(names[0])
        )
        program.set(made)

    def make(self, program: Program, value: Value, learned: Learned) -> Value:
        """Write the native steps for the numbers side by side."""
        raise NotImplementedError


def side_by_side(parts: list[Value]) -> str:
    """The type that several fields have together."""
    return "float32" if all(part.type == "float32" for part in parts) else "float64"


def labels_of(values: dict[str, Value]) -> list[str]:
    """Names of all components, in order."""
    return [label for value in values.values() for label in value.names]
