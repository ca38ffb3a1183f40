"""A way of fitting, run on one part of a dataset after another."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace.errors import import_extra
from headrace.evaluate.gathering import place
from headrace.evaluate.inference import run
from headrace.evaluate.predictions import Integers, Predictions, predictions
from headrace.sampling.options import whole_number

__all__ = ["Fitting", "fold_seed", "in_threads", "part_of"]

_OF_PREDICTIONS = ("task", "outputs", "classes", "threshold")


class Fitting:
    """A way of fitting, and how what it makes is evaluated: what all folds have in common. Any thread."""

    def __init__(self, fit: Callable[..., Any], dataset: Any, *, prepare: Any, label: Any, options: Mapping[str, Any]) -> None:
        """options: those of headrace.evaluate.model() and of the loader."""
        if not callable(fit):
            raise TypeError(f"fit is {fit!r}; expected a function: training part -> predict")
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

    def predict(self, predict: Callable[[Any], Any], prepare: Any, rows: Integers) -> Predictions:
        """What it says of other samples."""
        loader = self.loader if prepare is None else {**self.loader, "prepare": prepare}
        return predictions(*run(predict, part_of(self.dataset, rows), self.label, loader), **self.predicting)


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


def in_threads(one: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Any]:
    """What `one` returns for each task, in order; `jobs` of them at a time. The first that fails is raised, and none is begun after it."""
    jobs = whole_number("jobs", jobs, 1, 1 << 10)
    if jobs == 1:
        yield from (one(*task) for task in tasks)
        return
    if place()[1] > 1:
        raise ValueError("jobs: the ranks of torch.distributed take part in each fold, so folds run one at a time; give jobs=1")
    import_extra("torch", "torch", "headrace.evaluate.cross_validate()")
    import headrace.loader.loader  # noqa: F401  Imported once, not by several threads at the same time.

    pool = ThreadPoolExecutor(jobs, "headrace-fold")
    try:
        yield from [future.result() for future in [pool.submit(one, *task) for task in tasks]]
    finally:
        pool.shutdown(cancel_futures=True)
