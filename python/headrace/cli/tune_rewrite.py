"""`headrace tune --rewrite`: layouts of a dataset tried on a sample of it; with `--to` the best one written."""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import OK, Console
from headrace.cli.tune import draw_history
from headrace.report import humanise
from headrace.report.table import Column, key_values, table

_SHOWN = 6
_COLUMNS = (
    Column(title="trial", right=True),
    Column(title="/ present", right=True),
    Column(title="samples/s", right=True),
    Column(title="stored", right=True),
    Column(title="codec"),
    Column(title="filter"),
    Column(title="block", right=True),
    Column(title="chunk", right=True),
)


def run_rewrite(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace.datasets.shards import open as open_dataset
    from headrace.tune import layouts, write_options
    from headrace.writing.rewrite import rewrite
    from headrace.writing.writer import refuse_existing

    if arguments.to:
        refuse_existing(arguments.to)  # Before minutes of trials.
    dataset = open_dataset(arguments.dataset)
    with console.progress("tune", unit="trials") as progress:
        found = layouts(
            dataset,
            batch_size=arguments.batch_size,
            order=arguments.order,
            trials=arguments.trials,
            sampler=arguments.sampler,
            seed=arguments.seed,
            seconds=arguments.seconds,
            sample_bytes=arguments.sample_mib << 20,
            most_size=arguments.most_size,
            num_workers=arguments.most_workers,
            on_trial=lambda trial: progress.update(trial.number + 1, arguments.trials),
        )
    written = None
    if arguments.to and found.best is not None and not found.interrupted:
        with console.progress("rewrite", unit="samples") as progress:
            rewrite(
                dataset,
                arguments.to,
                **write_options(dataset, found.best.options),
                progress=lambda done, total, unit: progress.update(done, total),
            )
        written = arguments.to
    if console.json_output:
        console.result_json({"search": found, "written": written})
    else:
        _show(found, arguments, written, console)
    if arguments.plot:
        draw_history(arguments.plot, f"{arguments.dataset}: samples/s of each layout / those of the present one", found.trials)
    return OK


def _cells(trial: Any) -> list[str]:
    options = trial.options
    name = "present" if not options else str(trial.number)
    sizes = [humanise.bytes_size(options[key]) if options else "" for key in ("block_bytes", "chunk_bytes")]
    numbers = [humanise.ratio(trial.ratio), humanise.rate(trial.samples_per_second), humanise.bytes_size(trial.stored_bytes)]
    return [name, *numbers, options.get("codec", "as it is"), options.get("filter", ""), *sizes]


def _show(found: Any, arguments: argparse.Namespace, written: str | None, console: Console) -> None:
    good = sorted((trial for trial in found.trials if trial.ratio is not None), key=lambda trial: -trial.ratio)
    failed = [trial for trial in found.trials if trial.ratio is None]
    share = f"{humanise.count(found.sampled)} of {humanise.count(found.samples)} samples"
    pairs = [
        ("dataset", f"{arguments.dataset}, batches of {humanise.count(arguments.batch_size)}, {arguments.order} order"),
        ("measured on", f"{share}, in the page cache, decoded again at each use"),
        ("trials", f"{len(found.trials)}, {len(failed)} failed" + (" (interrupted)" if found.interrupted else "")),
        ("written", written or ("nothing: interrupted" if arguments.to and found.interrupted else "nothing")),
    ]
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    rows = [_cells(found.present), *map(_cells, good[:_SHOWN])]
    console.result(table(_COLUMNS, rows, width=console.width, style=console.style))
    if found.importance:
        console.result("what mattered: " + ", ".join(f"{name} {humanise.percent(part)}" for name, part in found.importance.items()))
    for trial in failed[:_SHOWN]:
        console.result(f"trial {trial.number} ({trial.options['codec']}, {trial.options['filter']}) failed: {trial.error}")
    if found.best is None:
        console.result("no layout is within --most-size")
    elif not found.best.options:
        console.result("the present layout is as good as any that was tried")
    else:
        size = found.best.stored_bytes / found.present.stored_bytes
        console.result(
            f"best: trial {found.best.number}, predicted {humanise.ratio(found.best.ratio)} the samples/s at {humanise.ratio(size)} the bytes"
        )
