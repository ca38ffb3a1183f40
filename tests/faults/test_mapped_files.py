"""Mapped files that can no longer be read: cut, or on a device that fails, before and after they were populated. The process lives."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, READERS, ROWS, FaultyDisk, deliver, place_of_row, write
from tests.loader.samples import run_python

BAD_ROW = 1000


def evict(shard: Path) -> None:
    """Take a mapped file's pages out of this process and out of the page cache, as a machine short of memory does."""
    libc = ctypes.CDLL(None, use_errno=True)
    ranges = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(shard)):
            begin, end = (int(word, 16) for word in line.split()[0].split("-"))
            assert libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), 4) == 0  # MADV_DONTNEED
            ranges += 1
    assert ranges > 0
    fd = os.open(shard, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evicted_page_on_a_failing_device_is_an_error(disk: FaultyDisk, workers: int) -> None:
    shard = next((disk.mount / "d").glob("*.hrs"))
    dataset = hr.open(disk.mount / "d", reader="mmap")
    loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=workers)
    before = signal.getsignal(signal.SIGBUS)
    assert deliver(loader) == (list(range(ROWS)), [])  # All is populated and checked.
    evict(shard)
    place = place_of_row(next((disk.folder / "d").glob("*.hrs")), BAD_ROW)
    disk.rules({"suffix": ".hrs", "offset": place, "length": 1, "errno": errno.EIO})
    for _ in range(2):
        rows, errors = deliver(loader)
        assert BAD_ROW not in rows
        assert {row for row in range(ROWS) if row // CHUNK != BAD_ROW // CHUNK} <= set(rows)
        assert errors
        for error in errors:
            assert isinstance(error, hr.StorageError), error
            assert error.errno == errno.EIO
            assert "chunk 3" in str(error)
        with pytest.raises(hr.StorageError):
            dataset[BAD_ROW]
    disk.rules()
    assert deliver(hr.DataLoader(hr.open(disk.mount / "d"), CHUNK)) == (list(range(ROWS)), [])
    assert signal.getsignal(signal.SIGBUS) == before


CUT = """
import faulthandler, os, random, signal, sys, threading, time
faulthandler.enable()
import headrace as hr
from pathlib import Path
from tests.faults.faulty_disk import CHUNK, ROWS, deliver, write

folder, readers, workers = Path(sys.argv[1]), sys.argv[2].split(), int(sys.argv[3])
kinds = []
for round_, reader in enumerate(readers):
    shard = write(folder / str(round_))
    dataset = hr.open(folder / str(round_), reader=reader)
    loader = hr.DataLoader(dataset, 64, True, num_workers=workers)
    assert len(deliver(loader)[0]) == ROWS
    stop = threading.Event()
    cutter = threading.Timer(random.Random(round_).random() * 0.02, lambda: (os.truncate(shard, 100_000), stop.set()))
    cutter.start()
    passes = 0
    while not stop.is_set() or passes < 3:  # Some passes begin after the cut.
        rows, errors = deliver(loader)
        for error in errors:
            assert isinstance(error, (hr.TruncatedError, hr.StorageError)), repr(error)
            kinds.append(type(error).__name__)
        passes = passes + 1 if stop.is_set() else 0
    cutter.join()
    if reader == "mmap":
        time.sleep(0.05)  # Longer than a mapped file goes unwatched.
        rows, errors = deliver(loader)
        assert errors and all(isinstance(error, hr.TruncatedError) for error in errors), errors
        assert "was cut" in str(errors[0]) and "expected" in str(errors[0]), errors[0]
print("alive", sorted(set(kinds)))
assert faulthandler.is_enabled()
"""


@pytest.mark.parametrize(("readers", "workers"), [("mmap mmap mmap", 0), ("mmap mmap mmap", 2), ("mmap mmap pread direct uring", 8)])
def test_a_file_cut_while_it_is_read_is_an_error(tmp_path: Path, readers: str, workers: int) -> None:
    done = run_python(CUT, tmp_path, readers, workers, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.startswith("alive"), done.stdout


@pytest.mark.parametrize("reader", READERS)
def test_a_file_cut_before_it_is_read_still_gives_what_is_left(tmp_path: Path, reader: str) -> None:
    shard = write(tmp_path / "d")
    dataset = hr.open(tmp_path / "d", reader=reader)
    os.truncate(shard, place_of_row(shard, BAD_ROW) + 5)
    loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=2)
    rows, errors = deliver(loader)
    assert rows[: BAD_ROW // CHUNK * CHUNK] == list(range(BAD_ROW // CHUNK * CHUNK))  # Chunks that are whole.
    assert BAD_ROW not in rows
    assert errors
    for error in errors:
        assert isinstance(error, hr.TruncatedError), repr(error)
        assert ".hrs" in str(error)
    assert len(rows) + CHUNK // 2 * len(errors) == ROWS


def test_a_tail_that_reads_as_zeros_is_found(tmp_path: Path) -> None:
    """A file cut within a page: the rest of that page reads as zeros, and no signal says so."""
    shard = write(tmp_path / "d")
    dataset = hr.open(tmp_path / "d", reader="mmap", verify="always")
    loader = hr.DataLoader(dataset, CHUNK // 2)
    assert deliver(loader)[1] == []
    place = place_of_row(shard, BAD_ROW)
    assert place % 4096 not in (0, 4095)
    os.truncate(shard, place + 1)
    rows, errors = deliver(loader)
    assert BAD_ROW not in rows
    assert isinstance(errors[0], hr.TruncatedError)


# Each ends with a signal that is not ours to answer; headrace has mapped a file by then, so its handler is in place.
FOREIGN = {
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV, "Segmentation fault"),
    "bus error of a mapping that is not ours": (
        """import mmap, os
path = sys.argv[1] + '/other'
open(path, 'wb').write(bytes(8192))
file = open(path, 'r+b')
mapped = mmap.mmap(file.fileno(), 8192)
os.truncate(path, 0)
mapped[5000]""",
        signal.SIGBUS,
        "Bus error",
    ),
    "bus error that somebody sent": ("import os; os.kill(os.getpid(), signal.SIGBUS)", signal.SIGBUS, "Bus error"),
}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", FOREIGN)
def test_signals_that_are_not_ours_end_the_process_as_before(tmp_path: Path, name: str, told: bool) -> None:
    write(tmp_path / "d")
    script, number, words = FOREIGN[name]
    code = (
        "import faulthandler, resource, signal, sys\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        + ("faulthandler.enable()\n" if told else "")
        + "import headrace as hr\nhandlers = [signal.getsignal(s) for s in signal.valid_signals()]\n"
        "assert int(hr.open(sys.argv[1] + '/d')[5]['y']) == 15\n"
        "assert handlers == [signal.getsignal(s) for s in signal.valid_signals()]\n" + script
    )
    done = run_python(code, tmp_path)
    assert done.returncode == -number, (done.returncode, done.stderr)
    assert (words in done.stderr) == told


def test_import_puts_no_handler_in_place(tmp_path: Path) -> None:
    """Only what maps a file needs one."""
    write(tmp_path / "d")
    code = (
        "import re, signal, sys\nimport headrace as hr\n"
        "def caught(): return int(re.search('SigCgt:\\t(.*)', open('/proc/self/status').read())[1], 16) >> (signal.SIGBUS - 1) & 1\n"
        "before = caught()\nhr.open(sys.argv[1] + '/d', reader='pread')[5]\nunmapped = caught()\nhr.open(sys.argv[1] + '/d')[5]\n"
        "print(before, unmapped, caught())"
    )
    assert run_python(code, tmp_path).stdout == "0 0 1\n"
