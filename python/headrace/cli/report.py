"""`headrace report`: what commands printed with --json, and a monitor's JSON lines, as one page for a browser."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from headrace.cli.console import OK, Console, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="results: output of --json, or JSON lines of hr.monitor.JsonLines")
    parser.add_argument("-o", "--output", required=True, metavar="HTML", help="the page; written whole or not at all")
    parser.add_argument("--title", default="headrace", help="of the page")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace.report.page import make_page

    if any(
        os.path.exists(name) and os.path.exists(arguments.output) and os.path.samefile(name, arguments.output) for name in arguments.files
    ):
        raise UsageError(f"{arguments.output} is one of the results: name another file for the page")
    documents: dict[str, Any] = {}
    for name in arguments.files:
        documents[name if arguments.files.count(name) == 1 else f"{name} ({len(documents) + 1})"] = _read(name)
    page = make_page(documents, title=arguments.title)
    _write(Path(arguments.output), page)
    if console.json_output:
        console.result_json({"output": arguments.output, "bytes": len(page.encode()), "documents": list(documents)})
    else:
        console.result(f"{arguments.output}: {len(documents)} of {len(arguments.files)} results, no other file needed")
    return OK


def _read(name: str) -> Any:
    text = Path(name).read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        raise UsageError(f"{name} is empty; give what a command printed with --json")
    try:
        return json.loads(text)
    except ValueError:
        pass  # Several documents, a line each, perhaps.
    except RecursionError:
        raise UsageError(f"{name} nests too deeply to be a result of headrace's") from None
    return _lines(name, text.split("\n"))


def _lines(name: str, lines: list[str]) -> list[Any]:
    found = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            if found and number == len(lines) - 1:  # Without an end of line.
                break  # So it is being written right now, or its writer was killed.
            raise UsageError(
                f"{name} is neither JSON nor JSON lines (line {number + 1}: {error}); give what a command printed with --json"
            ) from None
    return found


def _write(path: Path, page: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")  # A text may hold half a character.
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
