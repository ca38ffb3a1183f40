"""Orders by the classes of a label: batches that hold each class in its share, and classes taken less, or more, often than they occur.

Nothing is copied. Depends on numpy and the native core only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.sampling.options import check_there, whole_number

__all__ = ["StrataOrder", "oversample", "stratified_batches", "undersample"]

_AT_ONCE = 1 << 16  # samples
_WORDS = ("minority", "majority", "not minority", "not majority", "all", "auto")
Ratio = str | float | Mapping[Any, int]


class StrataOrder:
    """Gives each class of a label its number of positions in an epoch.

    Which sample stands at a position is a function of (seed, epoch, position), whatever the number of threads: such an epoch resumes anywhere, is cut among
    ranks and replayed like any other. Of a class with more samples than positions each epoch draws others, of one with fewer each comes as often as any other,
    to one. Holds 8 to 20 bytes a sample. Immutable; picklable; as `order=` or `sampler=` of headrace.DataLoader it follows the loader's seed.
    """

    name = "strata"  # to the engine

    def __init__(
        self, classes: npt.NDArray[Any], numbers: npt.NDArray[np.uint32], quotas: npt.NDArray[np.int64], block: int | None
    ) -> None:
        """classes: the different labels, sorted; numbers: of the class of each sample; block: samples of a batch in proportion, None: not said yet, 0: none."""
        self.classes, self.numbers, self.quotas, self.block = classes, numbers, quotas, block
        self._table = None if block is None else _native.Strata(numbers, quotas.tolist(), block)

    @property
    def table(self) -> _native.Strata:
        """What the engine follows. Raises ValueError before the size of a batch is known."""
        if self._table is None:
            raise ValueError("how many samples has a batch? Give stratified_batches(labels, batch_size=...), or the order to a loader")
        return self._table

    def for_batches(self, batch_size: int) -> StrataOrder:
        """This order, for batches of so many samples on each rank, where that was not said."""
        return self if self.block is not None else StrataOrder(self.classes, self.numbers, self.quotas, batch_size)

    @property
    def num_samples(self) -> int:
        """Positions of an epoch."""
        return int(self.quotas.sum())

    @property
    def num_labels(self) -> int:
        """Samples of the dataset."""
        return len(self.numbers)

    @property
    def fingerprint(self) -> str:
        """Hash of the samples' classes, of their numbers of positions and of the size of a batch."""
        return f"{self.table.fingerprint:016x}"

    def counts(self) -> dict[Any, int]:
        """Positions of each class in an epoch, by its label."""
        return dict(zip(self.classes.tolist(), self.quotas.tolist(), strict=True))

    def indices(self, begin: int = 0, end: int | None = None, *, seed: int = 0, epoch: int = 0) -> npt.NDArray[np.int64]:
        """Samples at positions [begin, end) of an epoch, shape (end - begin,), int64; any position is computed alone. Raises ValueError."""
        return self.table.indices(seed, epoch, begin, self.num_samples if end is None else end)

    def __len__(self) -> int:
        return self.num_samples

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StrataOrder):
            return NotImplemented
        return (
            self.block == other.block
            and np.array_equal(self.classes, other.classes)
            and np.array_equal(self.quotas, other.quotas)
            and np.array_equal(self.numbers, other.numbers)
        )

    def __hash__(self) -> int:
        return hash((self.block, self.num_samples, self.num_labels))

    def __reduce__(self) -> tuple[Any, ...]:
        return StrataOrder, (self.classes, self.numbers, self.quotas, self.block)

    def __repr__(self) -> str:
        return f"StrataOrder(classes={len(self.classes)}, labels={self.num_labels}, num_samples={self.num_samples}, block={self.block})"


def stratified_batches(labels: Any, field: str | None = None, *, batch_size: int | None = None) -> StrataOrder:
    """An order in which every batch of every rank holds each class in its share of the dataset, rounded up or down; every sample once an epoch.

    labels: one a sample, shape (n,), of any dtype that numpy can sort; or a dataset of headrace, and `field` the name of its label. batch_size: samples of a
    batch on one rank; default the loader's. Where ranks or workers share what is left at the epoch's end, it is in proportion as nearly as its size allows.
    An epoch goes on with another batch_size only if it is said here. Raises ValueError, KeyError, LimitExceededError beyond 2^31 samples.
    """
    classes, numbers, counts = _counted(labels, field)
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, 1, 1 << 32)
    return StrataOrder(classes, numbers, counts, batch_size)


