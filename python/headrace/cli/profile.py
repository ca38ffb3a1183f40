"""`headrace profile`: what a dataset's fields hold, and how they moved against another's."""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import OK, Console, UsageError, add_dataset_version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    add_dataset_version(parser)
    parser.add_argument("--fields", metavar="A,B", help="only these fields")
    parser.add_argument("--label", metavar="FIELD", help="show how the classes of this field are balanced")
    parser.add_argument("--rank-error", type=float, default=0.001, metavar="E", help="of quantiles of long fields (default: %(default)s)")
    parser.add_argument("--against", metavar="OTHER", help="compare with another dataset, the reference: PSI and Kolmogorov-Smirnov")
    files = parser.add_argument_group("files")
    files.add_argument("--plot", metavar="FILE", help="draw histograms and correlations (.png or .svg)")
    files.add_argument("--parquet", metavar="FILE", help="write one line a field")
    files.add_argument("--csv", metavar="FILE", help="write the same as CSV")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    if arguments.plot is not None:
        from headrace.report.plot import require_plotting

        require_plotting()
    found = _profile(arguments.dataset, arguments.dataset_version or None, arguments, console)
    compared = None
    if arguments.against is not None:
        compared = _profile(arguments.against, None, arguments, console).drift(found)
    for path, write in ((arguments.plot, found.plot), (arguments.parquet, found.to_parquet), (arguments.csv, found.to_csv)):
        if path is not None:
            write(path)
    if console.json_output:
        console.result_json({"profile": found.to_dict(), **({} if compared is None else {"drift": compared.to_dict()})})
        return OK
    console.result(found.to_text(console.width))
    if compared is not None:
        console.result()
        console.result(compared.to_text(console.width))
    for path in (arguments.plot, arguments.parquet, arguments.csv):
        if path is not None:
            console.message(f"wrote {path}")
    return OK


def _profile(path: str, version: int | None, arguments: argparse.Namespace, console: Console) -> Any:
    from headrace.datasets.shards import open as open_dataset
    from headrace.profiling.profile import profile

    dataset = open_dataset(path, version)
    names = None if arguments.fields is None else arguments.fields.split(",")
    for name in [*(names or []), *([arguments.label] if arguments.label else [])]:
        if name not in dataset.schema.names:
            raise UsageError(f"{path} has no field {name!r}; it has {', '.join(dataset.schema.names)}")
    if names is not None and arguments.label is not None and arguments.label not in names:
        names.append(arguments.label)
    with console.progress(f"profiling {path}") as progress:
        return profile(dataset, fields=names, label=arguments.label, rank_error=arguments.rank_error, progress=progress.update)
