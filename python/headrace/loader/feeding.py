"""The batches of indices that torch's samplers draw, from torch's own random draws, without a Python step a sample where the sampler is known."""

from __future__ import annotations

import base64
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data as data

from headrace.sampling.order import is_plain, read_by_engine

__all__ = ["IndexFeed", "as_array"]


def as_array(indices: Any) -> npt.NDArray[Any]:
    """A batch's indices, in whatever can be iterated. Raises TypeError for indices that are no whole numbers, of which torch asks the dataset anything."""
    try:
        array = np.asarray(indices if isinstance(indices, np.ndarray | torch.Tensor | range) else list(indices))
    except ValueError:  # Lists of different lengths.
        array = np.empty((), dtype=object)
    if array.ndim != 1 or (array.dtype == object and not all(isinstance(index, int) for index in array)):
        raise TypeError(
            f"a sampler gave indices that are no whole numbers (a batch is {str(indices)[:60]}); the native engine reads one sample for each index: "
            "give whole numbers, or parallel='process' to let the dataset make of them what it does under torch"
        )
    return array


class IndexFeed:
    """The same indices as from iterating `batch_sampler`, from batch `begin` on, and from the same draws of the same generators.

    All at once by `order()` where the samplers are torch's own, else batch by batch, by iterating. Draws happen at the first step, as in torch.
    `drawn` is what the draws began with, in plain values (a seed, or a generator's state in base64, about 7 KB): given back as `resume`, the same
    indices come again, whatever the generators did since. Other samplers are asked again, and their first `begin` batches dropped.
    `last_draw`, after order(), is what the sampler draws from the user's generator once it is asked for more than there is: whoever stops before that, or
    draws from the same generator meanwhile, finds it as under torch.
    """

    def __init__(self, batch_sampler: Iterable[Any], begin: int = 0, resume: Mapping[str, Any] | None = None) -> None:
        self.drawn: dict[str, Any] = {}
        self.last_draw: Callable[[], object] | None = None
        self._resume = dict(resume or {})
        self._batch_sampler, self._begin = batch_sampler, begin
        self._batches = self._generate()

    def order(self) -> npt.NDArray[np.int64] | None:
        """All indices of the pass, from its first batch on, drawn now; None where they are known batch by batch only. Instead of iterating."""
        known = self._batch_sampler
        return self._known_order(known.sampler) if is_plain(known) else None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def _generate(self) -> Iterator[Any]:
        with read_by_engine():
            batches = itertools.islice(iter(self._batch_sampler), self._begin, None)
            first = list(itertools.islice(batches, 1))
        yield from itertools.chain(first, batches)

    def _known_order(self, sampler: Any) -> npt.NDArray[np.int64] | None:
        """All indices that iterating the sampler would give, drawn as it draws them; None if it is not one that this module knows."""
        kind = type(sampler)
        if kind is data.SequentialSampler:
            return np.arange(len(sampler.data_source), dtype=np.int64)
        if kind is data.RandomSampler:
            return self._random(sampler)
        if kind is data.SubsetRandomSampler:
            chosen = np.asarray(sampler.indices)
            if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
                return None
            permutation = torch.randperm(len(chosen), generator=self._generator(sampler)).numpy()
            return np.asarray(chosen[permutation], dtype=np.int64)
        if kind is data.WeightedRandomSampler:
            order: npt.NDArray[np.int64] = torch.multinomial(
                sampler.weights, sampler.num_samples, sampler.replacement, generator=self._generator(sampler)
            ).numpy()
            return order
        return None

    def _random(self, sampler: data.RandomSampler) -> npt.NDArray[np.int64]:
        size, count = len(sampler.data_source), sampler.num_samples
        # A place says what its pass began with, whatever the sampler would begin with now.
        if "seed" in self._resume or (sampler.generator is None and "generator" not in self._resume):
            self.drawn["seed"] = self._resume.get("seed", None)
            if self.drawn["seed"] is None:
                self.drawn["seed"] = int(torch.empty((), dtype=torch.int64).random_().item())
            generator = torch.Generator()
            generator.manual_seed(self.drawn["seed"])
        else:
            generator = self._generator(sampler)
        if sampler.replacement:
            # In draws of 32, as torch makes them: a generator does not give the same numbers for one draw of all.
            sizes = [32] * (count // 32) + [count % 32]
            return torch.cat([torch.randint(high=size, size=(n,), dtype=torch.int64, generator=generator) for n in sizes]).numpy()
        passes = [torch.randperm(size, generator=generator) for _ in range(count // size)]
        if count % size > 0:
            passes.append(torch.randperm(size, generator=generator)[: count % size])
        elif sampler.generator is not None:
            self.last_draw = functools.partial(
                torch.randperm, size, generator=generator
            )  # Drawn even for nothing: later draws depend on it.
        return torch.cat(passes).numpy() if passes else np.empty(0, dtype=np.int64)

    def _generator(self, sampler: Any) -> torch.Generator:
        """The sampler's generator as it was when `drawn` was noted, or as it is now."""
        saved = self._resume.get("generator")
        generator: torch.Generator = sampler.generator if sampler.generator is not None else torch.default_generator
        if saved is None:
            self.drawn["generator"] = base64.b64encode(generator.get_state().numpy().tobytes()).decode()
            return generator
        self.drawn["generator"] = saved
        if sampler.generator is None:
            generator = torch.Generator()  # The process's own generator is left alone.
        generator.set_state(torch.frombuffer(bytearray(base64.b64decode(saved)), dtype=torch.uint8))
        return generator
