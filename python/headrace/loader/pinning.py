"""Page-locked batches: hands the CUDA runtime's own functions, as torch has loaded them, to the native slabs."""

from __future__ import annotations

import ctypes
import functools
import re
import warnings
from pathlib import Path

import torch

from headrace import _native
from headrace.errors import HeadraceWarning

__all__ = ["can_lock_pages"]


def _loaded_runtime() -> str | None:
    """Path of the libcudart that is mapped into this process, if any."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return None
    found = re.search(r"\s(/\S*libcudart[^/\s]*)$", maps.read_text(), re.MULTILINE)
    return found[1] if found else None


@functools.cache
def can_lock_pages() -> bool:
    """Register cudaHostRegister / cudaHostUnregister once a process. False without a CUDA device; warns where the runtime is not to be found."""
    if not torch.cuda.is_available():
        return False
    torch.cuda.init()  # type: ignore[no-untyped-call]
    path = _loaded_runtime()
    if path is None:
        warnings.warn(
            "pin_memory=True: torch's CUDA runtime library was not found in this process, so batches are copied into pinned memory (Tensor.pin_memory)",
            HeadraceWarning,
            stacklevel=3,
        )
        return False
    runtime = ctypes.CDLL(path)
    lock = ctypes.cast(runtime.cudaHostRegister, ctypes.c_void_p).value
    unlock = ctypes.cast(runtime.cudaHostUnregister, ctypes.c_void_p).value
    assert lock is not None
    assert unlock is not None
    _native.set_host_register(lock, unlock)
    return True
