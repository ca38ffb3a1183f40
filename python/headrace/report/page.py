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
_MOST_POINTS = 2_000  # of a line: more than there are pixels
_MOST_LINES = 20
_MOST_BARS = 100
_MOST_CHARACTERS = 10_000  # of a text
_MOST_DEPTH = 12  # of records in records
_LARGEST = 1e200  # that is drawn
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
        parts = [(key, value) for key, value in document.items() if isinstance(value, (Mapping, list))][:_MOST_ROWS]
        return _plots(document) + _values(document) + "".join(_part(key, value) for key, value in parts)
    if isinstance(document, list) and document and all(isinstance(one, Mapping) for one in document):
        return _readings(document) + f"<details><summary>{len(document)} records</summary>{_table(document)}</details>"
    return f"<p>{_cell('', document)}</p>"


def _plots(document: Mapping[str, Any]) -> str:
    return _results_plot(document.get("results")) + _trials_plot(document.get("trials")) + _importance_plot(document.get("importance"))


def _results_plot(results: Any) -> str:
    if not _is_records(results) or not all(_is_number(one.get("bytes_per_second")) and "num_workers" in one for one in results):
        return ""
    bars = [
        (
            f"{one.get('name', '')}, {one['num_workers']} workers",
            one["bytes_per_second"],
            one["bytes_per_second"] / one["limit_share"] if one.get("name") == "headrace" and _is_share(one.get("limit_share")) else None,
            one.get("name") == "headrace",
        )
        for one in sorted(results, key=lambda one: -one["bytes_per_second"])
    ]
    return "<h3>Delivered bytes a second</h3>" + _bars(bars, humanise.byte_rate, "limit of the machine")


def _trials_plot(trials: Any) -> str:
    if not _is_records(trials):
        return ""
    good = [(float(one["number"]), float(one["ratio"])) for one in trials if _is_number(one.get("ratio")) and _is_number(one.get("number"))]
    best: list[tuple[float, float]] = []
    for number, ratio in good:
        best.append((number, max([ratio, *(value for _, value in best[-1:])])))
    title = "<h3>Trials: samples a second / those of what there is</h3>"
    return title + _lines({"trial": _thinned(good), "best so far": _thinned(best)}, "trial") if good else ""


def _importance_plot(importance: Any) -> str:
    shares = [(name, float(share)) for name, share in importance.items() if _is_number(share)] if isinstance(importance, Mapping) else []
    bars = [(name, share, None, True) for name, share in sorted(shares, key=lambda pair: -pair[1])]
    return "<h3>What mattered</h3>" + _bars(bars, humanise.percent, "") if bars else ""


def _readings(readings: Sequence[Mapping[str, Any]]) -> str:
    """A monitor's JSON lines."""
    out = ""
    for metric in ("samples_per_second", "stall_share"):
        lines: dict[str, list[tuple[float, float]]] = {}
        for one in readings:
            if _is_number(one.get("time")) and _is_number(one.get(metric)):
                lines.setdefault(str(one.get("loader", "")), []).append((one["time"], one[metric]))
        if lines:
            begin = min(x for points in lines.values() for x, _ in points)
            shifted = {name: _thinned([(x - begin, y) for x, y in points]) for name, points in list(lines.items())[:_MOST_LINES]}
            out += f"<h3>{_text(metric.replace('_', ' '))}</h3>" + _lines(shifted, "seconds")
    return out


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lowest and the highest of as many neighbours as there are too many, in their order."""
    width = -(-2 * len(points) // _MOST_POINTS)
    if width <= 2:
        return list(points)
    out = []
    for begin in range(0, len(points), width):
        group = points[begin : begin + width]
        out += sorted({min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])})
    return out


def _is_number(value: Any) -> bool:
    """Whether it can be drawn: JSON's integers may be beyond any float, and its writers say NaN."""
    return isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST


def _is_share(value: Any) -> bool:
    return _is_number(value) and value > 1e-9


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _values(document: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in document.items() if not isinstance(value, (Mapping, list)) and value is not None}
    plain = dict(list(plain.items())[:_MOST_ROWS])
    rows = "".join(f"<tr><th>{_text(key.replace('_', ' '))}</th><td>{_cell(key, value)}</td></tr>" for key, value in plain.items())
    return f'<div class="wide"><table>{rows}</table></div>' if rows else ""


def _part(key: str, value: Any, depth: int = 0) -> str:
    title = f"<h3>{_text(str(key).replace('_', ' '))}</h3>"
    if _is_records(value):
        return title + _table(value)
    if isinstance(value, Mapping) and value and depth < _MOST_DEPTH:
        inner = _values(value) + "".join(_part(f"{key} {name}", one, depth + 1) for name, one in list(value.items())[:_MOST_ROWS])
        return f"<details><summary>{_text(str(key).replace('_', ' '))}</summary>{inner}</details>"
    if isinstance(value, list) and value:
        words = ", ".join(str(one)[:_MOST_CHARACTERS] for one in value[:_MOST_ROWS])
        more = f" and {len(value) - _MOST_ROWS} more" if len(value) > _MOST_ROWS else ""
        return f"{title}<p>{_text(words)}{more}</p>"
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
    if isinstance(value, bool) or not _is_number(value):
        return _text(value)
    if name in _RATES:
        return _text(_RATES[name](value))
    if name.endswith(_SIZES) and value >= 0:
        return _text(humanise.bytes_size(value))
    return _text(humanise.number(value, 4))


def _bars(bars: Sequence[tuple[str, float, float | None, bool]], words: Any, mark: str) -> str:
    """Horizontal bars: (label, value, what it is held against, whether it is ours)."""
    bars = bars[:_MOST_BARS]
    largest = max([value for _, value, _, _ in bars] + [held for _, _, held, _ in bars if held] + [1e-300])
    scale = (_WIDTH - _LABEL - 110) / largest
    rows = ""
    for number, (label, value, held, ours) in enumerate(bars):
        y = 24 * number
        # Beside the bar, unless the mark is in the way.
        end = scale * (held if held and value * scale - 10 < held * scale < value * scale + 90 else value)
        rows += (
            f'<text x="{_LABEL - 8}" y="{y + 16}" text-anchor="end">{_text(label)}</text>'
            f'<rect x="{_LABEL}" y="{y + 4}" width="{max(0.0, value * scale):.1f}" height="16" rx="2" fill="var({"--ours" if ours else "--other"})"/>'
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
    text = str(value)
    return html.escape(text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "...")
