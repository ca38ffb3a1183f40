"""Columns side by side and what nodes make of them: how transformers that look at a whole matrix become native steps.

A node is a dict that JSON holds: "node" names a function of this file, the rest are its parameters. Arithmetic is in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headrace.prep.program import Program

__all__ = ["Column", "Node", "run_node"]

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One number, or text, of a sample: a component of a register. null_as: what a null text counts as, if something filled it."""

    register: int
    component: int
    type: str
    null_as: str | None = None


Columns = list[Column]


def run_node(program: Program, columns: Columns, node: Node) -> Columns:
    """What the node makes of the columns; theirs stay as they are. Raises TypeError where it does not take texts, ValueError for another number of them."""
    return _NODES[node["node"]](program, columns, node)


def gathered(program: Program, columns: Columns, what: str = "its columns") -> int:
    """A register of float64 that holds these columns, in order; read only."""
    if any(column.type == "text" for column in columns):
        raise TypeError(f"from_sklearn: {what} hold texts, which need an encoder first")
    registers = list(dict.fromkeys(column.register for column in columns))
    starts, width = {}, 0
    for register in registers:
        starts[register] = width
        width += program.registers[register][1]
    at = [starts[column.register] + column.component for column in columns]
    whole = registers[0]
    if len(registers) > 1 or program.registers[whole][0] != "float64":
        whole = program.register("float64", width)
        program.add("concat", registers, whole)
    if at == list(range(width)):
        return whole
    chosen = program.register("float64", len(at))
    program.add("take", [whole], chosen, components=np.array(at, np.int64))
    return chosen


def columns_of(program: Program, register: int) -> Columns:
    """All that a register holds."""
    kind, width = program.registers[register]
    return [Column(register, i, kind) for i in range(width)]


def _apply(program: Program, columns: Columns, kind: str, width: int | None = None, type: str = "float64", **parameters: Any) -> Columns:
    """One native step over all columns, into a register of its own."""
    if not columns:
        return []
    made = program.register(type, len(columns) if width is None else width)
    program.add(kind, [gathered(program, columns, f"those of {kind}")], made, **parameters)
    return columns_of(program, made)


def _floats(values: Any) -> Any:
    return np.ascontiguousarray(values, np.float64).ravel()


def _whole(values: Any) -> Any:
    return np.asarray(values, np.int64).ravel()


def _keep(program: Program, columns: Columns, node: Node) -> Columns:
    return columns


def _chain(program: Program, columns: Columns, node: Node) -> Columns:
    for inner in node["nodes"]:
        columns = run_node(program, columns, inner)
    return columns


def _parts(program: Program, columns: Columns, node: Node) -> Columns:
    """Several nodes, each on some of the columns ("at"; None: all of them), their results side by side, multiplied by "weight" where there is one."""
    out: Columns = []
    for part in node["parts"]:
        at = part["at"]
        made = run_node(program, columns if at is None else [columns[i] for i in at], part["of"])
        if part.get("weight") is not None and made:
            size = len(made)
            factor = np.full(size, float(part["weight"]))
            made = _apply(program, made, "affine", center=np.zeros(size), factor=factor, shift=np.zeros(size))
        out += made
    return out


def _steps(program: Program, columns: Columns, node: Node) -> Columns:
    """Native steps of one input and one output of the same width; parameters are arrays of floats, or integers where their names say so."""
    for kind, parameters in node["steps"]:
        columns = _apply(program, columns, str(kind), **parameters)
    return columns


def _take(program: Program, columns: Columns, node: Node) -> Columns:
    return [columns[i] for i in node["at"]]


def _linear(program: Program, columns: Columns, node: Node) -> Columns:
    matrix = np.asarray(node["matrix"], np.float64)
    return _apply(
        program, columns, "linear", matrix.shape[1], center=_floats(node["center"]), matrix=_floats(matrix), shift=_floats(node["shift"])
    )


def _products(program: Program, columns: Columns, node: Node) -> Columns:
    powers = np.asarray(node["powers"], np.int64)
    factors = [np.repeat(np.arange(powers.shape[1]), row) for row in powers]
    sizes = _whole([len(one) for one in factors])
    return _apply(program, columns, "products", len(powers), sizes=sizes, components=_whole(np.concatenate(factors)))


