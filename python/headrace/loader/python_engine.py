"""What runs datasets that the native engine does not read: worker processes (torchdata's where it is installed, else torch's), or threads."""

from __future__ import annotations

import functools
import importlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch.utils.data as data
import torch.utils.data._utils.fetch as torch_fetch

from headrace.errors import HeadraceWarning, TooManyErrorsError
from headrace.loader.fetching import Fetcher, NotingStart, key_of
from headrace.loader.python_pass import Watch, watched
from headrace.loader.state import VERSION, LoaderState, read_state
from headrace.loader.stateful_batches import StatefulBatches, StatefulIndices
from headrace.loader.thread_iterator import ThreadIterator

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["PythonEngine"]

# What may be set on a loader after it was made, and is looked at when a pass begins.
_SETTINGS = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "pin_memory_device",
    "timeout",
    "generator",
    "multiprocessing_context",
    "prefetch_factor",
    "in_order",
    "_IterableDataset_len_called",
)


@functools.cache
def _stateful_loader() -> Any:
    """torchdata's StatefulDataLoader, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("torchdata.stateful_dataloader").StatefulDataLoader
    except ImportError:
        return None


_PLACE = "headrace_place"  # beside what torchdata saves: epoch and batch, for messages and set_epoch()


class PythonEngine:
    """Passes, place and counts of one loader over a Python dataset. Copies and pickles begin without passes, at the same place."""

    def __init__(self, loader: DataLoader) -> None:
        self._of = weakref.ref(loader)
        self._inner: Any = None  # torchdata's loader
        self._has_warned = False  # that a state holds no place
        self._counts: dict[str, Any] = {"batches": 0, "seconds": 0.0, "stall_seconds": 0.0, "errors": 0, "time_to_first_batch_seconds": 0.0}

    @property
    def _loader(self) -> DataLoader:
        loader = self._of()
        assert loader is not None
        return loader

    @property
    def name(self) -> str:
        """What serves: "threads", "torchdata" or "torch"."""
        loader = self._loader
        if loader.parallel == "thread":
            return "threads"
        return "torch" if _stateful_loader() is None or loader.is_disabled else "torchdata"

    def iterate(self) -> Iterator[Any]:
        """Begin a pass."""
        loader = self._loader
        state = loader.place.begin()
        failed = _counter(state, loader.max_errors)
        is_threaded = self.name == "threads"
        iterator: Any = ThreadIterator(loader, state, failed) if is_threaded else self._process_pass(state, failed)
        loader.place = state
        found: Iterator[Any] = watched(iterator, Watch(state, self._counts, is_threaded))
        return found

    def _process_pass(self, state: LoaderState, failed: Callable[[int, Exception], None]) -> Any:
        loader = self._loader
        iterator: Any
        if self.name == "torch":
            iterator = loader.iterate_as_torch(NotingStart(loader.worker_init_fn) if loader.num_workers > 0 else loader.worker_init_fn)
        else:
            iterator = iter(self._stateful())
        fetcher = getattr(iterator, "_dataset_fetcher", None)
        if type(fetcher) is torch_fetch._MapDatasetFetcher:  # num_workers=0: it is ours to see.
            ours = Fetcher(fetcher.dataset, fetcher.auto_collation, fetcher.collate_fn)
            ours.on_error, ours.failed = loader.on_error, failed
            if loader.on_error == "replace":
                ours.choose = _chooser(loader.order_seed, state.epoch, len(fetcher.dataset))
            iterator._dataset_fetcher = ours
        return iterator

    def _stateful(self) -> Any:
        """torchdata's loader, with the settings of now."""
        loader = self._loader
        init = NotingStart(loader.worker_init_fn) if loader.num_workers > 0 else loader.worker_init_fn
        if self._inner is None:
            batch_sampler: Any = loader.batch_sampler
            sampler: Any = None
            if isinstance(loader.dataset, data.IterableDataset):
                batches: dict[str, Any] = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
            elif batch_sampler is None:
                sampler = loader.sampler
                known = type(sampler) in (data.SequentialSampler, data.RandomSampler)
                batches = {"batch_size": None, "sampler": StatefulIndices(sampler) if known else sampler}
            else:
                batches = _batches_of(batch_sampler)
            settings = {name: getattr(loader, name) for name in _SETTINGS if name[0] != "_"}
            if loader.num_workers == 0:
                settings["prefetch_factor"] = None
            settings |= {"persistent_workers": loader.persistent_workers, "snapshot_every_n_steps": loader.snapshot_every_n_steps}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*set_vital", UserWarning)  # torch 2.13, of a call in torchdata 0.11
                self._inner = _stateful_loader()(loader.dataset, **batches, **settings, worker_init_fn=init)
        for name in _SETTINGS:
            setattr(self._inner, name, getattr(loader, name))
        self._inner.worker_init_fn = init
        return self._inner

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is. In threads: the loader's own plain state; else torchdata's. Where neither is to be had, a state that holds no place: trainers
        ask each loader that can be asked, and must not fail where torch's own loader would have passed.
        """
        loader = self._loader
        if (reason := self._why_no_place()) is not None:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(f"state_dict() holds no place: {reason}", HeadraceWarning, stacklevel=3)
            return {_PLACE: None}
        if self.name == "threads":
            state = loader.place
            out = {"version": VERSION, **self._identity(), "epoch": state.epoch, "position": state.position, "finished": state.finished}
            if state.skipped:
                out["skipped"] = list(state.skipped)
            if state.drawn and not state.finished:
                out["drawn"] = dict(state.drawn)
            if state.key is not None and not state.finished:
                out["key"] = state.key
            return out
        saved: dict[str, Any] = self._stateful().state_dict()
        return {**saved, _PLACE: [loader.place.epoch, loader.place.position, loader.place.finished]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from a saved place at the next pass; a state that holds none changes nothing. Raises TypeError where no place can be taken up."""
        loader = self._loader
        if _PLACE in saved and saved[_PLACE] is None:
            return
        if (reason := self._why_no_place()) is not None:
            raise TypeError(f"load_state_dict(): {reason}")
        if self.name == "threads":
            place = read_state(saved, self._identity(), (1 << 63) - 1)
            place.key = _key_in(saved)
            loader.place = place
            if "epoch" in loader.place.drawn:
                loader.followers.tell(loader.place.drawn["epoch"])
            return
        epoch, position, finished = saved.get(_PLACE, [0, 0, False])
        loader.place = LoaderState(epoch, position, resume=not finished, finished=finished)
        self._stateful().load_state_dict({key: value for key, value in saved.items() if key != _PLACE})

    def _identity(self) -> dict[str, Any]:
        loader = self._loader
        return {
            "dataset": type(loader.dataset).__name__,
            "num_samples": _size(loader.dataset),
            "order": "sampler",
            "batch_size": loader.batch_size,
        }

    def _why_no_place(self) -> str | None:
        """Why nobody knows where this loader is; None if somebody does."""
        if self.name == "threads" and isinstance(self._loader.dataset, data.IterableDataset):
            return "the place in an IterableDataset is known to the dataset only: use parallel='process', which asks it for its state"
        if self.name == "torch":
            kind = type(self._loader.dataset).__name__
            return (
                f"this loader runs {kind} as torch does. With torchdata installed (pip install 'headrace[stateful]') or parallel='thread' it has a "
                "place, and a headrace dataset always has"
            )
        return None

    # -- reports -------------------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counts of all passes, and what serves and why."""
        loader = self._loader
        out: dict[str, Any] = {**self._counts, "engine": self.name}
        seconds = out["seconds"]
        out["stall_share"] = min(1.0, out["stall_seconds"] / seconds) if seconds > 0 else 0.0
        out["fallback_reason"] = loader.fallback_reason
        out["num_workers"], out["epoch"], out["position"] = loader.num_workers, loader.place.epoch, loader.place.position
        out["skipped"] = len(loader.place.skipped)
        return out


