"""`headrace tune`: search a loader's options on this machine, and keep what was found for num_workers="auto"; `--rewrite`: how to store the dataset."""

from __future__ import annotations

import argparse
from typing import Any

from headrace.cli.console import OK, Console, UsageError, at_least, choices, number_above_zero
from headrace.report import humanise
from headrace.report.table import Column, key_values, table

_SAMPLERS = ("tpe", "random", "grid", "gp")
_READERS = ("mmap", "pread", "direct", "uring")
_SHOWN = 5
_COLUMNS = (
    Column(title="trial", right=True),
    Column(title="/ defaults", right=True),
    Column(title="samples/s", right=True),
    Column(title="workers", right=True),
    Column(title="prefetch", right=True),
    Column(title="reader"),
    Column(title="window", right=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    parser.add_argument("--batch-size", type=at_least(1), default=256, metavar="N", help="samples in a batch (default: 256)")
    parser.add_argument(
        "--order", choices=("global", "window", "sequential"), default="global", help="order of the epochs (default: global)"
    )
    parser.add_argument("--trials", type=at_least(1), default=20, metavar="N", help="choices of options to measure (default: 20)")
    parser.add_argument("--sampler", choices=_SAMPLERS, default="tpe", help="how Optuna chooses them (default: tpe)")
    parser.add_argument(
        "--seconds", type=number_above_zero, default=1.0, metavar="T", help="for each, and as long for the defaults (default: 1)"
    )
    parser.add_argument("--most-workers", type=at_least(0), default=None, metavar="N", help="of num_workers (default: usable cores)")
    parser.add_argument("--readers", type=choices(_READERS), default=_READERS, metavar="A,B", help="to try (default: all)")
    parser.add_argument("--compute-ms", type=number_above_zero, default=None, metavar="T", help="a consumer that takes T ms for a batch")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choices (default: 0)")
    parser.add_argument("--no-save", action="store_true", help="only report")
    parser.add_argument(
        "--rewrite", action="store_true", help="search codec, filter and sizes on disk instead, on a sample: predicts, and rewrites nothing"
    )
    parser.add_argument("--to", metavar="DIR", help="with --rewrite: write the whole dataset there in the best layout found")
    parser.add_argument(
        "--most-size", type=number_above_zero, default=None, metavar="R", help="with --rewrite: no layout above R times the present bytes"
    )
    parser.add_argument(
        "--sample-mib", type=at_least(1), default=64, metavar="N", help="with --rewrite: raw MiB of the sample (default: 64)"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the trials into a .png or .svg file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    if arguments.plot:
        from headrace.report.plot import require_plotting

        require_plotting()
    if arguments.rewrite:
        from headrace.cli.tune_rewrite import run_rewrite

        return run_rewrite(arguments, console)
    if arguments.to or arguments.most_size is not None:
        raise UsageError("--to and --most-size go with --rewrite")
    import time

    from headrace.tune import search

    step = None if arguments.compute_ms is None else lambda batch: time.sleep(arguments.compute_ms / 1e3)
    with console.progress("tune", unit="trials") as progress:
        found = search(
            arguments.dataset,
            batch_size=arguments.batch_size,
            order=arguments.order,
            trials=arguments.trials,
            sampler=arguments.sampler,
            seed=arguments.seed,
            seconds=arguments.seconds,
            most_workers=arguments.most_workers,
            readers=arguments.readers,
            step=step,
            save=not arguments.no_save,
            on_trial=lambda trial: progress.update(trial.number + 1, arguments.trials),
        )
    if console.json_output:
        console.result_json(found)
    else:
        _show(found, arguments, console)
    if arguments.plot:
        _draw(found, arguments)
    return OK


def _cells(trial: Any) -> list[str]:
    options = trial.options
    return [
        str(trial.number),
        humanise.ratio(trial.ratio),
        humanise.rate(trial.samples_per_second),
        str(options["num_workers"]),
        str(options["prefetch_factor"]),
        options["reader"],
        "-" if options["window"] is None else str(options["window"]),
    ]


def _show(found: Any, arguments: argparse.Namespace, console: Console) -> None:
    good = sorted((trial for trial in found.trials if trial.ratio is not None), key=lambda trial: -trial.ratio)
    failed = [trial for trial in found.trials if trial.ratio is None]
    pairs = [
        ("dataset", f"{arguments.dataset}, batches of {humanise.count(arguments.batch_size)}, {arguments.order} order"),
        ("defaults", f"{found.defaults['num_workers']} workers, reader auto"),
        ("trials", f"{len(found.trials)}, {len(failed)} failed" + (" (interrupted)" if found.interrupted else "")),
        ("saved", found.saved or ("nothing" if found.kept is None else _kept(found.kept))),
    ]
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    console.result(table(_COLUMNS, [_cells(trial) for trial in good[:_SHOWN]], width=console.width, style=console.style))
    if found.importance:
        console.result("what mattered: " + ", ".join(f"{name} {humanise.percent(share)}" for name, share in found.importance.items()))
    for trial in failed[:_SHOWN]:
        console.result(f"trial {trial.number} ({trial.options['reader']}, {trial.options['num_workers']} workers) failed: {trial.error}")
    if found.profile is not None and found.saved:
        reader = found.profile.reader
        console.result(
            f'num_workers="auto" now means {found.profile.num_workers} for this dataset; open it with reader="{reader}" for all of it.'
        )


def _kept(profile: Any) -> str:
    return f"nothing; the earlier profile stays: {profile.num_workers} workers, reader {profile.reader}, {humanise.ratio(profile.ratio)} the defaults"


def _draw(found: Any, arguments: argparse.Namespace) -> None:
    """Each trial's ratio, and the best so far."""
    draw_history(arguments.plot, f"{arguments.dataset}: samples/s of each trial / those of the defaults", found.trials)


def draw_history(path: str, title: str, trials: Any) -> None:
    """The ratio of each trial, and the best so far."""
    from headrace.report.plot import Line, draw_lines

    good = [trial for trial in trials if trial.ratio is not None]
    best: list[float] = []
    for trial in good:
        best.append(max([trial.ratio, *best[-1:]]))
    numbers = [trial.number + 1 for trial in good]
    draw_lines(
        path,
        title=title,
        x_label="trial",
        y_label="ratio",
        lines=[
            Line(label="trial", x=numbers, y=[trial.ratio for trial in good]),
            Line(label="best so far", x=numbers, y=best, dashed=True),
        ],
        log_x=False,
    )
