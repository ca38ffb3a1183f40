"""What `headrace bench storage` writes and draws: tables, fio's lines, the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.cli.console import Console
from headrace.report import humanise
from headrace.report.table import Column, key_values, table

__all__ = ["draw", "show", "taint_reasons"]

_COLUMNS = (
    Column(title="depth", right=True),
    Column(title="threads", right=True),
    Column(title="reader"),
    Column(title="bytes/s", right=True),
    Column(title="reads/s", right=True, drop=True),
    Column(title="p50", right=True),
    Column(title="p99", right=True, drop=True),
    Column(title="device", right=True),
    Column(title="of fio", right=True),
    Column(title="binds"),
    Column(title="rounds", right=True, drop=True),
    Column(title="p99.9", right=True, drop=True),
    Column(title="CPU s/GB", right=True, drop=True),
    Column(title="fio", right=True, drop=True),
    Column(title="fio p50", right=True, drop=True),
    Column(title="in device", right=True, drop=True),
    Column(title="in memory", right=True, drop=True),
)
_FIO_COLUMNS = ("of fio", "fio", "fio p50")


def _block(size: int) -> str:
    """A block size without zeros behind the point: 4096 -> "4 KiB"."""
    number, unit = humanise.bytes_size(size).split()
    return f"{float(number):g} {unit}"


def _short(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _device(result: Any) -> str:
    """The share of the bytes that the device read, and what is wrong with it."""
    return _short(result.device_share) + {"proven": "", "tainted": " TAINTED", "unproven": " unproven"}[result.proof]


def _spread(result: Any) -> str:
    """How far the rounds lie from the one in the middle: "-12 +8 %"."""
    low, high = min(result.round_bytes_per_second), max(result.round_bytes_per_second)
    return f"{100 * (low / result.bytes_per_second - 1):+.0f} {100 * (high / result.bytes_per_second - 1):+.0f} %"


def _range(shares: Iterable[float | None]) -> str:
    known = [share for share in shares if share is not None]
    if not known:
        return "not known"
    return _short(max(known)) if min(known) == max(known) else f"{_short(min(known))} to {_short(max(known))}"


def _resident(result: Any) -> str:
    return f"{_short(result.resident_before)} -> {_short(result.resident_after)}"


def _cells(result: Any) -> dict[str, str]:
    """What each column shows of a result."""
    fio = result.fio
    return {
        "depth": str(result.depth),
        "threads": str(result.threads),
        "reader": f"{result.served_by}*" if result.fallback else result.reader,
        "bytes/s": humanise.byte_rate(result.bytes_per_second),
        "reads/s": humanise.rate(result.operations_per_second).removesuffix("/s"),
        "p50": humanise.duration(result.latency_p50_seconds),
        "p99": humanise.duration(result.latency_p99_seconds),
        "device": _device(result),
        "of fio": "" if result.fio_ratio is None else humanise.ratio(result.fio_ratio),
        "binds": result.binding or "-",
        "rounds": _spread(result),
        "p99.9": humanise.duration(result.latency_p999_seconds),
        "CPU s/GB": humanise.number(result.cpu_seconds_per_gb, 3),
        "fio": "" if fio is None else humanise.byte_rate(fio.bytes_per_second),
        "fio p50": "" if fio is None or fio.latency_p50_seconds is None else humanise.duration(fio.latency_p50_seconds),
        "in device": "-" if result.disk_queue is None else f"{result.disk_queue:.1f}",
        "in memory": _resident(result),
    }


def show(measured: Any, console: Console) -> None:
    """Write the tables, the lines of fio, and what to make of them."""
    console.result(key_values(_facts(measured), width=console.width, style=console.style))
    hidden = set() if any(result.fio for result in measured.results) else set(_FIO_COLUMNS)
    if measured.rounds == 1:
        hidden.add("rounds")
    if len({result.threads for result in measured.results}) == 1:
        hidden.add("threads")
    columns = [column for column in _COLUMNS if column.title not in hidden]
    for pattern, block_bytes in dict.fromkeys((result.pattern, result.block_bytes) for result in measured.results):
        group = [result for result in measured.results if (result.pattern, result.block_bytes) == (pattern, block_bytes)]
        cells = [[_cells(result)[column.title] for column in columns] for result in group]
        console.result()
        console.result(console.style.bold(f"{pattern}, blocks of {_block(block_bytes)}"))
        console.result(table(columns, cells, width=console.width, style=console.style))
    from headrace.bench.storage_limits import BOUNDS

    console.result()
    meanings = [(name or "-", BOUNDS[name]) for name in dict.fromkeys(result.binding for result in measured.results)]
    console.result("What binds:")
    console.result(key_values(meanings, indent="  ", width=console.width, style=console.style))
    console.result()
    _show_fio(measured, console)
    for line in _remarks(measured):
        console.result(line)
    console.result()
    for line in _verdict(measured):
        console.result(console.style.bold(line))
    for line in _taint(measured):
        console.result(console.style.red(line))


def _facts(measured: Any) -> list[tuple[str, str]]:
    files, machine, system = measured.files, measured.environment, measured.file_system
    what = {
        "dataset": f"{measured.path}, {len(files)} of {measured.files_total} shards",
        "file": measured.path,
        "test file": f"{files[0]}, random bytes, {'kept' if measured.kept else 'removed'}",
    }[measured.kind]
    device = f" on {system.device} {system.model}".rstrip() if system.device else ""
    copies = ", ".join(f"{humanise.byte_rate(rate)} ({count} threads)" for count, rate in measured.memory_copy_bytes_per_second.items())
    rounds = "" if measured.rounds == 1 else f", the median of {measured.rounds} rounds"
    state = "cold: dropped from memory before each" if measured.state == "cold" else "warm: read into memory before each"
    return [
        (measured.kind, what),
        ("bytes", f"{humanise.bytes_size(measured.file_bytes)}, {system.type or 'unknown file system'}{device}"),
        (
            "in memory",
            f"{_range(r.resident_before for r in measured.results)} before, {_range(r.resident_after for r in measured.results)} after",
        ),
        ("state", f"{state}; {humanise.duration(measured.seconds)} a point{rounds}"),
        ("fio", measured.fio_version or measured.fio_absence),
        ("machine", f"{machine['cpu']}, {machine['usable_cores']} cores usable, load {humanise.number(machine['load_1_min'], 3)}"),
        ("memory copy", f"{copies.replace('(1 threads)', '(1 thread)')}, measured in this run"),
    ]


def _show_fio(measured: Any, console: Console) -> None:
    """The equivalent command lines, to be checked by anyone."""
    gone = measured.kind == "test file" and not measured.kept
    console.result(f"The same with fio, for anyone to check{' (the test file is gone; --keep leaves it)' if gone else ''}:")
    for line in dict.fromkeys(result.fio_line for result in measured.results if result.fio_line):
        console.result(console.style.dim(line))
    console.result()
    remarks = dict.fromkeys(f"{result.reader}: {result.fio_remark}" for result in measured.results if result.fio_remark)
    errors = dict.fromkeys(result.fio_error for result in measured.results if result.fio_error)
    for line in [*remarks, *errors]:
        console.result(line)


def _remarks(measured: Any) -> list[str]:
    """What a reader of the table must know of this run."""
    lines = []
    if measured.remark:
        lines.append(measured.remark)
    fallbacks = dict.fromkeys((result.reader, result.served_by, result.fallback) for result in measured.results if result.fallback)
    lines += [f"* {asked} was served by {served}: {why}" for asked, served, why in fallbacks]
    if measured.unproven:
        reasons = dict.fromkeys(result.reason for result in measured.results if result.proof == "unproven")
        lines.append(f"unproven, {measured.unproven} of {len(measured.results)} points: {'; '.join(reasons)}")
    return lines


_BINDING_WORDS = {
    "device": "the device binds",
    "depth": "more reads in flight, or more threads, were faster",
    "CPU": "the reading threads' CPU time binds",
    "memory copy": "memory copy binds",
    "reader": "another reader, or fio, was faster",
    "": "what binds is not shown by these points",
}


def _best_line(measured: Any, name: str, title: str) -> str | None:
    best = measured.best.get(name)
    if best is None:
        return None
    result = measured.results[best.result]
    rate = (
        f"{humanise.rate(best.operations_per_second, 'reads')}"
        if name == "random_operations"
        else humanise.byte_rate(best.bytes_per_second)
    )
    how = f"{result.reader}, blocks of {_block(result.block_bytes)}, depth {result.depth}"
    how += f", {result.threads} threads" if result.threads > 1 else ""
    parts = [f"{title}: {rate} ({how})"]
    parts.append(_BINDING_WORDS[best.binding])
    if best.fio_ratio is not None:
        parts.append(f"{humanise.ratio(best.fio_ratio)} of fio")
    if best.samples_per_second is not None:
        parts.append(f"at most {humanise.rate(best.samples_per_second, 'samples')} of this dataset")
    return "; ".join(parts)


def _verdict(measured: Any) -> list[str]:
    titles = {"sequential": "best sequential", "random": "best random", "random_operations": "most random reads"}
    lines = [line for name, title in titles.items() if (line := _best_line(measured, name, title))]
    if measured.fio_ratio is not None:
        lines.append(f"headrace / fio where both do the same, median: {humanise.ratio(measured.fio_ratio)}")
    elif measured.fio_absence:
        lines.append(f"no figure of fio: it is {measured.fio_absence}")
    return lines


def taint_reasons(measured: Any) -> list[str]:
    """Why points are tainted, each reason once."""
    return list(dict.fromkeys(result.reason for result in measured.results if result.proof == "tainted"))


def _taint(measured: Any) -> list[str]:
    reasons = taint_reasons(measured)
    if not reasons:
        return []
    many = reasons[:3] + (["..."] if len(reasons) > 3 else [])
    head = f"TAINTED: {measured.tainted} of {len(measured.results)} points are not {measured.state}, and count for nothing:"
    return [head, *(f"  {reason}" for reason in many)]


def draw(measured: Any, path: str) -> None:
    """Draw bytes a second by depth: a panel for each pattern and block size, a line for each reader, fio as marks."""
    from headrace.report.plot import Line, Panel, draw_panels

    panels = []
    for pattern, block_bytes in dict.fromkeys((result.pattern, result.block_bytes) for result in measured.results):
        group = [result for result in measured.results if (result.pattern, result.block_bytes) == (pattern, block_bytes)]
        lines = []
        for reader, threads in dict.fromkeys((result.reader, result.threads) for result in group):
            own = sorted((r for r in group if (r.reader, r.threads) == (reader, threads)), key=lambda r: r.depth)
            name = f"{reader}, {threads} threads" if threads > 1 else reader
            lines.append(
                Line(
                    label=name,
                    x=[r.depth for r in own],
                    y=[r.bytes_per_second for r in own],
                    marks=[r.fio.bytes_per_second if r.fio else None for r in own],
                    doubtful=frozenset(number for number, r in enumerate(own) if r.proof == "tainted"),
                )
            )
        panels.append(Panel(title=f"{pattern}, blocks of {_block(block_bytes)}", lines=lines))
    device = f" on {measured.file_system.device}" if measured.file_system.device else ""
    draw_panels(
        path,
        title=f"{measured.path}: {measured.file_system.type}{device}, {measured.state}",
        x_label="reads in flight a thread",
        y_label="bytes/s",
        panels=panels,
        y_format=humanise.byte_rate,
        mark_label="fio, the same work",
        doubt_label="tainted",
    )
