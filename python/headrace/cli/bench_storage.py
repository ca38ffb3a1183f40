"""`headrace bench storage`: what storage delivers, sequential and random, cold or warm with the kernel's counters as proof, beside fio."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from headrace.cli.console import FAILURE, OK, Console, at_least, byte_size, byte_sizes, choices, number_above_zero, whole_numbers
from headrace.cli.storage_output import draw, show, taint_reasons
from headrace.report.progress import Progress

_PATTERNS = ("sequential", "random")
_READERS = ("mmap", "pread", "direct", "uring")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    add = parser.add_argument
    add("path", help="a dataset, a file, or a directory, where a test file is laid out and removed again")
    add("--pattern", type=choices(_PATTERNS), metavar="A,B", help="sequential, random (default: both)")
    add("--block-sizes", type=byte_sizes, metavar="A,B", help="for each pattern (default: sequential 1MiB; random 4KiB, 128KiB)")
    add("--depths", type=whole_numbers(1), metavar="A,B", help="reads in flight, of each thread (default: 1,8,32,128)")
    add(
        "--readers",
        type=choices(_READERS),
        metavar="A,B",
        help="direct (io_uring, O_DIRECT), uring (through the page cache), pread, mmap (default: direct,mmap; warm: mmap,pread,uring)",
    )
    add("--threads", type=whole_numbers(1), default=(1,), metavar="A,B", help="threads that read (default: 1)")
    add("--seconds", type=number_above_zero, default=1.0, metavar="T", help="length of each measurement (default: 1)")
    add(
        "--rounds",
        type=at_least(1),
        default=1,
        metavar="N",
        help="measure each point so often, and show the one in the middle (default: 1)",
    )
    state = parser.add_mutually_exclusive_group()
    state.add_argument(
        "--cold", dest="state", action="store_const", const="cold", help="from the device; the default, but where files are memory"
    )
    state.add_argument("--warm", dest="state", action="store_const", const="warm", help="from the page cache")
    add("--drop-caches", action="store_true", help="before each cold measurement empty the page cache of the whole machine (root)")
    add("--size", type=byte_size, metavar="SIZE", help="of the test file (default: 1GiB); PATH may then be a name that is free")
    add("--keep", action="store_true", help="do not remove the test file")
    add(
        "--fio",
        choices=("auto", "off", "all"),
        default="auto",
        help="also run fio: where it does the same work (auto, the default), never (off), at every point (all)",
    )
    add("--seed", type=at_least(0), default=0, metavar="N", help="seed of the random order (default: 0)")
    add("--plot", metavar="FILE", help="also draw the rates into a .png or .svg file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code: 1 if a point is tainted."""
    if arguments.plot:
        from headrace.report.plot import require_plotting

        require_plotting()
    from headrace.bench.storage import bench_storage
    from headrace.bench.storage_plan import StorageOptions

    options = StorageOptions(
        patterns=arguments.pattern,
        block_bytes=arguments.block_sizes,
        depths=arguments.depths,
        readers=arguments.readers,
        threads=tuple(dict.fromkeys(arguments.threads)),
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        state=arguments.state,
        size_bytes=arguments.size,
        keep=arguments.keep,
        drop_machine_cache=arguments.drop_caches,
        fio=arguments.fio,
        seed=arguments.seed,
    )
    with _progress(console) as advance, _ended_by_signals():
        measured = bench_storage(arguments.path, options, advance=advance)
    if console.json_output:
        console.result_json(measured)
        if measured.tainted:
            console.error(f"{measured.tainted} of {len(measured.results)} points are tainted: {taint_reasons(measured)[0]}")
    else:
        show(measured, console)
    if arguments.plot:
        draw(measured, arguments.plot)
    return FAILURE if measured.tainted else OK


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Any]:
    """A function that shows how far each part of the work is, one progress line after the other."""
    lines: dict[str, Progress] = {}

    def advance(label: str, done: int, total: int, unit: str) -> None:
        if label not in lines:
            for line in lines.values():
                line.close()
            lines[label] = console.progress(label, unit)
        lines[label].update(done, total)

    try:
        yield advance
    finally:
        for line in lines.values():
            line.close()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the work as Ctrl-C does, so that the test file is removed."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # What nohup ignores stays ignored.
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
