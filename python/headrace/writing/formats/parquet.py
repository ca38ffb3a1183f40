"""Parquet files, read row group by row group in batches of about 32 MiB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.writing.arrow import ArrowBatches
from headrace.writing.batches import Source, take_fields
from headrace.writing.formats.tables import import_pyarrow, reading, refuse_other_schema, rows_for

__all__ = ["parquet_source"]

_BUFFER_BYTES = 4 << 20  # column chunks are read in such pieces, so a huge row group does not fill memory


def parquet_source(paths: Sequence[str], *, threads: int | None = None, fields: Sequence[str] | None = None) -> Source:
    """A column a field. A field is nullable if the files' statistics count a null, or do not say. `fields`: columns to read."""
    parquet = import_pyarrow("pyarrow.parquet", "converting Parquet files")
    rows, size, nullable, schema = 0, 0, set[str](), None
    for path in paths:
        with reading(path), parquet.ParquetFile(path) as file:
            here = _chosen(file.schema_arrow, fields)
            if schema is None:
                schema = here
            refuse_other_schema(here, path, schema, paths[0])
            rows += file.metadata.num_rows
            size += sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            nullable |= _with_nulls(file.metadata, here)
    batches = _batches(parquet, paths, rows_for(size, rows), schema.names if schema is not None else None, threads != 1)
    return ArrowBatches(batches, schema, fields=None, nullable=nullable, total=rows)


def _batches(parquet: Any, paths: Sequence[str], batch_rows: int, columns: list[str] | None, use_threads: bool) -> Iterator[Any]:
    for path in paths:
        with reading(path), parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=batch_rows, columns=columns, use_threads=use_threads)


def _chosen(schema: Any, fields: Sequence[str] | None) -> Any:
    pyarrow = import_pyarrow("pyarrow", "converting Parquet files")
    return pyarrow.schema([schema.field(name) for name in take_fields(schema.names, fields)])


def _with_nulls(metadata: Any, schema: Any) -> set[str]:
    """Fields with a null, or of which the file does not tell: nested columns count nulls of their parts, so they go by their type."""
    found = {name for field in schema for name in _dotted(field, "", False)}
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        for index in range(columns.num_columns):
            column = columns.column(index)
            statistics = column.statistics
            without = statistics is not None and statistics.has_null_count and statistics.null_count == 0
            found.discard(column.path_in_schema) if without and group == 0 else None
            if not without and column.path_in_schema in _flat_names(schema):
                found.add(column.path_in_schema)
    return found


def _dotted(field: Any, prefix: str, nullable: bool) -> list[str]:
    name = f"{prefix}.{field.name}" if prefix else field.name
    maybe_null = nullable or field.nullable
    if import_pyarrow("pyarrow", "converting Parquet files").types.is_struct(field.type):
        return [inner for index in range(field.type.num_fields) for inner in _dotted(field.type.field(index), name, maybe_null)]
    return [name] if maybe_null else []


def _flat_names(schema: Any) -> set[str]:
    return {name for field in schema for name in _dotted(field, "", True)}
