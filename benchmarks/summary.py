"""Draws what was measured: `python -m benchmarks.summary [FOLDER]` reads rows.jsonl there and writes summary.md and the plots beside it.

Whatever rows exist are drawn; a benchmark that was not run has no line. Prints the tables too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row, output_folder, read_rows
from headrace.report import humanise
from headrace.report.plot import BarGroup, Line, draw_bars, draw_lines
from headrace.report.table import Column, table

__all__ = ["main", "markdown", "workload_cells", "write_summary"]

_TITLES = ("workload", "ours", "limit", "ratio", "goal", "best peer", "ratio to it", "command")
_RIGHT = {"ours", "ratio", "goal", "ratio to it"}
_COST_TITLES = ("workload", "what", "measured", "goal", "met", "command")


def _value(row: Row, value: float) -> str:
    return humanise.ratio(value) if row.unit == "x" else f"{value:.3g} {row.unit}"


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"{'>=' if row.better == 'more' else '<='} {_value(row, row.goal)}"


def _our_rate(rows: Sequence[Row]) -> str:
    rates = [row.numbers[name] for row in rows for name in ("our_samples_per_second",) if name in row.numbers]
    return humanise.rate(max(rates), "samples") if rates else ""


def workload_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """One line for each limit of a workload, beside the best of its peers: the one that ours beats by least."""
    lines = []
    for workload in dict.fromkeys(row.workload for row in rows):
        mine = [row for row in rows if row.workload == workload]
        peers = sorted((row for row in mine if row.kind == "peer"), key=lambda row: row.ratio)
        limits = [row for row in mine if row.kind == "limit"]
        best = peers[0] if peers else None
        peer_cells = (best.peer or "", _value(best, best.ratio)) if best else ("", "")
        for row in limits:
            lines.append((workload, _our_rate([row]), row.limit or "", _value(row, row.ratio), _goal(row), *peer_cells, row.command))
            peer_cells = ("", "")
        if best and not limits:
            lines.append((workload, _our_rate([best]), "", "", _goal(best), *peer_cells, best.command))
    return lines


def _cost_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    verdict = {True: "yes", False: "no", None: ""}
    return [
        (row.workload, row.name, _value(row, row.ratio), _goal(row), verdict[row.met], row.command) for row in rows if row.kind == "cost"
    ]


def _peer_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    chosen = sorted((row for row in rows if row.kind == "peer"), key=lambda row: (row.workload, row.ratio))
    return [
        (row.workload, row.peer or "", _their_rate(row), _value(row, row.ratio), _goal(row), str(row.numbers.get("their_settings", "")))
        for row in chosen
    ]


_PEER_TITLES = ("workload", "peer", "its rate", "ours / it", "goal", "its best settings")


def _their_rate(row: Row) -> str:
    rate = row.numbers.get("their_samples_per_second")
    return "" if rate is None else humanise.rate(rate, "samples")


def _markdown_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    def line(words: Sequence[str]) -> str:
        return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"

    return "\n".join([line(titles), line(["--:" if title in _RIGHT else "---" for title in titles]), *map(line, cells)])


def _sections(rows: Sequence[Row]) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    found = [
        ("Against limits, and against the best peer", _TITLES, workload_cells(rows)),
        ("Every peer", _PEER_TITLES, _peer_cells(rows)),
        ("Costs and properties", _COST_TITLES, _cost_cells(rows)),
    ]
    return [section for section in found if section[2]]


def markdown(rows: Sequence[Row]) -> str:
    """The tables as Markdown."""
    return "\n\n".join(f"## {title}\n\n{_markdown_table(titles, cells)}" for title, titles, cells in _sections(rows)) + "\n"


def _terminal(rows: Sequence[Row]) -> str:
    parts = []
    for title, titles, cells in _sections(rows):
        columns = [Column(title=name, right=name in _RIGHT) for name in titles]
        parts.append(f"{title}\n\n{table(columns, cells)}")
    return "\n\n".join(parts)


def _draw_limits(rows: Sequence[Row], path: Path) -> bool:
    limits = [row for row in rows if row.kind == "limit"]
    if not limits:
        return False
    group = BarGroup(
        title="",
        labels=[f"{row.workload}\nagainst {row.limit}" for row in limits],
        values=[row.ratio for row in limits],
        marks=[row.goal for row in limits],
        ours=frozenset(range(len(limits))),
    )
    draw_bars(
        path,
        title="headrace / the limit of this machine, same run",
        x_label="ratio, 1 is the limit",
        groups=[group],
        mark_label="goal",
        line_at=1.0,
    )
    return True


_RATES = {"our_samples_per_second", "their_samples_per_second"}


def _draw_peers(rows: Sequence[Row], path: Path) -> bool:
    groups = []
    for workload in dict.fromkeys(row.workload for row in rows):
        peers = [row for row in rows if row.workload == workload and row.kind == "peer" and row.numbers.keys() >= _RATES]
        if not peers:
            continue
        # Rates of different runs do not compare: each peer's is drawn from its ratio to ours, at our median rate.
        rates = sorted(row.numbers["our_samples_per_second"] for row in peers)
        ours = rates[len(rates) // 2]
        bars = sorted([("headrace", ours), *((row.peer or "", ours / row.ratio) for row in peers)], key=lambda bar: -bar[1])
        labels = [label for label, _ in bars]
        groups.append(
            BarGroup(title=workload, labels=labels, values=[rate for _, rate in bars], ours=frozenset({labels.index("headrace")}))
        )
    if not groups:
        return False
    draw_bars(
        path, title="Samples a second, by loader", x_label="samples/s, logarithmic", groups=groups, value_format=humanise.rate, log=True
    )
    return True


def _draw_scaling(rows: Sequence[Row], path: Path) -> bool:
    """Costs against samples: every row whose numbers hold {"by_samples": {samples: cost}}."""
    chosen = [row for row in rows if len(row.numbers.get("by_samples", {})) > 1]
    if not chosen:
        return False
    lines = []
    for row in chosen:
        points = sorted((float(samples), float(cost)) for samples, cost in row.numbers["by_samples"].items())
        label = f"{row.name}: {_value(row, row.ratio)}"
        # Relative to the smallest: what is flat stays at one, whatever its unit.
        lines.append(Line(label=label, x=[samples for samples, _ in points], y=[cost / points[0][1] for _, cost in points]))
    draw_lines(
        path,
        title="Cost as the number of samples grows, relative to the fewest",
        x_label="samples in the dataset",
        y_label="cost, 1 is that of the fewest samples",
        lines=lines,
        x_format=lambda samples: f"{samples:.0e}".replace("e+0", "e"),
    )
    return True


def write_summary(folder: Path) -> list[Path]:
    """Write summary.md and the plots of `folder`'s rows; returns what was written. Raises ValueError if there are no rows."""
    rows = read_rows(folder / "rows.jsonl")
    if not rows:
        raise ValueError(f"{folder / 'rows.jsonl'}: no rows; run the benchmarks first")
    (folder / "summary.md").write_text(markdown(rows), encoding="utf-8")
    written = [folder / "summary.md"]
    for name, draw in (("limits.png", _draw_limits), ("peers.png", _draw_peers), ("scaling.png", _draw_scaling)):
        if draw(rows, folder / name):
            written.append(folder / name)
    return written


def main(arguments: Sequence[str]) -> int:
    """Print the tables and write the files."""
    folder = Path(arguments[0]) if arguments else output_folder()
    try:
        written = write_summary(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(_terminal(read_rows(folder / "rows.jsonl")))
    print("\nwritten: " + ", ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
