"""`headrace demo`: the main job on real input, beside torch's own DataLoader."""

from __future__ import annotations

import argparse
import time
from typing import Any

from headrace.cli.console import OK, Console
from headrace.report import humanise
from headrace.report.table import Column, key_values, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--folder", default="demo-data", help="where the datasets are written, replacing an earlier demo's (default: demo-data)"
    )
    parser.add_argument("--batch-size", type=int, default=2048, metavar="N", help="samples in a batch (default: 2048)")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="epochs of training for each loader (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of order and weights (default: 0)")
    parser.add_argument("--quick", action="store_true", help="a fourteenth of the flights, one epoch: to see that it works")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace.demo import run_demo

    begin = time.perf_counter()

    def advance(stage: str) -> None:
        if not console.json_output:
            console.message(f"[{time.perf_counter() - begin:5.1f} s] {stage}")

    result = run_demo(
        arguments.folder,
        quick=arguments.quick,
        batch_size=arguments.batch_size,
        epochs=1 if arguments.quick else arguments.epochs,
        seed=arguments.seed,
        advance=advance,
    )
    if console.json_output:
        console.result_json(result)
    else:
        _show(result, console)
    return OK


_COLUMNS = (
    Column(title="loader"),
    Column(title="loader alone", right=True),
    Column(title="workers", right=True),
    Column(title="training loop", right=True),
    Column(title="workers", right=True),
    Column(title="stall share", right=True),
    Column(title="first batch", right=True),
    Column(title="AUC", right=True),
    Column(title="loss, last epoch", right=True),
)


def _written(dataset: Any) -> str:
    return (
        f"{humanise.count(dataset.samples)} samples of {dataset.fields} fields, {humanise.bytes_size(dataset.raw_bytes)} -> "
        f"{humanise.bytes_size(dataset.stored_bytes)} in {humanise.duration(dataset.seconds)} ({dataset.path})"
    )


def _loader_line(entry: Any) -> list[str]:
    return [
        entry.name,
        humanise.rate(entry.loader_samples_per_second),
        str(entry.num_workers),
        humanise.rate(entry.training_samples_per_second),
        str(entry.training_num_workers),
        humanise.percent(entry.stall_share),
        humanise.duration(entry.time_to_first_batch_seconds),
        f"{entry.auc:.4f}",
        f"{entry.final_loss:.4f}",
    ]


def _show(result: Any, console: Console) -> None:
    ours, *others = result.contenders
    pairs = [
        ("flights", _written(result.flights)),
        ("train", f"{_written(result.train)}, before 2013-10-01"),
        ("held out", f"{_written(result.held_out)}, {humanise.percent(result.late_share)} arrive more than 15 minutes late"),
        ("left out", f"{humanise.count(result.unknown_arrivals)} flights whose arrival is not known"),
        ("checked", f"{result.checked_batches} batches of one epoch, bit-equal in headrace and torch, each sample once"),
        (
            "training",
            f"{result.epochs} epochs of batches of {humanise.count(result.batch_size)}, torch on one thread, same seeds and order for every loader",
        ),
    ]
    console.result(key_values(pairs, style=console.style))
    console.result()
    console.result(table(_COLUMNS, [_loader_line(entry) for entry in result.contenders], width=console.width, style=console.style))
    console.result()
    for other in others:
        console.result(_compared(ours, other))
    tried = "; ".join(
        f"{entry.name}: " + ", ".join(f"{workers} {humanise.rate(rate)}" for workers, rate in entry.tried_samples_per_second.items())
        for entry in result.contenders
    )
    console.result(f"num_workers tried, loader alone: {tried}.")
    console.result(
        "torch's data lies decoded in memory, headrace's in checksummed, compressed files; samples/s, medians of interleaved epochs."
    )
    _show_ready(result.ready, console)
    console.result(f"Whole demo: {humanise.duration(result.seconds)}.")


def _show_ready(ready: Any, console: Console) -> None:
    console.result("\nThe same flights made ready by headrace: profiled, split by date, prepared, balanced, trained on, evaluated\n")
    console.result(ready.profile)
    console.result()
    console.result(ready.pipeline)
    console.result()
    low, high = ready.auc_interval
    compared = ready.translated
    pairs = [
        ("profiled", f"in {humanise.duration(ready.profile_seconds)}, one pass"),
        (
            "fitted",
            f"{ready.fit_passes} passes over {humanise.count(ready.train)} earlier flights, {humanise.duration(ready.fit_seconds)}; {ready.features} features",
        ),
        (
            "balanced",
            f"{humanise.percent(ready.late_share)} of these are late, {humanise.percent(ready.balanced_late_share)} of what the model saw",
        ),
        (
            "trained",
            f"{ready.epochs} {'epoch' if ready.epochs == 1 else 'epochs'} in {humanise.duration(ready.train_seconds)}; prepared by the loader",
        ),
        ("AUC", f"{ready.auc:.4f}, 95 % interval {low:.4f} to {high:.4f}, on {humanise.count(ready.held_out)} flights after that date"),
        (
            "scikit-learn",
            f"{compared.steps}, translated: {humanise.count(compared.rows)} rows within {compared.largest_difference:.1g} of its own transform()",
        ),
    ]
    console.result(key_values(pairs, style=console.style))
    console.result()
    console.result(ready.evaluation)
    console.result()


def _compared(ours: Any, other: Any) -> str:
    alone = ours.loader_samples_per_second / other.loader_samples_per_second
    loop = ours.training_samples_per_second / other.training_samples_per_second
    difference = other.largest_loss_difference
    same = "every training loss is bit-equal" if difference == 0 else f"training losses differ by at most {difference:.2g}"
    return f"headrace / {other.name}: loader alone {humanise.ratio(alone)}, training loop {humanise.ratio(loop)}; {same}."
