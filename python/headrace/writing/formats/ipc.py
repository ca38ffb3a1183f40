"""Arrow IPC files and streams, Feather version 2 among them: mapped, and looked through once for nulls before they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from headrace.errors import CorruptDataError
from headrace.writing.arrow import ArrowBatches, count_nulls
from headrace.writing.batches import Source
from headrace.writing.formats.tables import Scanned, chosen_schema, import_pyarrow, reading, refuse_other_schema

__all__ = ["ipc_source"]


def ipc_source(
    paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None, scanned: Scanned | None = None
) -> Source:
    """A column a field; nullable if it has a null. Memory: a record batch, if it is compressed. `fields`: columns to read."""
    pyarrow = import_pyarrow("pyarrow", "converting Arrow files")
    ipc = import_pyarrow("pyarrow.ipc", "converting Arrow files")
    schema = None
    for path in paths:
        with reading(path), ExitStack() as stack:
            whole = _open(pyarrow, ipc, path, stack).schema
        here = chosen_schema(whole, path, fields)
        schema = here if schema is None else schema
        refuse_other_schema(here, path, schema, paths[0])
    rows, nullable = count_nulls(_batches(pyarrow, ipc, paths, schema), schema, scanned)
    return ArrowBatches(_batches(pyarrow, ipc, paths, schema), schema, fields=None, nullable=nullable, total=rows)


def _batches(pyarrow: Any, ipc: Any, paths: Sequence[str], schema: Any) -> Iterator[Any]:
    for path in paths:
        with reading(path), ExitStack() as stack:
            reader = _open(pyarrow, ipc, path, stack)
            batches = (
                reader if not hasattr(reader, "num_record_batches") else (reader.get_batch(i) for i in range(reader.num_record_batches))
            )
            for batch in batches:
                part = batch.select(schema.names)
                part.validate(full=True)  # the file is foreign, and what follows trusts its offsets
                yield part


def _open(pyarrow: Any, ipc: Any, path: str, stack: ExitStack) -> Any:
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic[:4] == b"FEA1":
        raise CorruptDataError(f"{path} is Feather version 1, which is no longer read; write it anew with pyarrow.feather.write_feather")
    source = stack.enter_context(pyarrow.memory_map(path))
    return stack.enter_context(ipc.open_file(source) if magic == b"ARROW1" else ipc.open_stream(source))
