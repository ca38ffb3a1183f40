"""Stand-ins for torch.cuda and libcudart. A fake copy reads its source when its stream comes to it, by address, as a device does: memory that is
reused too early shows in the batch, memory that is given back too early ends the process.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from headrace import _native
from headrace.loader import pinning, transfer

COUNTS = ("locks", "unlocks", "locked", "refused", "wrong", "bytes")


class FakeEvent:
    """Done once its stream has come past it."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.number = cuda, cuda.new_number()
        self.stream: FakeStream | None = None
        self.is_done = True  # As an event that was never recorded.

    def record(self, stream: FakeStream) -> None:
        self.cuda.note("record", stream.name, self.number)
        self.stream, self.is_done = stream, False
        stream.queue.append(self)
        if self.cuda.eager:
            stream.run()

    def query(self) -> bool:
        if self.cuda.failed:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return self.is_done

    def synchronize(self) -> None:
        self.cuda.note("synchronize", self.stream.name if self.stream else "", self.number)
        while not self.is_done:
            assert self.stream is not None
            self.stream.run_one()


class FakeStream:
    """Work in order; nothing of it happens before run()."""

    def __init__(self, cuda: FakeCuda, name: str, device: int) -> None:
        self.cuda, self.name, self.device = cuda, name, torch.device("cuda", device)
        self.queue: deque[Any] = deque()

    def wait_event(self, event: FakeEvent) -> None:
        self.cuda.note("wait", self.name, event.number)
        self.queue.append(("wait", event))

    def run_one(self) -> None:
        """Do the next thing; one that waits lets the other stream go first."""
        todo = self.queue.popleft()
        if isinstance(todo, FakeEvent):
            todo.is_done = True
        elif todo[0] == "wait":
            while not todo[1].is_done:
                todo[1].stream.run_one()
        else:
            _, target, source, size = todo
            ctypes.memmove(target.data_ptr(), source, size)

    def run(self) -> None:
        while self.queue:
            self.run_one()


class FakeCuda:
    """torch.cuda as headrace sees it (headrace.loader.cuda.Runtime). eager: everything is done at once; else when somebody calls run()."""

    def __init__(self, *, eager: bool = True, devices: int = 2, locks_pages: bool = False) -> None:
        self.eager, self.devices, self.locks_pages = eager, devices, locks_pages
        self.device = 0
        self.failed = False  # every query from now on raises
        self.copy_errors: list[str | None] = []  # what the next copies raise; None for nothing
        self.pin_error: str | None = None
        self.log: list[tuple[Any, ...]] = []
        self.sources: list[int] = []  # addresses that copies read, in order
        self.streams: list[FakeStream] = []
        self.consumers = [FakeStream(self, f"consumer {i}", i) for i in range(devices)]
        self._current: list[FakeStream] = []
        self._numbers = 0

    def new_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def note(self, *what: Any) -> None:
        self.log.append(what)

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The notes of these kinds."""
        return [note for note in self.log if note[0] in names]

    def run(self) -> None:
        """Let the device do all that it has to."""
        for stream in (*self.streams, *self.consumers):
            stream.run()

    def device_count(self) -> int:
        return self.devices

    def current_device(self) -> int:
        return self.device

    def new_stream(self, device: torch.device) -> FakeStream:
        self.streams.append(FakeStream(self, f"copies {device.index}", device.index))
        return self.streams[-1]

    def current_stream(self, device: torch.device) -> FakeStream:
        return self.consumers[device.index]

    def new_event(self) -> FakeEvent:
        return FakeEvent(self)

    @contextmanager
    def use(self, stream: FakeStream, before: FakeStream) -> Iterator[None]:
        assert before is self.current_stream(stream.device)
        before, self.device = self.device, stream.device.index
        self._current.append(stream)
        try:
            yield
        finally:
            self._current.pop()
            self.device = before

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        if self.copy_errors and (error := self.copy_errors.pop(0)) is not None:
            raise torch.cuda.OutOfMemoryError(error)
        stream = self._current[-1] if self._current else self.consumers[device.index]
        assert stream.device == device
        self.note("copy", stream.name, tensor.nbytes)
        self.sources.append(tensor.data_ptr())
        assert tensor.is_contiguous()
        target = torch.full_like(tensor, 1)  # What a consumer sees that does not wait.
        stream.queue.append(("copy", target, tensor.data_ptr(), tensor.nbytes))
        if self.eager:
            stream.run()
        return target

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.pin_error is not None:
            raise RuntimeError(self.pin_error)
        self.note("pin", tensor.nbytes)
        return tensor.clone(memory_format=torch.contiguous_format)

    def move(self, leaf: Any, device: torch.device) -> Any:
        self.note("move", type(leaf).__name__)
        return leaf

    def record_stream(self, tensor: torch.Tensor, stream: FakeStream) -> None:
        self.note("record_stream", stream.name, tensor.nbytes)

    def can_lock_pages(self) -> bool:
        return self.locks_pages


def release_done() -> None:
    """Let go of what completed copies have read, as the next batch of any loader would."""
    for lane in transfer._lanes.values():
        lane.release_done()


class FakeRuntimeLibrary:
    """tests/loader/fake_cudart.c, found and handed to the native slabs as the real one is."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fake-cudart-")
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        assert compiler is not None, "a C compiler built the extension, so there is one"
        self.path = Path(self._folder.name) / "libcudart.so.12"
        source = Path(__file__).with_name("fake_cudart.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", self.path, source], check=True)
        self._library = ctypes.CDLL(str(self.path))
        self._library.fake_count.restype = ctypes.c_long
        self._library.fake_is_locked.argtypes = [ctypes.c_void_p]

    def hand_over(self) -> bool:
        """Find the library in this process's mappings, and set it; a real one may be there, too."""
        mappings = Path("/proc/self/maps").read_text().splitlines(keepends=True)
        return pinning.hand_over("".join(line for line in mappings if str(self.path) in line), "12.8")

    def take_back(self) -> None:
        """Slabs that are not locked yet stay so; those that are remember whom to tell."""
        self.refuse(0)
        _native.set_host_register(0, 0)

    def refuse(self, count: int) -> None:
        """Refuse so many locks from now on; -1: all."""
        self._library.fake_refuse(count)

    def counts(self) -> dict[str, int]:
        """Since the library was loaded."""
        return {name: self._library.fake_count(i) for i, name in enumerate(COUNTS)}

    def last_error(self) -> int:
        """What torch would find with its next call on this thread."""
        return int(self._library.fake_last_error())

    def is_locked(self, address: int) -> bool:
        return bool(self._library.fake_is_locked(address))


@functools.cache
def fake_library() -> FakeRuntimeLibrary:
    """The one of this process: two would be found one for the other."""
    return FakeRuntimeLibrary()