def _size(dataset: Any) -> int:
    return len(dataset)


def _key_in(saved: Mapping[str, Any]) -> int | None:
    key = saved.get("key")
    if key is not None and (type(key) is not int or not -(1 << 63) <= key < 1 << 64):
        raise ValueError(f"load_state_dict: key is {str(key)[:40]}; expected a whole number of 64 bits")
    return key


def _batches_of(batch_sampler: Any) -> dict[str, Any]:
    """As torchdata is to take them: torch's samplers with a state of ours, those that have one in its own BatchSampler, others as they are."""
    if type(batch_sampler) is not data.BatchSampler:
        return {"batch_sampler": batch_sampler}
    if hasattr(batch_sampler.sampler, "state_dict"):
        return {"sampler": batch_sampler.sampler, "batch_size": batch_sampler.batch_size, "drop_last": batch_sampler.drop_last}
    return {"batch_sampler": StatefulBatches(batch_sampler)}


def _counter(state: LoaderState, most: int) -> Callable[[int, Exception], None]:
    """Notes a sample that failed; raises TooManyErrorsError beyond `most` different ones. Holds no loader: threads hold it."""

    def failed(index: int, error: Exception) -> None:
        if index not in state.skipped:
            state.skipped.append(index)
        if len(state.skipped) > most:
            raise TooManyErrorsError(
                f"{len(state.skipped)} samples failed, max_errors is {most}; the last: dataset index {index}: {type(error).__name__}: {error}"
            ) from error

    return failed


def _chooser(seed: int, epoch: int, size: int) -> Callable[[int, int], int]:
    return lambda index, attempt: key_of(seed, epoch, int(index), attempt) % size
