"""The only importer of the extension. Names, docstrings and types: `_ext.pyi`."""

from __future__ import annotations

from headrace._native._ext import (
    Batch,
    Dataset,
    DatasetWriter,
    Field,
    Order,
    Pipeline,
    Schema,
    Verification,
    available_memory_bytes,
    build_info,
    make_table,
    num_threads,
    running_threads,
    set_host_register,
    set_num_threads,
    subset_table,
    validate_utf8,
    xxh3_64,
)

__all__ = [
    "Batch",
    "Dataset",
    "DatasetWriter",
    "Field",
    "Order",
    "Pipeline",
    "Schema",
    "Verification",
    "available_memory_bytes",
    "build_info",
    "make_table",
    "num_threads",
    "running_threads",
    "set_host_register",
    "set_num_threads",
    "subset_table",
    "validate_utf8",
    "xxh3_64",
]
