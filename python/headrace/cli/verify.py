"""`headrace verify`: every byte against its checksum."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from headrace.cli.console import CORRUPT, OK, Console, at_least, version_number
from headrace.report import humanise
from headrace.report.terminal import printable

_POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("path", help="a dataset directory, or one shard file")
    parser.add_argument("--decode", action="store_true", help="also decode every block, and check that strings are UTF-8")
    parser.add_argument(
        "--version", type=version_number, default=0, metavar="N", dest="dataset_version", help="version to check (default: all of them)"
    )
    parser.add_argument("--threads", type=at_least(0), default=0, metavar="N", help="threads that read and hash (default: all)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace._native import Verification

    check = Verification(arguments.path, arguments.dataset_version, decode=arguments.decode, threads=arguments.threads)
    begin = time.perf_counter()
    report = _run_with_progress(check, console)
    seconds = time.perf_counter() - begin
    damages = report["damages"]
    if console.json_output:
        console.result_json({"path": arguments.path, "ok": not damages, "seconds": seconds, "decoded": arguments.decode, **report})
    else:
        for damage in damages:
            console.result(f"{console.style.red('damaged:')} {printable(describe_damage(damage))}")
        console.result(_summary(arguments.path, report, seconds, console))
    return CORRUPT if damages else OK


def _run_with_progress(check: Any, console: Console) -> dict[str, Any]:
    """Run the check in a thread: this one stays free to draw, and to take Ctrl-C and hand it on."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["report"] = check.run()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            outcome["error"] = error

    thread = threading.Thread(target=work, name="headrace-verify")
    with console.progress("verify", "bytes") as progress:
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                progress.update(*check.progress())
        finally:
            check.cancel()
            thread.join()
    if "error" in outcome:
        raise outcome["error"]
    report: dict[str, Any] = outcome["report"]
    return report


def describe_damage(damage: dict[str, Any]) -> str:
    """One damage as one line: where it is, then what is wrong."""
    place = [str(damage["path"])]
    if damage["chunk"] is not None and damage["chunk"] >= 0:
        place.append(f"chunk {damage['chunk']}")
    if damage["field"]:
        place.append(f"field {damage['field']}")
    if damage["bytes"]:
        place.append(f"bytes [{damage['offset']}, {damage['offset'] + damage['bytes']})")
    # Messages of the core name the file already; said once is enough.
    message = " ".join(str(damage["message"]).split())
    return message if str(damage["path"]) in message else f"{', '.join(place)}: {message}"


def _summary(path: str, report: dict[str, Any], seconds: float, console: Console) -> str:
    path = printable(path)
    counts = ", ".join(f"{humanise.count(report[noun])} {noun}" for noun in ("samples", "chunks", "blocks"))
    speed = humanise.byte_rate(report["bytes"] / seconds)
    amounts = f"{counts}, {humanise.bytes_size(report['bytes'])} in {humanise.duration(seconds)} ({speed})"
    damages = len(report["damages"])
    if damages:
        verdict = console.style.red(f"{damages} damage{'s' * (damages != 1)} found")
        return f"{path}: {verdict}; checked {amounts}. Restore the files named above from a copy, or convert the source anew."
    return f"{path}: {console.style.green('ok')}, {amounts}"
