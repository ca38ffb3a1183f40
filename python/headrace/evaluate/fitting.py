"""A way of fitting, run on one part of a dataset after another."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import import_extra
from headrace.evaluate.gathering import place
from headrace.evaluate.inference import run
from headrace.evaluate.predictions import Integers, Predictions, predictions
from headrace.sampling.options import whole_number

__all__ = ["Fitting", "Raw", "fold_seed", "in_threads", "part_of", "said_in"]

Raw = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # what was predicted, what is true: a row a sample
_OF_PREDICTIONS = ("task", "outputs", "classes", "threshold")


class Fitting:
    """A way of fitting, and how what it makes is evaluated: what all folds have in common. Any thread."""

    def __init__(self, fit: Callable[..., Any], dataset: Any, *, prepare: Any, label: Any, options: Mapping[str, Any]) -> None:
        """options: those of headrace.evaluate.model() and of the loader."""
        if not callable(fit):
            raise TypeError(f"fit is {fit!r}; expected a function: training part -> predict")
        if isinstance(prepare, type):
            raise TypeError(f"prepare is the class {prepare.__name__}; expected an object of it: {prepare.__name__}(...)")
        self.fit, self.dataset, self.prepare, self.label = fit, dataset, prepare, label
        self.predicting = {name: options[name] for name in _OF_PREDICTIONS if name in options}
        self.loader = {name: value for name, value in options.items() if name not in _OF_PREDICTIONS}
        named = inspect.signature(fit).parameters
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in named.values())
        self._takes = {name for name in ("prepare", "seed") if name in named or takes_all}
        if prepare is not None and "prepare" not in self._takes:
            raise TypeError(
                "prepare= is fitted on each training part and handed to fit(train, prepare=...); let fit take it, and give it to its loader"
            )

    def fitted(self, train: Integers, seed: int, parameters: Mapping[str, Any] | None = None) -> tuple[Callable[[Any], Any], Any]:
        """(predict, prepare) of a training part: a fresh preparation is fitted on it, and nothing else, then the model."""
        part = part_of(self.dataset, train)
        prepare = None if self.prepare is None else _fit_again(self.prepare, part)
        given = {"prepare": prepare, "seed": seed}
        predict = self.fit(part, **{name: given[name] for name in self._takes if given[name] is not None}, **(parameters or {}))
        if not callable(predict):
            raise TypeError(f"fit returned {type(predict).__name__}; expected a function: inputs of a batch -> predictions")
        return predict, prepare

    def raw(self, predict: Callable[[Any], Any], prepare: Any, rows: Integers) -> Raw:
        """What it says of other samples, unchecked."""
        loader = self.loader if prepare is None else {**self.loader, "prepare": prepare}
        return run(predict, part_of(self.dataset, rows), self.label, loader)

    def predict(self, predict: Callable[[Any], Any], prepare: Any, rows: Integers) -> Predictions:
        """What it says of other samples."""
        return predictions(*self.raw(predict, prepare, rows), **self.predicting)

    def checked(self, folds: Sequence[Raw]) -> list[Predictions]:
        """Predictions of each fold. Task and classes are those of all together: a fold that lacks a class is not another task.

        Raises ValueError naming the fold, also where one fit answers with other classes than the rest.
        """
        widths = [said.shape[1:] for said, _ in folds]
        if (other := next((i for i, width in enumerate(widths) if width != widths[0]), None)) is not None:
            raise ValueError(
                f"the predictions of fold {other} have shape {folds[other][0].shape}, those of fold 0 {folds[0][0].shape}: a fit that saw fewer classes? "
                "Give each fit all of them: stratify=, or fewer folds"
            )
        ends = np.cumsum([len(true) for _, true in folds])
        try:
            whole = predictions(*(np.concatenate(one) for one in zip(*folds, strict=True)), **self.predicting)
        except ValueError:
            for number, fold in enumerate(folds):  # The error of one fold counts samples as that does.
                with said_in(f"fold {number}"):
                    predictions(*fold, **self.predicting)
            raise
        return [whole.rows(rows) for rows in np.split(np.arange(ends[-1]), ends[:-1])]


def part_of(dataset: Any, rows: Integers) -> Any:
    """A view of some samples: headrace's own, or torch's Subset."""
    if hasattr(dataset, "subset"):
        return dataset.subset(rows)
    import_extra("torch", "torch", "a part of a Python dataset")
    import torch.utils.data

    return torch.utils.data.Subset(dataset, rows.tolist())


def _fit_again(prepare: Any, part: Any) -> Any:
    """A copy of a preparation, by scikit-learn's conventions, fitted on a part."""
    if hasattr(prepare, "clone"):
        fresh = prepare.clone()
    elif hasattr(prepare, "__sklearn_clone__") or hasattr(prepare, "get_params"):
        fresh = import_extra("sklearn.base", "evaluate", "prepare=").clone(prepare)
    else:
        fresh = copy.deepcopy(prepare)
    if not hasattr(fresh, "fit"):
        return fresh  # Nothing to fit: the same for every part.
    fitted = fresh.fit(part)
    return fresh if fitted is None else fitted


def fold_seed(seed: int, repeat: int, fold: int) -> int:
    """A number for a fold of a repeat, far from those of others."""
    digest = hashlib.blake2b(f"{seed} {repeat} {fold}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def said_in(where: str) -> Iterator[None]:
    """What is raised inside says where, in a note."""
    try:
        yield
    except Exception as error:
        error.add_note(f"headrace.evaluate: in {where}")
        raise


def in_threads(one: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int) -> list[Any]:
    """What `one` returns for each task, in order; `jobs` of them at a time. The first that fails is raised, and none is begun after it.

    What is under way when one fails is waited for. Ctrl-C raises KeyboardInterrupt in each task: a fit in Python ends at once, one in a library when its
    call returns.
    """
    jobs = whole_number("jobs", jobs, 1, 1 << 10)
    if jobs == 1:
        return [one(*task) for task in tasks]
    if place()[1] > 1:
        raise ValueError("jobs: the ranks of torch.distributed take part in each fold, so folds run one at a time; give jobs=1")
    import_extra("torch", "torch", "headrace.evaluate.cross_validate()")
    import headrace.loader.loader  # noqa: F401  Imported once, not by several threads at the same time.

    running = _Running()
    pool = ThreadPoolExecutor(jobs, "headrace-fold")
    try:
        futures = [pool.submit(running.run, one, task) for task in tasks]
        wait(futures)
        if running.failed:
            raise running.failed[0]
        return [future.result() for future in futures]
    except KeyboardInterrupt:
        running.interrupt()
        raise
    finally:
        pool.shutdown()


class _Running:
    """Tasks of several threads, and what those that failed raised, the first first. Any thread; the lock orders their coming and going with an interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: set[int] = set()
        self.failed: list[BaseException] = []

    def run(self, one: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        """A task, in the calling thread; nothing once one failed."""
        own = threading.get_ident()
        with self._lock:
            if self.failed:
                return None
            self._threads.add(own)
        try:
            return one(*task)
        except BaseException as error:  # noqa: BLE001  The caller's thread raises it.
            with self._lock:
                self.failed.append(error)
            return None
        finally:
            with self._lock:
                self._threads.discard(own)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in each thread that is in a task, when it next runs Python. Not for what merely failed: where Python is interrupted at
        any place, a lock may stay locked.
        """
        with self._lock:
            self.failed.append(KeyboardInterrupt())  # So that none is begun.
            for thread in self._threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
