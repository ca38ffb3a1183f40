"""Torch's samplers as iterators that say where they are, in torch's own order: for threads, and as torchdata wants them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch.utils.data as data

from headrace.loader.feeding import IndexFeed

__all__ = ["Draws", "PassIndices", "StatefulBatches", "StatefulIndices"]


class Draws:
    """One pass of a sampler: its batches, or single indices of a sampler without batches. The state is how many there were, and what they began with.

    Draws are made at the first step, as in torch, or for the first state. Those of torch's own samplers are made again from what they began with;
    others are asked again.
    """

    def __init__(self, sampler: Any, *, batched: bool, begin: int = 0, drawn: Mapping[str, Any] | None = None) -> None:
        self._sampler = sampler if batched else data.BatchSampler(sampler, 1, False)
        self._batched = batched
        self._batches: Iterator[Any] | None = None
        self.load_state_dict({"taken": begin, "from": drawn or {}})

    def __iter__(self) -> Draws:
        return self

    def __next__(self) -> Any:
        indices = next(self._begun())
        self._taken += 1
        return indices if self._batched else indices[0]

    def _begun(self) -> Iterator[Any]:
        if self._batches is None:
            order = self._feed.order()
            self._batches = self._feed if order is None else self._cut(order)
        return self._batches

    def _cut(self, order: Any) -> Iterator[list[int]]:
        size = self._sampler.batch_size
        for begin in itertools.count(self._taken * size, size):
            indices = order[begin : begin + size].tolist()
            if len(indices) < size and self._feed.last_draw is not None:
                self._feed.last_draw()
                self._feed.last_draw = None
            if not indices or (self._sampler.drop_last and len(indices) < size):
                return
            yield indices

    @property
    def drawn(self) -> dict[str, Any]:
        """What the draws began with, in plain values; empty before the first."""
        return self._feed.drawn

    def state_dict(self) -> dict[str, Any]:
        """Plain values. Before the first step it makes the draws, so that the pass that follows is the one that the state belongs to."""
        self._begun()
        return {"taken": self._taken, "from": dict(self._feed.drawn)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue there."""
        self._taken = state["taken"]
        self._feed = IndexFeed(self._sampler, self._taken, state["from"])
        self._batches = None


class StatefulBatches:
    """A BatchSampler whose iterators have a state."""

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler, self.sampler = batch_sampler, batch_sampler.sampler

    def __iter__(self) -> Iterator[Any]:
        return Draws(self.batch_sampler, batched=True)

    def __len__(self) -> int:
        return len(self.batch_sampler)


class StatefulIndices:
    """A sampler whose iterators have a state."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        return Draws(self.sampler, batched=False)

    def __len__(self) -> int:
        return len(self.sampler)


class PassIndices:
    """What torch's iterators take for a loader's sampler: the draws of the pass that begins with them. Persistent workers keep it over passes."""

    def __init__(self, sampler: Any, draws: Draws, told: Mapping[str, Any]) -> None:
        self.sampler, self.draws = sampler, draws
        self.told = dict(told)  # the epoch that the sampler was told
        self.is_used = False  # by an iterator

    def __iter__(self) -> Iterator[Any]:
        return self.draws

    def __len__(self) -> int:
        return len(self.sampler)
