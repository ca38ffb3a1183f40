"""`hr.prep.Pipeline`: steps that are fitted on a dataset and then run natively, while it is loaded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headrace import _native
from headrace.errors import CorruptDataError, HeadraceWarning
from headrace.prep import state
from headrace.prep.diagram import draw
from headrace.prep.fit import Walk, count_passes, fit_steps
from headrace.prep.program import Program, matching
from headrace.prep.rows import DatasetRows, rows_of, threads_of
from headrace.prep.seen import Seen, seen_by
from headrace.prep.step import NotFittedError, Step, checked
from headrace.prep.transform import OrderedRows, as_frame, as_interpolated, joined, kept_rows, prepared_batches
from headrace.writing.writer import Writer

__all__ = ["Pipeline", "load"]

_LABELS = ("label", "labels", "target", "targets")


class Pipeline:
    """Steps that run one after the other on fields of numbers and texts: `DataLoader(ds, prepare=pipe)` runs them in the engine, fused.

    steps: of headrace.prep. fields: the only fields that steps with fields=None look at; as a step's own: name, pattern, dtype, "number", "string", or a
        list. None: all. Fields that no step names are delivered as they are (the label).
    Arithmetic is in float32 for fields that float32 holds (float16 and bfloat16 too, bool, integers of up to 16 bits), else in float64; what a step
    makes is delivered as float32, unless Cast says otherwise. Null is NaN, and what a field's validity says; infinities are values that no statistics
    count. What is made has no `.valid` beside it.
    """

    def __init__(self, steps: Sequence[Step], *, fields: Any = None) -> None:
        self.steps = checked(steps)
        self.fields = fields
        self.input_fields_: list[_native.Field] | None = None
        self.passes_ = 0
        self._seen: Seen | None = None
        self._kept: set[int] = set()  # fingerprints of what keep() gave

    # -- fitting -----------------------------------------------------------------------------------------------------------------------

    @property
    def _flat(self) -> list[Step]:
        return [inner for step in self.steps for inner in step.expand()]

    def _among(self, fields: Sequence[_native.Field]) -> list[str]:
        values = Program(fields).values
        return list(values) if self.fields is None else matching(self.fields, values, "Pipeline")

    def passes(self, data: Any) -> int:
        """How many passes over the data fit() takes: one for all steps that can learn from the same one. data: as for fit(), read by none of it."""
        rows = rows_of(data)
        return count_passes([step.clone() for step in self._flat], rows.fields, self._among(rows.fields))

    def fit(self, data: Any, *, num_threads: int | None = None) -> Pipeline:
        """Learn what the steps need, in as few passes as they allow (`passes_`), streaming: memory does not grow with the data. Returns self.

        data: a headrace dataset (the training split, which is remembered), a dict of arrays, a pandas or polars frame. num_threads: default all cores.
        The same rows in the same order give the same bits, whatever the threads and chunks.
        A HeadraceWarning says where steps without fields= work on what is called a label or target, or on nothing.
        Raises KeyError for an unknown field, TypeError for one of the wrong dtype, ValueError for no samples.
        """
        rows = rows_of(data)
        if len(rows) == 0:
            raise ValueError("fit: there are no samples")
        for step in self._flat:
            step.forget()
        self.input_fields_, self._seen, self._kept = None, None, set()
        self._warn_of_labels(rows.fields)
        names = self.ordered_names(rows.fields)
        looked_at = OrderedRows(rows, names) if names else rows
        self.passes_ = fit_steps(self._flat, looked_at, self._among(rows.fields), threads_of(num_threads))
        self.input_fields_, self._seen = rows.fields, seen_by(data)
        self._warn_of_idle(looked_at.fields)
        return self

    def _warn_of_idle(self, fields: Sequence[_native.Field]) -> None:
        """A step that works on no field is hardly meant."""
        idle = [step for step in Walk(self._flat, fields, self._among(fields)).idle if any(step is own for own in self.steps)]
        if idle:
            among = ", ".join(map(repr, self._among(fields)))
            warnings.warn(f"{idle[0]} does nothing: no field among {among} suits it ({idle[0].expects()})", HeadraceWarning, stacklevel=3)

    def _warn_of_labels(self, fields: Sequence[_native.Field]) -> None:
        """A step with fields=None takes every field that it can: what is called a label is hardly meant."""
        values = Program(fields).values
        for step in self._flat:
            if self.fields is None and step.fields is None and not step.is_joint:
                found = [name for name in step.chosen(values, list(values)) if name in _LABELS]
                if found:
                    text = (
                        f"{step} works on {found[0]!r} too, as on every field that suits it; name the fields of the pipeline: fields=[...]"
                    )
                    return warnings.warn(text, HeadraceWarning, stacklevel=3)

    def fit_transform(self, data: Any) -> Any:
        """fit(), then transform() of the same."""
        return self.fit(data).transform(data)

    @property
    def is_fitted(self) -> bool:
        """Whether it can prepare."""
        return self.input_fields_ is not None

    def _require_fitted(self) -> list[_native.Field]:
        if self.input_fields_ is None:
            raise NotFittedError(
                "this pipeline has not been fitted: call pipe.fit(...) on the training split, or headrace.prep.load() a fitted one"
            )
        return self.input_fields_

    # -- running -----------------------------------------------------------------------------------------------------------------------

    def program(self, fields: Sequence[_native.Field], filled: Sequence[_native.Field] | None = None) -> Program:
        """The native steps for data with these fields; those it was fitted on must be there. Raises NotFittedError, KeyError, TypeError.

        filled: the fields once their rows were interpolated, where a step does that.
        """
        self._check_fields(fields)
        walk = Walk(self._flat, fields if filled is None else filled, self._among(self._require_fitted()))
        if not walk.is_done:
            raise NotFittedError("a step was changed after Pipeline.fit(); fit it again")
        return walk.program

    def ordered_names(self, fields: Sequence[_native.Field]) -> list[str]:
        """Fields whose nulls are interpolated along the rows. Raises ValueError where another step changes one of them before."""
        last = max((i for i, step in enumerate(self._flat) if step.is_ordered), default=-1)
        values, names = Program(fields).values, []
        changed: set[str] = set()
        for step in self._flat[: last + 1]:
            chosen = step.chosen(values, self._among(fields))
            if step.is_ordered:
                late = changed.intersection(chosen)
                if late:
                    raise ValueError(f"{step} fills rows as they are stored; put it before the steps that change {min(late)!r}")
                names += [name for name in chosen if name not in names]
            changed.update(chosen)
        return names

    def _check_fields(self, fields: Sequence[_native.Field]) -> None:
        found = {field.name: field for field in fields}
        fitted = self._require_fitted()
        used = self._used if fitted else set()  # Of a translated pipeline the step itself asks for what it needs.
        for known in fitted:
            if known.name not in used:
                continue
            field = found.get(known.name)
            if field is None:
                raise KeyError(
                    f"prepare: there is no field {known.name!r}, which the pipeline was fitted on; there are {', '.join(map(repr, found))}"
                )
            if (field.kind, field.dtype, field.shape) != (known.kind, known.dtype, known.shape):
                raise TypeError(
                    f"prepare: field {known.name!r} is {field.kind} {field.dtype} of shape {field.shape}; the pipeline was fitted on "
                    f"{known.kind} {known.dtype} of shape {known.shape}"
                )

    @property
    def _used(self) -> set[str]:
        fields = self._require_fitted()
        return {field.name for _, field, _ in Walk(self._flat, fields, self._among(fields)).program.inputs}

    def transform(self, data: Any, *, num_threads: int | None = None) -> Any:
        """Prepare all of it at once, by the same native steps as a loader. Samples that steps drop are left out.

        data: a headrace dataset or a dict of arrays or tensors, as batches are: gives a dict of arrays. A pandas or polars frame gives such a frame, with
        a column for each component. Raises NotFittedError, KeyError, TypeError.
        """
        self._require_fitted()
        self.warn_of_leak(data)
        rows = rows_of(data)
        if len(rows) == 0:
            raise ValueError("transform: there are no samples")
        parts = list(prepared_batches(self, rows, threads_of(num_threads)))
        columns = joined([part for part, _ in parts])
        if isinstance(data, Mapping) or isinstance(rows, DatasetRows):
            return columns
        masks = [mask for _, mask in parts if mask is not None]
        return as_frame(data, self.program(rows.fields), columns, np.concatenate(masks) if masks else None)

    def apply(self, dataset: Any, out: str | os.PathLike[str], *, num_threads: int | None = None, **options: Any) -> int:
        """Write the prepared samples, in their order, as a new dataset at `out`; streaming. Returns its version, as headrace.write() does.

        options: of headrace.writing.Writer (codec, chunk_samples, ...). Samples that steps drop are left out. Raises what transform() and write() raise.
        """
        rows = rows_of(dataset)
        self._require_fitted()
        self.warn_of_leak(dataset)
        with Writer(out, **options) as writer:
            for columns, _ in prepared_batches(self, rows, threads_of(num_threads)):
                writer.extend(columns)
        assert writer.version is not None
        return writer.version

    def keep(self, dataset: Any, *, num_threads: int | None = None) -> Any:
        """A view of the dataset without the samples that steps drop, found in one pass; what a loader with such steps is given."""
        rows = rows_of(dataset)
        if not isinstance(rows, DatasetRows):
            raise TypeError(f"keep() takes a headrace dataset; got {type(dataset).__name__} (transform() leaves samples out by itself)")
        program = self.program(rows.fields)
        self.warn_of_leak(dataset)
        if not program.keeps:
            return dataset
        masks = kept_rows(program, rows, threads_of(num_threads))
        view = dataset.subset(np.flatnonzero(np.concatenate(masks)))
        self._kept.add(view.fingerprint)
        return view

    def warn_of_leak(self, data: Any) -> None:
        """Warn if these samples are a part of those that it was fitted on."""
        other = seen_by(data)
        if self._seen is not None and other is not None:
            self._seen.warn_if_leaking(other)

    def check_loader(self, dataset: Any) -> None:
        """What a loader asks first. Raises NotFittedError, KeyError, TypeError, ValueError for a step that a loader cannot run."""
        self._require_fitted()
        for step in self._flat:
            if step.is_ordered:
                raise ValueError(
                    f"prepare: {step} looks at neighbouring rows, which a loader does not have; pipe.apply() the data first, and load that"
                )
        if any(step.drops_rows for step in self._flat) and dataset.fingerprint not in self._kept:
            names = ", ".join(str(step) for step in self._flat if step.drops_rows)
            raise ValueError(
                f"prepare: {names} leaves samples out, which the loader must know before it begins; give it pipe.keep(dataset)"
            )
        if dataset.fingerprint not in self._kept:  # keep() has looked at what these were chosen from.
            self.warn_of_leak(dataset)

    # -- saved -------------------------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """All of it, fitted or not, as JSON; from_json() makes an equal one, floats bit for bit."""
        fields = None if self.input_fields_ is None else [[f.name, f.kind, f.dtype, list(f.shape), f.nullable] for f in self.input_fields_]
        content = {
            "fields": self.fields,
            "steps": [state.step_state(step) for step in self.steps],
            "inner": [[state.step_state(inner) for inner in step.expand()[1:]] for step in self.steps],
            "input_fields": fields,
            "passes": self.passes_,
            "seen": None if self._seen is None else self._seen.state(),
            "kept": sorted(str(fingerprint) for fingerprint in self._kept),
        }
        return state.dump(content)

    @classmethod
    def from_json(cls, text: str, origin: str = "Pipeline.from_json()") -> Pipeline:
        """What to_json() gave. Raises CorruptDataError for what was changed or cut, UnsupportedVersionError for a newer version."""
        content = state.parse(text, origin)
        try:
            pipe = cls._from_content(content, origin)
            pipe._check_learned()
            return pipe
        except (CorruptDataError, MemoryError):
            raise
        except state.DAMAGE as error:
            raise CorruptDataError(
                f"{origin}: it lacks a part of a pipeline, or has another in its place ({type(error).__name__}: {error})"
            ) from error

    @classmethod
    def _from_content(cls, content: dict[str, Any], origin: str) -> Pipeline:
        steps = [state.step_of(saved, origin) for saved in content["steps"]]
        pipe = cls(steps, fields=content["fields"])
        for step, inner in zip(steps, content["inner"], strict=True):
            for own, saved in zip(step.expand()[1:], inner, strict=True):
                own.learned.update(saved["learned"])
        if content["input_fields"] is not None:
            pipe.input_fields_ = [_native.Field(n, kind=k, dtype=d, shape=s, nullable=v) for n, k, d, s, v in content["input_fields"]]
        pipe.passes_ = content["passes"]
        pipe._seen = None if content["seen"] is None else Seen.from_state(content["seen"])
        pipe._kept = {int(one) for one in content["kept"]}
        return pipe

    def _check_learned(self) -> None:
        """Raise what the native plan, or a step, says of what was learned, and of parameters, that do not fit. A translated pipeline knows no fields yet."""
        fields = self.input_fields_
        if not fields:
            return
        names = self.ordered_names(fields)
        filled = [as_interpolated(field) if field.name in names else field for field in fields]
        try:
            program = self.program(fields, filled if names else None)
        except NotFittedError:  # A step was changed after fitting; who runs the pipeline is told.
            return
        program.compile()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    # -- scikit-learn's conventions ----------------------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """`steps` and `fields`; deep: each step's parameters too, as `<number>__<name>`."""
        own: dict[str, Any] = {"steps": self.steps, "fields": self.fields}
        if deep:
            own.update({f"{i}__{name}": value for i, step in enumerate(self.steps) for name, value in step.get_params().items()})
        return own

    def set_params(self, **parameters: Any) -> Pipeline:
        """Change `steps`, `fields` or a step's `<number>__<name>`. It is not fitted afterwards. Raises ValueError for an unknown one."""
        for name, value in parameters.items():
            number, _, inner = name.partition("__")
            if name in ("steps", "fields"):
                setattr(self, name, checked(value) if name == "steps" else value)
            elif inner and number.isdecimal() and int(number) < len(self.steps):
                self.steps[int(number)].set_params(**{inner: value})
            else:
                raise ValueError(f"Pipeline has no parameter {name!r}; it has steps, fields and <number of a step>__<its parameter>")
        self.input_fields_, self._seen, self._kept = None, None, set()
        return self

    def clone(self) -> Pipeline:
        """One with the same parameters, not fitted."""
        return Pipeline([step.clone() for step in self.steps], fields=self.fields)

    __sklearn_clone__ = clone

    def get_feature_names_out(self, field: str | None = None) -> list[str]:
        """Names of the numbers of a prepared sample: of one delivered field (as Concat makes it), or of all that steps made. Raises KeyError."""
        if not self._require_fitted():  # translated: its fields are not known, its columns are
            return [label for step in self.steps for label in getattr(step, "labels", [])]
        values = self.program(self._require_fitted()).values
        if field is not None:
            if field not in values:
                raise KeyError(f"there is no field {field!r} behind the pipeline; there are {', '.join(map(repr, values))}")
            return list(values[field].names)
        return [name for value in values.values() if value.source is None for name in value.names]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return Pipeline.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        return draw(self)


def load(path: str | os.PathLike[str]) -> Pipeline:
    """A pipeline that Pipeline.save() wrote. Raises CorruptDataError, UnsupportedVersionError, FileNotFoundError."""
    return Pipeline.from_json(Path(path).read_text(encoding="utf-8"), os.fsdecode(path))
