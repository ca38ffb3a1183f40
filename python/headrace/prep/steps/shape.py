"""Steps that need nothing learned: thresholds, dtypes, rows put together or brought to one length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.step import Learned, Step

__all__ = ["Binarize", "Cast", "Concat", "Normalize"]

_CASTS = ("float16", "float32", "float64", "bfloat16", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


class Binarize(Step):
    """1 above the threshold, else 0, as Binarizer; nulls stay null."""

    def __init__(self, threshold: float = 0.0, *, fields: Any = None) -> None:
        self.threshold, self.fields = threshold, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One comparison."""
        program.change(name, "binarize", threshold=np.full(program.values[name].width, float(self.threshold)))


class Normalize(Step):
    """Each sample's values divided by their norm, as Normalizer: "l2", "l1" or "max".

    A sample of zeros, or with a norm below 2e-15, stays; one with a null becomes null.
    """

    def __init__(self, norm: str = "l2", *, fields: Any = None) -> None:
        if norm not in ("l1", "l2", "max"):
            raise ValueError(f"Normalize: norm is {norm!r}; expected l1, l2 or max")
        self.norm, self.fields = norm, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One step a row."""
        program.change(name, "normalize", norm=np.array([("l1", "l2", "max").index(self.norm)], np.int64))


class Cast(Step):
    """Delivered as this dtype; float64 also makes what follows be computed in it. Floats to integers as numpy's astype: towards zero.

    What an integer cannot hold (null, an infinity, beyond int64) becomes the least int64 before it is narrowed, as numpy has it.
    """

    def __init__(self, dtype: str = "float32", *, fields: Any = None) -> None:
        if dtype not in _CASTS:
            raise ValueError(f"Cast: dtype is {dtype!r}; expected one of {', '.join(_CASTS)}")
        self.dtype, self.fields = dtype, fields

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """Another register where the type that it is held in changes."""
        if self.dtype == "float64":
            value = program.read(name, "float64")
        elif self.dtype in ("float16", "float32", "bfloat16"):
            value = program.read(name, "float32") if self.dtype == "float32" else program.read(name)
        else:
            current = program.values[name]
            is_whole = current.register < 0 and current.dtype not in ("float16", "bfloat16", *FLOATS)
            value = program.read(name, "int64" if is_whole and current.dtype != "uint64" else None)
            value = program.read(name, "int64")
        program.set(replace(value, dtype=self.dtype))


class Concat(Step):
    """Fields side by side in one, (batch, F): what a model wants. Their own disappear. Pipeline.get_feature_names_out(name) says what its columns are.

    name: of the new field. dtype: "float32" or "float64". fields=None: all fields of numbers that earlier steps made; then at least one must be there.
    """

    is_joint = True

    def __init__(self, name: str = "features", *, fields: Any = None, dtype: str = "float32") -> None:
        if dtype not in FLOATS:
            raise ValueError(f"Concat: dtype is {dtype!r}; expected float32 or float64")
        self.name, self.fields, self.dtype = name, fields, dtype

    def suits(self, value: Value) -> bool:
        """Numbers; by default those that steps made."""
        return value.is_number and (self.fields is not None or value.source is None)

    def chosen(self, values: dict[str, Value], among: Any) -> list[str]:
        """Fields made by steps may have names that the pipeline's own choice does not."""
        return super().chosen(values, list(values))

    def emit_all(self, program: Program, names: list[str]) -> None:
        """One copy into a row."""
        parts = [program.read(name) if program.values[name].type != "int64" else program.values[name] for name in names]
        labels = [label for part in parts for label in part.names]
        for name in names:
            program.remove(name)
        program.check_new(self.name, self)
        made = program.make(self.name, self.dtype, (len(labels),), labels, self.dtype)
        program.add("concat", [part.register for part in parts], made.register)
        program.set(made)
