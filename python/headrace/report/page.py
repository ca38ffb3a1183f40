"""Results as one HTML page that needs nothing else: tables, and plots drawn as SVG. No script, no font, no address outside it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.report import humanise

__all__ = ["make_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #ffffff; --soft: #5b6b7a; --line: #d5dde4; --ours: #0b6e99; --other: #9aa7b3; --mark: #d1702f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #14191f; --soft: #9aa7b3; --line: #303a44; --ours: #4fb3dd; --other: #66727e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
td.n, th.n { text-align: right; } svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } details { margin: 1rem 0; } summary { cursor: pointer; color: var(--soft); }
"""
_MOST_ROWS = 200  # of a table
_MOST_COLUMNS = 14
_WIDTH, _LABEL = 900, 230
_SIZES = ("_bytes",)
_RATES: dict[str, Callable[[float], str]] = {
    "samples_per_second": humanise.rate,
    "bytes_per_second": humanise.byte_rate,
    "copy_bytes_per_second": humanise.byte_rate,
}


def make_page(documents: Mapping[str, Any], *, title: str = "headrace") -> str:
    """A page with one section for each document, by its name: what commands print with --json, and lists of a monitor's readings (JSON lines).

    Known ones get plots (a loader's benchmark, a search of options or layouts, readings); whatever else is in them is shown as tables. Everything in
    them is text: no markup of theirs reaches the page.
    """
    sections = "".join(f"<section><h2>{_text(name)}</h2>{_section(document)}</section>" for name, document in documents.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>{sections}</body></html>\n"
    )


def _section(document: Any) -> str:
    if isinstance(document, Mapping):
        if isinstance(document.get("search"), Mapping):  # tune --rewrite
            document = {**document["search"], **{key: value for key, value in document.items() if key != "search"}}
        return _plots(document) + _values(document) + "".join(_part(key, value) for key, value in document.items())
    if isinstance(document, list) and document and all(isinstance(one, Mapping) for one in document):
        return _readings(document) + f"<details><summary>{len(document)} records</summary>{_table(document)}</details>"
    return f"<p>{_cell('', document)}</p>"


def _plots(document: Mapping[str, Any]) -> str:
    out = ""
    results: Any = document.get("results")
    if _is_records(results) and all("bytes_per_second" in one and "num_workers" in one for one in results):
        bars = [
            (
                f"{one.get('name', '')}, {one['num_workers']} workers",
                one["bytes_per_second"],
                one["bytes_per_second"] / one["limit_share"] if one.get("limit_share") and one.get("name") == "headrace" else None,
                one.get("name") == "headrace",
            )
            for one in sorted(results, key=lambda one: -one["bytes_per_second"])
        ]
        out += "<h3>Delivered bytes a second</h3>" + _bars(bars, humanise.byte_rate, "limit of the machine")
    trials: Any = document.get("trials")
    if _is_records(trials) and any(isinstance(one.get("ratio"), (int, float)) for one in trials):
        good = [(float(one["number"]), float(one["ratio"])) for one in trials if isinstance(one.get("ratio"), (int, float))]
        best: list[tuple[float, float]] = []
        for number, ratio in good:
            best.append((number, max([ratio, *(value for _, value in best[-1:])])))
        out += "<h3>Trials: samples a second / those of what there is</h3>" + _lines({"trial": good, "best so far": best}, "trial")
    importance = document.get("importance")
    if isinstance(importance, Mapping) and importance:
        bars = [(name, float(share), None, True) for name, share in sorted(importance.items(), key=lambda pair: -pair[1])]
        out += "<h3>What mattered</h3>" + _bars(bars, humanise.percent, "")
    return out


def _readings(readings: Sequence[Mapping[str, Any]]) -> str:
    """A monitor's JSON lines."""
    out = ""
    for metric in ("samples_per_second", "stall_share"):
        lines: dict[str, list[tuple[float, float]]] = {}
        for one in readings:
            if isinstance(one.get("time"), (int, float)) and isinstance(one.get(metric), (int, float)):
                lines.setdefault(str(one.get("loader", "")), []).append((one["time"], one[metric]))
        if lines:
            begin = min(points[0][0] for points in lines.values())
            shifted = {name: [(x - begin, y) for x, y in points] for name, points in lines.items()}
            out += f"<h3>{_text(metric.replace('_', ' '))}</h3>" + _lines(shifted, "seconds")
    return out


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _values(document: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in document.items() if not isinstance(value, (Mapping, list)) and value is not None}
    rows = "".join(f"<tr><th>{_text(key.replace('_', ' '))}</th><td>{_cell(key, value)}</td></tr>" for key, value in plain.items())
    return f'<div class="wide"><table>{rows}</table></div>' if rows else ""


