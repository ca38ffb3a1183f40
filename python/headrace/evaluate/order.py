"""How well an order mixes, beside what it costs in reads."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.sampling.options import whole_number
from headrace.sampling.window_choice import distance_from_uniform

__all__ = ["OrderQuality", "order"]

Indices = npt.NDArray[np.int64]

_WHOLE = 1 << 22  # positions up to which an epoch is looked at whole
_SEGMENTS, _SEGMENT = 2048, 512  # of longer ones: so many runs of so many positions, evenly spread
_IN_A_ROW = 1 << 20  # positions whose reads are followed
_CELL = 32  # positions a cell of the grid holds, about
_MOST_BINS = 64


@dataclass(frozen=True, kw_only=True)
class OrderQuality:
    """What `order()` found. Shares are of 1; what a uniform permutation has on average stands beside each, as `uniform_...`."""

    samples: int  # of the epoch
    looked_at: int  # positions; all, unless there are more than 4,194,304
    mean_displacement: float  # mean of |position - sample| / samples: 0 for the stored order
    uniform_displacement: float  # a third, about
    neighbour_survival: float  # share of neighbouring positions whose samples are stored side by side: 1 for the stored order
    uniform_survival: float
    distance: float  # 0: spread over the epoch as by a uniform permutation; 1: the stored order
    bins: int  # a side of the grid on which `distance` was counted
    batch_label_entropy: float | None  # bits, the mean of batches; None without labels
    uniform_label_entropy: float | None  # bits
    chunks_a_batch: float | None  # different chunks that a batch touches, on average; None where chunks are not known
    reads_a_chunk: (
        float | None
    )  # how often a chunk is read in an epoch, where memory holds `memory_chunks` of them (least recently used goes)
    memory_chunks: int | None

    @property
    def mixes(self) -> bool:
        """Whether nothing here tells the order from a uniform permutation."""
        noise = 4 / math.sqrt(max(1, self.looked_at))
        return (
            self.distance <= 0.02
            and abs(self.mean_displacement - self.uniform_displacement) <= noise
            and self.neighbour_survival <= self.uniform_survival + noise
        )


def order(
    loader: Any, *, epoch: int = 0, batch_size: int | None = None, labels: npt.ArrayLike | None = None, memory_chunks: int | None = None
) -> OrderQuality:
    """Measure how well an order mixes. Reads no data: headrace's order is a function.

    loader: a `headrace.DataLoader` in headrace's own order, or the indices of an epoch in their order, shape (n,), integers (of a sampler:
    `np.fromiter(sampler, np.int64)`; each sample is taken to be there once). epoch: of a loader. batch_size: of the batches for labels and
    reads; default the loader's global batch. labels: one a sample, shape (samples,), any dtype that numpy can sort. memory_chunks: chunks that
    stay in memory after they were read; default the loader's window.

    Raises TypeError for a loader whose order is a sampler's, ValueError for labels of another length.

    `distance`: positions and samples are cut into `bins` equal parts; the total variation distance of the counts of the grid of both from equal
    counts, less what chance makes of it, scaled so that the stored order has 1. The entropy that uniform batches have is the labels' own less
    (classes - 1) / (2 batch ln 2), Miller's correction (Miller 1955, Note on the bias of information estimates).
    """
    indices_of, samples, chunk_of, window, batch = _read(loader, epoch)
    if batch_size is not None:
        batch = whole_number("batch_size", batch_size, 1, 1 << 32)
    kept = memory_chunks if memory_chunks is not None else window
    if samples < 2:
        raise ValueError(f"an order of {samples} samples cannot mix; expected at least 2")
    positions, found = _looked_at(indices_of, samples)
    bins = max(2, min(_MOST_BINS, math.isqrt(len(found) // _CELL)))
    steps = np.diff(positions) == 1
    survival = float(np.mean(np.abs(np.diff(found))[steps] == 1)) if steps.any() else 0.0
    row = indices_of(0, min(samples, _IN_A_ROW)) if labels is not None or chunk_of is not None else found[:0]
    entropy, uniform_entropy = (None, None) if labels is None else _entropies(row, labels, samples, batch)
    chunks, reads = (None, None) if chunk_of is None else _reads(chunk_of(row), batch, kept, samples)
    return OrderQuality(
        samples=samples,
        looked_at=len(found),
        mean_displacement=float(np.mean(np.abs(found - positions)) / samples),
        uniform_displacement=(samples - 1 / samples) / (3 * samples),
        neighbour_survival=survival,
        uniform_survival=2 / samples,
        distance=distance_from_uniform(positions, found, samples, bins),
        bins=bins,
        batch_label_entropy=entropy,
        uniform_label_entropy=uniform_entropy,
        chunks_a_batch=chunks,
        reads_a_chunk=reads,
        memory_chunks=None if chunk_of is None else kept,
    )


Read = tuple[Callable[[int, int], Indices], int, Callable[[Indices], Indices] | None, int, int]


def _read(loader: Any, epoch: int) -> Read:
    """(indices of positions, samples, chunk of samples or None, window, global batch)."""
    if not hasattr(loader, "is_native"):
        given = np.asarray(loader)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise TypeError(f"expected a headrace.DataLoader or indices of shape (n,), got {type(loader).__name__}")
        indices = given.astype(np.int64)
        return (lambda begin, end: indices[begin:end]), len(indices), None, 1, 1
    if not loader.is_native or loader.is_fed:
        raise TypeError("this loader follows a sampler, whose order is not a function; pass its indices, np.fromiter(sampler, np.int64)")
    if hasattr(loader.source, "mixed"):
        raise TypeError("a mixture draws from several datasets, each in an order of its own; measure loaders of those")
    samples, batch = loader.epoch_samples, loader.partition.batch_size * loader.partition.world_size
    layout = getattr(loader.source.native, "chunk_layout", None) or []
    chunk_of = _chunks(layout) if layout else None
    if not loader.shuffle:
        return (lambda begin, end: np.arange(begin, end, dtype=np.int64)), samples, chunk_of, loader.window, batch
    sampler = copy.copy(loader.sampler)  # The loader follows an epoch that is chosen at its own.
    sampler.epoch = epoch
    return sampler.order().indices, samples, chunk_of, loader.window, batch


def _chunks(layout: list[tuple[int, int]]) -> Callable[[Indices], Indices]:
    """layout: of each shard its samples and the samples of a chunk."""
    sizes = np.array([samples for samples, _ in layout], np.int64)
    cut = np.array([chunk for _, chunk in layout], np.int64)
    begins = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    first = np.concatenate(([0], np.cumsum(-(-sizes // cut))))[:-1]

    def chunk_of(samples: Indices) -> Indices:
        shard = np.searchsorted(begins, samples, side="right") - 1
        numbers: Indices = first[shard] + (samples - begins[shard]) // cut[shard]
        return numbers

    return chunk_of


def _looked_at(indices_of: Callable[[int, int], Indices], samples: int) -> tuple[Indices, Indices]:
    if samples <= _WHOLE:
        return np.arange(samples, dtype=np.int64), indices_of(0, samples)
    begins = np.linspace(0, samples - _SEGMENT, _SEGMENTS).astype(np.int64)
    positions = (begins[:, None] + np.arange(_SEGMENT)).reshape(-1)
    return positions, np.concatenate([indices_of(int(begin), int(begin) + _SEGMENT) for begin in begins])


def _entropy(counts: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    share = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    bits: npt.NDArray[np.floating[Any]] = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=-1)
    return bits


def _entropies(row: Indices, labels: npt.ArrayLike, samples: int, batch: int) -> tuple[float, float]:
    values = np.asarray(labels)
    if values.shape != (samples,):
        raise ValueError(f"labels have shape {values.shape}; expected ({samples},), one a sample")
    if batch < 2:
        raise ValueError("the entropy of a batch of one sample says nothing; pass batch_size")
    _, numbers = np.unique(values, return_inverse=True)
    classes = int(numbers.max()) + 1
    whole = max(1, len(row) // batch)
    taken = numbers[row[: whole * batch]].reshape(whole, -1)
    bits = [float(_entropy(np.bincount(one, minlength=classes).astype(np.float64))) for one in taken]
    own = float(_entropy(np.bincount(numbers, minlength=classes).astype(np.float64)))
    return float(np.mean(bits)), max(0.0, own - (classes - 1) / (2 * taken.shape[1] * math.log(2)))


def _reads(chunks: Indices, batch: int, kept: int, samples: int) -> tuple[float, float]:
    """(different chunks a batch, reads of a chunk in an epoch with an LRU memory of `kept` chunks)."""
    memory: OrderedDict[int, None] = OrderedDict()
    touched = reads = batches = 0
    for begin in range(0, len(chunks), batch):
        wanted = np.unique(chunks[begin : begin + batch]).tolist()
        touched += len(wanted)
        batches += 1
        for chunk in wanted:
            if chunk in memory:
                memory.move_to_end(chunk)
                continue
            reads += 1
            memory[chunk] = None
            if len(memory) > kept:
                memory.popitem(last=False)
    # Where only a part of the epoch was followed, the rest is taken to be like it.
    all_chunks = len(np.unique(chunks)) if len(chunks) == samples else None
    per_chunk = reads / all_chunks if all_chunks else reads * (samples / len(chunks)) / max(1, int(chunks.max()) + 1)
    return touched / batches, per_chunk
