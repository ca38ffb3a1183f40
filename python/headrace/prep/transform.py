"""All rows at once: the plan that a loader runs, on a dataset or on arrays and frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.datasets.layout import BatchLayout
from headrace.prep.program import Program, Value
from headrace.prep.rows import ArrayRows, DatasetRows

if TYPE_CHECKING:
    from headrace.prep.pipeline import Pipeline

__all__ = ["transform_arrays", "transform_dataset"]


def transform_dataset(pipe: Pipeline, rows: DatasetRows, threads: int) -> dict[str, Any]:
    """Columns of all samples, put together from the engine's batches."""
    program = pipe.program(rows.fields)
    flags = [Value(f"keep {i}", (), (), "float32", register=at, type="float32") for i, at in enumerate(program.keeps)]
    for flag in flags:
        program.set(flag)
    layout = BatchLayout(program.fields(), "dict")
    parts = [layout.to_numpy(batch) for batch in rows.native_batches(program.compile(), threads)]
    columns = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    masks = [columns.pop(flag.name) != 0 for flag in flags]
    return _chosen(columns, masks)


def transform_arrays(pipe: Pipeline, rows: ArrayRows, data: Any, threads: int) -> Any:
    """The same of arrays in memory; a frame gives a frame."""
    program = pipe.program(rows.fields)
    columns = run_program(program, rows, threads)
    masks = [columns.pop(f"keep {i}") != 0 for i in range(len(program.keeps))]
    columns = _chosen(columns, masks)
    if isinstance(data, dict) or not hasattr(data, "columns"):
        return columns
    return _frame(data, program, columns, np.logical_and.reduce(masks) if masks else None)


def run_program(program: Program, rows: ArrayRows, threads: int) -> dict[str, Any]:
    """What the program delivers of these arrays: made fields, and the given ones where nothing was done to them; "keep i" beside them."""
    made = {name: value for name, value in program.values.items() if value.source is None}
    flags = {f"keep {i}": Value(f"keep {i}", (), (), "float32", register=at, type="float32") for i, at in enumerate(program.keeps)}
    columns: dict[str, Any] = {}
    if made or flags:
        plan = program.compile_made([*made.values(), *flags.values()])
        columns = rows.run(plan, [*made, *flags], threads, program.input_names)
    out: dict[str, Any] = {}
    for name in program.values:
        out[name] = columns[name] if name in made else rows.given[name]
        if name not in made and f"{name}.valid" in rows.given:
            out[f"{name}.valid"] = rows.given[f"{name}.valid"]
    return {**out, **{name: columns[name] for name in flags}}


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def _chosen(columns: dict[str, Any], masks: Sequence[Any]) -> dict[str, Any]:
    if not masks:
        return columns
    kept = np.flatnonzero(np.logical_and.reduce(masks))
    return {name: [values[i] for i in kept] if isinstance(values, list) else values[kept] for name, values in columns.items()}


def _frame(data: Any, program: Program, columns: dict[str, Any], kept: Any) -> Any:
    """A frame of the same kind: a column for each component."""
    flat: dict[str, Any] = {}
    for name, values in columns.items():
        value = program.values.get(name)
        if value is None or value.source is not None or value.width == 1:
            flat[name] = values.reshape(-1) if isinstance(values, np.ndarray) else values
        else:
            flat.update(zip(value.names, values.reshape(len(values), -1).T, strict=True))
    module = sys.modules[type(data).__module__.split(".")[0]]
    if module.__name__ == "pandas":
        return module.DataFrame(flat, index=data.index if kept is None else data.index[kept])
    return module.DataFrame(flat)
