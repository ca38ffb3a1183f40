"""From steps to a native plan: which register holds a field now, and what is done to it. A Program is what steps write into."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headrace import _native

__all__ = ["FLOATS", "Program", "Value", "is_number", "matching"]

FLOATS = ("float32", "float64")
_SMALL = ("bool", "int8", "uint8", "int16", "uint16", "float16", "bfloat16", "float32")  # float32 holds all their values
_NUMBERS = (*_SMALL, "int32", "uint32", "int64", "uint64", "float64")


def is_number(field: _native.Field) -> bool:
    """Whether it holds numbers of fixed shape: what scalers work on."""
    return field.kind == "tensor" and field.dtype in _NUMBERS


@dataclass(frozen=True)
class Value:
    """A field as it is at a place of the pipeline.

    name: of the field. shape: of a sample. names: of its components, in order. dtype: as it would be delivered. register, type: what holds it once
    something was done to it or read of it; -1 and "" before. source: its field in the dataset, if it comes from there. nullable: may hold nulls.
    """

    name: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    dtype: str
    kind: str = "tensor"
    register: int = -1
    type: str = ""
    source: _native.Field | None = None
    nullable: bool = False

    @property
    def width(self) -> int:
        """Numbers of a sample."""
        return math.prod(self.shape)

    @property
    def is_number(self) -> bool:
        """Whether arithmetic can be done with it."""
        return self.type in (*FLOATS, "int64") if self.source is None or self.register >= 0 else is_number(self.source)

    @property
    def float_type(self) -> str:
        """The type that arithmetic is done in: float64 for what float32 does not hold exactly."""
        if self.type in FLOATS:
            return self.type
        return "float32" if self.register < 0 and self.source is not None and self.source.dtype in _SMALL else "float64"


def component_names(name: str, shape: Sequence[int]) -> tuple[str, ...]:
    """One for each number of a sample: the field's own for a scalar, else with its place behind it."""
    if not shape:
        return (name,)
    return tuple(f"{name}_{'_'.join(map(str, at))}" for at in np.ndindex(*shape))


