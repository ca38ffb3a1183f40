"""`headrace convert`: a dataset from files."""

from __future__ import annotations

import argparse
import time
from typing import Any

from headrace.cli.console import OK, Console
from headrace.report import humanise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("source", help="a folder of images by class, or a .npy, .npz, .csv, .parquet, .orc, .arrow or .feather file")
    parser.add_argument("dataset", help="directory to make")
    parser.add_argument("--format", default=None, help="format of the source (default: by its name)")
    parser.add_argument("--codec", default="auto", help="auto (measured per field), none, lz4, lz4hc or zstd (default: auto)")
    parser.add_argument("--level", type=int, default=None, metavar="N", help="level of the codec (default: the codec's own)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    import headrace
    from headrace._native import Dataset

    options: dict[str, Any] = {"codec": arguments.codec}
    for name in ("format", "level"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    begin = time.perf_counter()
    with console.progress("convert") as progress:
        headrace.convert(arguments.source, arguments.dataset, progress=progress.update, **options)
    seconds = time.perf_counter() - begin
    dataset = Dataset(arguments.dataset)
    stats = dataset.field_stats()
    raw = sum(int(entry["raw_bytes"]) for entry in stats)
    stored = sum(int(entry["stored_bytes"]) for entry in stats)
    summary = {
        "source": arguments.source,
        "dataset": arguments.dataset,
        "version": dataset.version,
        "samples": len(dataset),
        "fields": dataset.schema.names,
        "raw_bytes": raw,
        "stored_bytes": stored,
        "ratio": raw / stored if stored else None,
        "seconds": seconds,
        "raw_bytes_per_second": raw / seconds,
    }
    if console.json_output:
        console.result_json(summary)
        return OK
    sizes = f"{humanise.bytes_size(raw)} -> {humanise.bytes_size(stored)}" + (f" ({humanise.ratio(raw / stored)})" if stored else "")
    console.result(
        f"{arguments.dataset}: {humanise.count(len(dataset))} samples, {sizes} in {humanise.duration(seconds)}, "
        f"{humanise.byte_rate(raw / seconds)}"
    )
    return OK
