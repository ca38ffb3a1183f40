"""Batches to a CUDA device, on a stream of their own, while the consumer computes on its own.

What keeps memory from being used too early:
    host    whatever a copy reads is held by the device's Lane until the copy's event has completed, whatever becomes of batch, pass and loader
    device  tensors are allocated on the copy stream and recorded on the consumer's: the allocator gives them to nobody before both are done
    order   the consumer's stream waits for the copy's event; the host waits for neither
What bounds it: copies under way to a device stay within COPY_AHEAD_BYTES (more would not make the link faster; fewer would let it wait for a host that
is slow to wake), and batches that the device has not finished with within RUN_AHEAD_BYTES; or two of each. Only beyond that does the host wait, for the
oldest.
What a small batch costs is calls, not bytes: within ONE_COPY_BYTES all its fields travel as one piece, are views of it on the device, and the copy stands
on the consumer's own stream, where nothing has to wait for it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.dlpack

from headrace import _native
from headrace.loader import cuda
from headrace.loader.leaves import map_leaves
from headrace.loader.pinning import is_refusal, warn_refused

if TYPE_CHECKING:
    from headrace.loader.automatic import Budget

__all__ = ["Lane", "Sent", "Transfer"]

_from_dlpack = getattr(torch._C, "_from_dlpack", torch.utils.dlpack.from_dlpack)

COPY_AHEAD_BYTES = 64 << 20
RUN_AHEAD_BYTES = 256 << 20
ONE_COPY_BYTES = 1 << 20  # A field that is kept keeps the whole piece, so no more than this.


class Lane:
    """The copy stream of one device, shared by all loaders of the process, and what is under way there. Any thread may call anything."""

    def __init__(self, stream: cuda.Stream) -> None:
        self.stream = stream
        self._lock = threading.Lock()
        self._copies: deque[tuple[cuda.Event, int, list[torch.Tensor]]] = (
            deque()
        )  # oldest first, with the bytes and the host memory that they read
        self._copy_bytes = 0  # of all these
        self._uses: deque[tuple[cuda.Event, int]] = deque()  # of batches that consumers were given, with their bytes
        self._use_bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    def add_copy(self, event: cuda.Event, sources: list[torch.Tensor]) -> None:
        """Hold what a copy reads until its event has completed and somebody asks."""
        num_bytes = sum(source.nbytes for source in sources)
        with self._lock:
            self._copies.append((event, num_bytes, sources))
            self._copy_bytes += num_bytes

    def add_use(self, event: cuda.Event, num_bytes: int) -> None:
        """Note when the device is finished with batches."""
        with self._lock:
            self._uses.append((event, num_bytes))
            self._use_bytes += num_bytes

    def release_done(self) -> None:
        """Let go of what completed copies have read."""
        done = []  # Dropped after the lock: the end of a slab may take a while.
        with self._lock:
            while self._copies and _completed(self._copies[0][0]):
                done.append(self._copies.popleft())
                self._copy_bytes -= done[-1][1]
            while self._uses and _completed(self._uses[0][0]):
                self._use_bytes -= self._uses.popleft()[1]

    def oldest_in_the_way(self, copy_bytes: int) -> cuda.Event | None:
        """What one more copy must wait for, by the bounds above; None if it need not wait. copy_bytes: what may be under way."""
        if self._find_oldest(copy_bytes) is None:
            return None
        self.release_done()
        return self._find_oldest(copy_bytes)

    def _find_oldest(self, copy_bytes: int) -> cuda.Event | None:
        with self._lock:
            if len(self._copies) > 1 and self._copy_bytes > copy_bytes:
                return self._copies[0][0]
            if len(self._uses) > 1 and self._use_bytes > RUN_AHEAD_BYTES:
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
    pieces: list[torch.Tensor]  # what was copied: these tensors, or what they are views of
    event: cuda.Event  # after the last copy
    stream: cuda.Stream  # of the copies
    leaves: list[torch.Tensor] | None = None  # all the tensors, where there are others that move when they are handed over


class _Copying:
    """The leaves of one batch on their way. sources: what copies read, also of those that a failed one followed. pieces: what they make."""

    def __init__(self, transfer: Transfer, *, is_locked: bool, here: torch.Tensor | None = None) -> None:
        self.sources: list[torch.Tensor] = []
        self.pieces: list[torch.Tensor] = []
        self.leaves: list[torch.Tensor] = []
        self.others = 0
        self._transfer, self._is_locked = transfer, is_locked
        self._here = here  # all bytes of the batch's tensors in one
        self._there: dict[torch.dtype, torch.Tensor] = {}  # its copy, as items of each dtype

    def begin(self, leaf: Any) -> Any:
        """Begin to copy a leaf, if it is a tensor of the host. Raises what torch raises."""
        if not isinstance(leaf, torch.Tensor) or leaf.device.type != "cpu" or leaf.layout != torch.strided or leaf.is_nested:
            self.others += 1
            return leaf
        there = None if self._here is None else self._part(self._here, leaf)
        if there is None:
            there = self._copy(leaf if self._is_locked else self._transfer.stage(leaf))
        self.leaves.append(there)
        return there

    def _part(self, here: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor | None:
        """The leaf as a view of the piece's copy; None if it does not lie there."""
        at, num_bytes = leaf.data_ptr() - here.data_ptr(), leaf.nbytes
        if num_bytes == 0 or at < 0 or at + num_bytes > here.nbytes or not leaf.is_contiguous():
            return None
        if not self._there:
            self._there[torch.uint8] = self._copy(here)
        items = self._there.get(leaf.dtype)
        if items is None:
            items = self._there[leaf.dtype] = self._there[torch.uint8].view(leaf.dtype)
        # One call, where a slice and its shape take three. data: to autograd it is no view, so a field that is changed in place changes no other.
        return items.as_strided(leaf.shape, leaf.stride(), at // leaf.itemsize).data

    def _copy(self, source: torch.Tensor) -> torch.Tensor:
        self.sources.append(source)
        self.pieces.append(cuda.runtime.copy(source, self._transfer.device))
        return self.pieces[-1]


class Transfer:
    """The copies of one pass to one device. One thread at a time."""

    def __init__(self, device: torch.device, budget: Budget | None = None) -> None:
        """budget: its copies under way hold no more page-locked memory than it grants."""
        index = cuda.index_of(device)
        self.device = torch.device("cuda", cuda.runtime.current_device() if index is None else index)
        self._lane = _lane_of(self.device)
        granted = None if budget is None else budget.pinned_bytes
        self._copy_bytes = COPY_AHEAD_BYTES if granted is None else min(COPY_AHEAD_BYTES, granted)
        self._has_batch = False  # that send() made and the consumer uses
        self._used_bytes = 0  # of batches that the consumer was given since the latest note of it
        self._may_lock = self._may_stage = True  # Until refused, in this pass: to ask again costs more than to copy once more.

    def release_done(self) -> None:
        """Let go of the host memory that completed copies have read."""
        self._lane.release_done()

    def has_room(self) -> bool:
        """Whether send() would not wait."""
        return self._lane.oldest_in_the_way(self._copy_bytes) is None

    def find_stream(self) -> None:
        """Look up the calling thread's stream: send() and deliver() work beside it, and for it."""
        self._consumer = cuda.runtime.current_stream(self.device)

    def send(self, batch: Any, slab: _native.Batch | None = None) -> Sent:
        """Begin to copy a batch. `slab`: the native batch, if its memory is where all the tensors lie; it is page-locked then, once.

        Tensors elsewhere pass through torch's pinned memory. Raises what torch raises, torch.cuda.OutOfMemoryError among it; nothing is lost then.
        """
        while (event := self._lane.oldest_in_the_way(self._copy_bytes)) is not None:
            event.synchronize()
        is_locked = slab is not None and self._lock(slab)
        capsule = slab.piece(ONE_COPY_BYTES) if slab is not None and is_locked else None
        if capsule is not None:
            return self._send_on(self._consumer, batch, _Copying(self, is_locked=True, here=_from_dlpack(capsule)))
        with cuda.runtime.use(self._lane.stream, self._consumer):
            return self._send_on(self._lane.stream, batch, _Copying(self, is_locked=is_locked))

    def _send_on(self, stream: cuda.Stream, batch: Any, copying: _Copying) -> Sent:
        """Copy on a stream that is current."""
        event = cuda.runtime.new_event()
        try:
            sent = map_leaves(batch, copying.begin)
        finally:
            event.record(stream)
            self._lane.add_copy(event, copying.sources)
        return Sent(sent, copying.pieces, event, stream, copying.leaves if copying.others > 0 else None)

    def deliver(self, sent: Sent) -> Any:
        """Hand a batch over to the consumer's stream, which waits for the copies; the host does not."""
        self.end_use()
        self._has_batch = True
        waits = sent.stream != self._consumer
        if waits:
            self._consumer.wait_event(sent.event)
        for piece in sent.pieces:
            self._used_bytes += piece.nbytes
            if waits:
                cuda.runtime.record_stream(piece, self._consumer)
        if sent.leaves is None:
            return sent.batch
        # What has a way to the device of its own goes it on the consumer's stream, and the host waits: nobody knows what it reads.
        ours = {id(leaf) for leaf in sent.leaves}
        return map_leaves(sent.batch, lambda leaf: leaf if id(leaf) in ours else cuda.runtime.move(leaf, self.device))

    def end_use(self, *, is_last: bool = False) -> None:
        """Note that what the consumer does with the batch that it has is on its stream by now: it asks for the next, or for no more (is_last).

        Small batches are noted together.
        """
        if not self._has_batch or (self._used_bytes < RUN_AHEAD_BYTES // 16 and not is_last):
            return
        event = cuda.runtime.new_event()
        event.record(self._consumer)
        self._lane.add_use(event, self._used_bytes)
        self._has_batch, self._used_bytes = False, 0

    def copy(self, batch: Any, slab: _native.Batch | None = None) -> Any:
        """Copy a batch and hand it over, nothing ahead."""
        self.find_stream()
        return self.deliver(self.send(batch, slab))

    def stage(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor in torch's pinned memory, or itself where there is none to be had."""
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

    def _lock(self, slab: _native.Batch) -> bool:
        if slab.page_locked:
            return True
        if not self._may_lock or not cuda.runtime.can_lock_pages():
            return False
        with cuda.runtime.use(self._lane.stream, self._consumer):  # And so the device that it is locked for.
            if slab.lock_pages():
                return True
        self._may_lock = False
        warn_refused(f"device='{self.device}': CUDA refused to page-lock the memory of a batch")
        return False
