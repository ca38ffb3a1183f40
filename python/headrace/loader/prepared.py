"""What Accelerate asks of a loader that is given to `Accelerator.prepare()`, so that it keeps the loader instead of making another one; later too."""

from __future__ import annotations

import inspect
import sys
import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from headrace.errors import HeadraceWarning

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader
    from headrace.loader.native_iterator import NativeIterator

__all__ = ["PreparedPass", "can_be_kept", "prepared_device"]

_warned: set[str] = set()


def can_be_kept(loader: DataLoader) -> bool:
    """Whether this loader does all that Accelerate's own would. If not, a HeadraceWarning says why, once; Accelerate then makes one of torch's.

    False too where nobody made an Accelerator: it is not Accelerate that asks.
    """
    accelerate = sys.modules.get("accelerate.state")
    if accelerate is None or not accelerate.PartialState._shared_state or not loader.is_native:
        return False
    state = accelerate.PartialState()
    if loader.is_fed and loader.planned is None and state.num_processes > 1:
        _warn_once(
            f"it follows a sampler, batch_sampler or generator, which Accelerate cuts among {state.num_processes} processes by itself; "
            "seed=0 gives headrace's own order, of which each process reads its part"
        )
        return False
    if state.device.type not in ("cpu", "cuda"):
        _warn_once(f"headrace copies to no device of type {state.device.type}; Accelerate does")
        return False
    _skip_natively()
    return True


def _skip_natively() -> None:
    # Accelerate's skip_first_batches(), with which trainers resume within an epoch, makes a loader of torch's of a loader's parts, and asks it nothing by
    # which it could stay. The function keeps its identity and gets another body, since trainers import it by name: of other loaders it makes what it did.
    module = sys.modules.get("accelerate.data_loader")
    if module is None or hasattr(module, "_headrace_skip"):
        return
    function = module.skip_first_batches
    if function.__closure__ is not None or list(inspect.signature(function).parameters) != list(inspect.signature(_answer).parameters):
        _warn_once(
            "this version of Accelerate skips the first batches in a way that headrace does not know: loaders that it makes for that are torch's"
        )
        return
    usual = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)

    def skip(loader: Any, batches: int) -> Any:
        from headrace.loader.skipping import RestOfEpoch, can_be_skipped  # Here, since it imports the loader.

        return RestOfEpoch(loader, batches) if can_be_skipped(loader) else usual(loader, batches)

    module._headrace_skip = skip  # type: ignore[attr-defined]
    function.__code__ = _answer.__code__


def _answer(dataloader: Any, num_batches: int = 0) -> Any:
    return _headrace_skip(dataloader, num_batches)  # type: ignore[name-defined] # noqa: F821 - a global of Accelerate's module


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"Accelerate makes a loader of its own in place of a headrace.DataLoader, without its prefetching: {reason}",
            HeadraceWarning,
            stacklevel=4,
        )


def prepared_device() -> torch.device | None:
    """Where Accelerate wants batches, None for the host."""
    device: torch.device = sys.modules["accelerate.state"].PartialState().device
    return device if device.type == "cuda" else None


class PreparedPass:
    """A pass of a loader that Accelerate keeps. Its gradient state learns which batch is the last, and how many of the samples in it are not repeated.

    From it gradients are accumulated to the end of an epoch, and `gather_for_metrics()` counts each sample once.
    """

    def __init__(self, batches: NativeIterator) -> None:
        self._batches = batches
        self.end_of_dataloader = False
        self.remainder = -1  # of the last global batch: its samples, 0 if it is whole; -1 as long as nobody knows
        self._gradients = sys.modules["accelerate.state"].GradientState()
        self._gradients._add_dataloader(self)

    def __iter__(self) -> PreparedPass:
        return self

    def __next__(self) -> Any:
        left = self._batches.left()
        try:
            batch = next(self._batches)
        except StopIteration:
            self.close()
            raise
        if self._batches.is_last():
            self.end_of_dataloader = True
            self.remainder = -1 if left is None else left % self._batches.global_batch
        return batch

    def __len__(self) -> int:
        return len(self._batches)

    def close(self) -> None:
        """End the pass."""
        self._gradients._remove_dataloader(self)
        self._batches.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing() and hasattr(self, "_gradients"):
            self._gradients._remove_dataloader(self)
