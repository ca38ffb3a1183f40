"""`headrace gc`: what killed writers left behind."""

from __future__ import annotations

import argparse

from headrace.cli.console import FAILURE, OK, Console
from headrace.report import humanise
from headrace.report.terminal import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    parser.add_argument("--force", action="store_true", help="remove the files (default: list them)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace._native import find_abandoned_files

    found = find_abandoned_files(arguments.dataset, remove=arguments.force)
    files, uncertain = found["files"], found["uncertain"]
    code = FAILURE if arguments.force and uncertain else OK
    if console.json_output:
        listed = {key: [{"name": name, "bytes": size} for name, size in found[key]] for key in ("files", "uncertain")}
        console.result_json({"dataset": arguments.dataset, "removed": arguments.force, "writers": found["writers"], **listed})
        return code
    verb = "removed" if arguments.force else "abandoned"
    for name, size in files:
        console.result(f"{verb}: {printable(name)}, {humanise.bytes_size(size)}")
    for name, size in uncertain:
        console.result(f"cannot tell: {printable(name)}, {humanise.bytes_size(size)}")
    console.result(_summary(arguments.dataset, files, uncertain, removed=arguments.force))
    if uncertain:
        console.message(
            "locks of other machines may not be seen on this file system: if no writer runs anywhere, remove those files by hand"
        )
    if found["writers"]:
        console.message("a writer may be at work here, so shards without a manifest were left alone: run this again when it is done")
    return code


def _summary(path: str, files: list[tuple[str, int]], uncertain: list[tuple[str, int]], *, removed: bool) -> str:
    if not files:
        return f"{printable(path)}: nothing to remove" + (" for sure" if uncertain else "")
    size = humanise.bytes_size(sum(size for _, size in files))
    counted = f"{humanise.count(len(files))} file{'s' * (len(files) != 1)}, {size}"
    return f"{printable(path)}: {counted}, removed" if removed else f"{printable(path)}: {counted}; remove with --force"
