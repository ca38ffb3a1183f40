"""Which samples belong to which part: arithmetic on row numbers, keyed by a seed. No data is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _native
from headrace.sampling.options import whole_number

__all__ = ["bootstrap_rows", "fold_rows", "sample_rows", "split_rows"]

Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]


def shuffled(size: int, seed: int) -> Rows:
    """All row numbers in headrace's own order of epoch 0."""
    return _native.Order(size, whole_number("seed", seed, 0, 1 << 64), 0).indices(0, size) if size else np.zeros(0, np.int64)


def cuts(size: int, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Ends of parts of `size` things: each within one of its share, and their sum exact."""
    return np.floor(np.cumsum(shares) * size + 0.5).astype(np.int64)


def numbered(labels: Labels) -> npt.NDArray[np.int64]:
    """Each label as its number among the different ones, in sorted order."""
    numbers: npt.NDArray[np.int64] = np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def in_turn(order: Rows, labels: Labels | None) -> list[Rows]:
    """The rows of each class, in `order`; of all together without labels."""
    if labels is None:
        return [order]
    numbers = numbered(labels)[order]
    by_class = np.argsort(numbers, kind="stable")
    return np.split(order[by_class], np.cumsum(np.bincount(numbers))[:-1])


def split_rows(
    size: int,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: Labels | None = None,
    group: Labels | None = None,
    time: Labels | None = None,
) -> dict[str, Rows]:
    """Parts by name, each sorted: every row in one of them, or in none if the shares add up to less than one.

    stratify: each part holds its share of each class, to one sample. group: no group in two parts; parts as near to their shares as whole groups
    allow. time: the first part is the earliest; equal times are not divided. Raises ValueError.
    """
    if not shares:
        raise ValueError("name at least one part: split(train=0.8, test=0.2)")
    parts = np.array([float(share) for share in shares.values()])
    if not (parts > 0).all() or parts.sum() > 1 + 1e-9:
        raise ValueError(f"the shares {dict(shares)} must be above 0, and 1 at most together")
    if sum(value is not None for value in (stratify, group, time)) > 1:
        raise ValueError("give one of stratify=, group= and time=; for more, split_by() takes any splitter of scikit-learn's")
    if time is not None:
        found = _by_time(size, parts, time)
    elif group is not None:
        found = _by_group(size, parts, group, seed)
    else:
        found = [[] for _ in parts]
        for rows in in_turn(shuffled(size, seed), stratify):
            ends = cuts(len(rows), parts)
            for part, begin, end in zip(found, [0, *ends[:-1]], ends, strict=True):
                part.append(rows[begin:end])
    return {name: np.sort(np.concatenate([*part, np.zeros(0, np.int64)])) for name, part in zip(shares, found, strict=True)}


def _by_time(size: int, parts: npt.NDArray[np.float64], time: Labels) -> list[list[Rows]]:
    order = np.argsort(time, kind="stable").astype(np.int64)
    sorted_times = time[order]
    # An end within a run of equal times moves to the run's end.
    ends = [
        int(np.searchsorted(sorted_times, sorted_times[end - 1], side="right")) if 0 < end < size else int(end) for end in cuts(size, parts)
    ]
    return [[order[begin:end]] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _by_group(size: int, parts: npt.NDArray[np.float64], group: Labels, seed: int) -> list[list[Rows]]:
    numbers = numbered(group)
    sizes = np.bincount(numbers)
    order = shuffled(len(sizes), seed)
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of = np.empty(len(sizes), np.int64)
    part_of[order] = np.searchsorted(np.cumsum(parts) * size, middles, side="right")
    return [[np.flatnonzero(part_of[numbers] == part).astype(np.int64)] for part in range(len(parts))]


def fold_rows(
    size: int, k: int, *, seed: int = 0, stratify: Labels | None = None, group: Labels | None = None
) -> Iterator[tuple[Rows, Rows]]:
    """(training rows, held-out rows) k times: each row is held out once. Raises ValueError for fewer rows, or groups, than folds."""
    k = whole_number("k", k, 2, 1 << 31)
    if stratify is not None and group is not None:
        raise ValueError("give one of stratify= and group=; for both, split_by() takes scikit-learn's StratifiedGroupKFold")
    fold = np.empty(size, np.int64)
    if group is not None:
        numbers = numbered(group)
        sizes = np.bincount(numbers, minlength=1)
        if len(sizes) < k:
            raise ValueError(f"there are {len(sizes)} groups for {k} folds")
        # The largest first, each to the fold that is smallest so far, as scikit-learn's GroupKFold does; equals in an order by the seed.
        of_group, filled = np.empty(len(sizes), np.int64), np.zeros(k, np.int64)
        order = shuffled(len(sizes), seed)
        for one in order[np.argsort(-sizes[order], kind="stable")]:
            of_group[one] = int(filled.argmin())
            filled[of_group[one]] += sizes[one]
        fold = of_group[numbers]
    else:
        if size < k:
            raise ValueError(f"there are {size} samples for {k} folds")
        first = 0
        for rows in in_turn(shuffled(size, seed), stratify):
            fold[rows] = (np.arange(len(rows)) + first) % k  # The next class goes on where this one ended: folds stay equal in size.
            first = (first + len(rows)) % k
    for number in range(k):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def sample_rows(size: int, amount: int | float, *, seed: int = 0, stratify: Labels | None = None) -> Rows:
    """So many rows (int) or such a share of them (float), without repeats, sorted. Raises ValueError for more than there are."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | np.integer | np.floating):
        raise TypeError(f"sample() takes a number of samples or a fraction, got {amount!r}")
    share = float(amount) / max(1, size) if isinstance(amount, int | np.integer) else float(amount)
    if not 0 <= share <= 1:
        raise ValueError(f"sample({amount!r}): there are {size} samples")
    wanted = round(share * size)
    classes = in_turn(shuffled(size, seed), stratify)
    # Largest remainders: each class within one of its share, the sum exact.
    exact = np.array([len(rows) * share for rows in classes])
    counts = np.floor(exact).astype(np.int64)
    for one in np.argsort(counts - exact, kind="stable")[: wanted - int(counts.sum())]:
        counts[one] += 1
    return np.sort(np.concatenate([rows[:count] for rows, count in zip(classes, counts, strict=True)]))


def bootstrap_rows(size: int, n: int, *, seed: int = 0) -> Iterator[tuple[Rows, Rows]]:
    """n times (rows drawn with replacement, `size` of them and sorted; the rows that were not drawn)."""
    if size < 1:
        raise ValueError("there are no samples to draw")
    for number in range(whole_number("n", n, 1, 1 << 31)):
        drawn = np.sort(np.random.Generator(np.random.Philox(key=[whole_number("seed", seed, 0, 1 << 64), number])).integers(0, size, size))
        left = np.ones(size, np.bool_)
        left[drawn] = False
        yield drawn, np.flatnonzero(left)
