"""`headrace bench`: how fast a dataset can be delivered, beside the machine's ceilings of the same run."""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import OK, Console, at_least
from headrace.report import humanise
from headrace.report.table import Column, key_values, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    parser.add_argument("--batch-size", type=at_least(1), default=1024, metavar="N", help="samples in a batch (default: 1024)")
    parser.add_argument(
        "--order", choices=("global", "window", "sequential"), default="global", help="order of the epochs (default: global)"
    )
    parser.add_argument("--workers", type=_worker_counts, default=(0, 1, 2), metavar="A,B", help="num_workers to try (default: 0,1,2)")
    parser.add_argument("--epochs", type=at_least(1), default=3, metavar="N", help="timed epochs for each (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the order (default: 0)")


def _worker_counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 0:
        raise argparse.ArgumentTypeError(f"expected numbers from 0 on with commas between them, got {text!r}")
    return counts


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace.bench import bench_loader

    measured = bench_loader(
        arguments.dataset,
        batch_size=arguments.batch_size,
        order=arguments.order,
        workers=arguments.workers,
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    if console.json_output:
        console.result_json(measured)
    else:
        _show(measured, console)
    return OK


_RESULT_COLUMNS = (
    Column(title="workers", right=True),
    Column(title="samples/s", right=True),
    Column(title="decoded", right=True),
    Column(title="of copy rate", right=True),
    Column(title="first batch", right=True),
    Column(title="stall", right=True),
    Column(title="peak memory", right=True),
    Column(title="most work in"),
    Column(title="reader"),
)
_CEILING_COLUMNS = (
    Column(title="threads", right=True),
    Column(title="memory copy", right=True),
    Column(title="read, cached", right=True),
    Column(title="read + XXH3", right=True),
)


def _busiest(stages: dict[str, float]) -> str:
    # The engine's "assemble" contains the reads, checks and decodes that it waits for.
    inner = sum(stages[stage] for stage in ("read", "verify", "decode"))
    stages = {**stages, "assemble": max(0.0, stages["assemble"] - inner)}
    total = sum(stages.values())
    if total <= 0:
        return "-"
    name = max(stages, key=lambda stage: stages[stage])
    return f"{name} {humanise.percent(stages[name] / total)}"


def _show(measured: Any, console: Console) -> None:
    machine = measured.environment
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    pairs = [
        ("dataset", f"{measured.path}, {humanise.count(measured.samples)} samples"),
        ("values", f"{humanise.bytes_size(measured.raw_bytes)} raw, {humanise.bytes_size(measured.stored_bytes)} stored; warm"),
        ("order", f"{measured.order}, batches of {humanise.count(measured.batch_size)}, {measured.epochs} epochs, medians"),
        ("checked", f"{humanise.count(measured.checked_samples)} samples, each delivered exactly once"),
        ("machine", f"{machine['cpu']}, {machine['usable_cores']} cores usable, load {humanise.number(machine['load_1_min'], 3)}"),
        ("versions", f"Python {machine['python']}, {versions}"),
    ]
    results = [
        [
            str(result.num_workers),
            humanise.rate(result.samples_per_second),
            humanise.byte_rate(result.bytes_per_second),
            humanise.percent(result.copy_share),
            humanise.duration(result.time_to_first_batch_seconds),
            humanise.percent(result.stall_share),
            humanise.bytes_size(result.peak_bytes),
            _busiest(result.stages_seconds),
            result.reader,
        ]
        for result in measured.results
    ]
    ceilings = [
        [str(threads), *(humanise.byte_rate(rate) for rate in (c.copy_bytes_per_second, c.read_bytes_per_second, c.hash_bytes_per_second))]
        for threads, c in measured.ceilings.items()
    ]
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    console.result(table(_RESULT_COLUMNS, results, width=console.width, style=console.style))
    console.result()
    console.result("What this machine can do, measured in the same run:")
    console.result(table(_CEILING_COLUMNS, ceilings, width=console.width, style=console.style))
    console.result()
    console.result("The consumer only takes batches, so its stall share is near 100 % by design; a training loop's is what counts.")
