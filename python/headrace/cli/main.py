"""Reads the command line, runs one command, and turns what happens into an exit code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from headrace.cli.console import CORRUPT, FAILURE, INTERRUPTED, USAGE, Console, UsageError, output_options

__all__ = ["main"]

_COMMANDS = {
    "convert": "make a dataset from a folder of images, .npy/.npz, CSV, Parquet, ORC or Arrow files",
    "info": "show schema, codecs, sizes, versions and shards of a dataset",
    "head": "show samples",
    "profile": "say what the fields of a dataset hold: nulls, quantiles, frequent values, correlations, drift",
    "verify": "check every byte against its checksum and print each damage",
    "gc": "find, or remove, what killed writers left in a dataset's directory",
    "bench": "measure how fast a dataset can be delivered, or storage be read, and what limits it",
    "evaluate": "say how good predictions in a file are, with intervals, and whether one of two models is better",
    "tune": "search num_workers, prefetch, reader and window for the fastest loader, and keep what was found",
    "top": "show the loaders of running processes that publish, live",
    "report": "turn results (--json, JSON lines of a monitor) into one self-contained HTML page with plots",
    "demo": "convert the New York flights of 2013, train on them, and compare with torch's DataLoader",
}

_EPILOG = """\
exit codes:
  0    done; verify: every checksum is right
  1    failed: the message on stderr says why and what to do; bench storage: a run was not cold, or not warm, as it claims
  2    wrong usage, or the data is damaged
  130  interrupted (Ctrl-C)

environment:
  NO_COLOR=1        no colour             HEADRACE_DEBUG=1   tracebacks for errors
  HEADRACE_NUM_THREADS=N   threads of the engine, instead of one per core
  HEADRACE_NUMA=off        memory where the kernel puts it, instead of beside the cores that the process was given
  HEADRACE_CACHE_DIR=DIR   where tuned profiles are kept, instead of ~/.cache/headrace
  HEADRACE_CACHE_BYTES=N   decoded blocks kept in memory, instead of half of each loader's prefetch_bytes
"""


class _Version(argparse.Action):
    """Looks the version up only when asked: package metadata takes longer to read than --help may."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None) -> None:
        print(f"headrace {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("headrace")
    except PackageNotFoundError:
        return "(run from a source tree, not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="Feed training loops from fast, checked, compressed datasets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    common = output_options()
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _COMMANDS.items():
        command = subparsers.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", parents=[common], epilog="Exit codes: headrace --help."
        )
        importlib.import_module(f"headrace.cli.{name}").add_arguments(command)
    return parser


def _fail(console: Console, error: Exception, reword: Callable[[str], str]) -> int:
    """Report `error` on stderr, and with --json as a document on stdout; return the exit code."""
    if os.environ.get("HEADRACE_DEBUG") not in (None, "", "0"):
        traceback.print_exception(error)
    from headrace import errors

    known = isinstance(error, errors.HeadraceError | OSError | ValueError | UsageError | MemoryError | ImportError)
    known = known or (isinstance(error, TypeError) and _deliberate(error))
    text = str(error) or type(error).__name__
    if not known:  # a defect of headrace: say what it is and how to see more
        text = f"{type(error).__name__}: {text} (HEADRACE_DEBUG=1 shows where)"
    for note in getattr(error, "__notes__", ()):
        text += f"; {note}"
    text = reword(text)
    console.error(text)
    if console.json_output:
        with contextlib.suppress(OSError):  # stdout may be what failed
            console.result_json({"error": {"type": type(error).__name__, "message": text}})
    if isinstance(error, UsageError):
        return USAGE
    return CORRUPT if isinstance(error, errors.CorruptDataError) else FAILURE


def _deliberate(error: Exception) -> bool:
    """Whether headrace raised `error` to say something, rather than ran into it."""
    frames = traceback.extract_tb(error.__traceback__)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return bool(frames) and frames[-1].filename.startswith(package) and (frames[-1].line or "").startswith("raise ")


def _run(arguments: argparse.Namespace) -> int:
    console = Console(json_output=arguments.json, color=arguments.color, show_progress=not arguments.no_progress)
    command = importlib.import_module(f"headrace.cli.{arguments.command}")
    try:
        code = int(command.run(arguments, console))
        _flush()
        return code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place where errors become exit codes
        return _fail(console, error, getattr(command, "reword", str))


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:  # a name that the locale cannot write must not end the command
            reconfigure(errors="backslashreplace")
    try:
        code = _run(_parser().parse_args(argv))
        _flush()
        return code
    except KeyboardInterrupt:
        print("headrace: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
