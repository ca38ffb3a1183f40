"""The same samples, order, model and loop through headrace and through torch's own DataLoader.

torch gets every advantage that it has: its data lies decoded in memory (headrace reads, verifies and decodes files), its best
`num_workers` is searched, and `__getitems__` hands it whole batches, which few datasets in the field have. Its kernels run on one thread,
for gathers as for training: see `one_torch_thread`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.utils.data

from headrace._native import Order
from headrace.demo.features import Columns, Features
from headrace.demo.train import Batches, TrainingRun, one_torch_thread, score, train
from headrace.errors import ChangedError
from headrace.loader.loader import DataLoader

__all__ = ["Contender", "ContenderResult", "check_same_epoch", "compare", "contenders"]

_ROUNDS = 3
_PROBE_STEPS = 60
_WORKERS = (0, 1, 2)


class MapStyle(torch.utils.data.Dataset[Any]):
    """Columns in memory as a map-style dataset: one sample a call, as most datasets are written."""

    def __init__(self, columns: Columns) -> None:
        self.columns = {name: torch.from_numpy(column) for name, column in columns.items()}

    def __len__(self) -> int:
        return len(self.columns["late"])

    def __getitem__(self, index: int) -> Any:
        return {name: column[index] for name, column in self.columns.items()}


class BatchStyle(MapStyle):
    """The same with `__getitems__`, which torch calls once a batch; it returns the finished batch."""

    def __getitems__(self, indices: list[int]) -> Any:
        """The batch of these samples."""
        chosen = torch.tensor(indices)
        return {name: column[chosen] for name, column in self.columns.items()}


class HeadraceOrder(torch.utils.data.Sampler[int]):
    """headrace's order as a torch sampler, so that both loaders deliver equal batches."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self._num_samples = num_samples
        self._seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        return iter(Order(self._num_samples, self._seed, self.epoch).indices(0, self._num_samples).tolist())

    def __len__(self) -> int:
        return self._num_samples


def as_is(batch: Any) -> Any:
    """The collate function of batches that are finished."""
    return batch


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to get batches. make(num_workers) gives a loader and a call that sets its epoch."""

    name: str
    make: Callable[[int], tuple[Any, Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class ContenderResult:
    """One contender at its best numbers of workers. Rates in samples a second: higher is better."""

    name: str
    num_workers: int
    training_num_workers: int  # best for the training loop, which may differ: a loader that waits for nobody competes with nobody
    loader_samples_per_second: float  # the loader alone, median of interleaved epochs
    tried_samples_per_second: dict[int, float]  # one epoch at each number of workers
    time_to_first_batch_seconds: float  # from construction to the first batch, median
    training_samples_per_second: float
    stall_share: float  # of the training loop
    auc: float  # on the held-out part
    final_loss: float  # mean of the last epoch
    largest_loss_difference: float  # over all steps, to the first contender's; 0 means bit-equal training


def contenders(train_path: str, features: Features, *, batch_size: int, seed: int, open_dataset: Callable[[str], Any]) -> list[Contender]:
    """headrace on the dataset at `train_path`, and torch's loader on the same columns in memory."""

    def headrace_loader(num_workers: int) -> tuple[Any, Callable[[int], None]]:
        loader = DataLoader(open_dataset(train_path), batch_size, True, num_workers=num_workers, seed=seed)
        return loader, loader.set_epoch

    def torch_loader(dataset: MapStyle, collate: Any) -> Callable[[int], tuple[Any, Callable[[int], None]]]:
        def make(num_workers: int) -> tuple[Any, Callable[[int], None]]:
            sampler = HeadraceOrder(len(dataset), seed)
            context = "fork" if num_workers else None
            # torch draws a seed for its workers at each epoch; drawn from the global generator, it would change the model's dropout.
            loader = torch.utils.data.DataLoader(
                dataset,
                batch_size,
                sampler=sampler,
                num_workers=num_workers,
                collate_fn=collate,
                multiprocessing_context=context,
                persistent_workers=num_workers > 0,
                generator=torch.Generator(),
            )
            return loader, lambda epoch: setattr(sampler, "epoch", epoch)

        return make

    return [
        Contender(name="headrace", make=headrace_loader),
        Contender(name="torch, __getitem__", make=torch_loader(MapStyle(features.train), None)),
        Contender(name="torch, __getitems__", make=torch_loader(BatchStyle(features.train), as_is)),
    ]


def _epoch_seconds(contender: Contender, num_workers: int, num_samples: int) -> tuple[float, float]:
    """Seconds from construction to the first batch, and of one whole epoch from asking for its first batch."""
    constructed = time.perf_counter()
    loader, set_epoch = contender.make(num_workers)
    set_epoch(0)
    begin = time.perf_counter()
    samples, first = 0, 0.0
    for batch in loader:
        if not samples:
            first = time.perf_counter() - constructed
        samples += len(batch["late"])
    seconds = time.perf_counter() - begin
    if samples != num_samples:
        raise ChangedError(f"{contender.name}: an epoch delivered {samples} samples, expected {num_samples}")
    return first, seconds


