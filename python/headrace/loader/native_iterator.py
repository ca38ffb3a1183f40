"""One pass of a loader over the native engine."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.zipped import ZippedDataset
from headrace.errors import ChangedError, ForkError, LoaderTimeoutError, TooManyErrorsError
from headrace.loader.agreement import check_agreement
from headrace.loader.cache_warning import warn_of_failures
from headrace.loader.feeding import IndexFeed, as_array
from headrace.loader.summary import EpochSummary
from headrace.sampling.order import OrderSampler

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["NativeIterator"]

_getpid = os.getpid
_profiler_enabled = torch._C._autograd._profiler_enabled


class NativeIterator:
    """One pass. Holds an engine until the pass ends, is dropped or fails for good; several may live at once."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._pid = os.getpid()
        self._lock = threading.Lock()  # an engine serves one consumer at a time
        self._is_closed = False
        self._passed = 0  # batches delivered or failed in this pass
        self._state = loader.place.begin()
        if loader.planned is not None:
            self._state.for_ranks(loader.partition.world_size)
            loader.planned.set_pass(self._state.epoch, self._state.cuts)
        check_agreement(loader, self._state.epoch, self._state.position)
        self._convert = loader.converter()
        self._source = loader.source
        self._native = self._source.native
        self._partition = loader.partition
        self._memory = (
            self._source if isinstance(self._source, ArrayDataset | ZippedDataset) else None
        )  # read in place, and moved by others
        self.pipeline: _native.Pipeline | None = loader.take_pipeline(self._native)
        self._summary = EpochSummary.begin(loader)
        self._schedule = loader.batch_schedule
        if self._schedule is not None and self._state.position == 0:
            self._schedule.begin_epoch()
        self._last_draw: Callable[[], object] | None = None  # of a sampler whose order is known, still to come
        self._batches: IndexFeed | None = None  # while a sampler's batches are still to come
        self._begin: int | None = None  # batches before this pass, where a sampler's order is followed
        if loader.is_fed:
            self._batches = self._fed_batches()
            self._ahead = (loader.prefetch_factor or 2) * loader.num_workers + 1
            self._follows_ahead = loader.automatic.ahead
            self._begin, self._fed = self._state.position, 0
            self._is_started = False
            if loader.num_workers > 0:
                self._feed(self.pipeline)  # torch too draws the first indices here when it has workers.
            loader.place = self._state
        else:
            self._start_ordered(self.pipeline)

    def _start_ordered(self, pipeline: _native.Pipeline) -> None:
        loader = self._loader
        self._state.shares = loader.tell_shares(pipeline, self._state.epoch)
        pipeline.start(self._state.epoch, self._state.position)
        if isinstance(loader.sampler, OrderSampler):
            loader.sampler.follow(self._state.epoch)
        loader.place = self._state

    def _follow_late_epoch(self, pipeline: _native.Pipeline) -> None:
        """Begin again if a trainer chose another epoch at the sampler since iter(): as with torch's samplers it counts until the first batch."""
        loader = self._loader
        if loader.is_fed or loader.place is not self._state:
            return
        loader.hear_sampler()
        if loader.place is not self._state:
            self._state = loader.place.begin()
            pipeline.stop()
            self._start_ordered(pipeline)

    def __iter__(self) -> NativeIterator:
        return self

    def __next__(self) -> Any:
        if self._pid != _getpid():
            raise ForkError(
                "this iterator was made before fork() and its threads are not in the child; start a new one there: iter(loader)"
            )
        try:
            with self._lock:
                if self._is_closed:
                    self._release()
                if _profiler_enabled():
                    with torch.autograd.profiler.record_function("enumerate(DataLoader)#NativeIterator.__next__"):
                        return self._next_alone()
                return self._next_alone()
        finally:
            if self._is_closed and self.pipeline is not None:
                self.close()  # Asked for meanwhile, by a thread that could not do it.

    def _next_alone(self) -> Any:
        while self.pipeline is not None:
            batch = self.take(self.pipeline)
            if self.count(batch):
                return self._convert(batch)
        raise StopIteration

    def take(self, pipeline: _native.Pipeline) -> _native.Batch | None:
        """The next batch, not yet counted as delivered; None at the end of the pass. Raises StopIteration if another thread closed the iterator."""
        self._check_memory()  # First: without threads, next() reads.
        if self._passed == 0:
            self._follow_late_epoch(pipeline)
        if self.changes_size():
            pipeline = self._change_size(pipeline)
        if self._batches is not None:
            self._feed(pipeline)
        if self._last_draw is not None and self._passed + self._ahead > self._whole_batches:
            self._draw_last()  # Torch's sampler is asked for as many batches ahead.
        self._passed += 1
        try:
            batch = pipeline.next(self._loader.timeout)
        except LoaderTimeoutError:
            self._passed -= 1  # Still under way.
            raise
        if batch is None and self._last_draw is not None:
            self._draw_last()
        if self._is_closed:
            raise StopIteration  # Not delivered, and not the end of the epoch.
        if batch is not None:
            self._check_memory()
            if self._passed == 1:
                self._source.note_fallback()
            self._passed = batch.step + 1  # Exact again after an interrupt, of which nobody can say which side of the batch it hit.
        return batch

    def _draw_last(self) -> None:
        assert self._last_draw is not None
        self._last_draw()
        self._last_draw = None

    def changes_size(self, ahead: int = 0) -> bool:
        """Whether the batch that comes after `ahead` that are not yet delivered has another size, by a schedule, than the engine makes."""
        return self._schedule is not None and self._schedule.size_at(self._schedule.step + ahead) != self._partition.batch_size

    def _change_size(self, pipeline: _native.Pipeline) -> _native.Pipeline:
        """Begin anew at the next sample: what the engine has under way was cut otherwise."""
        loader = self._loader
        pipeline.stop()
        loader.give_pipeline(self._native, self._partition, pipeline)
        loader.find_partition()
        self._partition = loader.partition
        self.pipeline = pipeline = loader.take_pipeline(self._native)
        self._start_ordered(pipeline)
        return pipeline

    def _check_memory(self) -> None:
        """End the pass if what it reads has moved: its engine would go on with memory that is freed."""
        if self._memory is None or self._memory.is_current(self._native):
            return
        self._release()
        raise ChangedError(
            f"{self._memory.path}: a tensor of the dataset moved while this pass read it (share_memory_(), a worker process that was given it, "
            "set_()); begin a new pass, or call share_memory_() on the tensors before the first one"
        )

    def count(self, batch: _native.Batch | None) -> TypeGuard[_native.Batch]:
        """Count as delivered what take() gave. Whether there is something in it; the end of the pass is counted too."""
        if batch is None:
            self._state.finished = True
            self._release()
            if self._summary is not None:
                self._summary.end(self._state.epoch)
            warn_of_failures()
            return False
        step, position, skipped = batch.place
        self._state.deliver(position if self._begin is None else self._begin + step + 1)
        if self._schedule is not None:
            self._schedule.deliver()
        if skipped:
            self._count_skipped(batch)
            return len(batch) > 0
        return True

    @property
    def global_batch(self) -> int:
        """Samples of a step on all ranks."""
        return self._partition.global_batch

    def left(self) -> int | None:
        """Positions of the epoch that are still to come, on all ranks; None under a sampler, which does not say."""
        return None if self._loader.is_fed else max(0, self._loader.epoch_samples - self._state.position)

    def is_last(self) -> bool:
        """Whether the latest batch is the last of the pass."""
        if not self._loader.is_fed:
            return self._partition.num_batches(self._loader.epoch_samples, self._state.position) == 0
        try:
            return self._state.position >= len(self._loader)
        except TypeError:  # A sampler without a length.
            return False

    def is_mine(self) -> bool:
        """Whether this process made the iterator."""
        return self._pid == os.getpid()

    def __len__(self) -> int:
        return len(self._loader)

    def _fed_batches(self) -> IndexFeed:
        """The user's batches from the state's position on. Skipping costs the sampler's own draws and reads nothing."""
        batches = IndexFeed(cast("Iterable[Any]", self._loader.batch_sampler), self._state.position, self._state.drawn)
        # torch draws a seed for its workers before the sampler's first draw; without it, the same generator would give another order here.
        self._loader.draw_seed()
        return batches

    def _feed(self, pipeline: _native.Pipeline) -> None:
        """Hand the sampler's next batches to the engine: all at once where their order is known, else some ahead of the consumer."""
        assert self._batches is not None
        if not self._is_started:
            order = self._batches.order()
            epoch = self._loader.followers.epoch()
            self._state.drawn = {**self._batches.drawn, **({} if epoch is None else {"epoch": epoch})}
            if order is not None:
                begin = min(self._state.position * self._loader.partition.batch_size, len(order))
                pipeline.start_listed(self._source.absolute(order), begin, self._state.epoch)
                self._last_draw, self._whole_batches = self._batches.last_draw, len(order) // self._loader.partition.batch_size
                self._batches, self._begin = None, 0
                return
            pipeline.start_fed(self._state.epoch)
            self._is_started = True
        if self._follows_ahead and self._ahead > 0:
            self._ahead = pipeline.ahead + 1
        while self._fed - self._passed < self._ahead:
            indices = next(self._batches, None)
            if indices is None:
                pipeline.end_feed()
                self._ahead = 0
                return
            pipeline.feed(self._source.absolute(as_array(indices)))
            self._fed += 1

    def _count_skipped(self, batch: _native.Batch) -> None:
        skipped = self._state.skipped
        known = set(skipped)  # Each epoch meets a damaged sample again, and a resampling one several times.
        skipped.extend(dict.fromkeys(index for index, _ in batch.skipped if index not in known))
        if len(skipped) > self._loader.max_errors:
            index, reason = batch.skipped[-1]
            named = reason if reason.startswith(f"sample {index}:") else f"sample {index}: {reason}"
            raise TooManyErrorsError(
                f"{len(skipped)} samples failed, max_errors is {self._loader.max_errors}; the last: {named}; "
                f"run `headrace verify {self._source.path}`"
            )

    def _release(self) -> None:
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is None or self._pid != os.getpid():
            return
        pipeline.stop()
        self._loader.give_pipeline(self._native, self._partition, pipeline)

    def close(self) -> None:
        """End the pass now; returns at once, from any thread. A thread that waits in next() gets StopIteration with the next batch, and ends it."""
        self._is_closed = True
        # The engine must not be stopped while a thread is inside it. Whoever holds the lock looks at the flag after letting go of it.
        if self._lock.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._lock.release()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # As the interpreter ends, modules are emptied in any order; the engine needs none of them to end by itself.
        if not is_finalizing() and getattr(self, "pipeline", None) is not None:
            self._release()
