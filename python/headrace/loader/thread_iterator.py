"""One pass over a Python dataset in threads, or in the caller's own: torch's order, and random numbers that depend on the sample alone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch
import torch.utils.data as data

from headrace.errors import ForkError
from headrace.loader.fetching import BatchLost, Fetcher, key_of, note
from headrace.loader.handles import ThreadCopies, close_all
from headrace.loader.pinning import pin
from headrace.loader.private_random import PrivateGenerators
from headrace.loader.stateful_batches import Draws
from headrace.loader.thread_pool import Failure, ThreadPool
from headrace.loader.worker_context import enter_worker, leave_worker

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader
    from headrace.loader.state import LoaderState

__all__ = ["ThreadIterator"]

_COLLATE, _STREAM = 1 << 62, 1 << 61  # tags of keys: no dataset has that many samples


class ThreadIterator:
    """Batches in torch's order. Several may live at once; close(), the end of the pass and dropping it end the threads."""

    def __init__(self, loader: DataLoader, state: LoaderState, failed: Callable[[int, Exception], None]) -> None:
        self._loader, self._state, self._pid = loader, state, os.getpid()
        self._is_stream = isinstance(loader.dataset, data.IterableDataset)
        self._begun = state.position
        auto = loader._auto_collation
        sampler: Any = loader.batch_sampler if auto else loader.sampler
        self._indices: Iterator[Any] = (
            iter(sampler) if self._is_stream else Draws(sampler, batched=auto, begin=state.position, drawn=state.drawn)
        )
        drawn = loader.draw_seed()
        seed = drawn if loader.seed is None else loader.order_seed
        state.key = state.key if state.key is not None else seed
        self._is_done = False
        self._given = 0
        count = max(loader.num_workers, 1) if loader.timeout > 0 else loader.num_workers  # A timeout needs a thread to wait for.
        count = min(count, 1) if self._is_stream else count
        self._ahead = count * (loader.prefetch_factor or 2)
        make = _WorkerMaker(loader, state.key, state.epoch, count, failed)
        self._build: Callable[[Any], Any] | None = None if count else make.worker(None, 0)
        self._pool = ThreadPool(count, make.worker, make.end) if count else None
        self._fill()

    def _fill(self) -> None:
        while self._pool is not None and not self._is_done and self._pool.ahead < self._ahead:
            task = self._next_task()
            if task is not None:
                self._pool.give(task)

    def _next_task(self) -> Any:
        indices = next(self._indices, None)
        if not self._state.drawn and isinstance(self._indices, Draws):
            epoch = self._loader.followers.epoch()
            self._state.drawn = {**self._indices.drawn, **({} if epoch is None else {"epoch": epoch})}
        if indices is None:
            self._is_done = True
            return None
        self._given += 1
        return self._begun + self._given - 1, indices

    def __iter__(self) -> ThreadIterator:
        return self

    def __next__(self) -> Any:
        if self._pid != os.getpid():
            raise ForkError(
                "this iterator was made before fork() and its threads are not in the child; start a new one there: iter(loader)"
            )
        with torch.autograd.profiler.record_function("enumerate(DataLoader)#ThreadIterator.__next__"):
            while True:
                batch = self._take()
                self._state.deliver(self._state.position + 1)
                if isinstance(batch, Failure):
                    if isinstance(batch.error, BatchLost):
                        continue
                    note(batch.error, f"headrace: epoch {self._state.epoch}, batch {self._state.position - 1}")
                    try:
                        raise batch.error
                    finally:
                        del batch
                return pin(batch) if self._loader.pin_memory else batch

    def _take(self) -> Any:
        if self._pool is None:
            task = None if self._is_done else self._next_task()
            if task is None:
                self._end()
            assert self._build is not None
            try:
                return self._build(task)
            except StopIteration:
                self._end()
            except Exception as error:  # noqa: BLE001 - raised in its turn
                return Failure(error)
        return self._take_from(self._pool)

    def _take_from(self, pool: ThreadPool) -> Any:
        self._fill()
        if pool.ahead == 0:
            self._end()
        batch = pool.take(self._loader.timeout, self._loader.in_order)
        if isinstance(batch, Failure) and isinstance(
            batch.error, StopIteration
        ):  # A stream's end, or closed meanwhile: not the end of the epoch.
            if self._is_done and not self._is_stream:
                raise StopIteration
            self._end()
        self._fill()
        return batch

    def _end(self) -> NoReturn:
        self._is_done = True
        self._state.finished = True
        self.close()
        raise StopIteration

    def __len__(self) -> int:
        return len(self._loader)

    def close(self) -> None:
        """End the pass now, and its threads with it; one that is in a sample ends after it."""
        self._is_done = True
        if self._pool is not None and self._pid == os.getpid():
            self._pool.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "_pool", None) is not None and not is_finalizing():
            self.close()


