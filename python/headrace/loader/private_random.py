"""Random numbers of a sample, whichever thread loads it: torch, numpy and random draw from generators of the thread's own, keyed by the sample.

The process's generators are one each for all threads, so what a sample drew from them would depend on what other threads draw. In a thread that says so,
and only there, the functions of the modules `random` and `numpy.random` and torch's drawing functions use that thread's generators instead. Elsewhere they
are what they were. Not reached: names that were imported from `random` or `numpy.random` before the first pass in threads began; what torch draws inside
other functions (dropout); generators that the dataset holds itself.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["PrivateGenerators", "install"]

_here = threading.local()
_lock = threading.Lock()
_installed = False

_TORCH_NAMES = (
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "bernoulli",
    "multinomial",
    "poisson",
    "rand_like",
    "randn_like",
    "randint_like",
)
_TENSOR_NAMES = (
    "random_",
    "uniform_",
    "normal_",
    "exponential_",
    "geometric_",
    "cauchy_",
    "log_normal_",
    "bernoulli_",
    "bernoulli",
    "multinomial",
)
_DRAWS = frozenset(
    [getattr(torch, name) for name in _TORCH_NAMES if hasattr(torch, name)]
    + [getattr(torch.Tensor, name) for name in _TENSOR_NAMES if hasattr(torch.Tensor, name)]
)


class PrivateGenerators(TorchFunctionMode):
    """Three generators of one thread; `with` them, that thread draws from them: `torch`, `random` and `numpy`."""

    def __init__(self) -> None:
        super().__init__()
        self.torch = torch.Generator()
        self.random, self._numpy = random.Random(0), np.random.RandomState(0)
        self._seed = 0
        self._stale_numpy = True

    def begin(self, seed: int) -> None:
        """What is drawn from now on depends on the seed alone."""
        self._seed = seed
        self.torch.manual_seed(seed)
        self.random.seed(seed)
        self._stale_numpy = True  # Costs most, and is used least.

    @property
    def numpy(self) -> np.random.RandomState:
        """In place of the module `numpy.random`."""
        if self._stale_numpy:
            self._numpy.seed([self._seed & 0xFFFFFFFF, self._seed >> 32])
            self._stale_numpy = False
        return self._numpy

    def __enter__(self) -> PrivateGenerators:
        install()
        self._outer = getattr(_here, "generators", None)
        _here.generators = self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _here.generators = self._outer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS and (kwargs is None or kwargs.get("generator") is None):
            tensor = args[0] if args and isinstance(args[0], torch.Tensor) else None
            device = (kwargs or {}).get("device") or (torch.get_default_device() if tensor is None else tensor.device)
            if torch.device(device).type == "cpu":
                kwargs = {**(kwargs or {}), "generator": self.torch}
        return func(*args, **(kwargs or {}))


def install() -> None:
    """Make the functions of `random` and `numpy.random` look whose thread it is; once a process."""
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        _redirect(random, random._inst, "random")
        _redirect(np.random, np.random.mtrand._rand, "numpy")


def _redirect(module: Any, shared: Any, attribute: str) -> None:
    for name, function in list(vars(module).items()):
        if getattr(function, "__self__", None) is shared and callable(function):
            setattr(module, name, _dispatch(function, attribute, name))


def _dispatch(original: Callable[..., Any], attribute: str, name: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        mine = getattr(_here, "generators", None)
        return (original if mine is None else getattr(getattr(mine, attribute), name))(*args, **kwargs)

    return draw
