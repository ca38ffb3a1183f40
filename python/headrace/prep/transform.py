"""All rows in their order: the plan that a loader runs, on a dataset or on arrays and frames, batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.datasets.layout import BatchLayout
from headrace.prep.ordered import interpolated
from headrace.prep.program import Program
from headrace.prep.rows import ArrayRows, DatasetRows, Rows, batch_rows

if TYPE_CHECKING:
    from headrace.prep.pipeline import Pipeline

__all__ = ["OrderedRows", "as_frame", "as_interpolated", "joined", "kept_rows", "prepared_batches"]

_AS_THEY_ARE = ("ragged", "image")  # kinds that no step looks at


class OrderedRows:
    """Rows whose nulls in some fields are interpolated before anything else sees them."""

    def __init__(self, rows: Rows, names: list[str]) -> None:
        self._rows, self._names = rows, names
        self.fields = [as_interpolated(field) if field.name in names else field for field in rows.fields]

    def __len__(self) -> int:
        return len(self._rows)

    def parts(self, threads: int) -> Iterator[ArrayRows]:
        """The rows in batches, as arrays."""
        fields = {field.name: field for field in self.fields}
        known = {name: field for name, field in fields.items() if field.kind in _AS_THEY_ARE}
        for columns in interpolated(self._flat(threads), self._names):
            for name in self._names:
                columns[name] = np.ascontiguousarray(columns[name].reshape(-1, *fields[name].shape), dtype=fields[name].dtype)
            yield ArrayRows(columns, known)

    def batches(
        self,
        plan: _native.FieldPlan,
        names: Sequence[str],
        threads: int,
        inputs: Sequence[str] = (),
        widths: Mapping[str, int] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """As DatasetRows.batches(); all of it as values."""
        for part in self.parts(threads):
            yield part.run(plan, names, threads, inputs)

    def _flat(self, threads: int) -> Iterator[dict[str, Any]]:
        for columns in _raw_batches(self._rows, threads):
            for name in self._names:
                values = np.array(columns[name], np.float64).reshape(len(columns[name]), -1)
                valid = columns.pop(f"{name}.valid", None)
                if valid is not None:
                    values[~np.asarray(valid)] = np.nan
                columns[name] = values
            yield columns


def as_interpolated(field: _native.Field) -> _native.Field:
    """The field once its nulls are interpolated: floats."""
    return _native.Field(field.name, dtype="float32" if field.dtype in ("float16", "bfloat16", "float32") else "float64", shape=field.shape)


def _raw_batches(rows: Rows, threads: int) -> Iterator[dict[str, Any]]:
    if isinstance(rows, DatasetRows):
        layout = BatchLayout(rows.fields, "dict")
        for batch in rows.native_batches(None, threads):
            yield layout.to_numpy(batch)
        return
    step = batch_rows(rows.fields)
    for begin in range(0, len(rows), step):
        yield {name: values[begin : begin + step] for name, values in rows.given.items()}


def prepared_batches(pipe: Pipeline, rows: Rows, threads: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """What the pipeline delivers, as columns of some rows, and a mask of the rows that are kept (None: all); dropped ones are not in the columns."""
    names = pipe.ordered_names(rows.fields)
    if names:
        ordered = OrderedRows(rows, names)
        program = pipe.program(rows.fields, ordered.fields)
        for part in ordered.parts(threads):
            yield _without_dropped(run_program(program, part, threads), len(program.keeps))
        return
    program = pipe.program(rows.fields)
    if isinstance(rows, ArrayRows):
        yield _without_dropped(run_program(program, rows, threads), len(program.keeps))
        return
    for flag in program.flags().values():
        program.set(flag)
    layout = BatchLayout(program.fields(), "dict")
    for batch in rows.native_batches(program.compile(), threads):
        yield _without_dropped(layout.to_numpy(batch), len(program.keeps))


def run_program(program: Program, rows: ArrayRows, threads: int) -> dict[str, Any]:
    """What the program delivers of these arrays: made fields, and the given ones where nothing was done to them; "keep i" beside them."""
    made = {name: value for name, value in program.values.items() if value.source is None}
    flags = program.flags()
    columns: dict[str, Any] = {}
    if made or flags:
        columns = rows.run(program.compile_made([*made.values(), *flags.values()]), [*made, *flags], threads, program.input_names)
    out: dict[str, Any] = {}
    for name in program.values:
        out[name] = _listed(columns[name], program.values[name].kind) if name in made else rows.given[name]
        if name not in made and f"{name}.valid" in rows.given:
            out[f"{name}.valid"] = rows.given[f"{name}.valid"]
    return {**out, **{name: columns[name] for name in flags}}


def _listed(values: Any, kind: str) -> Any:
    """Texts as a list of str or bytes, None where null; arrays as they are."""
    if not isinstance(values, tuple):
        return values
    whole, ends = values[0].tobytes(), values[2].tolist()
    parts = [whole[a:b] if there else None for a, b, there in zip(ends, ends[1:], values[1].tolist(), strict=False)]
    return parts if kind == "bytes" else [None if part is None else part.decode() for part in parts]


def _without_dropped(columns: dict[str, Any], flags: int) -> tuple[dict[str, Any], Any]:
    if flags == 0:
        return columns, None
    mask = np.logical_and.reduce([columns.pop(f"keep {i}") != 0 for i in range(flags)])
    kept = np.flatnonzero(mask)
    return {name: [values[i] for i in kept] if isinstance(values, list) else values[kept] for name, values in columns.items()}, mask


def kept_rows(program: Program, rows: Rows, threads: int) -> list[npt.NDArray[np.bool_]]:
    """For each batch which rows no step leaves out."""
    flags = program.flags()
    batches = rows.batches(program.compile(flags), list(flags), threads, program.input_names)
    return [np.logical_and.reduce([batch[flag] != 0 for flag in flags]) for batch in batches]


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Columns of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: _end_to_end([part[name] for part in parts]) for name in parts[0]}


def _end_to_end(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def _chosen(series: Any, mask: Any) -> Any:
    """A column of pandas (without its index) or polars, or its rows where the mask says so."""
    if hasattr(series, "to_pandas"):
        return series if mask is None else series.filter(mask)
    return series.array if mask is None else series.array[mask]


def as_frame(data: Any, program: Program, columns: dict[str, Any], mask: Any) -> Any:
    """Columns as a frame of the kind of `data`: its own ones where nothing was done to them, and one for each component of a field that steps made."""
    flat: dict[str, Any] = {}
    own = {str(name): name for name in data.columns}
    for name, values in columns.items():
        value = program.values.get(name)
        if value is None:  # which are valid, of one of the frame's own
            continue
        if value.source is not None:
            flat[name] = _chosen(data[own[name]], mask)
        elif value.width == 1:
            flat[name] = values.reshape(-1) if isinstance(values, np.ndarray) else values
        else:
            flat.update(zip(value.names, values.reshape(len(values), -1).T, strict=True))
    module = sys.modules[type(data).__module__.split(".")[0]]
    if module.__name__ == "pandas":
        return module.DataFrame(flat, index=data.index if mask is None else data.index[mask])
    return module.DataFrame(flat)
