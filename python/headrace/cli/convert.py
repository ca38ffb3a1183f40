"""`headrace convert`: a dataset from files."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from headrace.cli.console import OK, Console, at_least
from headrace.report import humanise
from headrace.report.table import key_values
from headrace.report.terminal import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "source",
        nargs="+",
        help="a folder of images by class, or .npy, .npz, .csv, .parquet, .orc, .arrow or .feather files, or a folder of them",
    )
    parser.add_argument("dataset", help="directory to make")
    parser.add_argument("--format", default=None, help="images, npy, npz, csv, parquet, orc or arrow (default: by the names)")
    parser.add_argument(
        "--codec", default="auto", help="auto (measured per field), none, lz4, lz4hc or zstd, with a level zstd:9 (default: auto)"
    )
    parser.add_argument("--fields", default=None, metavar="A,B", help="only these fields, in this order")
    parser.add_argument("--delimiter", default=None, metavar="C", help=r"what separates the values of CSV files; \t is a tab")
    parser.add_argument("--encoding", default=None, help="of the text of CSV files, such as latin-1 (default: utf-8)")
    parser.add_argument(
        "--column-names", type=_names, default=None, metavar="A,B", help="names of the columns of CSV files that have no header line"
    )
    parser.add_argument(
        "--column-types",
        type=_types,
        default=None,
        metavar="A=TYPE,B=TYPE",
        help="types of columns of CSV files, instead of those found: int64, uint64, double, bool, string, binary, date32, timestamp[ms], ...",
    )
    parser.add_argument("--append", action="store_true", help="add to the dataset, as a new version of it")
    parser.add_argument("--threads", type=at_least(0), default=None, metavar="N", help="threads that compress (default: all)")
    parser.add_argument(
        "--repack", choices=["lossless"], default=None, help="images: store JPEG files with the same pixels in a form that decodes faster"
    )
    parser.add_argument(
        "--max-side", type=at_least(1), default=None, metavar="N", help="images: make those smaller whose longer side is longer"
    )
    parser.add_argument(
        "--quality", type=at_least(1), default=None, metavar="Q", help="images: of JPEG that is made anew, 1 to 100 (default: 90)"
    )
    parser.add_argument(
        "--store",
        type=_shares,
        default=None,
        metavar="KIND[=SHARE],...",
        help="images: as-is, jpeg (made anew), raw (pixels), or a share of each: raw=0.5,jpeg=0.5",
    )
    parser.add_argument("--allow-unsafe-types", action="store_true", help="unpickle object arrays of .npy files; runs code that is in them")


def _names(text: str) -> list[str]:
    return text.split(",")


def _shares(text: str) -> str | dict[str, float]:
    if "=" not in text:
        return text
    shares = _types(text)
    try:
        return {kind: float(share) for kind, share in shares.items()}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected KIND=SHARE with numbers, got {text!r}") from error


def _types(text: str) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    types = {name: kind for name, _, kind in pairs}
    if len(types) < len(pairs) or not all(name and kind for name, kind in types.items()):
        raise argparse.ArgumentTypeError(f"expected NAME=TYPE with commas between them, each name once, got {text!r}")
    return types


# What errors advise callers in Python to do, as a user of the command line does it.
_REWORDED = (
    (r"append=True", "--append"),
    (r"fields=\[\.\.\.\]", "--fields A,B"),
    (r"column_types=\{'([^']*)': '([^']*)'\}", r"--column-types \1=\2"),
    (r"column_types gives '([^']*)'", r"--column-types gives '\1'"),
    (r"column_types names", "--column-types names"),
    (r"allow_unsafe_types=True", "--allow-unsafe-types"),
    (r"max_side", "--max-side"),
    (r"(quality|store|repack) is ", r"--\1 is "),
    (r"(encoding|format)='([^']*)'", r"--\1 \2"),
    (r"column_names=", "--column-names"),
    (r"(encoding|format)=", r"--\1"),
    (r"pass schema=", "call headrace.write() with schema="),
)


def reword(text: str) -> str:
    """An error's text with this command's options in place of Python's arguments."""
    for pattern, option in _REWORDED:
        text = re.sub(rf"(?<![\w-]){pattern}", option, text)
    return text


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given; the rest is left to the defaults of convert()."""
    given = {
        name: getattr(arguments, name)
        for name in ("format", "delimiter", "encoding", "threads", "column_names", "column_types", "repack", "max_side", "quality", "store")
        if getattr(arguments, name) is not None
    }
    given.update({name: True for name in ("append", "allow_unsafe_types") if getattr(arguments, name)})
    if arguments.fields is not None:
        given["fields"] = arguments.fields.split(",")
    if given.get("delimiter") == r"\t":
        given["delimiter"] = "\t"
    return given


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace._native import Dataset
    from headrace.writing.convert import convert_with

    source = arguments.source[0] if len(arguments.source) == 1 else arguments.source
    begin = time.perf_counter()
    with console.progress("convert") as progress:
        writer = convert_with(source, arguments.dataset, codec=arguments.codec, progress=progress.update, **_options(arguments))
    seconds = time.perf_counter() - begin
    dataset = Dataset(arguments.dataset)
    stats = dataset.field_stats()
    raw = sum(int(entry["raw_bytes"]) for entry in stats)
    stored = sum(int(entry["stored_bytes"]) for entry in stats)
    summary = {
        "source": source,
        "dataset": arguments.dataset,
        "version": dataset.version,
        "samples": len(dataset),
        "fields": dataset.schema.names,
        "raw_bytes": raw,
        "stored_bytes": stored,
        "ratio": raw / stored if stored else None,
        "seconds": seconds,
        "raw_bytes_per_second": raw / seconds,
        "choices": writer.choices,
    }
    if console.json_output:
        console.result_json(summary)
        return OK
    sizes = f"{humanise.bytes_size(raw)} -> {humanise.bytes_size(stored)}" + (f" ({humanise.ratio(raw / stored)})" if stored else "")
    console.result(
        f"{printable(arguments.dataset)}: {humanise.count(len(dataset))} samples, {sizes} in {humanise.duration(seconds)}, "
        f"{humanise.byte_rate(raw / seconds)}"
    )
    if writer.choices:
        console.result("How fields are stored, by trying codecs on the first values:")
        pairs = [(printable(choice["field"]), choice["reason"]) for choice in writer.choices]
        console.result(key_values(pairs, style=console.style))
    return OK
