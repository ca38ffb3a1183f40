"""What headrace adds to torch's worker processes: they name the sample that fails or is stuck, and end with the process that made them.

`WorkerStart` runs in a worker; `Places` is what both sides see; `Workers` is the maker's side: what the workers are at, and how they are left.
"""

from __future__ import annotations

import faulthandler
import itertools
import mmap
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch.utils.data as data
import torch.utils.data._utils.worker as torch_worker
import torch.utils.data.dataloader as torch_loader

from headrace import _native
from headrace.loader.fetching import COLLATING, NOTHING, TOGETHER, UNKNOWN, Fetcher
from headrace.loader.pipe_transport import send_bytes, why_cramped

__all__ = ["Places", "SeededWorkers", "WorkerStart", "leave", "lost_worker", "start_of", "what_they_do"]

_LEAVE_SECONDS = 0.1  # that whoever drops an iterator waits for its workers
_GRACE_SECONDS = 5.0  # that a worker may take to end the sample it is in, as under torch
_LOOK_SECONDS = 0.5  # how often a worker that the kernel does not end looks for its parent
_STACK_SECONDS = 0.5  # that a worker has to write where it is
_FRAMES = 8  # the innermost, of a stack
_WORDS = {UNKNOWN: "", COLLATING: ", in collate_fn", TOGETHER: ", in the dataset's __getitems__"}
_STACKS = "headrace-stacks"  # the name of the memory that it writes to
# Taken by nobody: neither glibc, which uses the first real-time signals, nor what runs jobs, which sends SIGUSR1 and SIGUSR2.
_STACK_SIGNAL = signal.SIGRTMIN + 11 if hasattr(signal, "SIGRTMIN") else None


