"""ORC files, read stripe by stripe, twice: first to learn which columns have nulls, then to write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.writing.arrow import ArrowBatches, count_nulls
from headrace.writing.batches import Source
from headrace.writing.formats.tables import Scanned, chosen_schema, import_pyarrow, reading, refuse_other_schema

__all__ = ["orc_source"]


def orc_source(
    paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None, scanned: Scanned | None = None
) -> Source:
    """A column a field; nullable if it has a null. Memory: a stripe. `fields`: columns to read."""
    orc = import_pyarrow("pyarrow.orc", "converting ORC files")
    pyarrow = import_pyarrow("pyarrow", "converting ORC files")
    schema = None
    for path in paths:
        with reading(path):
            whole = orc.ORCFile(path).schema
        here = chosen_schema(whole, path, fields)
        schema = here if schema is None else schema
        refuse_other_schema(here, path, schema, paths[0])
    rows, nullable = count_nulls(_stripes(pyarrow, orc, paths, schema), schema, scanned)
    return ArrowBatches(_stripes(pyarrow, orc, paths, schema), schema, fields=None, nullable=nullable, total=rows)


def _stripes(pyarrow: Any, orc: Any, paths: Sequence[str], schema: Any) -> Iterator[Any]:
    for path in paths:
        with reading(path), pyarrow.OSFile(path) as source:
            file = orc.ORCFile(source)
            for stripe in range(file.nstripes):
                batch = file.read_stripe(stripe, columns=schema.names)
                if isinstance(batch, pyarrow.Table):
                    yield from (part.select(schema.names) for part in batch.to_batches())
                else:
                    yield batch.select(schema.names)
