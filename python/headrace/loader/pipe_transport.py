"""How batches come from worker processes where there is no room for torch's way, which is shared memory, a descriptor a tensor: as bytes, through the pipe."""

from __future__ import annotations

import logging
import os
import resource
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.multiprocessing.reductions import reduce_tensor

__all__ = ["send_bytes", "why_cramped"]

# Containers get 64 MiB unless they ask for more, and a few batches of images fill that; what is missing is only noticed when a batch is written.
_LEAST_SHARED_BYTES = 256 << 20
_LEAST_DESCRIPTORS = 1024
_told: set[str] = set()


def why_cramped() -> str:
    """Why batches had better not be passed as torch passes them; empty where they may. Logged once."""
    reason = ""
    try:
        room = os.statvfs("/dev/shm")
        if room.f_blocks * room.f_frsize < _LEAST_SHARED_BYTES:
            reason = f"/dev/shm has {room.f_blocks * room.f_frsize >> 20} MiB"
    except FileNotFoundError:
        pass  # Not a system that has it, or that needs it.
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < _LEAST_DESCRIPTORS:
        reason = f"the process may open {allowed} files"
    if reason and reason not in _told:
        _told.add(reason)
        logging.getLogger("headrace").info("%s: worker processes send batches through pipes, not through shared memory", reason)
    return reason


def send_bytes() -> None:
    """In a worker process: send tensors as their bytes from now on."""

    def unshared(cls: Any, size: int, *, device: Any = "cpu") -> Any:
        return cls(size, device=device)

    # What torch's collate asks for, to build a batch where the other side will see it.
    torch.UntypedStorage._new_shared = classmethod(unshared)  # type: ignore[assignment]
    ForkingPickler.register(torch.Tensor, _reduce)


def _reduce(tensor: torch.Tensor) -> Any:
    is_plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.requires_grad and not tensor.is_quantized
    if not is_plain or tensor.is_conj() or tensor.is_neg():
        return reduce_tensor(tensor)  # type: ignore[no-untyped-call]
    return _rebuild, (bytearray(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()), tensor.dtype, tuple(tensor.shape))


def _rebuild(content: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)
