"""Batches of a Python dataset, built as torch's own fetcher builds them, but for errors: those name the sample, and may be left out or replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from headrace import _native

__all__ = ["COLLATING", "NOTHING", "TOGETHER", "UNKNOWN", "BatchLost", "Fetcher", "key_of", "note"]

# What a fetcher is at, in place of a dataset index.
NOTHING, COLLATING, TOGETHER, UNKNOWN = (-(1 << 63) + i for i in range(4))


_MOST_ATTEMPTS = 64  # to replace one sample: of a dataset of which most samples fail, there may be none


class BatchLost(Exception):
    """Every sample of a batch was left out: there is nothing to deliver, and the pass goes on."""


def note(error: BaseException, text: str) -> None:
    """Add a line to an error, once: some datasets raise the same object again."""
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def key_of(*numbers: int) -> int:
    """A seed of 63 bits that depends on all the numbers and on their order."""
    return _native.xxh3_64(b"".join(int(number & (1 << 64) - 1).to_bytes(8, "little") for number in numbers)) >> 1


class Fetcher:
    """Builds batches of a map-style dataset. One thread at a time; threads have one each.

    before: called with each index, with all of them before __getitems__, and with None before collate_fn: a thread sets its generators then, and says
        what it works on.
    choose: for on_error="replace", another index for (failed index, attempt).
    place: one int64, kept at what it is at: a dataset index, or one of the constants above.
    """

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any]) -> None:
        self.dataset, self.auto_collation, self.collate_fn = dataset, auto_collation, collate_fn
        self.on_error = "raise"
        self.failed: Callable[[int, Exception], None] = lambda index, error: None
        self.choose: Callable[[int, int], int] = lambda index, attempt: index
        self.before: Callable[[Any], None] | None = None
        self.place: memoryview | None = None

    def fetch(self, indices: Any) -> Any:
        """One batch. Raises what the dataset or collate_fn raises, with a note; BatchLost. A StopIteration, which would end the epoch without a word, as
        Python's generators raise it: a RuntimeError.
        """
        try:
            return self._fetch(indices)
        except StopIteration as error:
            stopped = RuntimeError("the dataset or collate_fn raised StopIteration")
            for line in getattr(error, "__notes__", ()):
                note(stopped, line)
            raise stopped from error

    def _fetch(self, indices: Any) -> Any:
        if not self.auto_collation:
            samples = self._sample(indices)
        elif self.on_error == "raise" and getattr(self.dataset, "__getitems__", None):
            samples = self._together(indices)
        elif self.on_error == "raise":
            samples = self._each(indices)
        else:
            samples = [sample for index in indices for sample in self._tolerant(index)]
            if not samples:
                raise BatchLost
        if self.before is not None:
            self.before(None)
        try:
            if self.place is None:
                return self.collate_fn(samples)
            self.place[0] = COLLATING
            batch = self.collate_fn(samples)
            self.place[0] = NOTHING
            return batch
        except Exception as error:
            note(error, f"headrace: in collate_fn, of the dataset's samples {_listed(indices)}")
            raise

    def _together(self, indices: Any) -> Any:
        if self.before is not None:
            self.before(indices)
        if self.place is not None:
            self.place[0] = TOGETHER
        try:
            return self.dataset.__getitems__(indices)
        except Exception as error:
            note(error, f"headrace: one of the dataset's samples {_listed(indices)}")
            raise

    def _each(self, indices: Any) -> list[Any]:
        dataset, before, place, index = self.dataset, self.before, self.place, None
        samples = []
        try:
            if before is None and place is None:
                for index in indices:
                    samples.append(dataset[index])
            elif before is None:
                assert place is not None
                for index in indices:
                    try:
                        place[0] = index
                    except (TypeError, ValueError):  # No whole number of 64 bits.
                        place[0] = UNKNOWN
                    samples.append(dataset[index])
            else:
                for index in indices:
                    before(index)
                    samples.append(dataset[index])
        except Exception as error:
            note(error, f"headrace: dataset index {index}")
            raise
        return samples

    def _sample(self, index: Any) -> Any:
        if self.before is not None:
            self.before(index)
        if self.place is not None:
            self.place[0] = index if type(index) is int else UNKNOWN
        try:
            return self.dataset[index]
        except Exception as error:
            note(error, f"headrace: dataset index {index}")
            raise

    def _tolerant(self, index: Any) -> Iterator[Any]:
        """The sample, another in its place, or none."""
        attempt, now = 0, index
        while True:
            try:
                yield self._sample(now)
                return
            except Exception as error:
                self.failed(int(now), error)  # Raises once there were too many.
                if self.on_error == "skip":
                    return
                if attempt == _MOST_ATTEMPTS:
                    raise
            attempt, now = attempt + 1, self.choose(index, attempt + 1)


def _listed(indices: Any) -> str:
    try:
        listed = list(indices)
    except TypeError:
        return str(indices)
    return str(listed) if len(listed) <= 16 else f"{str(listed[:16])[:-1]}, ...] ({len(listed)} of them)"
