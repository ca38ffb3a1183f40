"""Texts made of texts: one spelling for each thing, and two fields as one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from headrace.prep.categories import is_category, read_category
from headrace.prep.program import Program, Value
from headrace.prep.step import Learned, Step

__all__ = ["Clean", "Cross"]


class Clean(Step):
    """Texts in one spelling. Nulls stay null. What it does, in this order:

    strip: white space at both ends goes, as str.strip(). casefold: as str.casefold().
    replace: whole texts become others, or null (None), once they are stripped and folded: {"n/a": None, "nyc": "new york"}.
    unify_types: what reads as a finite number is spelled one way ("1", "+1", "1.0" and "1e0" are "1"), truth values are "true" and "false" whatever their
        case, and "", "na", "n/a", "nan", "null" and "none" are null.
    Batches hold them as they hold texts of the dataset: a list of str (or bytes), None where null; encode them behind it (OneHot, Ordinal, Frequency, Hash)
    for numbers. fields=None: all fields of texts. In fields of bytes, what is no UTF-8 stays as it is.
    """

    def __init__(
        self,
        *,
        strip: bool = True,
        casefold: bool = False,
        replace: Mapping[str, str | None] | None = None,
        unify_types: bool = False,
        fields: Any = None,
    ) -> None:
        pairs: Mapping[Any, Any] = replace or {}
        for old, new in pairs.items():
            if not isinstance(old, str) or not isinstance(new, str | None):
                raise TypeError(f"Clean: replace has {old!r}: {new!r}; expected texts, each with a text or None")
        self.strip, self.casefold, self.unify_types, self.fields = strip, casefold, unify_types, fields
        self.replace = None if replace is None else dict(replace)

    def suits(self, value: Value) -> bool:
        """Texts."""
        return value.kind in ("string", "bytes")

    def expects(self) -> str:
        """For an error."""
        return "expected texts"

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """One step into another register."""
        value = program.read(name, "text")
        made = replace(value, register=program.register("text", 1), nullable=True)
        changes = self.replace or {}
        program.add(
            "clean",
            [value.register],
            made.register,
            what=np.array([self.strip, self.casefold, self.unify_types], np.int64),
            folds=list(_folds()) if self.casefold else [],
            spaces=list(_spaces()) if self.strip else [],
            replaced=list(changes),
            replacements=[new or "" for new in changes.values()],
            replacements_there=np.array([new is not None for new in changes.values()], np.int64),
        )
        program.set(made)


class Cross(Step):
    """Two fields as one of texts, "a|b", so that an encoder behind it knows each combination: Cross("day", "city"), OneHot(fields="day_x_city").

    a, b: fields of texts, whole numbers, booleans or floats with one value a sample. name: of the new field; default: their names with "_x_" between.
    Booleans are 0 and 1, floats have the fewest digits that mean the same number, and a bar or backslash of a text has a backslash before it. Null if one
    of them is. Both fields stay. Delivered as what Clean makes.
    """

    is_joint = True

    def __init__(self, a: str, b: str, *, name: str | None = None) -> None:
        self.a, self.b, self.name = a, b, name
        self.fields = [a, b]

    def suits(self, value: Value) -> bool:
        """One category a sample."""
        return is_category(value) and value.width == 1

    def expects(self) -> str:
        """For an error."""
        return "expected texts, or numbers but uint64, one a sample"

    def emit_all(self, program: Program, names: list[str]) -> None:
        """One step."""
        name = self.name or f"{self.a}_x_{self.b}"
        program.check_new(name, self)
        parts = [read_category(program, one) for one in (self.a, self.b)]
        made = Value(name, (), (name,), "string", "string", program.register("text", 1), "text", nullable=True)
        program.add("cross", [part.register for part in parts], made.register)
        program.set(made)


@lru_cache(1)
def _folds() -> tuple[bytes, ...]:
    """Characters beyond ASCII that casefold() changes, and what it makes of them, in turn."""
    pairs = ((chr(code), chr(code).casefold()) for code in range(128, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    return tuple(text.encode() for one, folded in pairs if one != folded for text in (one, folded))


@lru_cache(1)
def _spaces() -> tuple[bytes, ...]:
    """Characters that strip() takes away."""
    return tuple(chr(code).encode() for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000 and chr(code).isspace())
