"""Batches by their tokens: `batch_by=headrace.tokens(...)` or `headrace.pack(...)` of a loader.

An epoch is planned before its first batch: from the lengths of its samples, window by window of its order, for all ranks alike. Costs about 1 us a sample, on
the caller's thread, and 8 bytes a sample of this rank. Depends on numpy and the native core only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.sampling.options import whole_number
from headrace.sampling.partition import Share

__all__ = ["PlannedBatches", "TokenBatches", "pack", "tokens"]

_READ_AT_ONCE = 65536  # samples
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15

Indices = npt.NDArray[np.int64]
Cuts = tuple[tuple[int, int], ...]


class Measured(Protocol):
    """A dataset that the native engine reads."""

    path: str

    @property
    def native(self) -> _native.Dataset: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatches:
    """How a loader is to make batches of tokens; made by tokens() and pack()."""

    max_tokens: int
    lengths: npt.NDArray[np.uint64] | None
    key: str | None
    window: int  # samples
    is_packed: bool

    def lengths_of(self, dataset: Measured) -> npt.NDArray[np.uint64]:
        """Tokens of each sample of a dataset, shape (samples,). Raises KeyError, ValueError naming the first sample that has too many."""
        lengths = self.lengths if self.lengths is not None else _read_lengths(dataset, str(self.key))
        if len(lengths) != len(dataset):
            raise ValueError(f"there are {len(lengths)} lengths for {len(dataset)} samples; expected one for each")
        long = np.flatnonzero(lengths > self.max_tokens)
        if len(long):
            raise ValueError(
                f"sample {long[0]} has {lengths[long[0]]} tokens, and {len(long) - 1} others have more than {self.max_tokens} too; leave them out: "
                f"dataset.subset(np.flatnonzero(lengths <= {self.max_tokens}))"
            )
        return lengths


def tokens(max_tokens: int, lengths: npt.ArrayLike | str | None = None, *, key: str | None = None, window: int = 8192) -> TokenBatches:
    """Batches of as many samples as fit: samples times the longest of them, which is what a padded batch holds, is at most max_tokens.

    `hr.DataLoader(ds, batch_by=hr.tokens(16384, key="text"), shuffle=True)`. Samples of about the same length come together: the epoch's order is cut in
    windows, sorted inside them, and the batches of a window come in random order (in the sorted one without shuffle). A step has batches of as many samples
    on each rank (but for some of the last window's), and an epoch as many steps; every sample comes once, and where the last ones are fewer than ranks,
    uneven="pad" repeats some of them and "drop" leaves them out. A place that was saved by another number of ranks is gone on from: what those had not
    read of the epoch is planned for these. `stats()["padding_share"]` says what share of the tokens is padding.
    lengths: one number a sample; or key (also in place of lengths): a ragged field (its inner samples count), strings or bytes (bytes count), which is
    read once. window: samples.
    Raises ValueError, also from the loader: for a sample of more than max_tokens.
    """
    return _made(max_tokens, lengths, key, window, is_packed=False)


def pack(length: int, lengths: npt.ArrayLike | str | None = None, *, key: str | None = None, window: int = 8192) -> TokenBatches:
    """Batches that are one sequence of at most `length` tokens each, whole samples side by side: nothing is padded, little is left free.

    `hr.DataLoader(ds.select(["tokens"]), batch_by=hr.pack(4096, key="tokens"), ragged="offsets", shuffle=True)` delivers (values, offsets): the samples' tokens
    one after the other, and where each begins, which is what attention over sequences of many lengths takes. The rest as for tokens(): a step has one
    sequence for each rank, `stats()["padding_share"]` is what is missing to `length`.
    """
    return _made(length, lengths, key, window, is_packed=True)


def _made(max_tokens: int, lengths: Any, key: str | None, window: int, *, is_packed: bool) -> TokenBatches:
    if isinstance(lengths, str) and key is None:
        lengths, key = None, lengths
    if (lengths is None) == (key is None):
        raise ValueError("give the lengths of the samples, or the key of the field whose lengths count, and not both")
    if lengths is not None:
        array = np.asarray(lengths)
        if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
            raise ValueError(f"lengths must be one whole number a sample, not negative, got {array.dtype} of shape {array.shape}")
        lengths = np.ascontiguousarray(array, dtype=np.uint64)
    return TokenBatches(
        max_tokens=whole_number("max_tokens", max_tokens, 1, 1 << 63),
        lengths=lengths,
        key=key,
        window=whole_number("window", window, 1, 1 << 48),
        is_packed=is_packed,
    )


def _read_lengths(dataset: Measured, key: str) -> npt.NDArray[np.uint64]:
    names = dataset.native.schema.names
    if key not in names:
        raise KeyError(f"there is no field {key!r}; the dataset has {', '.join(map(repr, names))}")
    if dataset.native.schema.fields[names.index(key)].kind == "tensor":
        raise ValueError(f"field {key!r} is of one shape: all samples are alike; expected a ragged field, strings or bytes")
    pipeline = _native.Pipeline(
        dataset.native, fields=[names.index(key)], batch_size=_READ_AT_ONCE, num_threads=_native.num_threads(), ragged="offsets"
    )
    pipeline.start(0)
    out = np.empty(len(dataset), dtype=np.uint64)
    begin = 0
    while (batch := pipeline.next()) is not None:
        out[begin : begin + len(batch)] = batch.lengths(0)
        begin += len(batch)
    return out


@dataclass(frozen=True)
class _Plan:
    """The batches of one rank in an epoch: batch i is samples[offsets[i]:offsets[i + 1]]."""

    samples: Indices
    offsets: Indices
    padding_share: float

    def __len__(self) -> int:
        return len(self.offsets) - 1


class PlannedBatches:
    """The batches of this rank, as a batch_sampler: arrays of indices. Planned once an epoch, and again when rank or world size became others.

    Cuts are what other numbers of ranks read of an epoch before: (ranks, steps) in turn. The rest of it is planned as an epoch is.
    """

    def __init__(self, spec: TokenBatches, dataset: Measured, *, seed: int, shuffle: bool, share: Share) -> None:
        self.spec, self.seed, self.shuffle, self.share = spec, seed, shuffle, share
        self.drop_last = share.uneven == "drop"
        self.batch_size = 1  # of which torch's loaders want to know; batches differ
        self.epoch = 0
        self._cuts: Cuts = ()
        self._lengths = spec.lengths_of(dataset)
        self._plans: dict[Any, _Plan] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, whole."""
        self.set_pass(epoch, ())

    def set_pass(self, epoch: int, cuts: Cuts) -> None:
        """Choose the epoch, and what was read of it."""
        self.epoch, self._cuts = epoch, cuts

    def plan(self, epoch: int, cuts: Cuts = ()) -> _Plan:
        """The batches of this rank in what cuts leave of an epoch."""
        partition = self.share.find()
        key = epoch, cuts, partition.rank, partition.world_size
        if key not in self._plans:
            made = self._make(epoch, cuts, partition.rank, partition.world_size)
            self._plans = {**dict(list(self._plans.items())[-1:]), key: made}  # This epoch's and the one before or after it.
        return self._plans[key]

    def num_batches(self, epoch: int, cuts: Cuts = (), world_size: int | None = None) -> int:
        """Steps of an epoch, the same on every rank. world_size: if there were so many."""
        if world_size is None or world_size == self.share.find().world_size:
            return len(self.plan(epoch, cuts))
        return sum(1 for _ in self._steps(epoch, cuts, world_size))

    def __iter__(self) -> Iterator[Indices]:
        plan = self.plan(self.epoch, self._cuts)
        for begin, end in zip(plan.offsets.tolist(), plan.offsets[1:].tolist(), strict=False):
            yield plan.samples[begin:end]

    def __len__(self) -> int:
        return self.num_batches(self.epoch, self._cuts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def describe(self) -> str:
        """What decides the batches beside dataset, seed and ranks, equal for equal ones."""
        lengths = f"{_native.xxh3_64(self._lengths.data):016x}"
        kind = "pack" if self.spec.is_packed else "tokens"
        return f"{kind} {self.spec.max_tokens} window {self.spec.window} lengths {lengths} shuffle {self.shuffle} {self.share.uneven}"

    def _make(self, epoch: int, cuts: Cuts, rank: int, world_size: int) -> _Plan:
        samples, sizes = [], []
        held = wanted = 0  # tokens, and what batches are padded to
        for step, batches in enumerate(self._steps(epoch, cuts, world_size)):
            # Of the batches of a step, in the order of their lengths, each rank takes another one in each step.
            mine = batches[(rank + step) % world_size]
            samples.append(mine)
            sizes.append(len(mine))
            lengths = self._lengths[mine]
            held += int(lengths.sum())
            wanted += self.spec.max_tokens if self.spec.is_packed else len(mine) * int(lengths.max(initial=0))
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        joined = np.concatenate(samples) if samples else np.empty(0, dtype=np.int64)
        return _Plan(joined, offsets, 1 - held / wanted if wanted else 0.0)

    def _steps(self, epoch: int, cuts: Cuts, world_size: int) -> Iterator[list[Indices]]:
        """The batches of all ranks, step by step."""
        size = len(self._lengths)
        order = _native.Order(size, self.seed, epoch, "global" if self.shuffle else "sequential")
        read = self._read(epoch, cuts)
        left = np.empty(0, dtype=np.int64)
        for window, begin in enumerate(range(0, size, self.spec.window)):
            end = min(begin + self.spec.window, size)
            fresh = order.indices(begin, end)
            pool = np.concatenate([left, fresh if read is None else fresh[~read[fresh]]])
            batches, left = self._cut(pool, world_size, is_last=end == size)
            for turn in self._turns(len(batches) // world_size, window, epoch):
                yield batches[turn * world_size : (turn + 1) * world_size]

    def _read(self, epoch: int, cuts: Cuts) -> npt.NDArray[np.bool_] | None:
        """Which samples were read before; None if none were."""
        if not cuts:
            return None
        ranks, steps = cuts[-1]
        earlier = self._read(epoch, cuts[:-1])
        read = np.zeros(len(self._lengths), dtype=np.bool_) if earlier is None else earlier
        for batches in itertools.islice(self._steps(epoch, cuts[:-1], ranks), steps):
            for batch in batches:
                read[batch] = True
        return read

    def _turns(self, steps: int, window: int, epoch: int) -> list[int]:
        """In what order the steps of a window come."""
        if not self.shuffle or steps == 0:
            return list(range(steps))
        turns: list[int] = _native.Order(steps, (self.seed ^ _GOLDEN * (window + 1)) & _MASK, epoch).indices(0, steps).tolist()
        return turns

    def _cut(self, pool: Indices, world_size: int, *, is_last: bool) -> tuple[list[Indices], Indices]:
        """Batches of a window, a multiple of world_size, and the samples that are left for the next one; none after the last."""
        lengths = self._lengths[pool]
        if self.spec.is_packed:
            batches = _packed(pool, lengths, self.spec.max_tokens)
        else:
            ranked = pool[np.argsort(lengths, kind="stable")]
            counts = _native.cut_by_longest(self._lengths[ranked], self.spec.max_tokens, world_size)
            ends = np.cumsum(np.repeat(counts, world_size))
            batches = np.split(ranked, ends)
            rest = batches.pop()  # fewer than ranks
            batches += [rest[i : i + 1] for i in range(len(rest))]
        if is_last:
            return self._evened(batches, world_size), np.empty(0, dtype=np.int64)
        whole = len(batches) - len(batches) % world_size
        return batches[:whole], np.concatenate([np.empty(0, dtype=np.int64), *batches[whole:]])

    def _evened(self, batches: list[Indices], world_size: int) -> list[Indices]:
        """A multiple of world_size of batches: the largest are cut in two, and where each is one sample, some are repeated or left out."""
        while len(batches) % world_size:
            largest = int(np.argmax([len(batch) for batch in batches]))
            batch = batches[largest]
            if len(batch) < 2:
                break
            batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        over = len(batches) % world_size
        if over and self.share.uneven == "drop":
            return batches[: len(batches) - over]
        return batches + [batches[i % len(batches)] for i in range((world_size - over) % world_size)]


def _packed(pool: Indices, lengths: npt.NDArray[np.uint64], capacity: int) -> list[Indices]:
    """Bins of at most `capacity` tokens, the fullest first."""
    descending = np.argsort(lengths, kind="stable")[::-1]
    bins = _native.pack_best_fit(np.ascontiguousarray(lengths[descending]), capacity)
    if len(bins) == 0:
        return []
    by_bin = np.argsort(bins, kind="stable")
    made = np.split(pool[descending][by_bin], np.flatnonzero(np.diff(bins[by_bin])) + 1)
    filled = np.bincount(bins, weights=lengths[descending].astype(np.float64))
    return [made[i] for i in np.argsort(-filled, kind="stable")]
