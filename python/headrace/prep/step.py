"""What every step of a pipeline is: parameters as scikit-learn keeps them, what it learns for each field, and the native steps that it becomes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.prep.program import Program, Value, matching
from headrace.prep.summary import Summary

__all__ = ["STEPS", "Floats", "Learned", "NotFittedError", "Step", "checked"]

Floats = npt.NDArray[np.float64]
Learned = dict[str, Any]  # arrays, numbers and texts by name: what JSON keeps of a field
Self = TypeVar("Self", bound="Step")
_LISTED = 4  # entries of a list in a repr

STEPS: dict[str, type[Step]] = {}  # by name: what load() may make


class NotFittedError(ValueError, AttributeError):
    """A step or pipeline was asked for what only fit() gives; the classes are those of scikit-learn's error of this name."""


class Step:
    """One step. A subclass says what it `needs` to know of a field, learns from it and writes native steps into a Program.

    fields: a name, a pattern ("x*"), a dtype ("float32", "number", "string"), a list of such; None: all fields that the step is for.
    Fitted attributes end in an underscore and hold a dict by field.
    """

    needs: frozenset[str] = frozenset()  # of "moments", "quantiles", "frequencies"; instances may narrow it
    # What of a field's statistics this step's fields still have afterwards, by computing rather than by another pass.
    keeps: frozenset[str] = frozenset()
    learns: ClassVar[tuple[str, ...]] = ()  # names of what is kept of each field; `<name>_` is the attribute
    drops_rows = False  # leaves samples out: only through keep(), transform() and apply()
    is_joint = False  # fitted, or run, on several fields at once: begin() and finish() in place of learn(), emit_all() in place of emit()
    remakes = False  # which fields there are behind it, or how wide, depends on what it learned
    is_ordered = False  # looks at neighbouring rows: only in transform() and apply()

    fields: Any

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            STEPS[cls.__name__] = cls

    # -- for subclasses ----------------------------------------------------------------------------------------------------------------

    def suits(self, value: Value) -> bool:
        """Whether fields=None means this field."""
        return value.is_number

    def chosen(self, values: dict[str, Value], among: Sequence[str]) -> list[str]:
        """The fields that the step works on. Raises KeyError for an unknown one, TypeError for one of the wrong kind."""
        if self.fields is None:
            return [name for name in values if name in among and self.suits(values[name])]
        names = matching(self.fields, values, self)
        for name in names:
            if not self.suits(values[name]):
                value = values[name]
                raise TypeError(f"{self}: field {name!r} holds {value.kind} values of {value.dtype}; {self.expects()}")
        return names

    def expects(self) -> str:
        """What it works on, for an error."""
        return "expected numbers of fixed shape"

    def learn(self, value: Value, summary: Summary) -> Learned:
        """What is kept of a field, from its statistics."""
        return {}

    def pass_on(self, summary: Summary, learned: Learned) -> Summary:
        """Statistics of the field after this step, for those in `keeps`."""
        return summary

    def emit(self, program: Program, name: str, learned: Learned) -> None:
        """Write the native steps for one field."""
        raise NotImplementedError

    def sketch(self, program: Program, name: str) -> None:
        """What becomes of a field, as far as that is known before anything is learned: to count passes."""
        program.touch(name)

    def emit_all(self, program: Program, names: list[str]) -> None:
        """Write the native steps; by default for each field by itself."""
        for name in names:
            self.emit(program, name, self.learned_of(name))

    def needs_after(self) -> frozenset[str]:
        """What is still known of a field behind this step, if it was asked for."""
        return self.keeps

    def read(self, program: Program, name: str) -> Value:
        """The form in which a joint step looks at a field."""
        return program.read(name)

    def begin(self, values: dict[str, Value]) -> Any:
        """For joint steps: something with update(columns, threads), columns being (rows, width) arrays by field."""
        raise NotImplementedError

    def finish(self, joint: Any) -> dict[str, Learned]:
        """For joint steps: what is kept, an entry for each field, after all updates."""
        raise NotImplementedError

    def expand(self) -> list[Step]:
        """The steps that it stands for, itself the first."""
        return [self]

    # -- fitted ------------------------------------------------------------------------------------------------------------------------

    @property
    def learned(self) -> dict[str, Learned]:
        """What fit() found, by field; empty before."""
        found: dict[str, Learned] = self.__dict__.setdefault("_learned", {})
        return found

    def learned_of(self, name: str) -> Learned:
        """What is kept of a field. Raises NotFittedError."""
        if not self.needs:
            return {}
        if name not in self.learned:
            raise NotFittedError(f"{self} has not been fitted on field {name!r}: call Pipeline.fit() on the training split first")
        return self.learned[name]

    def forget(self) -> None:
        """As before fit()."""
        self.__dict__["_learned"] = {}

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_") and name[:-1] in type(self).learns:
            if not self.learned:
                raise NotFittedError(f"{self} has no {name} yet: call Pipeline.fit() on the training split first")
            return {field: learned[name[:-1]] for field, learned in self.learned.items() if name[:-1] in learned}
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- scikit-learn's conventions ----------------------------------------------------------------------------------------------------

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, as they were given."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **parameters: Any) -> Self:
        """Change parameters; what was fitted is forgotten. Raises ValueError for an unknown one."""
        names = self._parameter_names()
        for name in parameters:
            if name not in names:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(names)}")
        made = type(self)(**{**self.get_params(), **parameters})
        self.__dict__.clear()
        self.__dict__.update(made.__dict__)
        return self

    def clone(self: Self) -> Self:
        """A step with the same parameters, not fitted."""
        return type(self)(**self.get_params())

    def __sklearn_clone__(self: Self) -> Self:
        return self.clone()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        usual = {name: one.default for name, one in inspect.signature(type(self).__init__).parameters.items() if name != "self"}
        given = [f"{name}={_short(value)}" for name, value in self.get_params().items() if repr(value) != repr(usual[name])]
        return f"{type(self).__name__}({', '.join(given)})"


def checked(steps: Sequence[Step]) -> list[Step]:
    """The steps in a list. Raises TypeError for what is none, ValueError for the same object twice: what it learned first would be lost."""
    for i, step in enumerate(steps):
        if not isinstance(step, Step):
            raise TypeError(f"steps[{i}] is {type(step).__name__}; expected a step of headrace.prep")
        if any(step is other for other in steps[:i]):
            raise ValueError(f"steps[{i}], {step}, is an object that is there before; give a copy: step.clone()")
    return list(steps)


def _short(value: Any) -> str:
    """The repr; of a long list its first entries and how many there are."""
    if not isinstance(value, list | tuple) or len(value) <= _LISTED:
        return repr(value)
    return f"[{', '.join(map(repr, value[: _LISTED - 1]))}, ... {len(value)} in all]"
