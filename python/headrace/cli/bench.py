"""`headrace bench`: what a loader delivers from a dataset, what storage delivers at all, and whether it keeps an accelerator busy."""

from __future__ import annotations

import argparse
import importlib

from headrace.cli.console import Console, output_options

_BENCHMARKS = {
    "loader": "measure how fast a dataset can be delivered, and what limits it",
    "storage": "measure what storage delivers, cold or warm, with the kernel's counters as proof, beside fio",
    "mlperf": "measure whether storage keeps an accelerator busy, in the shapes of MLPerf Storage's workloads",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmarks, each with options of its own."""
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, summary in _BENCHMARKS.items():
        benchmark = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[output_options(nested=True)],
            epilog="Exit codes: headrace --help.",
        )
        importlib.import_module(f"headrace.cli.bench_{name}").add_arguments(benchmark)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the benchmark that was named and return its exit code."""
    return int(importlib.import_module(f"headrace.cli.bench_{arguments.benchmark}").run(arguments, console))
