import io
import os
import pty
import threading

from headrace.report.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def started(stream, **options):
    clock = Clock()
    return clock, Progress("convert", stream=stream, clock=clock, environ={"TERM": "xterm"}, **options)


def test_short_work_shows_nothing():
    stream = Terminal()
    clock, progress = started(stream)
    for clock.now in (0.5, 1.0, 1.9):
        progress.update(1, 10)
    progress.close()
    assert stream.getvalue() == ""


def test_long_work_shows_share_rate_and_time_left_then_erases_the_line():
    stream = Terminal()
    clock, progress = started(stream)
    clock.now = 4.0
    progress.update(4000, 10_000)
    line = stream.getvalue().lstrip("\r")
    assert line.endswith("40 %  4,000 of 10,000 samples  1.00 k/s  6.00 s left")
    assert len(line) <= 79
    clock.now = 4.05
    progress.update(4100, 10_000)
    assert stream.getvalue().count("\r") == 1  # drawn at most ten times a second
    progress.close()
    assert stream.getvalue().endswith("\r" + " " * len(line) + "\r")
    progress.update(9000, 10_000)
    assert stream.getvalue().endswith("\r")


def test_line_states_rate_and_time_left():
    clock, progress = started(Terminal(), unit="bytes")
    clock.now = 5.0
    progress.update(50_000_000, 200_000_000)
    line = progress.line(50_000_000, 200_000_000)
    assert line.endswith("25 %  47.7 MiB of 191 MiB  10.0 MB/s  15.0 s left")


def test_a_narrow_line_keeps_share_and_time_left():
    clock, progress = started(Terminal())
    clock.now = 5.0
    progress.update(1000, 4000)
    lines = [progress.line(1000, 4000, columns) for columns in (200, 79, 66, 60, 39, 20)]
    assert lines == [
        "convert  [######------------------]  25 %  1,000 of 4,000 samples  200/s  15.0 s left",
        "convert  [####------------]  25 %  1,000 of 4,000 samples  200/s  15.0 s left",
        "convert  [####------------]  25 %  200/s  15.0 s left",
        "convert  [####------------]  25 %  200/s  15.0 s left",
        "convert  [##------]  25 %  15.0 s left",
        "convert   25 %  15.0 s left",  # cut by whoever draws it
    ]


def test_words_after_bytes_are_shown():
    clock, progress = started(Terminal())
    clock.now = 5.0
    progress.update(1 << 20, 1 << 22, "bytes scanned")
    assert "  1.00 MiB of 4.00 MiB scanned" in progress.line(1 << 20, 1 << 22)


def test_unknown_total_shows_count_and_rate():
    clock, progress = started(Terminal())
    clock.now = 5.0
    progress.update(1000)
    assert progress.line(1000, None) == "convert  1,000 samples  200/s"


def test_rate_follows_the_last_ten_seconds():
    clock, progress = started(Terminal())
    for second in range(3, 60):
        clock.now = float(second)
        progress.update(1_000_000 if second < 30 else 1_000_000 + (second - 30) * 500)
    assert progress.line(1_014_500, None).endswith("500/s")


def test_nothing_is_drawn_without_a_terminal_or_on_a_dumb_one():
    for stream, environ in ((io.StringIO(), {"TERM": "xterm"}), (Terminal(), {"TERM": "dumb"})):
        clock = Clock()
        progress = Progress("x", stream=stream, clock=clock, environ=environ)
        clock.now = 10.0
        progress.update(1, 2)
        progress.close()
        assert stream.getvalue() == ""
        assert not progress.enabled


def test_no_escape_sequences_are_used():
    stream = Terminal()
    clock, progress = started(stream)
    clock.now = 3.0
    progress.update(1, 2)
    progress.close()
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_that_goes_away_does_not_end_the_work():
    class Gone(Terminal):
        def write(self, text):
            raise OSError(5, "Input/output error")

    clock, progress = started(Gone())
    clock.now = 3.0
    progress.update(1, 2)
    assert not progress.enabled


def test_updates_from_many_threads_draw_whole_lines():
    stream = Terminal()
    progress = Progress("x", stream=stream, delay_seconds=0, interval_seconds=0, environ={"TERM": "xterm"})
    threads = [threading.Thread(target=lambda: [progress.update(n, 100) for n in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line.rstrip() for line in stream.getvalue().split("\r") if line.strip()]
    assert len(lines) == 400
    assert all(line.startswith("x  [") for line in lines)


def test_the_line_is_one_column_narrower_than_a_real_terminal():
    master, slave = pty.openpty()
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        with os.fdopen(slave, "w", closefd=True) as stream:
            progress = Progress("verify", unit="bytes", stream=stream, delay_seconds=0, environ={"TERM": "xterm"})
            progress.update(1 << 20, 1 << 30)
            drawn = os.read(master, 4096).decode()
            progress.close()
            os.read(master, 4096)
        assert drawn.startswith("\rverify  [---")
        assert drawn.endswith(" left")
        assert len(drawn) <= 1 + 39
    finally:
        os.close(master)
