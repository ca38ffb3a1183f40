"""Samples a second of one choice of options, and of the defaults in turn with it: neighbours on the machine slow both down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace.datasets.shards import Dataset
from headrace.datasets.shards import open as open_dataset

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["Options", "Side", "check_seconds", "make_side", "rates"]

Options = dict[str, Any]  # num_workers, prefetch_factor, window, reader
_TURNS = 4


def check_seconds(seconds: float) -> None:
    """Raises ValueError for what no trial can take."""
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds must be above 0 and at most 3600, got {seconds}")


class Side:
    """A loader that is driven for a while at a time, over as many epochs as that takes."""

    def __init__(self, loader: DataLoader, step: Callable[[Any], object] | None) -> None:
        self.loader, self._step = loader, step
        self._iterator: Any = iter(loader)

    def drive(self, seconds: float) -> tuple[int, float]:
        """(samples, seconds) of at least one batch."""
        before = self.loader.stats()["samples"]
        begin = time.perf_counter()
        while True:
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = iter(self.loader)
                batch = next(self._iterator)
            if self._step is not None:
                self._step(batch)
            if (spent := time.perf_counter() - begin) >= seconds:
                return self.loader.stats()["samples"] - before, spent

    def close(self) -> None:
        """Give its engine back."""
        self._iterator = None


def make_side(dataset: Dataset, options: Options, *, batch_size: int, order: str, step: Callable[[Any], object] | None) -> Side:
    """Raises what opening and the loader raise."""
    from headrace.loader.loader import DataLoader  # Here, since it imports torch.

    opened = open_dataset(dataset.path, version=dataset.version, reader=options["reader"])
    loader = DataLoader(
        opened,
        batch_size,
        shuffle=order != "sequential",
        num_workers=options["num_workers"],
        prefetch_factor=options["prefetch_factor"],
        order=order if order == "window" else "global",
        window=options["window"] or 32,
    )
    return Side(loader, step)


def rates(one: Side, other: Side, seconds: float) -> tuple[float, float]:
    """Samples a second of both, in turns, about `seconds` for each in all; what the first turn warms up does not count."""
    one.drive(seconds / _TURNS)
    other.drive(seconds / _TURNS)
    totals = [[0, 0.0], [0, 0.0]]
    for turn in range(_TURNS):
        for number in ((0, 1), (1, 0))[turn % 2]:
            samples, spent = (one, other)[number].drive(seconds / _TURNS)
            totals[number][0] += samples
            totals[number][1] += spent
    (a, a_seconds), (b, b_seconds) = totals
    return a / a_seconds, b / b_seconds
