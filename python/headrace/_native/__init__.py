"""The only importer of the extension. Names, docstrings and types: `_ext.pyi`."""

from __future__ import annotations

import os

from headrace._native._ext import (
    AliasTable,
    Batch,
    ClassCounts,
    ClassMoments,
    Dataset,
    DatasetWriter,
    Distinct,
    Field,
    FieldPlan,
    Frequencies,
    ImageMix,
    ImagePlan,
    Mixture,
    Moments,
    Order,
    Pipeline,
    Quantiles,
    Schema,
    Strata,
    Verification,
    available_memory_bytes,
    build_info,
    cache_stats,
    chosen_cache_bytes,
    copy_limit,
    cut_by_longest,
    decode_rate,
    encode_image,
    end_by_word_of,
    end_with_parent,
    find_abandoned_files,
    gather_limit,
    image_size,
    list_directories,
    make_files,
    make_table,
    mix_rows,
    mix_texts,
    num_threads,
    pack_best_fit,
    read_benchmark,
    repack_jpeg,
    running_threads,
    set_cache_bytes,
    set_host_register,
    set_num_threads,
    subset_table,
    validate_utf8,
    widen_limit,
    xxh3_64,
)

_threads = os.environ.get("HEADRACE_NUM_THREADS", "")
if _threads and not (_threads.isdecimal() and 1 <= int(_threads) <= 1024):
    raise ValueError(f"the environment variable HEADRACE_NUM_THREADS is {_threads!r}; expected a whole number from 1 to 1024, or nothing")
_numa = os.environ.get("HEADRACE_NUMA", "")
if _numa not in ("", "on", "off"):
    raise ValueError(f"the environment variable HEADRACE_NUMA is {_numa!r}; expected 'on' or 'off', or nothing")

_cache_bytes = os.environ.get("HEADRACE_CACHE_BYTES", "")
if _cache_bytes:
    if not (_cache_bytes.isdecimal() and int(_cache_bytes) < 1 << 48):
        raise ValueError(f"the environment variable HEADRACE_CACHE_BYTES is {_cache_bytes!r}; expected a whole number of bytes, or nothing")
    set_cache_bytes(int(_cache_bytes))

__all__ = [
    "AliasTable",
    "Batch",
    "ClassCounts",
    "ClassMoments",
    "Dataset",
    "DatasetWriter",
    "Distinct",
    "Field",
    "FieldPlan",
    "Frequencies",
    "ImageMix",
    "ImagePlan",
    "Mixture",
    "Moments",
    "Order",
    "Pipeline",
    "Quantiles",
    "Schema",
    "Strata",
    "Verification",
    "available_memory_bytes",
    "build_info",
    "cache_stats",
    "chosen_cache_bytes",
    "copy_limit",
    "cut_by_longest",
    "decode_rate",
    "encode_image",
    "end_by_word_of",
    "end_with_parent",
    "find_abandoned_files",
    "gather_limit",
    "image_size",
    "list_directories",
    "make_files",
    "make_table",
    "mix_rows",
    "mix_texts",
    "num_threads",
    "pack_best_fit",
    "read_benchmark",
    "repack_jpeg",
    "running_threads",
    "set_cache_bytes",
    "set_host_register",
    "set_num_threads",
    "subset_table",
    "validate_utf8",
    "widen_limit",
    "xxh3_64",
]
