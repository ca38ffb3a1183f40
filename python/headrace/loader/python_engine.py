"""What runs datasets that the native engine does not read: torch's iterators, torchdata's where dataset or sampler have a state of their own, or threads."""

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
from headrace.loader.fetching import Fetcher, key_of
from headrace.loader.python_pass import Watch, watched
from headrace.loader.state import VERSION, LoaderState, read_state
from headrace.loader.stateful_batches import Draws, PassIndices, StatefulBatches, StatefulIndices
from headrace.loader.thread_iterator import ThreadIterator
from headrace.loader.worker_process import Places, start_of

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
        self._pass: tuple[LoaderState, PassIndices] | None = None  # torch's: under way, or begun by state_dict() for the next iter()
        self._places: Places | None = None  # of the newest workers
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
        return "torch" if self._is_counted or loader.is_disabled or _stateful_loader() is None else "torchdata"

    @property
    def _is_counted(self) -> bool:
        """Whether a place is a number of batches of known draws: torchdata, whose workers send their state with each batch, has nothing to add."""
        loader = self._loader
        if loader.is_disabled or loader._dataset_kind != data._DatasetKind.Map or not loader.in_order:
            return False
        parts = (loader.dataset, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
        return not any(hasattr(part, "state_dict") and hasattr(part, "load_state_dict") for part in parts)

    def iterate(self) -> Iterator[Any]:
        """Begin a pass."""
        loader = self._loader
        if self.name == "torch" and self._is_counted:
            state = self._begin_counted()
        else:
            state = loader.place.begin()
        failed = _counter(state, loader.max_errors)
        is_threaded = self.name == "threads"
        iterator: Any = ThreadIterator(loader, state, failed) if is_threaded else self._torch_pass(state, failed)
        loader.place = state
        found: Iterator[Any] = watched(iterator, Watch(state, self._counts, is_threaded, self._places))
        return found

    def _begin_counted(self) -> LoaderState:
        """The state of the next pass, its draws with it: what state_dict() began for it, or anew."""
        loader = self._loader
        if self._pass is not None and self._pass[0] is loader.place and not self._pass[1].is_used:
            return loader.place
        state = loader.place.begin()
        sampler: Any = loader.batch_sampler if loader._auto_collation else loader.sampler
        drawn = loader.draw_seed()  # Before the sampler's own draws, as in torch.
        state.key = drawn if state.key is None else state.key
        draws = Draws(sampler, batched=loader._auto_collation, begin=state.position, drawn=state.drawn)
        epoch = loader.followers.epoch()
        self._pass = state, PassIndices(sampler, draws, {} if epoch is None else {"epoch": epoch})
        return state

    def _torch_pass(self, state: LoaderState, failed: Callable[[int, Exception], None]) -> Any:
        loader = self._loader
        iterator: Any
        if self.name == "torchdata":
            iterator = iter(self._stateful(begins=True))
        else:
            init: Any = loader.worker_init_fn
            if loader.num_workers > 0 and (loader._iterator is None or not loader.persistent_workers):
                init, self._places = start_of(loader)
            indices = None
            if self._is_counted:
                assert self._pass is not None
                indices = self._pass[1]
                indices.is_used = True
            iterator = loader.iterate_as_torch(init, indices, state.key)
        fetcher = getattr(iterator, "_dataset_fetcher", None)
        if type(fetcher) is torch_fetch._MapDatasetFetcher:  # num_workers=0: it is ours to see.
            ours = Fetcher(fetcher.dataset, fetcher.auto_collation, fetcher.collate_fn)
            ours.on_error, ours.failed = loader.on_error, failed
            if loader.on_error == "replace":
                ours.choose = _chooser(loader.order_seed, state.epoch, len(fetcher.dataset))
            iterator._dataset_fetcher = ours
        return iterator

    def _stateful(self, *, begins: bool) -> Any:
        """torchdata's loader, with the settings of now. begins: a pass does, or it will make its workers for another reason."""
        loader = self._loader
        if begins and self._inner is not None and self._inner._iterator is not None:
            begins = not (self._inner._initial_iter_for_state_dict or self._inner.persistent_workers)
        init = loader.worker_init_fn if self._inner is None else self._inner.worker_init_fn
        if loader.num_workers > 0 and begins:
            init, self._places = start_of(loader)
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
        self._inner.worker_init_fn = init if loader.num_workers > 0 else loader.worker_init_fn
        return self._inner

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: plain values of its own, or, where dataset or sampler have a state, torchdata's. Where neither is to be had, a state that
        holds no place: trainers ask each loader that can be asked, and must not fail where torch's own loader would have passed.
        """
        loader = self._loader
        if (reason := self._why_no_place()) is not None:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(f"state_dict() holds no place: {reason}", HeadraceWarning, stacklevel=3)
            return {_PLACE: None}
        if self.name != "torchdata":
            state = loader.place
            if self.name == "torch":
                state = self._with_draws()
            out = {"version": VERSION, **self._identity(), "epoch": state.epoch, "position": state.position, "finished": state.finished}
            if state.skipped:
                out["skipped"] = list(state.skipped)
            if state.drawn and not state.finished:
                out["drawn"] = dict(state.drawn)
            if state.key is not None and not state.finished:
                out["key"] = state.key
            return out
        begins = self._inner is None or self._inner._iterator is None
        inner = self._stateful(begins=begins)
        if begins:
            inner.state_dict()  # Makes the iterator.
        draws = getattr(inner._iterator, "_sampler_iter", None)
        if isinstance(draws, Draws):
            draws.state_dict()  # What the sampler draws must be drawn before the dataset says where its random numbers are.
        saved: dict[str, Any] = inner.state_dict()
        return {**saved, _PLACE: [loader.place.epoch, loader.place.position, loader.place.finished]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from a saved place at the next pass; a state that holds none changes nothing. Raises TypeError where no place can be taken up."""
        loader = self._loader
        if _PLACE in saved and saved[_PLACE] is None:
            return
        if (reason := self._why_no_place()) is not None:
            raise TypeError(f"load_state_dict(): {reason}")
        if self.name != "torchdata":
            place = read_state(saved, self._identity(), (1 << 63) - 1)
            place.key = _key_in(saved)
            loader.place = place
            self._pass = None
            loader.forget_workers(place.key)
            if "epoch" in loader.place.drawn:
                loader.followers.tell(loader.place.drawn["epoch"])
            return
        epoch, position, finished = saved.get(_PLACE, [0, 0, False])
        loader.place = LoaderState(epoch, position, resume=not finished, finished=finished)
        self._stateful(begins=False).load_state_dict({key: value for key, value in saved.items() if key != _PLACE})

    def _with_draws(self) -> LoaderState:
        """The place, with what its pass began with. Before the first pass it begins that, so that the next iter() is the pass that the state belongs to."""
        loader = self._loader
        place = loader.place
        if place.position == 0 and not place.resume and not place.finished and (self._pass is None or self._pass[0] is not place):
            place = loader.place = self._begin_counted()
        if self._pass is not None and self._pass[0] is place and not place.finished:
            place.drawn = {**self._pass[1].draws.state_dict()["from"], **self._pass[1].told}
        return place

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
        if self.name == "torch" and not self._is_counted:
            kind = type(self._loader.dataset).__name__
            return (
                f"this loader runs {kind} as torch does. With torchdata installed (pip install 'headrace[stateful]') it has a place, and a headrace "
                "dataset always has"
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
    try:
        return len(dataset)
    except TypeError:  # Torch allows it where a sampler knows the indices.
        return -1


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
