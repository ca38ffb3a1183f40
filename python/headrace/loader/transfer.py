"""Batches to a CUDA device, on a stream of their own, while the consumer computes on its own.

What keeps memory from being used too early:
    host    whatever a copy reads is held by the device's Lane until the copy's event has completed, whatever becomes of batch, pass and loader
    device  tensors are allocated on the copy stream and recorded on the consumer's: the allocator gives them to nobody before both are done
    order   the consumer's stream waits for the copy's event; the host waits for neither
What bounds it: at most MAX_COPIES copies are under way to a device (more would not make the link faster), and batches that the device has not
finished with stay within RUN_AHEAD_BYTES, or two of them. Only beyond that does the host wait, for the oldest.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

from headrace import _native
from headrace.loader import cuda
from headrace.loader.leaves import map_leaves
from headrace.loader.pinning import is_refusal, warn_refused

__all__ = ["Lane", "Sent", "Transfer"]

MAX_COPIES = 2
RUN_AHEAD_BYTES = 256 << 20


class Lane:
    """The copy stream of one device, shared by all loaders of the process, and what is under way there. Any thread may call anything."""

    def __init__(self, stream: cuda.Stream) -> None:
        self.stream = stream
        self._lock = threading.Lock()
        self._copies: deque[tuple[cuda.Event, list[torch.Tensor]]] = deque()  # oldest first, with the host memory that they read
        self._uses: deque[tuple[cuda.Event, int]] = deque()  # of batches that consumers were given, with their bytes

    def __len__(self) -> int:
        return len(self._copies)

    def add_copy(self, event: cuda.Event, sources: list[torch.Tensor]) -> None:
        """Hold what a copy reads until its event has completed and somebody asks."""
        with self._lock:
            self._copies.append((event, sources))

    def add_use(self, event: cuda.Event, num_bytes: int) -> None:
        """Note when the device is finished with a batch."""
        with self._lock:
            self._uses.append((event, num_bytes))

    def release_done(self) -> None:
        """Let go of what completed copies have read."""
        done = []  # Dropped after the lock: the end of a slab may take a while.
        with self._lock:
            while self._copies and _completed(self._copies[0][0]):
                done.append(self._copies.popleft())
            while self._uses and _completed(self._uses[0][0]):
                self._uses.popleft()

    def oldest_in_the_way(self) -> cuda.Event | None:
        """What one more copy must wait for, by the bounds above; None if it need not wait."""
        self.release_done()
        with self._lock:
            if len(self._copies) >= MAX_COPIES:
                return self._copies[0][0]
            if len(self._uses) > 1 and sum(num_bytes for _, num_bytes in self._uses) > RUN_AHEAD_BYTES:
                return self._uses[0][0]
            return None


def _completed(event: cuda.Event) -> bool:
    try:
        return event.query()
    except (
        RuntimeError
    ):  # Of a failed device, of a child after fork: nobody knows what it read, so it stays. Whoever waits for it gets the error.
        return False


_lanes: dict[tuple[cuda.Runtime, int], Lane] = {}
_lanes_lock = threading.Lock()


def _lane_of(device: torch.device) -> Lane:
    with _lanes_lock:
        key = (cuda.runtime, device.index)
        if key not in _lanes:
            _lanes[key] = Lane(cuda.runtime.new_stream(device))
        return _lanes[key]


@dataclass(slots=True)
class Sent:
    """A batch whose copies are under way, not handed over yet."""

    batch: Any  # with tensors of the device
    tensors: list[torch.Tensor]
    num_bytes: int
    event: cuda.Event  # after the last copy
    has_others: bool  # leaves that move when they are handed over


class Transfer:
    """The copies of one pass to one device. One thread at a time."""

    def __init__(self, device: torch.device) -> None:
        index = cuda.index_of(device)
        self.device = torch.device("cuda", cuda.runtime.current_device() if index is None else index)
        self._lane = _lane_of(self.device)
        self._latest_bytes: int | None = None  # of the batch that the consumer has
        self._may_lock = self._may_stage = True  # Until refused, in this pass: to ask again costs more than to copy once more.

    def release_done(self) -> None:
        """Let go of the host memory that completed copies have read."""
        self._lane.release_done()

    def has_room(self) -> bool:
        """Whether send() would not wait."""
        return self._lane.oldest_in_the_way() is None

    def send(self, batch: Any, slab: _native.Batch | None = None) -> Sent:
        """Begin to copy a batch. `slab`: the native batch, if its memory is where all the tensors lie; it is page-locked then, once.

        Tensors elsewhere pass through torch's pinned memory. Raises what torch raises, torch.cuda.OutOfMemoryError among it; nothing is lost then.
        """
        while (event := self._lane.oldest_in_the_way()) is not None:
            event.synchronize()
        sources: list[torch.Tensor] = []
        tensors: list[torch.Tensor] = []
        others = 0

        def begin(leaf: Any) -> Any:
            nonlocal others
            if not isinstance(leaf, torch.Tensor) or leaf.device.type != "cpu" or leaf.layout != torch.strided or leaf.is_nested:
                others += 1
                return leaf
            sources.append(leaf if is_locked else self._stage(leaf))
            tensors.append(cuda.runtime.copy(sources[-1], self.device))
            return tensors[-1]

        event = cuda.runtime.new_event()
        with cuda.runtime.use(self._lane.stream):  # Also the device: a slab is locked for it.
            is_locked = slab is not None and self._lock(slab)
            try:
                sent = map_leaves(batch, begin)
            finally:  # Also of copies that a failed one followed.
                event.record(self._lane.stream)
                self._lane.add_copy(event, sources)
        return Sent(sent, tensors, sum(tensor.nbytes for tensor in tensors), event, others > 0)

    def deliver(self, sent: Sent) -> Any:
        """Hand a batch over to the calling thread's current stream, which waits for the copies; the host does not."""
        self.end_use()
        self._latest_bytes = sent.num_bytes
        stream = cuda.runtime.current_stream(self.device)
        stream.wait_event(sent.event)
        for tensor in sent.tensors:
            cuda.runtime.record_stream(tensor, stream)
        if not sent.has_others:
            return sent.batch
        # What has a way to the device of its own goes it on the consumer's stream, and the host waits: nobody knows what it reads.
        ours = {id(tensor) for tensor in sent.tensors}
        return map_leaves(sent.batch, lambda leaf: leaf if id(leaf) in ours else cuda.runtime.move(leaf, self.device))

    def end_use(self) -> None:
        """Note that what the consumer does with the batch that it has is on its stream by now: it asks for the next, or for no more."""
        if self._latest_bytes is None:
            return
        event = cuda.runtime.new_event()
        event.record(cuda.runtime.current_stream(self.device))
        self._lane.add_use(event, self._latest_bytes)
        self._latest_bytes = None

    def copy(self, batch: Any, slab: _native.Batch | None = None) -> Any:
        """Copy a batch and hand it over, nothing ahead."""
        return self.deliver(self.send(batch, slab))

    def _lock(self, slab: _native.Batch) -> bool:
        if slab.page_locked:
            return True
        if not self._may_lock or not cuda.runtime.can_lock_pages():
            return False
        if slab.lock_pages():
            return True
        self._may_lock = False
        warn_refused(f"device='{self.device}': CUDA refused to page-lock the memory of a batch")
        return False

    def _stage(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._may_stage:
            return tensor
        try:
            return cuda.runtime.pin(tensor)
        except RuntimeError as error:
            if not is_refusal(error):
                raise
            self._may_stage = False
            warn_refused(f"device='{self.device}': torch could not have pinned memory ({str(error).splitlines()[0]})")
            return tensor  # The driver reads pageable memory before the call returns.
