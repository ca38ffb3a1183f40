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
    try:
        return json.loads(text)
    except ValueError:
        pass  # Several documents, a line each, perhaps.
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise UsageError(f"{name} is neither JSON nor JSON lines ({error}); give what a command printed with --json") from None


def _write(path: Path, page: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