class _WorkerMaker:
    """Makes what builds batches in one thread. Holds parts of the loader, not the loader: a dropped one must not be kept by its threads."""

    def __init__(self, loader: DataLoader, key: int, epoch: int, threads: int, failed: Callable[[int, Exception], None]) -> None:
        self._key, self._epoch, self._count, self._failed = key, epoch, threads, failed
        self._lock = threading.Lock()
        self._copies = ThreadCopies(loader.dataset) if threads else None
        self._opened: dict[int, list[Any]] = {}  # by thread
        self._dataset = loader.dataset
        self._kind = loader._dataset_kind
        self._auto, self._collate = loader._auto_collation, loader.collate_fn
        self._drop_last, self._on_error, self._start = loader.drop_last, loader.on_error, loader.worker_init_fn

    def worker(self, pool: ThreadPool | None, number: int) -> Callable[[Any], Any]:
        """What builds the batch of a task in this thread. Without a pool, in the caller's."""
        dataset = self._dataset if pool is None or self._copies is None else self._copies.of(self._opened.setdefault(number, []))
        generators = PrivateGenerators()
        if pool is not None:
            self._enter(dataset, generators, number)
        if self._kind == data._DatasetKind.Map:
            fetcher: Any = self._fetcher(dataset, generators, pool, number)
        else:
            with generators:
                generators.begin(key_of(self._key, self._epoch, _STREAM))
                create: Any = data._DatasetKind.create_fetcher
                fetcher = create(self._kind, dataset, self._auto, self._collate, self._drop_last)
        lock = self._copies.lock if self._copies is not None else None

        def build(task: Any) -> Any:
            step, indices = task
            if isinstance(fetcher, _KeyedFetcher):
                fetcher.step = step
            with generators:
                if lock is None:
                    return fetcher.fetch(indices)
                with lock:
                    return fetcher.fetch(indices)

        return build

    def end(self, number: int) -> None:
        """Called by the thread that ends."""
        leave_worker()
        close_all(self._opened.pop(number, []))

    def _enter(self, dataset: Any, generators: PrivateGenerators, number: int) -> None:
        seed = key_of(self._key, self._epoch, _STREAM, number)
        generators.begin(seed)
        # By name: until torch 2.11 WorkerInfo takes nothing else.
        info = data._utils.worker.WorkerInfo(id=number, num_workers=self._count, seed=seed, dataset=dataset, **_rng(generators))
        enter_worker(info)
        if self._start is not None:
            with generators:
                self._start(number)

    def _fetcher(self, dataset: Any, generators: PrivateGenerators, pool: ThreadPool | None, number: int) -> _KeyedFetcher:
        fetcher = _KeyedFetcher(dataset, self._auto, self._collate)
        fetcher.on_error = self._on_error
        key, epoch, size = self._key, self._epoch, len(dataset) if self._on_error == "replace" else 0

        def failed(index: int, error: Exception) -> None:
            with self._lock:
                self._failed(index, error)

        def before(index: Any) -> None:
            if pool is not None and index is not None:
                pool.doing[number] = index
            tag = _tag(index) if index is not None else _COLLATE + fetcher.step
            generators.begin(key_of(key, epoch, tag))

        fetcher.failed, fetcher.before = failed, before
        fetcher.choose = lambda index, attempt: key_of(key, epoch, _tag(index), attempt) % size
        return fetcher


class _KeyedFetcher(Fetcher):
    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any]) -> None:
        super().__init__(dataset, auto_collation, collate_fn)
        self.step = 0  # of the batch that is being built


def _tag(index: Any) -> int:
    """A number of an index of any kind, the same in every process."""
    return int(index) if isinstance(index, int) else key_of(*repr(index).encode())


def _rng(generators: PrivateGenerators) -> dict[str, Any]:
    """What torch.thread_safe_generator() looks at, where this torch has it."""
    container = getattr(data._utils.worker, "_RNG", None)
    return {} if container is None else {"rng": container(generators.random, generators.torch, None), "worker_method": "thread"}
