"""What torch.utils.data.get_worker_info() says in a thread of headrace's."""

from __future__ import annotations

import sys
import threading
from typing import Any

import torch.utils.data._utils.collate as torch_collate
import torch.utils.data._utils.worker as torch_worker

__all__ = ["enter_worker", "leave_worker"]

_here = threading.local()
_lock = threading.Lock()


def enter_worker(info: Any) -> None:
    """This thread is that worker from now on."""
    _install()
    _here.info = info


def leave_worker() -> None:
    """This thread is none any more."""
    _here.info = None


def _current() -> Any:
    info = getattr(_here, "info", None)
    # Torch's collate asks whether to build a batch in shared memory, for another process, at a descriptor a tensor. Threads have no use for that.
    if info is not None and sys._getframe(2).f_globals.get("__name__") == torch_collate.__name__:
        return None
    return info


def _install() -> None:
    # torch keeps the information in a global of its module, one for all threads. The function keeps its identity and gets another body, so that
    # datasets which imported it by name are answered as well; in threads that are not ours, and in worker processes, it says what it always did.
    with _lock:
        if hasattr(torch_worker, "_headrace_current"):
            return
        torch_worker._headrace_current = _current  # type: ignore[attr-defined]
        torch_worker.get_worker_info.__code__ = _answer.__code__


def _answer() -> Any:
    return _headrace_current() or _worker_info  # type: ignore[name-defined] # noqa: F821 - globals of torch's module
