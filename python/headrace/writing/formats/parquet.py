"""Parquet files, read row group by row group in batches of about 32 MiB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.writing.arrow import ArrowBatches
from headrace.writing.batches import Source
from headrace.writing.formats.tables import chosen_schema, import_pyarrow, reading, refuse_other_schema, rows_for

__all__ = ["parquet_source"]

_BUFFER_BYTES = 4 << 20  # column chunks are read in such pieces, so a huge row group does not fill memory


def parquet_source(paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None) -> Source:
    """A column a field. A field is nullable if the files' statistics count a null, or do not say. `fields`: columns to read."""
    parquet = import_pyarrow("pyarrow.parquet", "converting Parquet files")
    rows, size, nullable, schema = 0, 0, set[str](), None
    for path in paths:
        with reading(path), parquet.ParquetFile(path) as file:
            here = chosen_schema(file.schema_arrow, path, fields)
            if schema is None:
                schema = here
            refuse_other_schema(here, path, schema, paths[0])
            rows += file.metadata.num_rows
            size += sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            nullable |= _with_nulls(file.metadata, here)
    batches = _batches(parquet, paths, rows_for(size, rows), schema, threads != 1)
    return ArrowBatches(batches, schema, fields=None, nullable=nullable, total=rows)


def _batches(parquet: Any, paths: Sequence[str], batch_rows: int, schema: Any, use_threads: bool) -> Iterator[Any]:
    for path in paths:
        with reading(path), parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=schema.names, use_threads=use_threads):
                yield batch.select(schema.names)


def _with_nulls(metadata: Any, schema: Any) -> set[str]:
    """Fields that may be null by type and of which the statistics do not tell that none is. Lists have no count of their own."""
    maybe_null = {name: nullable for field in schema for name, nullable in _leaves(field, "", False)}
    clean = set(maybe_null) if metadata.num_row_groups else set()
    seen = set()
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        for index in range(columns.num_columns):
            column = columns.column(index)
            statistics = column.statistics
            seen.add(column.path_in_schema)
            if statistics is None or not statistics.has_null_count or statistics.null_count:
                clean.discard(column.path_in_schema)
    return {name for name, nullable in maybe_null.items() if nullable and name not in clean & seen}


def _leaves(field: Any, prefix: str, nullable: bool) -> list[tuple[str, bool]]:
    """(dotted name, whether it or a struct around it may be null) of each field that a column becomes."""
    name = f"{prefix}.{field.name}" if prefix else field.name
    maybe_null = nullable or field.nullable
    if import_pyarrow("pyarrow", "converting Parquet files").types.is_struct(field.type):
        return [leaf for index in range(field.type.num_fields) for leaf in _leaves(field.type.field(index), name, maybe_null)]
    return [(name, maybe_null)]
