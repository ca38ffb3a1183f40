"""Python threads that build the batches of one pass, and how they are told to end."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from headrace.errors import LoaderTimeoutError
from headrace.loader.fetching import note

__all__ = ["Failure", "ThreadPool"]

_CLOSE_SECONDS = 0.1  # that close() waits for threads; one that is in a sample for longer ends by itself after it
_LOOK_SECONDS = 0.05  # how often a wait looks for Ctrl-C


class Failure:
    """An error in place of a batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class ThreadPool:
    """Tasks in, results out by ticket, in the order in which they were given. Threads hold this, never the iterator, so that it can be dropped.

    make_worker(pool, worker) is called in each thread, once, and gives what builds a batch of a task; end_worker is called at its end. `doing[worker]` is
    what it says to be working on.
    Any thread may call anything; `changed` guards everything.
    """

    def __init__(
        self, count: int, make_worker: Callable[[ThreadPool, int], Callable[[Any], Any]], end_worker: Callable[[int], None]
    ) -> None:
        self.doing: dict[int, Any] = {}
        self._changed = threading.Condition()
        self._tasks: deque[tuple[int, Any]] = deque()
        self._results: dict[int, Any] = {}
        self._given = self._taken = 0
        self._is_closed = False
        self._make_worker, self._end_worker = make_worker, end_worker
        self._threads = [threading.Thread(target=self._run, args=(i,), name=f"headrace-python-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def ahead(self) -> int:
        """Tasks given and not taken."""
        return self._given - self._taken

    def give(self, task: Any) -> None:
        """Queue a task."""
        with self._changed:
            self._tasks.append((self._given, task))
            self._given += 1
            self._changed.notify_all()

    def take(self, timeout: float, in_order: bool) -> Any:
        """The next result, waited for: of the oldest task, or of any. Raises LoaderTimeoutError, which says what each thread is doing."""
        end = time.monotonic() + timeout if timeout > 0 else None
        with self._changed:
            while True:
                ticket = self._taken if in_order else next(iter(self._results), -1)
                if ticket in self._results:
                    break
                if self._is_closed:  # by another thread: there is no batch, and no error.
                    return Failure(StopIteration())
                left = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - time.monotonic())
                if left <= 0:
                    raise LoaderTimeoutError(self._stuck(timeout))
                self._changed.wait(left)
            self._taken += 1
            return self._results.pop(ticket)

    def _stuck(self, timeout: float) -> str:
        frames = sys._current_frames()
        lines = [f"no batch within {timeout} s; the threads are at:"]
        for thread in self._threads:
            worker = int(thread.name.rpartition("-")[2])
            frame = frames.get(thread.ident or -1)
            if worker in self.doing and frame is not None:
                lines.append(f"{thread.name}: dataset index {self.doing[worker]}\n" + "".join(traceback.format_stack(frame)[-4:]).rstrip())
        return "\n".join(lines)

    def _run(self, worker: int) -> None:
        try:
            self._work(worker)
        finally:
            self._end_worker(worker)

    def _work(self, worker: int) -> None:
        build: Callable[[Any], Any] | None = None
        failed: BaseException | None = None
        try:
            build = self._make_worker(self, worker)
        except BaseException as error:  # noqa: BLE001 - raised in the consumer
            failed = error  # Raised in place of each batch that this thread would have built.
            note(error, f"headrace: when the thread {threading.current_thread().name} began")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._is_closed)
                if self._is_closed:
                    return
                ticket, task = self._tasks.popleft()
            try:
                result = build(task) if build is not None else Failure(failed or RuntimeError())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer gets it
                result = Failure(error)
            self.doing.pop(worker, None)
            self._hand_over(ticket, result)
            del result, task

    def _hand_over(self, ticket: int, result: Any) -> None:
        with self._changed:
            if not self._is_closed:
                self._results[ticket] = result
                self._changed.notify_all()

    def close(self) -> None:
        """End the threads: at once where they wait, else after the sample they are in. Returns within a tenth of a second."""
        with self._changed:
            self._is_closed = True
            self._tasks.clear()
            self._results.clear()
            self._changed.notify_all()
        end = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))
