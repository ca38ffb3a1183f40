"""Torch's DataLoader with what running a Python dataset on it needs: another worker_init_fn, and indices and seeds that were drawn before."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch.utils.data

from headrace.loader.python_options import refuse_native_options
from headrace.loader.stateful_batches import PassIndices
from headrace.loader.worker_process import SeededWorkers
from headrace.sampling.batch_schedule import BatchSchedule

__all__ = ["TorchLoader"]

# Torch before 2.6 takes no in_order, and always delivers in order.
_TAKES_IN_ORDER = "in_order" in inspect.signature(torch.utils.data.DataLoader.__init__).parameters


class TorchLoader(torch.utils.data.DataLoader[Any]):
    """What `PythonEngine` asks of the loader whose passes it runs. It has no constructor of its own: trainers look for that of the whole loader."""

    parallel: str
    batch_schedule: BatchSchedule | None
    is_disabled: bool
    _workers_seed: int | None  # drawn at the latest pass
    _pass_indices: PassIndices | None  # while torch makes the iterator of a pass
    _pass_seed: int | None

    def _begin_as_torch(self, options: dict[str, Any], arguments: dict[str, Any]) -> None:
        """Torch's machinery serves."""
        is_scheduled = self.batch_schedule is not None
        refuse_native_options(options, arguments, parallel=self.parallel, is_disabled=self.is_disabled, is_scheduled=is_scheduled)
        # Threads have a timeout at any num_workers, and nothing to start that a context would start.
        is_threaded = self.parallel == "thread" and not self.is_disabled
        later = {name: arguments.pop(name) for name in ("timeout", "multiprocessing_context")} if is_threaded else {}
        if not _TAKES_IN_ORDER:
            if not (arguments["in_order"] or is_threaded):
                raise ValueError(f"in_order=False needs torch 2.6, this is {torch.__version__}; leave it out, or use parallel='thread'")
            later["in_order"] = arguments.pop("in_order")
        super().__init__(**arguments)
        for name, value in later.items():
            setattr(self, name, value)

    def draw_seed(self) -> int:
        """The number that torch draws for its workers as a pass begins, from the same generator; persistent ones keep the first."""
        if self._workers_seed is None or not (self.persistent_workers and self.num_workers > 0):
            self._workers_seed = int(torch.empty((), dtype=torch.int64).random_(generator=self.generator).item())
        return self._workers_seed

    def iterate_as_torch(
        self, worker_init_fn: Callable[[int], None] | None, indices: PassIndices | None = None, workers_seed: int | None = None
    ) -> Any:
        """torch's own iterator over this loader, with another worker_init_fn; with indices and the workers' seed that were drawn before."""
        users, generator = self.worker_init_fn, self.generator
        self.worker_init_fn, self._pass_indices = worker_init_fn, indices
        if indices is not None:
            # The iterator draws a seed of its own, and is given another: it must not be the user's generator that it draws from.
            self.generator, self._pass_seed = torch.Generator(), workers_seed
            if self.persistent_workers and self._iterator is not None:
                self._iterator._index_sampler = indices
        try:
            return torch.utils.data.DataLoader.__iter__(self)
        finally:
            self.worker_init_fn, self.generator, self._pass_indices = users, generator, None

    def forget_workers(self, seed: int | None) -> None:
        """A place was loaded: persistent workers are started again, with the seed that they had then."""
        self._iterator, self._workers_seed = None, seed

    @property
    def _index_sampler(self) -> Any:
        return super()._index_sampler if self._pass_indices is None else self._pass_indices

    def _get_iterator(self) -> Any:
        if self._pass_indices is None or self.num_workers == 0:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return SeededWorkers(self, self._pass_seed)

    def check_worker_number_rationality(self) -> None:
        """Torch's warning of more worker processes than cores; threads are none."""
        if self.parallel != "thread" or self.is_disabled:
            super().check_worker_number_rationality()
