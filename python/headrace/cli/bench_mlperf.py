"""`headrace bench mlperf`: does storage keep accelerators busy, in the shapes of MLPerf Storage's workloads?"""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import FAILURE, OK, Console, at_least, byte_size
from headrace.report import humanise
from headrace.report.progress import Progress
from headrace.report.table import Column, key_values, table

_COLUMNS = (
    Column(title="epoch", right=True),
    Column(title="utilisation", right=True),
    Column(title="samples/s", right=True),
    Column(title="bytes/s", right=True),
    Column(title="steps", right=True),
    Column(title="from the device", right=True),
    Column(title="counts"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    add = parser.add_argument
    add("workload", choices=("unet3d", "resnet50", "cosmoflow"), help="whose sizes, batches and compute times")
    add("folder", help="where the data is written, and removed again: a name that is free, on the storage to be measured")
    add("--accelerator", choices=("a100", "h100"), default="h100", help="whose compute time (default: h100)")
    add("--size", type=byte_size, metavar="SIZE", help="of the data (default: a quarter of what is free, at most 4GiB)")
    add("--workers", type=at_least(0), default=2, metavar="N", help="threads of the loader (default: 2)")
    add("--reader", choices=("auto", "mmap", "pread", "direct", "uring"), default="auto", help="how files are read (default: auto)")
    add("--epochs", type=at_least(1), default=2, metavar="N", help="cold passes (default: 2)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of sizes and order (default: 0)")
    add("--keep", action="store_true", help="do not remove the data")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code: 1 if an epoch does not count."""
    from headrace.bench.mlperf import bench_mlperf

    lines: dict[str, Progress] = {}

    def advance(label: str, done: int, total: int) -> None:
        if label not in lines:
            for line in lines.values():
                line.close()
            lines[label] = console.progress(label, "samples" if label == "writing" else "steps")
        lines[label].update(done, total)

    try:
        found = bench_mlperf(
            arguments.workload,
            arguments.folder,
            accelerator=arguments.accelerator,
            size_bytes=arguments.size,
            num_workers=arguments.workers,
            reader=arguments.reader,
            epochs=arguments.epochs,
            seed=arguments.seed,
            keep=arguments.keep,
            advance=advance,
        )
    finally:
        for line in lines.values():
            line.close()
    if console.json_output:
        console.result_json(found)
    else:
        _show(found, console)
    return OK if len(found.counted) == len(found.epochs) else FAILURE


def _show(found: Any, console: Console) -> None:
    pairs = [
        ("workload", f"{found.workload}: batches of {found.batch_size}, {found.compute_seconds * 1000:g} ms a step ({found.accelerator})"),
        ("data", f"{humanise.count(found.samples)} samples, {humanise.bytes_size(found.data_bytes)}, read with {found.reader}"),
        ("wanted", f"{humanise.bytes_size(found.wanted_bytes_per_second)}/s for a utilisation of 100 %"),
    ]
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    cells = [
        [
            str(number + 1),
            humanise.percent(epoch.utilisation),
            humanise.rate(epoch.samples_per_second),
            f"{humanise.bytes_size(epoch.bytes_per_second)}/s",
            str(epoch.steps),
            "?" if epoch.judgement.device_share is None else humanise.percent(epoch.judgement.device_share),
            "yes" if epoch.counts else f"no: {epoch.judgement.reason}",
        ]
        for number, epoch in enumerate(found.epochs)
    ]
    console.result(table(_COLUMNS, cells, width=console.width, style=console.style))
    console.result()
    least = humanise.percent(found.least_utilisation)
    if found.utilisation is None:
        console.result(f"No epoch counts: out of the page cache, nothing is said of the storage. The rules ask for {least}.")
    else:
        verdict = "reaches" if found.utilisation >= found.least_utilisation else "does not reach"
        left_out = len(found.epochs) - len(found.counted)
        rest = f" {left_out} of {len(found.epochs)} epochs do not count." if left_out else ""
        console.result(f"One accelerator at {humanise.percent(found.utilisation)} {verdict} the {least} that the rules ask for.{rest}")