class Program:
    """Fields, in order, and the native steps so far. Steps look at `values`, add() to it, and set() what becomes of a field."""

    def __init__(self, fields: Iterable[_native.Field]) -> None:
        self.values: dict[str, Value] = {}
        self._numbers: dict[str, int] = {}
        for number, field in enumerate(fields):
            kept = tuple(field.shape)
            self.values[field.name] = Value(
                field.name,
                kept,
                component_names(field.name, kept) if math.prod(kept) <= 1 << 20 else (),
                field.dtype,
                field.kind,
                source=field,
                nullable=field.nullable or field.dtype in ("float16", "bfloat16", "float32", "float64"),
            )
            self._numbers[field.name] = number
        self.registers: list[tuple[str, int]] = []
        self.inputs: list[tuple[int, _native.Field, int]] = []
        self.steps: list[dict[str, Any]] = []
        self.keeps: list[int] = []  # registers: 0 in each row that is to be left out

    @property
    def input_names(self) -> list[str]:
        """The dataset's fields that registers are loaded from, in the plan's order."""
        return [field.name for _, field, _ in self.inputs]

    # -- what steps do -----------------------------------------------------------------------------------------------------------------

    def register(self, type: str, width: int) -> int:
        """A new register."""
        self.registers.append((type, width))
        return len(self.registers) - 1

    def add(self, kind: str, inputs: Sequence[int], output: int, **parameters: Any) -> None:
        """A native step; parameters are float64 or int64 arrays, or lists of texts."""
        self.steps.append({"kind": kind, "inputs": list(inputs), "output": output, **parameters})

    def read(self, name: str, type: str | None = None) -> Value:
        """The field in a register of this type (None: floats), reading or converting it. Whoever writes to the register changes the field."""
        value = self.values[name]
        if value.register < 0:
            wanted = value.float_type if type is None else type
            assert value.source is not None
            at = self.register(wanted, 1 if wanted == "text" else value.width)
            self.inputs.append((self._numbers[name], value.source, at))
            value = replace(value, register=at, type=wanted)
        elif type != value.type and not (type is None and value.type in FLOATS):
            wanted = type or "float64"
            at = self.register(wanted, value.width)
            self.add("convert", [value.register], at)
            value = replace(value, register=at, type=wanted)
        self.values[name] = value
        return value

    def set(self, value: Value) -> None:
        """A field as it is from here on: a new one, or in place of the one of this name. What is made is delivered as float32 unless it says otherwise."""
        self.values[value.name] = replace(value, source=None)

    def make(
        self, name: str, type: str, shape: Sequence[int], names: Sequence[str], dtype: str = "float32", nullable: bool = False
    ) -> Value:
        """A field of this name in a register of its own; set() it once it is written."""
        width = math.prod(shape)
        return Value(name, tuple(shape), tuple(names), dtype, register=self.register(type, width), type=type, nullable=nullable)

    def touch(self, name: str) -> Value:
        """The field in floats, as one that a step made: delivered as float32, unless it was cast to another float before."""
        value = self.read(name)
        made = replace(value, dtype=value.dtype if value.source is None and value.dtype in FLOATS else "float32", source=None)
        self.values[name] = made
        return made

    def change(self, name: str, kind: str, **parameters: Any) -> Value:
        """Run a step in place on a field's floats."""
        value = self.touch(name)
        self.add(kind, [value.register], value.register, **parameters)
        return value

    def keep_inside(self, value: Value, low: Any, high: Any, *, nulls: bool) -> None:
        """Leave out rows with a component outside these bounds (float64, an entry a component), or null unless `nulls`."""
        flag = self.register("float32", 1)
        self.add(
            "inside",
            [value.register],
            flag,
            low=np.asarray(low, np.float64),
            high=np.asarray(high, np.float64),
            nulls=np.array([nulls], np.int64),
        )
        self.keeps.append(flag)

    def flags(self) -> dict[str, Value]:
        """The registers of keep_inside() as fields, "keep 0" and on."""
        return {f"keep {i}": Value(f"keep {i}", (), (), "float32", register=at, type="float32") for i, at in enumerate(self.keeps)}

    def check_new(self, name: str, whose: object) -> None:
        """Raise ValueError where a step would make a field of a name that another one has."""
        if name in self.values:
            raise ValueError(f"{whose}: there is a field {name!r} already; give another name")

    def remove(self, name: str) -> None:
        """Not delivered, and unknown to later steps."""
        del self.values[name]

    # -- what comes of it --------------------------------------------------------------------------------------------------------------

    def outputs(self) -> list[tuple[int, _native.Field | None]]:
        """For each field its register and form, or its number among the dataset's and None where it is delivered as it is."""
        out: list[tuple[int, _native.Field | None]] = []
        for name, value in self.values.items():
            if value.source is not None:
                out.append((self._numbers[name], None))
            else:
                out.append((value.register, _form(name, value, value.dtype)))
        return out

    def fields(self) -> list[_native.Field]:
        """The fields that are delivered."""
        sources = {name: value.source for name, value in self.values.items()}
        return [sources[name] or form or _native.Field(name) for name, (_, form) in zip(self.values, self.outputs(), strict=True)]

    def compile(self, only: Mapping[str, Value] | None = None) -> _native.FieldPlan:
        """The native plan. only: deliver these alone, as their registers hold them; the reader is asked for input_names, in their order, and no others.

        Raises ValueError naming the step or field that does not fit.
        """
        if only is None:
            return _native.FieldPlan(self.inputs, self.registers, self.steps, self.outputs())
        made = [(value.register, _form(key, value, value.type)) for key, value in only.items()]
        inputs = [(place, field, register) for place, (_, field, register) in enumerate(self.inputs)]
        return _native.FieldPlan(inputs, self.registers, self.steps, made)

    def compile_made(self, values: Sequence[Value]) -> _native.FieldPlan:
        """The native plan that delivers these fields, which steps made, in their own dtypes."""
        outputs = [(value.register, _form(value.name, value, value.dtype)) for value in values]
        return _native.FieldPlan(self.inputs, self.registers, self.steps, outputs)


def _form(name: str, value: Value, dtype: str) -> _native.Field:
    """How what a register holds is delivered."""
    if value.type == "text":
        return _native.Field(name, kind=value.kind, nullable=True)
    return _native.Field(name, dtype=dtype, shape=value.shape)


def matching(fields: Any, values: Mapping[str, Value], what: object) -> list[str]:
    """Names that a choice of fields means: a name, a pattern with * or ?, a dtype, "number", "string", or a list of such. Raises KeyError, TypeError.

    what: whose choice it is, for an error.
    """
    names: list[str] = []
    for one in [fields] if isinstance(fields, str) else fields:
        if not isinstance(one, str):
            raise TypeError(f"{what}: fields are chosen by name, pattern or dtype; got {one!r}")
        found = [name for name in values if name == one] or [name for name, value in values.items() if _is_of(value, one)]
        if not found and any(sign in one for sign in "*?["):
            found = [name for name in values if fnmatch.fnmatchcase(name, one)]
        if not found:
            raise KeyError(f"{what}: there is no field {one!r}, nor one of such a dtype; there are {', '.join(map(repr, values))}")
        names += [name for name in found if name not in names]
    return names


def _is_of(value: Value, word: str) -> bool:
    if word == "number":
        return value.is_number
    if word == "string":
        return value.kind in ("string", "bytes")
    return value.kind == "tensor" and value.dtype == word
