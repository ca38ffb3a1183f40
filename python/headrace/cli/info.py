"""`headrace info`: what a dataset is made of."""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import OK, Console, UsageError, add_dataset_version
from headrace.report import humanise
from headrace.report.table import Column, key_values, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", nargs="?", help="directory of the dataset")
    add_dataset_version(parser)
    parser.add_argument("--shards", action="store_true", help="list every shard")
    parser.add_argument("--build", action="store_true", help="show how this headrace was built and what it found on this machine")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    if not arguments.build and arguments.dataset is None:
        raise UsageError("give a dataset, or --build")
    document: dict[str, Any] = {}
    if arguments.build:
        from headrace._native import build_info

        document["build"] = build_info()
    if arguments.dataset is not None:
        document["dataset"] = _describe(arguments.dataset, arguments.dataset_version)
    if console.json_output:
        console.result_json(document)
        return OK
    if "build" in document:
        console.result(key_values([(key, _text(value)) for key, value in document["build"].items()], style=console.style))
    if "dataset" in document:
        _show(document["dataset"], console, list_shards=arguments.shards)
    return OK


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _describe(path: str, version: int) -> dict[str, Any]:
    from headrace._native import Dataset

    dataset = Dataset(path, version)
    shards = dataset.shards
    stats = dataset.field_stats()
    fields = [_describe_field(field, stat) for field, stat in zip(dataset.schema.fields, stats, strict=True)]
    return {
        "path": dataset.path,
        "version": dataset.version,
        "versions": dataset.versions,
        "uuid": dataset.uuid,
        "fingerprint": f"{dataset.fingerprint:016x}",
        "samples": len(dataset),
        "container": dataset.schema.container,
        "metadata": dataset.schema.metadata,
        "raw_bytes": sum(field["raw_bytes"] for field in fields),
        "stored_bytes": sum(field["stored_bytes"] for field in fields),
        "file_bytes": sum(int(shard["file_bytes"]) for shard in shards),
        "chunks": sum(int(shard["num_chunks"]) for shard in shards),
        "fields": fields,
        "shards": shards,
    }


def _describe_field(field: Any, stat: dict[str, Any]) -> dict[str, Any]:
    described = {name: getattr(field, name) for name in ("name", "kind", "dtype", "nullable", "codec", "filter", "level", "block_bytes")}
    described["dictionary"] = field.dictionary
    described["shape"] = list(field.shape)
    if field.kind in ("bytes", "string", "image"):
        described["dtype"] = None
    described.update({name: stat[name] for name in ("raw_bytes", "stored_bytes", "pages", "blocks", "null_count", "min", "max")})
    if field.dtype.startswith(("datetime64", "timedelta64")) and field.kind == "tensor":
        described["min"], described["max"] = (_date(stat[name], field.dtype) for name in ("min", "max"))
    described["ratio"] = stat["raw_bytes"] / stat["stored_bytes"] if stat["stored_bytes"] else None
    described["metadata"] = field.metadata
    return described


def _date(count: int | None, dtype: str) -> str | None:
    """A stored count of units as text: "2013-01-01T05:15"."""
    import numpy as np

    return None if count is None else str(np.array(count, np.int64).view(dtype)[()])


_FIELD_COLUMNS = (
    Column(title="field", cut=True),
    Column(title="type", cut=True),
    Column(title="codec", cut=True),
    Column(title="raw", right=True, drop=True),
    Column(title="stored", right=True),
    Column(title="ratio", right=True),
    Column(title="block", right=True, drop=True),
    Column(title="nulls", right=True),
    Column(title="min", right=True, cut=True),
    Column(title="max", right=True, cut=True),
)


def _codec(field: dict[str, Any]) -> str:
    filtered = [] if field["filter"] == "none" else [field["filter"]]
    level = f" {field['level']}" if field["codec"] in ("zstd", "lz4hc") else ""
    return " + ".join([*filtered, field["codec"] + level, *(["dictionary"] if field["dictionary"] else [])])


def _bound(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return humanise.number(value)
    return str(value).replace("T", " ")


def _field_line(field: dict[str, Any]) -> list[str]:
    from headrace.report.sample import describe_type

    return [
        field["name"],
        describe_type(field["kind"], field["dtype"] or "", tuple(field["shape"]), field["nullable"]),
        _codec(field),
        humanise.bytes_size(field["raw_bytes"]),
        humanise.bytes_size(field["stored_bytes"]),
        "" if field["ratio"] is None else humanise.ratio(field["ratio"]),
        humanise.bytes_size(field["block_bytes"]),
        humanise.count(field["null_count"]) if field["nullable"] else "",
        _bound(field["min"]),
        _bound(field["max"]),
    ]


def _show(dataset: dict[str, Any], console: Console, *, list_shards: bool) -> None:
    shards = dataset["shards"]
    raw, stored = dataset["raw_bytes"], dataset["stored_bytes"]
    chunk_samples = sorted({int(shard["chunk_samples"]) for shard in shards})
    sizes = f"{humanise.bytes_size(raw)} raw, {humanise.bytes_size(stored)} stored"
    pairs = [
        ("dataset", dataset["path"]),
        ("version", f"{dataset['version']} of {', '.join(map(str, dataset['versions']))}"),
        ("samples", humanise.count(dataset["samples"])),
        ("values", f"{sizes}, ratio {humanise.ratio(raw / stored)}" if stored else sizes),
        ("files", f"{humanise.bytes_size(dataset['file_bytes'])} in {len(shards)} shard{'s' * (len(shards) != 1)}"),
        (
            "chunks",
            f"{humanise.count(dataset['chunks'])} of {' or '.join(humanise.count(n) for n in chunk_samples)} samples, "
            f"{humanise.bytes_size(raw / dataset['chunks'])} each"
            if dataset["chunks"]
            else "none",
        ),
        ("delivered as", dataset["container"]),
        ("uuid", f"{dataset['uuid']}, fingerprint {dataset['fingerprint']}"),
    ]
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    console.result(table(_FIELD_COLUMNS, [_field_line(field) for field in dataset["fields"]], width=console.width, style=console.style))
    if list_shards:
        columns = (
            Column(title="shard", cut=True),
            *(Column(title=title, right=True) for title in ("size", "samples", "chunks", "a chunk")),
        )
        cells = [
            [
                str(shard["file_name"]),
                humanise.bytes_size(shard["file_bytes"]),
                humanise.count(shard["num_samples"]),
                humanise.count(shard["num_chunks"]),
                f"{humanise.count(shard['chunk_samples'])} samples",
            ]
            for shard in shards
        ]
        console.result()
        console.result(table(columns, cells, width=console.width, style=console.style))
