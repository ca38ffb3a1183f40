"""What headrace uses of torch.cuda, behind one small interface, so that tests can put another in its place where there is no device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

import torch

from headrace.loader.pinning import can_lock_pages

__all__ = ["CudaRuntime", "Event", "Runtime", "Stream", "check_device", "index_of"]


class Event(Protocol):
    """A place in a stream, as torch.cuda.Event."""

    def record(self, stream: Any) -> None:
        """Stand behind all that the stream has to do so far."""

    def query(self) -> bool:
        """Whether the device has come past it."""

    def synchronize(self) -> None:
        """Let the host wait until it has."""


class Stream(Protocol):
    """A queue of work of one device, as torch.cuda.Stream."""

    def wait_event(self, event: Any) -> None:
        """Let what comes later on this stream wait for the event; the host does not."""


class Runtime(Protocol):
    """What is used of torch.cuda: tests put another in its place."""

    def device_count(self) -> int:
        """Devices that torch sees; 0 without CUDA."""

    def current_device(self) -> int:
        """Index of the calling thread's device."""

    def new_stream(self, device: torch.device) -> Stream:
        """A stream beside the device's default one."""

    def current_stream(self, device: torch.device) -> Stream:
        """The stream on which the calling thread puts its work for this device."""

    def new_event(self) -> Event:
        """An event that is not recorded yet."""

    def use(self, stream: Stream, before: Stream) -> AbstractContextManager[Any]:
        """Make the stream current, and its device. before: the calling thread's own stream for that device, which is current afterwards."""

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Begin a copy on the current stream, into memory allocated there."""

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy in torch's pinned memory; the tensor itself if it is pinned. Raises RuntimeError if there is none to be had."""

    def move(self, leaf: Any, device: torch.device) -> Any:
        """Move what is no tensor of the host by its own `.to()`, on the current stream."""

    def record_stream(self, tensor: torch.Tensor, stream: Stream) -> None:
        """Keep the tensor's memory, once freed, until what the stream has to do by then is done."""

    def can_lock_pages(self) -> bool:
        """Whether slabs can be page-locked."""


class _Current:
    """Makes a stream of the thread's device current. As torch.cuda.stream(), which looks everything up again: once a batch, that is much of what it costs."""

    __slots__ = ("_before", "_stream")

    def __init__(self, stream: Any, before: Any) -> None:
        self._stream, self._before = stream, before

    def __enter__(self) -> None:
        torch.cuda.set_stream(self._stream)

    def __exit__(self, *error: object) -> None:
        torch.cuda.set_stream(self._before)


@contextmanager
def _on_other_device(stream: Any) -> Iterator[None]:
    # The device first: torch.cuda.stream() alone would set the thread's own device again, and so make a context on one that nobody uses.
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield


class CudaRuntime:
    """torch.cuda."""

    def device_count(self) -> int:  # noqa: D102
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def current_device(self) -> int:  # noqa: D102
        return torch.cuda.current_device()

    def new_stream(self, device: torch.device) -> Stream:  # noqa: D102
        return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def current_stream(self, device: torch.device) -> Stream:  # noqa: D102
        return torch.cuda.current_stream(device.index)

    def new_event(self) -> Event:  # noqa: D102
        # Blocking: who waits for it sleeps, and leaves the core to the engine.
        return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def use(self, stream: Any, before: Any) -> AbstractContextManager[Any]:  # noqa: D102
        if torch.cuda.current_device() == stream.device_index:
            return _Current(stream, before)
        return _on_other_device(stream)

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:  # noqa: D102
        return tensor.to(device, non_blocking=True)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return tensor.pin_memory()

    def move(self, leaf: Any, device: torch.device) -> Any:  # noqa: D102
        return leaf.to(device)

    def record_stream(self, tensor: torch.Tensor, stream: Stream) -> None:  # noqa: D102
        tensor.record_stream(stream)  # type: ignore[arg-type]

    def can_lock_pages(self) -> bool:  # noqa: D102
        return can_lock_pages()


runtime: Runtime = CudaRuntime()


def index_of(device: torch.device) -> int | None:
    """The device's number, if it has one: torch's own types say that each has."""
    return cast("int | None", device.index)


def check_device(device: Any) -> torch.device | None:
    """The CUDA device that `device` names, or None for batches that stay on the host. Raises TypeError, and ValueError for what cannot be had here."""
    if device is None:
        return None
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a string, a torch.device or None, got {device!r}")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no device; expected 'cuda', 'cuda:N' or 'cpu'") from error
    if wanted.type == "cpu":
        return None
    if wanted.type != "cuda":
        raise ValueError(
            f"device={str(device)!r}: batches are copied to CUDA devices only ('cuda', 'cuda:N'); leave device out and move them yourself"
        )
    count = runtime.device_count()
    if count == 0:
        raise ValueError(
            f"device={str(device)!r}: torch sees no CUDA device here (torch.cuda.is_available() is False); leave device out, or check "
            "the driver, CUDA_VISIBLE_DEVICES and that torch was built with CUDA"
        )
    if (index_of(wanted) or 0) >= count:
        raise ValueError(f"device={str(device)!r}: torch sees {count} CUDA device{'s' * (count != 1)}, numbered from 0")
    return wanted