def undersample(labels: Any, ratio: Ratio = "auto", field: str | None = None) -> StrataOrder:
    """An order that takes as many samples of each class as the smallest has, none twice; another draw each epoch.

    labels, field: as in stratified_batches(). ratio: imbalanced-learn's sampling_strategy: which classes give samples up: "auto" or "not minority", "majority",
    "not majority", "all"; a number (of two classes): minority / majority afterwards; or {label: samples}. Raises ValueError for more than a class has.
    """
    classes, numbers, counts = _counted(labels, field)
    quotas = _quotas(classes, counts, ratio, under=True)
    if (quotas > counts).any():
        at = int(np.argmax(quotas > counts))
        raise ValueError(
            f"class {classes.tolist()[at]!r} has {counts[at]} samples, {quotas[at]} are asked for: undersample takes none twice; see oversample"
        )
    return StrataOrder(classes, numbers, quotas, 0)


def oversample(labels: Any, ratio: Ratio = "auto", field: str | None = None) -> StrataOrder:
    """An order that takes as many samples of each class as the largest has: each of a class once, then again, until there are as many.

    labels, field: as in stratified_batches(). ratio: imbalanced-learn's sampling_strategy: which classes are repeated: "auto" or "not majority", "minority",
    "not minority", "all"; a number (of two classes): minority / majority afterwards; or {label: samples}. Raises ValueError for fewer than a class has.
    """
    classes, numbers, counts = _counted(labels, field)
    quotas = _quotas(classes, counts, ratio, under=False)
    if (quotas < counts).any():
        at = int(np.argmax(quotas < counts))
        raise ValueError(
            f"class {classes.tolist()[at]!r} has {counts[at]} samples, {quotas[at]} are asked for: oversample leaves none out; see undersample"
        )
    return StrataOrder(classes, numbers, quotas, 0)


def _counted(labels: Any, field: str | None) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """(different labels, sorted; the number of each sample's; samples of each)."""
    if hasattr(labels, "native"):
        if field is None:
            raise ValueError(f"which field is the label? Give its name; the dataset has {', '.join(map(repr, labels.schema.names))}")
        values = _field(labels, field)
    else:
        values = np.asarray(labels)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"labels have shape {values.shape}; expected one a sample, and at least one")
    check_there("labels", values)
    classes, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    return classes, numbers.reshape(-1).astype(np.uint32), counts.astype(np.int64)


def _field(dataset: Any, field: str) -> npt.NDArray[Any]:
    names = dataset.schema.names
    if field not in names:
        raise KeyError(f"there is no field {field!r}; the dataset has {', '.join(map(repr, names))}")
    at = names.index(field)
    parts = []
    for begin in range(0, len(dataset), _AT_ONCE):
        batch = dataset.native.fetch(np.arange(begin, min(begin + _AT_ONCE, len(dataset))), [dataset.field_numbers[at]])
        if dataset.schema.fields[at].nullable and not (known := np.asarray(batch.valid(0))).all():
            raise ValueError(f"field {field!r}, sample {begin + int(np.argmin(known))}: its label is null; leave such out with where()")
        parts.append(np.array(batch.numpy(0)))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _quotas(classes: npt.NDArray[Any], counts: npt.NDArray[np.int64], ratio: Ratio, *, under: bool) -> npt.NDArray[np.int64]:
    """Positions of each class. under: whether the classes that are chosen shrink to the smallest, or else grow to the largest."""
    quotas = counts.copy()
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if isinstance(ratio, Mapping):
        place = {label: at for at, label in enumerate(classes.tolist())}
        for label, samples in ratio.items():
            if label not in place:
                raise ValueError(f"ratio: there is no class {label!r}; there are {', '.join(map(repr, place))}")
            quotas[place[label]] = whole_number(f"ratio[{label!r}]", samples, 0, 1 << 31)
        return quotas
    if isinstance(ratio, str):
        if ratio not in _WORDS:
            raise ValueError(f"ratio is {ratio!r}; expected a number, a dict or one of {', '.join(map(repr, _WORDS))}")
        words = ("not minority" if under else "not majority") if ratio == "auto" else ratio
        named = np.arange(len(classes)) == (smallest if words.endswith("minority") else largest)
        chosen = np.ones(len(classes), bool) if words == "all" else ~named if words.startswith("not") else named
        quotas[chosen] = counts[smallest if under else largest]
        return quotas
    if len(classes) != 2:
        raise ValueError(f"ratio={ratio}: a number is for two classes, there are {len(classes)}; give words or a dict")
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; expected minority / majority, above 0 and 1 at most")
    if under:
        quotas[1 - smallest] = int(counts[smallest] / ratio)
    else:
        quotas[1 - largest] = int(counts[largest] * ratio)
    return quotas