def _part(key: str, value: Any) -> str:
    title = f"<h3>{_text(str(key).replace('_', ' '))}</h3>"
    if _is_records(value):
        return title + _table(value)
    if isinstance(value, Mapping) and value:
        inner = _values(value) + "".join(_part(f"{key} {name}", one) for name, one in value.items())
        return f"<details><summary>{_text(str(key).replace('_', ' '))}</summary>{inner}</details>"
    if isinstance(value, list) and value:
        return f"{title}<p>{_text(', '.join(map(str, value[:_MOST_ROWS])))}</p>"
    return ""


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    flat = [_flat(one) for one in records[:_MOST_ROWS]]
    names = list(dict.fromkeys(name for one in flat for name in one))[:_MOST_COLUMNS]
    numeric = {name for name in names if all(isinstance(one.get(name), (int, float, type(None))) for one in flat)}
    head = "".join(f"<th{_class(name in numeric)}>{_text(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td{_class(name in numeric)}>{_cell(name, one.get(name))}</td>" for name in names) + "</tr>" for one in flat
    )
    more = f'<p class="soft">and {len(records) - _MOST_ROWS} more</p>' if len(records) > _MOST_ROWS else ""
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{more}'


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's plain values, and those of the records in it."""
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            out |= {name: inner for name, inner in value.items() if not isinstance(inner, (Mapping, list))}
        elif not isinstance(value, list):
            out[key] = value
    return out


def _class(is_number: bool) -> str:
    return ' class="n"' if is_number else ""


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _text(value)
    if name in _RATES:
        return _text(_RATES[name](value))
    if name.endswith(_SIZES) and value >= 0:
        return _text(humanise.bytes_size(value))
    return _text(humanise.number(value, 4))


def _bars(bars: Sequence[tuple[str, float, float | None, bool]], words: Any, mark: str) -> str:
    """Horizontal bars: (label, value, what it is held against, whether it is ours)."""
    largest = max([value for _, value, _, _ in bars] + [held for _, _, held, _ in bars if held] + [1e-300])
    scale = (_WIDTH - _LABEL - 110) / largest
    rows = ""
    for number, (label, value, held, ours) in enumerate(bars):
        y = 24 * number
        # Beside the bar, unless the mark is in the way.
        end = scale * (held if held and value * scale - 10 < held * scale < value * scale + 90 else value)
        rows += (
            f'<text x="{_LABEL - 8}" y="{y + 16}" text-anchor="end">{_text(label)}</text>'
            f'<rect x="{_LABEL}" y="{y + 4}" width="{value * scale:.1f}" height="16" rx="2" fill="var({"--ours" if ours else "--other"})"/>'
            f'<text x="{_LABEL + end + 8:.1f}" y="{y + 16}">{_text(words(value))}</text>'
        )
        if held:
            x = _LABEL + held * scale
            rows += f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 2}" y2="{y + 22}" stroke="var(--mark)" stroke-width="3"/>'
    note = f'<p class="soft">orange: {_text(mark)}</p>' if mark and any(held for _, _, held, _ in bars) else ""
    return f'<svg viewBox="0 0 {_WIDTH} {24 * len(bars) + 4}" role="img">{rows}</svg>{note}'


def _lines(lines: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> str:
    """Lines over a common x; y begins at 0."""
    points = [point for line in lines.values() for point in line]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    top = max([y for _, y in points] + [1e-300]) * 1.05
    height, left = 220, 70

    def place(x: float, y: float) -> str:
        return f"{left + (x - low) / max(high - low, 1e-300) * (_WIDTH - left - 160):.1f},{height - y / top * (height - 12):.1f}"

    out = ""
    for part in range(5):
        y = height - part / 4 * (height - 12)
        out += f'<line x1="{left}" x2="{_WIDTH - 150}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
        out += f'<text class="soft" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_text(humanise.number(top * part / 4, 3))}</text>'
    colours = ("var(--other)", "var(--ours)", "var(--mark)") if len(lines) > 1 else ("var(--ours)",)
    for number, (name, line) in enumerate(lines.items()):
        colour = colours[number % len(colours)]
        path = " ".join(place(x, y) for x, y in line)
        out += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        out += f'<text x="{_WIDTH - 140}" y="{20 + 18 * number}" style="fill:{colour}">{_text(name or "loader")}</text>'
    ends = "".join(
        f'<text class="soft" x="{x}" y="{height + 18}" text-anchor="{anchor}">{_text(humanise.number(value, 4))}</text>'
        for x, anchor, value in ((left, "start", low), (_WIDTH - 160, "end", high))
    )
    middle = f'<text class="soft" x="{(_WIDTH - 90) // 2}" y="{height + 18}" text-anchor="middle">{_text(x_label)}</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {height + 26}" role="img">{out}{ends}{middle}</svg>'


def _text(value: Any) -> str:
    return html.escape(str(value))
