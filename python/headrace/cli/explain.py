"""`headrace bench loader DATASET --explain`: what binds, how much faster it could be, and what to do."""

from __future__ import annotations

import argparse
import time
from typing import Any

from headrace.cli.console import OK, Console
from headrace.report import humanise
from headrace.report.table import Column, key_values, table

__all__ = ["explain"]

_COLUMNS = (
    Column(title="stage"),
    Column(title="samples/s alone", right=True),
    Column(title="/ delivered", right=True),
    Column(title="measured", drop=True),
)


def explain(arguments: argparse.Namespace, console: Console) -> int:
    """Measure, show, and return the exit code."""
    import headrace

    loader = headrace.DataLoader(
        headrace.open(arguments.dataset),
        arguments.batch_size,
        shuffle=arguments.order != "sequential",
        order="global" if arguments.order == "sequential" else arguments.order,
        num_workers=max(arguments.workers),
        seed=arguments.seed,
    )
    step = None
    if arguments.compute_ms is not None:

        def step(batch: Any) -> None:
            time.sleep(arguments.compute_ms / 1e3)

    found = headrace.diagnose(loader, step)
    if console.json_output:
        console.result_json(found)
    else:
        pairs = [
            ("dataset", f"{arguments.dataset}, {humanise.count(len(loader.source))} samples"),
            ("loader", f"batches of {humanise.count(arguments.batch_size)}, {arguments.order} order, {loader.num_workers} workers"),
            ("delivered", f"{humanise.rate(found.delivered)}; the loader alone {humanise.rate(found.loader)}"),
            ("waiting", f"{humanise.percent(found.stall_share)} of the loop's time"),
        ]
        console.result(key_values(pairs, width=console.width, style=console.style))
        console.result()
        cells = [
            [stage.name, humanise.rate(stage.samples_per_second), humanise.ratio(stage.samples_per_second / found.delivered), stage.means]
            for stage in found.stages
        ]
        console.result(table(_COLUMNS, cells, width=console.width, style=console.style))
        console.result()
        console.result(found.verdict)
    if arguments.plot:
        _draw(found, arguments.dataset, arguments.plot)
    return OK


def _draw(found: Any, dataset: str, path: str) -> None:
    """A bar for each stage, the delivered rate as a line."""
    from headrace.report.plot import BarGroup, draw_bars

    stages = sorted(found.stages, key=lambda stage: stage.samples_per_second)
    group = BarGroup(
        title=f"bound by {found.bound_by}",
        labels=[stage.name for stage in stages],
        values=[stage.samples_per_second for stage in stages],
        ours=frozenset(number for number, stage in enumerate(stages) if stage.name == found.bound_by),
    )
    draw_bars(
        path,
        title=f"{dataset}: each stage alone; dashed: delivered, {humanise.rate(found.delivered)}",
        x_label="samples/s",
        groups=[group],
        value_format=humanise.rate,
        line_at=found.delivered,
        log=max(one.samples_per_second for one in stages) > 20 * found.delivered,
    )
