"""One pass whose batches arrive on a device: the next one's copies begin as soon as the engine has it, while the consumer computes on this one."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace import _native
from headrace.loader.native_iterator import NativeIterator
from headrace.loader.transfer import Sent, Transfer

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["DeviceIterator", "TorchDeviceIterator"]


@dataclass(slots=True)
class _Item:
    """A batch that was taken from the engine and not delivered, or the error that came instead: raised in its turn, and counted as without `device`."""

    batch: _native.Batch | None = None  # None: the end of the pass, unless there is an error
    host: Any = None
    sent: Sent | None = None
    error: Exception | None = None

    @property
    def must_be_sent(self) -> bool:
        return self.sent is None and self.error is None and self.batch is not None and len(self.batch) > 0


class DeviceIterator(NativeIterator):
    """One pass to a device. At most one batch is ahead of the consumer, only where the engine has it at once and the copy need not wait."""

    def __init__(self, loader: DataLoader, transfer: Transfer) -> None:
        self._transfer = transfer
        self._items: deque[_Item] = deque()
        transfer.release_done()
        super().__init__(loader)

    def _next_alone(self) -> Any:
        self._transfer.release_done()  # First: the engine may use that memory again.
        self._transfer.find_stream()
        if self._items and self.changes_size():
            self._items.clear()  # Cut before somebody changed the size.
        while self._items or self.pipeline is not None:
            if not self._items:
                self._items.append(self._load())
            item = self._items[0]
            if item.must_be_sent:
                self._send(item)  # If it raises, the batch is still here for the next call.
            if len(self._items) == 1:
                self._look_ahead()
            batch = None if item.sent is None else self._transfer.deliver(item.sent)
            self._items.popleft()
            if item.error is not None:
                self._raise(item)
            if self.count(item.batch):
                return batch
        self._transfer.end_use(is_last=True)
        raise StopIteration

    def _load(self) -> _Item:
        assert self.pipeline is not None
        batch, host, failure = None, None, None
        try:
            batch = self.take(self.pipeline)
            if batch is not None and len(batch) > 0:
                host = self._loader.to_host(batch)
        except Exception as error:  # noqa: BLE001 - raised in its turn, by _raise().
            failure = error
        try:
            return _Item(batch, host, error=failure)
        finally:
            del failure  # No ring of error, its frame and itself, which would hold the batch's memory until the collector comes.

    def _send(self, item: _Item) -> None:
        assert item.batch is not None
        item.sent = self._transfer.send(item.host, self._loader.slab_of(item.batch))
        item.host = None

    def _look_ahead(self) -> None:
        """Take the next batch and begin its copies, if nothing of it has to be waited for."""
        if self.pipeline is None or not self.pipeline.is_ready() or not self._transfer.has_room() or self.changes_size(1):
            return
        item = self._load()
        self._items.append(item)
        if item.must_be_sent:
            try:
                self._send(item)
            except RuntimeError:  # No room on the device for one more, most likely: sent again in its turn, and raised then.
                item.sent = None

    def _raise(self, item: _Item) -> None:
        error, item.error = item.error, None  # Nor here.
        try:
            if item.batch is not None:
                self.count(item.batch)  # It was collate_fn that failed.
            assert error is not None
            raise error
        finally:
            del error

    def _release(self) -> None:
        self._items.clear()  # What copies still read is held elsewhere (transfer.Lane).
        super()._release()
        if self.is_mine() and not sys.is_finalizing():
            self._transfer.release_done()


class TorchDeviceIterator:
    """A pass of torch's own iterator to a device: copies run beside what the consumer has queued; nothing is taken ahead."""

    def __init__(self, batches: Iterator[Any], transfer: Transfer) -> None:
        self._batches, self._transfer = batches, transfer

    def __iter__(self) -> TorchDeviceIterator:
        return self

    def __next__(self) -> Any:
        return self._transfer.copy(next(self._batches))

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]