def check_same_epoch(first: Batches, second: Batches, num_samples: int) -> int:
    """Compare two epochs batch by batch; returns the number of batches. Raises ChangedError at the first value that differs."""
    batches, samples = 0, 0
    for ours, theirs in zip(first, second, strict=True):
        for name, expected in theirs.items():
            if not torch.equal(ours[name], expected):
                raise ChangedError(f"batch {batches}, field {name}: the loaders deliver different values")
        batches += 1
        samples += len(theirs["late"])
    if samples != num_samples:
        raise ChangedError(f"an epoch delivered {samples} samples, expected {num_samples}")
    return batches


def check_order(num_samples: int, seed: int) -> None:
    """Raise ChangedError unless the order visits every sample exactly once."""
    indices = Order(num_samples, seed, 0).indices(0, num_samples)
    if not np.array_equal(np.sort(indices), np.arange(num_samples)):
        raise ChangedError(f"the order of {num_samples} samples with seed {seed} does not visit each exactly once")


@dataclass(frozen=True, kw_only=True)
class _Timed:
    num_workers: int
    tried: dict[int, float]
    firsts: list[float]
    epochs: list[float]


def _time_loaders(entries: Sequence[Contender], num_samples: int, advance: Callable[[str], None]) -> list[_Timed]:
    """Find each contender's best number of workers, then time them in rounds that alternate: a busy neighbour slows all alike."""
    timed = []
    for contender in entries:
        tried = {}
        for num_workers in _WORKERS:
            advance(f"{contender.name}, num_workers={num_workers}")
            tried[num_workers] = num_samples / _epoch_seconds(contender, num_workers, num_samples)[1]
        timed.append(_Timed(num_workers=max(tried, key=lambda count: tried[count]), tried=tried, firsts=[], epochs=[]))
    for round_number in range(_ROUNDS):
        for contender, entry in zip(entries, timed, strict=True):
            advance(f"{contender.name}, round {round_number + 1} of {_ROUNDS}")
            first, seconds = _epoch_seconds(contender, entry.num_workers, num_samples)
            entry.firsts.append(first)
            entry.epochs.append(seconds)
    return timed


def compare(
    entries: Sequence[Contender],
    features: Features,
    held_out: Callable[[], Batches],
    *,
    epochs: int,
    seed: int,
    advance: Callable[[str], None],
) -> list[ContenderResult]:
    """Time each contender's loader, train through each, and score each model on `held_out()`. The first one is the reference for losses."""
    num_samples = len(features.train["late"])
    with one_torch_thread():
        timed = _time_loaders(entries, num_samples, advance)
        results: list[ContenderResult] = []
        reference: list[float] = []
        for contender, entry in zip(entries, timed, strict=True):
            advance(f"{contender.name}, training")
            workers = _best_for_training(contender, features, seed)
            run = _train_through(contender, workers, features, epochs=epochs, seed=seed)
            reference = reference or run.losses
            results.append(_result(contender.name, entry, workers, run, reference, num_samples, epochs, score(run.model, held_out())))
    return results


def _result(
    name: str, entry: _Timed, training_num_workers: int, run: TrainingRun, reference: list[float], num_samples: int, epochs: int, auc: float
) -> ContenderResult:
    return ContenderResult(
        name=name,
        num_workers=entry.num_workers,
        training_num_workers=training_num_workers,
        loader_samples_per_second=num_samples / statistics.median(entry.epochs),
        tried_samples_per_second=entry.tried,
        time_to_first_batch_seconds=statistics.median(entry.firsts),
        training_samples_per_second=run.samples_per_second,
        stall_share=run.stall_share,
        auc=auc,
        final_loss=float(np.mean(run.losses[-(len(run.losses) // epochs) :])),
        largest_loss_difference=float(np.max(np.abs(np.subtract(run.losses, reference)))),
    )


def _best_for_training(contender: Contender, features: Features, seed: int) -> int:
    speeds = {
        count: _train_through(contender, count, features, epochs=1, seed=seed, steps=_PROBE_STEPS).samples_per_second for count in _WORKERS
    }
    return max(speeds, key=lambda count: speeds[count])


def _train_through(
    contender: Contender, num_workers: int, features: Features, *, epochs: int, seed: int, steps: int | None = None
) -> TrainingRun:
    """Train for whole epochs, or for the first `steps` of each."""
    loader, set_epoch = contender.make(num_workers)

    def epoch_batches(epoch: int) -> Batches:
        set_epoch(epoch)
        batches: Batches = itertools.islice(loader, steps)
        return batches

    return train(
        epoch_batches,
        num_numbers=features.train["numbers"].shape[1],
        cardinalities=features.cardinalities,
        epochs=epochs,
        seed=seed,
    )