class Places:
    """The dataset index that each worker is at, in memory that maker and workers share. Nameless, so nothing can be left behind.

    Forked workers inherit it; others find it through the maker's descriptor, where the system has such memory. Elsewhere `at` is None.
    """

    def __init__(self, workers: int, *, is_inherited: bool) -> None:
        self._size, self._maker = 8 * workers, os.getpid()
        self._file = -1
        if not is_inherited and hasattr(os, "memfd_create"):
            self._file = os.memfd_create("headrace-places")
            weakref.finalize(self, os.close, self._file).atexit = False
            os.ftruncate(self._file, self._size)
        self.at: memoryview | None = None
        if is_inherited or self._file >= 0:
            self.at = memoryview(mmap.mmap(self._file, self._size)).cast("q")
            for number in range(workers):
                self.at[number] = NOTHING

    def of(self, worker: int) -> memoryview | None:
        """Where a worker writes its own."""
        return None if self.at is None else self.at[worker : worker + 1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "at": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file >= 0:
            try:
                file = os.open(f"/proc/{self._maker}/fd/{self._file}", os.O_RDWR)
            except FileNotFoundError:  # The pass is over, or its maker ended, before this worker had started.
                return
            self.at = memoryview(mmap.mmap(file, self._size)).cast("q")
            os.close(file)


class WorkerStart:
    """The worker_init_fn of a worker process. Torch's fetchers there name the sample that fails from then on. Then calls the user's own. Pickles."""

    def __init__(
        self, users: Callable[[int], None] | None, places: Places, *, is_direct: bool, has_timeout: bool, is_cramped: bool
    ) -> None:
        """is_direct: the maker is the parent: no fork server is in between."""
        self.users, self._places, self._is_direct, self._has_timeout, self._is_cramped = users, places, is_direct, has_timeout, is_cramped
        self._maker = os.getpid()
        self._is_main = threading.current_thread() is threading.main_thread()

    def __call__(self, worker: int) -> None:
        """Begin a worker."""
        _native.end_by_word_of(self._maker)
        self._end_with_maker()
        if self._has_timeout:
            _tell_where()
        if self._is_cramped:
            send_bytes()
        _note_in_this_process(self._places.of(worker))
        if self.users is not None:
            self.users(worker)

    def _end_with_maker(self) -> None:
        if self._is_direct:
            # The kernel looks at the thread that forked. The main one lives as long as the maker; another may end long before the loader.
            kernel_does = self._is_main and _native.end_with_parent()
            if os.getppid() != self._maker:  # It ended before it was asked to be watched.
                os._exit(1)
            if kernel_does:
                return
        else:
            # A fork server dies of a signal to the whole job, and torch's workers with it: they take it for their maker. The thread knows better.
            torch_worker.ManagerWatchdog.is_alive = lambda watchdog: True  # type: ignore[method-assign, assignment]
        threading.Thread(target=_watch, args=(self._maker if self._is_direct else 0,), name="headrace-watch", daemon=True).start()


class SeededWorkers(torch_loader._MultiProcessingDataLoaderIter):
    """Torch's iterator, but for its workers' seed, which is given: a pass that is resumed has the one that it began with."""

    def __init__(self, loader: Any, seed: int | None) -> None:
        self._seed = seed
        super().__init__(loader)

    @property
    def _base_seed(self) -> Any:
        return self._seed

    @_base_seed.setter
    def _base_seed(self, drawn: Any) -> None:
        pass


SeededWorkers.__name__ = SeededWorkers.__qualname__ = (
    torch_loader._MultiProcessingDataLoaderIter.__name__
)  # What profilers show, and regular expressions find.


def start_of(loader: Any) -> tuple[WorkerStart, Places]:
    """For the workers of a pass that begins now."""
    # allow_none: to ask for the default would settle it, and the user may still choose.
    how = (loader.multiprocessing_context or multiprocessing).get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[
        0
    ]
    places = Places(loader.num_workers, is_inherited=how == "fork")
    start = WorkerStart(
        loader.worker_init_fn, places, is_direct=how != "forkserver", has_timeout=loader.timeout > 0, is_cramped=why_cramped() != ""
    )
    return start, places


def _watch(parent: int) -> None:
    """End this process when its maker did. parent: that one; 0 where a fork server is the parent, which lives as long as any of its workers."""
    if parent:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
    elif (maker := multiprocessing.parent_process()) is not None:
        maker.join()
    os._exit(1)


def _tell_where() -> None:
    """Write the stacks of all threads when asked to, also from code that holds the interpreter lock."""
    if _STACK_SIGNAL is not None and hasattr(os, "memfd_create"):
        file = os.memfd_create(_STACKS)
        faulthandler.register(_STACK_SIGNAL, file=file, all_threads=True)
        os.write(file, b"\n")  # The maker may ask from now on.


def _note_in_this_process(place: memoryview | None) -> None:
    kinds = data._DatasetKind
    original: Any = kinds.create_fetcher

    def create_fetcher(kind: Any, dataset: Any, auto_collation: bool, collate_fn: Any, drop_last: bool) -> Any:
        if kind == kinds.Map:
            fetcher = Fetcher(dataset, auto_collation, collate_fn)
            fetcher.place = place
            return fetcher
        if place is not None:
            place[0] = UNKNOWN
        return original(kind, dataset, auto_collation, collate_fn, drop_last)

    kinds.create_fetcher = staticmethod(create_fetcher)  # type: ignore[method-assign]


# -- the maker's side ------------------------------------------------------------------------------------------------------------


def what_they_do(workers: list[Any], places: Places, *, with_stacks: bool) -> list[str]:
    """A line for each worker that was at something when it ended; with_stacks, also for those that are at something, with their stacks."""
    lines = []
    for number, worker in enumerate(workers):
        at = UNKNOWN if places.at is None else places.at[number]
        is_alive = worker.is_alive()
        if at == NOTHING or (is_alive and not with_stacks) or (at == UNKNOWN and not is_alive):
            continue
        doing = _WORDS.get(at, f", at dataset index {at}")
        ended = "" if is_alive else f", ended: {_how(worker.exitcode)}"
        stack = _stack_of(worker.pid) if is_alive and with_stacks else ""
        lines.append(f"worker process {number} (pid {worker.pid}){doing}{ended}{stack}")
    return lines


def lost_worker(workers: list[Any]) -> str:
    """What torch says of a worker that died, if one did just now; else empty. Its connections break a little before it counts as dead."""
    end = time.monotonic() + _LOOK_SECONDS
    while True:
        for worker in workers:
            if not worker.is_alive() and worker.exitcode != 0:
                return f"DataLoader worker (pid {worker.pid}) ended unexpectedly while it handed over a batch: {_how(worker.exitcode)}"
        if time.monotonic() > end:
            return ""
        time.sleep(_LOOK_SECONDS / 50)


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit status {exit_code}"
    hints = {signal.SIGKILL: " (out of memory, perhaps: the kernel's log, or the limit of the container, would say so)"}
    hints |= {signal.SIGBUS: " (shared memory is full, perhaps: parallel='thread' needs none)"}
    try:
        return f"{signal.Signals(-exit_code).name}{hints.get(signal.Signals(-exit_code), '')}"
    except ValueError:
        return f"signal {-exit_code}"


def _stack_of(pid: int) -> str:
    """Where the worker's loop is, a frame a line, the innermost last; empty if it does not say."""
    try:
        with _stacks_file(pid) as file:
            begin = os.fstat(file.fileno()).st_size
            if begin == 0:  # It has not come as far as to know the signal.
                return ""
            assert _STACK_SIGNAL is not None
            os.kill(pid, _STACK_SIGNAL)
            end = time.monotonic() + _STACK_SECONDS
            size = begin
            while time.monotonic() < end:  # Until it has begun to write, and nothing more comes.
                time.sleep(_LOOK_SECONDS / 10)
                before, size = size, os.fstat(file.fileno()).st_size
                if size == before > begin:
                    break
            file.seek(begin)
            threads = file.read().decode(errors="replace").split("hread 0x")
    except OSError:
        return ""
    ours = next((text for text in threads if "_worker_loop" in text), "")
    frames = [line.strip() for line in ours.splitlines() if line.startswith("  File")]
    inside = list(itertools.takewhile(lambda line: "_worker_loop" not in line, frames))
    return "".join(f"\n    {line}" for line in inside[:_FRAMES][::-1])


def _stacks_file(pid: int) -> Any:
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        if _STACKS in os.readlink(f"{folder}/{name}"):
            return open(f"{folder}/{name}", "rb")
    raise FileNotFoundError(_STACKS)


class _Leaving:
    """A worker as torch's shutdown is to see it: all are waited for together and shortly, and those that are still in a sample are left to a thread."""

    def __init__(self, worker: Any, end: float, left: list[Any]) -> None:
        self._worker, self._end, self._left = worker, end, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def join(self, timeout: float | None = None) -> None:
        """Wait, but not beyond the common end."""
        self._worker.join(max(0.0, self._end - time.monotonic()))

    def terminate(self) -> None:
        """Leave it to the thread."""
        self._left.append(self._worker)


def leave(iterator: Any, shut_down: Callable[[], None]) -> None:
    """Run torch's shutdown of an iterator's workers without waiting for the samples that they are in."""
    workers: list[Any] = iterator._workers
    left: list[Any] = []
    end = time.monotonic() + _LEAVE_SECONDS
    iterator._workers = [_Leaving(worker, end, left) for worker in workers]
    try:
        shut_down()
    finally:
        iterator._workers = workers
        if left:
            threading.Thread(target=_end, args=(left,), name="headrace-leave", daemon=True).start()


def _end(workers: list[Any]) -> None:
    """Give them the time that torch gives, then end them. At the interpreter's exit multiprocessing ends them at once."""
    end = time.monotonic() + _GRACE_SECONDS
    for how in ("", "terminate", "kill"):
        for worker in workers:
            if how and worker.is_alive():
                getattr(worker, how)()
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
        end = time.monotonic() + 1.0
