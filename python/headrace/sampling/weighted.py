"""Weighted orders: samples drawn in proportion to weights, or every class of a label alike.

Depends on numpy and the native core only.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.strata import StrataOrder

__all__ = ["WeightedOrder", "choose_order", "class_balanced", "weighted"]

_COUNTED_AT_ONCE = 65536  # samples


class Labelled(Protocol):
    """A dataset that the native engine reads."""

    @property
    def native(self) -> _native.Dataset: ...
    def __len__(self) -> int: ...


class WeightedOrder:
    """Draws a sample for each position of an epoch, in proportion to weights and with replacement: some come twice, some not at all.

    The draw at a position is a function of (seed, epoch, position), whatever the number of threads: such an epoch resumes anywhere, is cut among ranks and
    replayed like any other. Holds 8 bytes a weight. Immutable; picklable; as `order=` or `sampler=` of headrace.DataLoader it follows the loader's seed.
    """

    name = "weighted"  # to the engine

    def __init__(self, table: _native.AliasTable, num_samples: int | None = None) -> None:
        if num_samples is not None and not 1 <= num_samples <= 1 << 48:
            raise ValueError(f"num_samples must be at least 1 and at most 2^48, got {num_samples}")
        self.table = table
        self.num_samples = len(table) if num_samples is None else num_samples

    @property
    def num_weights(self) -> int:
        """Samples that may be drawn."""
        return len(self.table)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, up to a common factor."""
        return f"{self.table.fingerprint:016x}"

    def probabilities(self) -> npt.NDArray[np.float64]:
        """With which each sample is drawn at each position, shape (num_weights,), float64."""
        return self.table.probabilities()

    def indices(self, begin: int = 0, end: int | None = None, *, seed: int = 0, epoch: int = 0) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end) of an epoch, shape (end - begin,), int64; any position is computed alone. Raises ValueError."""
        order = _native.Order(self.num_samples, seed, epoch, "weighted", weights=self.table)
        return order.indices(begin, self.num_samples if end is None else end)

    def __len__(self) -> int:
        return self.num_samples

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightedOrder):
            return NotImplemented
        return (self.fingerprint, self.num_samples) == (other.fingerprint, other.num_samples)

    def __hash__(self) -> int:
        return hash((self.fingerprint, self.num_samples))

    def __repr__(self) -> str:
        return f"WeightedOrder(weights={self.num_weights}, num_samples={self.num_samples}, fingerprint={self.fingerprint})"


def weighted(weights: npt.ArrayLike, num_samples: int | None = None) -> WeightedOrder:
    """An order that draws sample i with probability weights[i] / sum(weights), with replacement.

    weights: shape (samples of the dataset,), finite, not negative, not all 0; float32 and float64 are read as they are, others become float64. A common
    factor means nothing. Exact to 2^-32 / samples: a weight below that share of the sum is drawn more rarely, or never. num_samples: positions of an
    epoch, as many as weights unless given. Raises ValueError naming the first bad weight.
    """
    array = np.asarray(weights)
    if array.dtype not in (np.float32, np.float64):
        if array.dtype.kind not in "biuf":
            raise TypeError(f"weights are {array.dtype}; expected numbers")
        array = array.astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"weights have shape {array.shape}; expected one number a sample")
    return WeightedOrder(_native.AliasTable(np.ascontiguousarray(array), _native.num_threads()), num_samples)


def class_balanced(dataset: Labelled, field: str, num_samples: int | None = None) -> WeightedOrder:
    """An order that draws every value of a label field equally often, and its samples alike: weight 1 / (samples of the class).

    Reads the field once, and holds 4 bytes a sample beside the table meanwhile. field: whole numbers or booleans without dimensions, strings or bytes.
    Raises KeyError for an unknown field, ValueError for one that is no label and for null labels, LimitExceededError beyond 2^24 classes.
    """
    names = dataset.native.schema.names
    if field not in names:
        raise KeyError(f"there is no field {field!r}; the dataset has {', '.join(map(repr, names))}")
    if len(dataset) == 0:
        raise ValueError("the dataset is empty: there are no classes to balance")
    threads = _native.num_threads()
    pipeline = _native.Pipeline(
        dataset.native, fields=[names.index(field)], batch_size=_COUNTED_AT_ONCE, num_threads=threads, ragged="offsets"
    )
    pipeline.start(0)
    counts = _native.ClassCounts()
    while (batch := pipeline.next()) is not None:
        counts.add(batch)
    return WeightedOrder(counts.balanced(threads), num_samples)


def choose_order(
    order: Any, weights: Any, sampler: Any, shuffle: bool | None, num_samples: int, batch_size: int, mixed: MixedOrder | None = None
) -> tuple[Any, Any, bool | None]:
    """A loader's (order, sampler, shuffle) with every way of asking for weights turned into order=WeightedOrder, shuffle=True; of classes into StrataOrder.

    mixed: the order that a mixture brings, shuffle=True too.
    """
    if mixed is not None:
        if sampler is not None or weights is not None or (order != "global" and order is not mixed) or shuffle is False:
            raise ValueError("a mixture brings its own order, which is random; leave order, weights, sampler and shuffle=False out")
        return mixed, None, True
    if isinstance(order, MixedOrder):
        raise ValueError("a mixed order belongs to its mixture: give headrace.mix(...) as the dataset")
    if isinstance(order, StrataOrder) or isinstance(sampler, StrataOrder):
        return _strata(order, weights, sampler, shuffle, num_samples).for_batches(batch_size), None, True
    given = isinstance(order, WeightedOrder) or isinstance(sampler, WeightedOrder)
    if weights is None and order != "weighted" and not given:
        return order, sampler, shuffle
    if isinstance(sampler, WeightedOrder):
        if weights is not None or order != "global":
            raise ValueError("a weighted sampler says all about the order; leave weights and order out")
        order, sampler = sampler, None
    elif given:
        if weights is not None:
            raise ValueError("order= holds weights already; leave weights= out")
    elif weights is None:
        raise ValueError("order='weighted' needs weights=, one number a sample")
    elif order not in ("global", "weighted"):
        raise ValueError(f"weights= draws samples at random; order must be 'weighted' or left out, got {order!r}")
    else:
        order = weighted(weights)
    if shuffle is False:
        raise ValueError("weights draw samples at random, shuffle=False asks for the stored order; leave one of them out")
    if order.num_weights != num_samples:
        raise ValueError(f"there are {order.num_weights} weights for {num_samples} samples; expected one for each")
    return order, sampler, True


def _strata(order: Any, weights: Any, sampler: Any, shuffle: bool | None, num_samples: int) -> StrataOrder:
    """The order by classes that was given, as order= or as sampler=, and nothing that contradicts it."""
    found: StrataOrder = sampler if isinstance(sampler, StrataOrder) else order
    other = order if found is sampler else sampler
    if weights is not None or (other is not None and other is not found and not isinstance(other, str)) or other == "window":
        raise ValueError("an order by classes says all about the order; leave weights, sampler and order out")
    if shuffle is False:
        raise ValueError("an order by classes draws samples at random, shuffle=False asks for the stored order; leave one of them out")
    if found.num_labels != num_samples:
        raise ValueError(f"there are {found.num_labels} labels for {num_samples} samples; expected one for each")
    return found
