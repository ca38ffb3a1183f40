"""`headrace top`: the loaders of running processes that publish (hr.monitor.Publish), live."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from headrace.cli.console import OK, Console, at_least, number_above_zero
from headrace.report import humanise
from headrace.report.table import Column, table

_COLUMNS = (
    Column(title="pid", right=True),
    Column(title="loader"),
    Column(title="epoch", right=True),
    Column(title="position", right=True),
    Column(title="samples/s", right=True),
    Column(title="bytes/s", right=True),
    Column(title="stall", right=True),
    Column(title="p99 wait", right=True),
    Column(title="ready", right=True),
    Column(title="threads", right=True),
    Column(title="ahead", right=True),
    Column(title="tuning"),
    Column(title="seen"),
)
_CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("pid", nargs="*", type=at_least(1), help="processes (default: all of this user that publish)")
    parser.add_argument("--every", type=number_above_zero, default=1.0, metavar="T", help="seconds between two looks (default: 1)")
    parser.add_argument("--once", action="store_true", help="look once; so it is too where the output is no terminal")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code; Ctrl-C ends it, and so does the end of all processes that were named."""
    once = arguments.once or console.json_output or not sys.stdout.isatty()
    pids = list(dict.fromkeys(arguments.pid))
    seen, problems = _look(pids or _publishers())
    if pids and problems:
        raise ValueError(problems[0])
    while True:
        if console.json_output:
            console.result_json(seen)
        else:
            text = "\n".join([_shown(seen, console), *problems])
            console.result(text if once else _CLEAR + text)
        if once or (pids and len(problems) == len(pids)):
            return OK
        sys.stdout.flush()
        time.sleep(arguments.every)
        seen, problems = _look(pids or _publishers())


def _publishers() -> list[int]:
    from headrace.monitor.publish import publishers

    return publishers()


def _look(pids: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """(readings, a line for each process that gave none). One that is odd or dies meanwhile costs the others nothing."""
    from headrace.monitor.publish import published

    found, problems = [], []
    for pid in pids:
        try:
            readings = published(pid)
        except ValueError as error:
            problems.append(str(error))
            continue
        if readings is None:
            does = "does not publish to this user, or ended"
            problems.append(f"process {pid} {does}; in it: hr.monitor.watch(loader, every=1, to=[hr.monitor.Publish()])")
        found += [{"pid": pid, **reading} for reading in readings or []]
    return found, problems


def _shown(seen: list[dict[str, Any]], console: Console) -> str:
    if not seen:
        return "no process of this user publishes; in one: hr.monitor.watch(loader, every=1, to=[hr.monitor.Publish()])"
    return table(_COLUMNS, [_cells(one) for one in seen], width=console.width, style=console.style)


def _cells(one: dict[str, Any]) -> list[str]:
    totals = one["totals"]
    return [
        str(one["pid"]),
        one["loader"],
        str(one["epoch"]),
        humanise.count(one["position"]),
        humanise.rate(one["samples_per_second"]),
        humanise.byte_rate(one["bytes_per_second"]),
        humanise.percent(one["stall_share"]),
        humanise.duration(one["wait_p99_seconds"]),
        str(one["batches_ready"]),
        str(totals.get("num_threads", "")),
        str(totals.get("prefetch_batches", "")),
        totals.get("tuning", ""),
        f"{max(0.0, time.time() - one['time']):.0f} s ago",
    ]
