"""`headrace bench loader`: how fast a dataset can be delivered, beside what binds it and beside other loaders, all in the same run."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Any

from headrace.cli.console import FAILURE, OK, Console, UsageError, at_least, choices, number_above_zero, whole_numbers
from headrace.report import humanise
from headrace.report.table import Column, key_values, table

_RIVALS = ("torch", "torch-batched", "numpy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    parser.add_argument("--batch-size", type=at_least(1), default=1024, metavar="N", help="samples in a batch (default: 1024)")
    parser.add_argument(
        "--order", choices=("global", "window", "sequential"), default="global", help="order of the epochs (default: global)"
    )
    parser.add_argument("--workers", type=whole_numbers(0), default=(0, 1, 2), metavar="A,B", help="num_workers to try (default: 0,1,2)")
    parser.add_argument("--epochs", type=at_least(1), default=3, metavar="N", help="timed epochs for each (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the order (default: 0)")
    parser.add_argument(
        "--against",
        type=choices(_RIVALS),
        default=(),
        metavar="A,B",
        help="also measure torch (DataLoader, a sample a call), torch-batched (with __getitems__), numpy (np.take from memory)",
    )
    parser.add_argument(
        "--compute-ms",
        type=number_above_zero,
        default=None,
        metavar="T",
        help="also simulate an accelerator that computes T ms on each batch, and print its utilisation as MLPerf Storage defines it",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="instead, measure each stage of a loader with the most of --workers by itself, say which binds and what to do; "
        "with --compute-ms also against a consumer that takes so long for a batch",
    )
    parser.add_argument("--save", metavar="FILE", help="keep this run, for --baseline")
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="compare with a run that was kept; exit code 1 if a loader is slower by more than the runs' noise",
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the rates into a .png or .svg file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    if arguments.plot:
        from headrace.report.plot import require_plotting

        require_plotting()
    if arguments.explain:
        from headrace.cli.explain import explain

        return explain(arguments, console)
    from headrace.bench import bench_loader
    from headrace.bench.baseline import compare, load_baseline, save_baseline

    if arguments.save and not os.path.isdir(os.path.dirname(os.path.abspath(arguments.save))):
        raise UsageError(f"--save {arguments.save}: there is no directory to write it in")
    baseline = load_baseline(arguments.baseline) if arguments.baseline else None  # Before the work.
    measured = bench_loader(
        arguments.dataset,
        batch_size=arguments.batch_size,
        order=arguments.order,
        workers=arguments.workers,
        epochs=arguments.epochs,
        seed=arguments.seed,
        against=arguments.against,
        compute_ms=arguments.compute_ms,
    )
    compared = compare(measured, baseline) if baseline is not None else []
    if console.json_output:
        console.result_json(measured if baseline is None else {**asdict(measured), "compared": [asdict(one) for one in compared]})
    else:
        _show(measured, console)
        _show_compared(compared, console)
    if arguments.save:
        save_baseline(measured, arguments.save)
    if arguments.plot:  # after the result, which an error here must not cost
        _draw(measured, arguments.plot)
    return FAILURE if any(one.is_regression for one in compared) else OK


def _show_compared(compared: list[Any], console: Console) -> None:
    for one in compared:
        verdict = "SLOWER" if one.is_regression else "as fast, within the noise" if one.ratio < 2 - one.allowed else "faster"
        console.result(
            f"beside the baseline, {one.num_workers} workers: {humanise.ratio(one.ratio)} of its share of the limit "
            f"(noise {humanise.percent(one.noise)}, allowed {humanise.ratio(one.allowed)}): {verdict}"
        )


_RESULT_COLUMNS = (
    Column(title="loader"),
    Column(title="workers", right=True),
    Column(title="samples/s", right=True),
    Column(title="limit", right=True),
    Column(title="1st batch", right=True),
    Column(title="stall", right=True),
    Column(title="memory", right=True),
    Column(title="CPU s/GB", right=True),
    Column(title="decoded", right=True, drop=True),
    Column(title="binding limit", drop=True),
    Column(title="most work in", drop=True),
    Column(title="reader", drop=True),
)
_ACCELERATOR_COLUMNS = (
    Column(title="loader"),
    Column(title="workers", right=True),
    Column(title="utilisation", right=True),
    Column(title="samples/s", right=True),
    Column(title="steps", right=True),
)
_CEILING_COLUMNS = (
    Column(title="threads", right=True),
    Column(title="memory copy", right=True),
    Column(title="codec decode", right=True),
    Column(title="read, cached", right=True),
    Column(title="read + XXH3", right=True),
)


def _busiest(stages: dict[str, float]) -> str:
    if not stages:
        return ""
    # The engine's "assemble" contains the reads, checks and decodes that it waits for.
    inner = sum(stages[stage] for stage in ("read", "verify", "decode"))
    stages = {**stages, "assemble": max(0.0, stages["assemble"] - inner)}
    total = sum(stages.values())
    if total <= 0:
        return "-"
    name = max(stages, key=lambda stage: stages[stage])
    return f"{name} {humanise.percent(stages[name] / total)}"


def _result_cells(result: Any) -> list[str]:
    return [
        result.name,
        str(result.num_workers),
        humanise.rate(result.samples_per_second),
        humanise.percent(result.limit_share),
        humanise.duration(result.time_to_first_batch_seconds),
        f"{100 * result.stall_share:.3g} %",
        "-" if result.peak_private_bytes is None else humanise.bytes_size(result.peak_private_bytes),
        humanise.number(result.cpu_seconds_per_gb, 3),
        humanise.byte_rate(result.bytes_per_second),
        result.limit,
        _busiest(result.stages_seconds),
        result.reader,
    ]


def _accelerator_cells(result: Any) -> list[str]:
    run = result.accelerator
    return [
        result.name,
        str(result.num_workers),
        humanise.percent(run.utilisation),
        humanise.rate(run.samples_per_second),
        humanise.count(run.steps),
    ]


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
    console.result(key_values(pairs, width=console.width, style=console.style))
    console.result()
    console.result(table(_RESULT_COLUMNS, [_result_cells(result) for result in measured.results], width=console.width, style=console.style))
    limits = " or ".join(dict.fromkeys(result.limit for result in measured.results))
    console.result(f"limit: the time that what binds ({limits}) would take alone / the time taken")
    for name, ratio in measured.speed_ratios.items():
        console.result(f"headrace / {name}, each at its best: {humanise.ratio(ratio)}")
    console.result()
    console.result("What this machine can do, measured in the same run:")
    console.result(table(_CEILING_COLUMNS, _ceiling_cells(measured), width=console.width, style=console.style))
    console.result()
    if measured.compute_ms is not None:
        console.result(f"An accelerator that computes {measured.compute_ms:g} ms on each batch (simulated, as in MLPerf Storage):")
        cells = [_accelerator_cells(result) for result in measured.results]
        console.result(table(_ACCELERATOR_COLUMNS, cells, width=console.width, style=console.style))
        console.result("Utilisation: compute time / running time, the wait for the first batch left out.")
        console.result()
    console.result("The consumer only takes batches, so its stall share is near 100 % by design; a training loop's is what counts.")


def _ceiling_cells(measured: Any) -> list[list[str]]:
    lines = []
    for threads, ceilings in measured.ceilings.items():
        decode = [limit.bytes_per_second for limit in measured.limits[threads] if limit.name == "codec decode"]
        rates = (
            ceilings.copy_bytes_per_second,
            *(decode or [float("nan")]),
            ceilings.read_bytes_per_second,
            ceilings.hash_bytes_per_second,
        )
        lines.append([str(threads), *map(humanise.byte_rate, rates)])
    return lines


def _draw(measured: Any, path: str) -> None:
    """Bars of decoded bytes a second, the binding limit as a mark on each."""
    from headrace.report.plot import BarGroup, draw_bars

    results = sorted(measured.results, key=lambda result: -result.bytes_per_second)
    group = BarGroup(
        title=f"batches of {humanise.count(measured.batch_size)}, {measured.order} order, warm",
        labels=[f"{result.name}, {result.num_workers} worker{'' if result.num_workers == 1 else 's'}" for result in results],
        values=[result.bytes_per_second for result in results],
        marks=[result.bytes_per_second / result.limit_share if result.name == "headrace" else None for result in results],
        ours=frozenset(number for number, result in enumerate(results) if result.name == "headrace"),
    )
    limits = " or ".join(dict.fromkeys(result.limit for result in results if result.name == "headrace"))
    draw_bars(
        path,
        title=f"{measured.path}, {humanise.count(measured.samples)} samples",
        x_label="decoded bytes/s",
        groups=[group],
        value_format=humanise.byte_rate,
        mark_label=f"limit: {limits}",
    )
