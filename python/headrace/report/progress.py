"""One line on stderr that says how far a long job is.

Shown on a terminal only, and only for work that takes longer than `delay_seconds`; erased when the work ends.
Uses carriage returns and blanks, no escape sequences, so NO_COLOR needs no case of its own.

Threads: update() and close() may be called from any thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO

from headrace.report import humanise
from headrace.report.terminal import columns_of, display_width, fit, is_terminal, printable

__all__ = ["Progress"]

# What a line shows, until it fits: columns of the bar, whether amounts, whether the rate. Share and time left stay longest.
_SHAPES = ((24, True, True), (16, True, True), (8, True, True), (16, False, True), (8, False, True), (8, False, False), (0, False, False))
_RATE_SECONDS = 10.0  # span of the moving rate: long enough to be calm, short enough to follow a change of phase


class Progress:
    """A progress line: label, bar, percentage, rate, and the time that is left.

    unit: "bytes" are shown as sizes, all else as counts with the unit; of "bytes scanned" the second word is shown too.
    enabled: None decides by the stream (a terminal whose TERM is not dumb).
    """

    def __init__(
        self,
        label: str,
        *,
        unit: str = "samples",
        stream: IO[str] | None = None,
        enabled: bool | None = None,
        delay_seconds: float = 2.0,
        interval_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._label = printable(label)
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        environ = os.environ if environ is None else environ
        self._enabled = is_terminal(self._stream) and environ.get("TERM") != "dumb" if enabled is None else enabled
        self._interval = interval_seconds
        self._clock = clock
        self._begin = clock()
        self._next_draw = self._begin + delay_seconds
        self._marks: list[tuple[float, int]] = [(self._begin, 0)]
        self._shown_columns = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Whether anything will ever be drawn."""
        return self._enabled

    def update(self, done: int, total: int | None = None, unit: str | None = None) -> None:
        """Report that `done` units of `total` (None: unknown) are finished."""
        if not self._enabled:
            return
        with self._lock:
            now = self._clock()
            if self._closed or now < self._next_draw:
                return
            if unit is not None and unit != self._unit:
                self._unit, self._marks = unit, [(now, done)]
            self._next_draw = now + self._interval
            self._marks.append((now, done))
            while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_SECONDS:
                del self._marks[0]
            self._draw(done, total)

    def close(self) -> None:
        """Erase the line. Later updates are ignored."""
        with self._lock:
            self._closed = True
            if self._shown_columns:
                self._write("\r" + " " * self._shown_columns + "\r")
                self._shown_columns = 0

    def line(self, done: int, total: int | None, columns: int | None = None) -> str:
        """The text for this state, with as much in it as fits `columns`; None: everything."""
        lines = (self._line(done, total, shape) for shape in _SHAPES)
        return next((line for line in lines if columns is None or display_width(line) <= columns), self._line(done, total, _SHAPES[-1]))

    def _line(self, done: int, total: int | None, shape: tuple[int, bool, bool]) -> str:
        bar_columns, with_amount, with_rate = shape
        (first_time, first_done), (last_time, last_done) = self._marks[0], self._marks[-1]
        elapsed = last_time - first_time
        speed = (last_done - first_done) / elapsed if elapsed > 0 else 0.0
        parts = [self._label]
        if total:
            share = min(1.0, done / total)
            filled = int(share * bar_columns)
            bar = "[" + "#" * filled + "-" * (bar_columns - filled) + "] " if bar_columns else ""
            parts.append(f"{bar}{100 * share:3.0f} %")
        if with_amount or not total:
            parts.append(self._amount(done, total))
        if speed > 0 and with_rate:
            parts.append(humanise.byte_rate(speed) if self._in_bytes else humanise.rate(speed))
        if speed > 0 and total and done < total:
            parts.append(f"{humanise.duration((total - done) / speed)} left")
        return "  ".join(parts)

    @property
    def _in_bytes(self) -> bool:
        return self._unit.split(" ")[0] == "bytes"

    def _amount(self, done: int, total: int | None) -> str:
        written = humanise.bytes_size if self._in_bytes else humanise.count
        of_total = f" of {written(total)}" if total else ""
        unit = self._unit.removeprefix("bytes").strip()
        return f"{written(done)}{of_total} {unit}".rstrip()

    def _draw(self, done: int, total: int | None) -> None:
        # One column stays free: a line as wide as the terminal wraps in some of them.
        limit = (columns_of(self._stream) or 80) - 1
        text = fit(self.line(done, total, limit), limit)
        columns = display_width(text)
        self._write("\r" + text + " " * max(0, self._shown_columns - columns))
        self._shown_columns = columns

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal went away: the work goes on without its progress line
            self._enabled = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
