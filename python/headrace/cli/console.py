"""Where a command writes: results to stdout, messages and progress to stderr.

Depends on the standard library and the light files of `report`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.report.progress import Progress
from headrace.report.terminal import Style, columns_of, printable, style_for

__all__ = [
    "CORRUPT",
    "FAILURE",
    "INTERRUPTED",
    "OK",
    "USAGE",
    "Console",
    "UsageError",
    "add_dataset_version",
    "at_least",
    "byte_size",
    "byte_sizes",
    "choices",
    "number_above_zero",
    "output_options",
    "plain",
    "version_number",
    "whole_numbers",
]

OK = 0
FAILURE = 1
USAGE = 2
CORRUPT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class UsageError(Exception):
    """The command line asks for something that makes no sense; exit code 2."""


class Console:
    """The streams of one command, and how to write to them."""

    def __init__(self, *, json_output: bool, color: str, show_progress: bool) -> None:
        self.json_output = json_output
        self._show_progress = show_progress and not json_output
        self.style: Style = style_for(sys.stdout, color)
        self._error_style = style_for(sys.stderr, color)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that shows stdout; None where it is not a terminal, and lines may be of any length."""
        return columns_of(sys.stdout)

    def result(self, text: str = "") -> None:
        """Write a line of the result."""
        print(text)

    def result_json(self, value: Any) -> None:
        """Write the result as one JSON document."""
        # Where the locale's encoding cannot write a character, JSON's own escapes can.
        unicode = "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
        print(json.dumps(plain(value), indent=2, ensure_ascii=not unicode, allow_nan=False))

    def message(self, text: str) -> None:
        """Write a line to stderr."""
        print(printable(text), file=sys.stderr)

    def error(self, text: str) -> None:
        """Write the error that ends the command, as one line to stderr."""
        print(f"{self._error_style.red('headrace: error:')} {printable(' '.join(text.split()))}", file=sys.stderr)

    def progress(self, label: str, unit: str = "samples") -> Progress:
        """A progress line on stderr; silent with --json and --no-progress, and where stderr is not a terminal."""
        return Progress(label, unit=unit, enabled=None if self._show_progress else False)


def output_options(*, nested: bool = False) -> argparse.ArgumentParser:
    """The options of every command, as a parent for its parser. nested: for a command below a command, where what stood before it stays."""
    common = argparse.ArgumentParser(add_help=False)
    output = common.add_argument_group("output")
    unless_given: dict[str, Any] = {"default": argparse.SUPPRESS} if nested else {}
    output.add_argument("--json", action="store_true", help="write the result as one JSON document to stdout", **unless_given)
    color = "colour of the output (default: on a terminal)"
    output.add_argument("--color", choices=("auto", "always", "never"), help=color, **(unless_given or {"default": "auto"}))
    output.add_argument("--no-progress", action="store_true", help="no progress line, on a terminal too", **unless_given)
    return common


def add_dataset_version(parser: argparse.ArgumentParser) -> None:
    """Declare `--version N`, which chooses a version of the dataset; 0, the default, is the newest."""
    parser.add_argument(
        "--version", type=version_number, default=0, metavar="N", dest="dataset_version", help="version to use (default: the newest)"
    )


def version_number(text: str) -> int:
    """A type for arguments that are numbers of a dataset's version."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a version is a number from 1 on, got {text!r}")
    return number


def at_least(least: int) -> Callable[[str], int]:
    """A type for arguments that are whole numbers from `least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return value

    return number


def whole_numbers(least: int) -> Callable[[str], tuple[int, ...]]:
    """A type for arguments that are whole numbers from `least` on, with commas between them."""

    def numbers(text: str) -> tuple[int, ...]:
        try:
            values = tuple(int(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not values or min(values) < least:
            raise argparse.ArgumentTypeError(f"expected numbers from {least} on with commas between them, got {text!r}")
        return values

    return numbers


def choices(words: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """A type for arguments that are some of `words`, with commas between them; one that is repeated counts once."""

    def chosen(text: str) -> tuple[str, ...]:
        parts = tuple(dict.fromkeys(text.split(",")))
        if not set(parts) <= set(words):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(words)} with commas between them, got {text!r}")
        return parts

    return chosen


def byte_size(text: str) -> int:
    """A type for arguments that are sizes: 4096, 128KiB, 1MiB, 2GiB; K, M and G mean the same."""
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)(?:iB|B)?", text.strip(), re.IGNORECASE | re.ASCII)
    value = int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ") if match else 0
    if value == 0 or value >= 1 << 60:
        raise argparse.ArgumentTypeError(f"expected a size such as 4096, 128KiB, 1MiB or 2GiB, got {text!r}")
    return value


def byte_sizes(text: str) -> tuple[int, ...]:
    """A type for arguments that are sizes with commas between them."""
    return tuple(byte_size(part) for part in text.split(","))


def number_above_zero(text: str) -> float:
    """A type for arguments that are numbers above zero: seconds, milliseconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses become dicts, tuples lists, numpy scalars numbers, bytes hex, not-finite floats strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if type(value).__module__ == "numpy":
        listed = value.tolist()
        # Dates in nanoseconds come as bare integers from tolist(): text says what they are.
        return str(value) if getattr(value.dtype, "kind", "") in "mM" else plain(listed)
    return str(value)