def _fill(program: Program, columns: Columns, node: Node) -> Columns:
    """Nulls replaced, a value a column, which are floats or texts as the columns are; "indicated": columns that say where they were, behind them."""
    out: Columns = []
    numbers = [i for i, column in enumerate(columns) if column.type != "text"]
    filled: dict[int, Column] = {}
    if numbers:
        values = _floats([node["values"][i] for i in numbers])
        made = _apply(program, [columns[i] for i in numbers], "fill", value=values)
        filled = dict(zip(numbers, made, strict=True))
    for i in node["at"]:
        value = node["values"][i]
        if i not in filled and not isinstance(value, str):
            raise TypeError(f"from_sklearn: column {i} holds texts; it would be filled with {value!r}")
        out.append(filled[i] if i in filled else replace(columns[i], null_as=value))
    for i in node["indicated"]:
        flag = program.register("float32", 1)
        source = columns[i].register if columns[i].type == "text" else gathered(program, [columns[i]])
        program.add("is_null", [source], flag)
        out += columns_of(program, flag)
    return out


def _encode(program: Program, columns: Columns, node: Node) -> Columns:
    """Categories as codes, or as zeros and ones: for each column {categories, codes, unknown, null, size}; size 0: the code itself."""
    out: Columns = []
    for column, how in zip(columns, node["columns"], strict=True):
        out += _encode_one(program, column, how)
    return out


def _encode_one(program: Program, column: Column, how: Mapping[str, Any]) -> Columns:
    categories, codes, null = how["categories"], _floats(how["codes"]), float(how["null"])
    is_text = isinstance(categories, list)
    if (column.type == "text") != is_text and len(categories):
        raise TypeError(
            f"from_sklearn: an encoder was fitted on {'texts' if is_text else 'numbers'}, and its column holds "
            f"{'texts' if column.type == 'text' else 'numbers'}"
        )
    if column.type == "text":
        keys: Any = [text.encode() for text in categories]
        if column.null_as is not None:
            null = float(codes[categories.index(column.null_as)]) if column.null_as in categories else float(how["unknown"])
    else:
        keys = _floats(categories)
    source = column.register if column.type == "text" else gathered(program, [column])
    size = int(how["size"])
    made = program.register("int64" if size else "float64", 1)
    program.add(
        "lookup",
        [source],
        made,
        keys=keys,
        sizes=_whole([len(keys)]),
        values=codes,
        unknown=_floats([how["unknown"]]),
        null=np.array([null]),
    )
    if not size:
        return columns_of(program, made)
    return _spread(program, made, [size])


def _spread(program: Program, codes: int, sizes: Sequence[int]) -> Columns:
    made = program.register("float32", int(sum(sizes)))
    program.add("one_hot", [codes], made, sizes=_whole(sizes))
    return columns_of(program, made)


def _bucketize(program: Program, columns: Columns, node: Node) -> Columns:
    """Buckets between edges; "onehot": as zeros and ones. A null has no bucket: it stays null, or is all zeros."""
    sizes = [len(edges) for edges in node["edges"]]
    codes = program.register("int64", len(columns))
    program.add(
        "bucketize",
        [gathered(program, columns, "those of KBinsDiscretizer")],
        codes,
        edges=_floats(np.concatenate([np.zeros(0), *node["edges"]])),
        sizes=_whole(sizes),
        right=_whole([0]),
        null=_whole([-1 if node["onehot"] else np.iinfo(np.int64).min]),
    )
    return _spread(program, codes, [size + 1 for size in sizes]) if node["onehot"] else columns_of(program, codes)


_NODES: dict[str, Callable[[Program, Columns, Node], Columns]] = {
    "keep": _keep,
    "chain": _chain,
    "parts": _parts,
    "steps": _steps,
    "take": _take,
    "linear": _linear,
    "products": _products,
    "fill": _fill,
    "encode": _encode,
    "bucketize": _bucketize,
}
