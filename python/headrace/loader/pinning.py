"""Page-locked host memory: native slabs through the CUDA runtime that torch has loaded, anything else by torch's own pinned allocator.

A slab is locked in place only where headrace itself issues the copies (transfer.py), and so knows when each has read it. What a user copies by
`.to(device, non_blocking=True)` may be dropped long before it is read: torch's allocator waits for such copies of its own pinned memory, and
knows nothing of a slab. So `pin_memory=True` without `device` means a copy into torch's memory, as in torch's own loader.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.utils.data

from headrace import _native
from headrace.errors import HeadraceWarning

__all__ = ["can_lock_pages", "is_refusal", "pin", "warn_refused"]

# cudaHostRegister and so on, in the order of _native.set_host_register.
_FUNCTIONS = ("cudaHostRegister", "cudaHostUnregister", "cudaGetLastError", "cudaGetDevice", "cudaSetDevice")
_warned = False


def warn_refused(reason: str) -> None:
    """Say, once a process, that batches are no longer page-locked, or not all; they arrive all the same."""
    global _warned
    if _warned:
        return
    _warned = True
    warnings.warn(
        f"{reason}; batches still arrive, through memory that is copied once more, so more slowly. "
        "A smaller prefetch_bytes, prefetch_factor or batch_size needs less page-locked memory",
        HeadraceWarning,
        stacklevel=2,
    )


def is_refusal(error: RuntimeError) -> bool:
    """Whether torch says that there is no page-locked memory to be had, rather than that the device failed."""
    return re.search(r"out of memory|not supported|OS call failed|invalid argument", str(error)) is not None


def pin(batch: Any) -> Any:
    """A copy of a batch in torch's pinned memory, its containers kept as torch keeps them. The batch itself without CUDA, or (with a warning) if refused."""
    if not torch.cuda.is_available():
        return batch
    try:
        return torch.utils.data._utils.pin_memory.pin_memory(batch)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if not is_refusal(error):
            raise
        warn_refused(f"pin_memory=True: torch could not have pinned memory ({str(error).splitlines()[0]})")
        return batch


def _find_runtime(maps: str, version: str | None) -> str | None:
    """Path of the libcudart among a process's mappings; of several, the one of the CUDA version that torch was built for."""
    paths = sorted(set(re.findall(r" (/.*/libcudart[^/\n]*)$", maps, re.MULTILINE)))
    of_torch = f".so.{version.split('.')[0]}" if version else ".so"
    present = [path for path in paths if not path.endswith("(deleted)")]
    return next((path for path in present if of_torch in path), present[0] if present else None)


def _addresses(path: str) -> list[int] | None:
    """Where a library that is loaded already has `_FUNCTIONS`; None if it is not loaded, or lacks one."""
    try:
        # NOLOAD: a second copy of the runtime would know nothing of torch's.
        library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        return [ctypes.cast(library[name], ctypes.c_void_p).value or 0 for name in _FUNCTIONS]
    except (OSError, AttributeError):
        return None


def hand_over(maps: str, version: str | None) -> bool:
    """Give the native slabs the functions of the runtime that these mappings name. Whether there is one."""
    path = _find_runtime(maps, version)
    found = None if path is None else _addresses(path)
    if found is None:
        return False
    _native.set_host_register(*found)
    return True


@functools.cache
def can_lock_pages() -> bool:
    """Whether native slabs can be page-locked: looks for torch's CUDA runtime once a process. Warns where there is a device and no such library."""
    if not torch.cuda.is_available():
        return False
    torch.cuda.init()  # type: ignore[no-untyped-call]
    maps = Path("/proc/self/maps")
    if maps.exists() and hand_over(maps.read_text(encoding="utf-8", errors="surrogateescape"), torch.version.cuda):
        return True
    warn_refused("the CUDA runtime library (libcudart) that torch uses was not found in this process, so slabs cannot be page-locked")
    return False
