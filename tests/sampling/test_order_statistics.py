"""The order is random: published checks of permutations, each with fixed seeds and a stated significance, so that they are deterministic.

Every check compares a statistic of many orders, of successive epochs of one seed, with its distribution over uniformly random
permutations, and rejects at 1e-4 on either side. The same checks reject weaker networks, at the end of the file.
Sources: Knuth, TAOCP vol. 2, section 3.3 (chi-square, serial correlation, permutation test); Levene and Wolfowitz 1944 (runs up and
down); Kendall 1938 (inversions); Feller, vol. 1, IV.4 (matches) and X.6 (cycles).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from headrace import _native
from tests.sampling import order_twin as twin

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Check = Callable[[Ints], bool]

Z = 3.719016485455709  # scipy.stats.norm.isf(1e-4)
# df -> (upper, lower) 1e-4 quantiles: scipy.stats.chi2.isf(1e-4, df) and chi2.ppf(1e-4, df).
CHI2 = {10: (35.564, 0.8889), 19: (50.7955, 3.9683), 63: (113.505, 29.5), 119: (185.086, 69.9677), 1000: (1174.9335, 842.1681)}

SMALL = list(range(2, 21))
BESIDE_POWERS = [31, 32, 33, 63, 64, 65, 127, 128, 129]
LARGE = [1000, 1023, 1024, 1025, 2048, 2049, 4096, 4097]


def chi2_quantile(df: int, z: float) -> float:
    """Quantile of chi-square where the normal distribution has `z` (Wilson and Hilferty 1931); above the exact one for few degrees."""
    return df * max(0.0, 1 - 2 / (9 * df) + z * math.sqrt(2 / (9 * df))) ** 3


@pytest.mark.parametrize("df", CHI2)
def test_the_quantile_formula_holds(df: int) -> None:
    upper, lower = CHI2[df]
    assert chi2_quantile(df, Z) == pytest.approx(upper, rel=0.02)
    assert chi2_quantile(df, -Z) == pytest.approx(lower, rel=0.15)


def fits(observed: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
    """Whether counts fit what is expected of them: neither too far from it nor too near. Neighbouring cells are pooled up to 10."""
    pooled: list[tuple[float, float]] = []
    seen = hoped = 0.0
    for o, e in zip(np.asarray(observed, dtype=float), np.asarray(expected, dtype=float), strict=True):
        seen, hoped = seen + o, hoped + e
        if hoped >= 10:
            pooled.append((seen, hoped))
            seen = hoped = 0.0
    if pooled:
        pooled[-1] = (pooled[-1][0] + seen, pooled[-1][1] + hoped)
    assert len(pooled) >= 2, "too few orders for this check"
    statistic = sum((o - e) ** 2 / e for o, e in pooled)
    df = len(pooled) - 1
    return chi2_quantile(df, -Z) <= statistic <= chi2_quantile(df, Z)


def uniform(values: npt.ArrayLike, cells: int) -> bool:
    """Whether integers in [0, cells) are uniform; cells are merged evenly to 256 at most, so that each holds enough."""
    flat = np.asarray(values).reshape(-1)
    bins = min(cells, 256)
    edges = np.bincount(np.arange(cells) * bins // cells, minlength=bins)
    return fits(np.bincount(flat * bins // cells, minlength=bins), edges * flat.size / cells)


@functools.lru_cache(maxsize=4)
def orders(num_samples: int, count: int = 4000, seed: int = 2026) -> Ints:
    """Global orders of epochs 0 .. count, shape (count, num_samples)."""
    rows = [_native.Order(num_samples, seed, epoch).indices(0, num_samples) for epoch in range(count)]
    return np.stack(rows)


def enough(num_samples: int) -> int:
    """Orders that make a check of this size sharp and quick."""
    return 10_000 if num_samples <= 200 else 1500


# Each check takes orders, shape (count, n), and says whether they look uniformly random.


def positions_uniform(rows: Ints) -> bool:
    n = rows.shape[1]
    return all(uniform(rows[:, place], n) for place in sorted({0, 1, n // 2, n - 1}))


def differences_uniform(rows: Ints) -> bool:
    # Pairs that share no place; (second - first) mod n is never 0.
    n = rows.shape[1]
    even = rows[:, : n // 2 * 2]
    pairs = even if n >= 200 else even[:, :2]  # Within a small permutation pairs are not independent.
    return uniform((pairs[:, 1::2] - pairs[:, ::2]) % n - 1, n - 1)


def first_two_uniform(rows: Ints) -> bool:
    n = rows.shape[1]
    counts = np.bincount(rows[:, 0] * (n - 1) + (rows[:, 1] - rows[:, 0]) % n - 1, minlength=n * (n - 1))
    return fits(counts, np.full(counts.size, rows.shape[0] / counts.size))


def fixed_points_poisson(rows: Ints) -> bool:
    count, n = rows.shape
    fixed = (rows == np.arange(n)).sum(axis=1)
    # Exactly: (1/k!) sum over j <= n - k of (-1)^j / j!; Poisson(1) as n grows.
    chances = [sum((-1) ** j / math.factorial(j) for j in range(min(n, 25) - k + 1)) / math.factorial(k) for k in range(min(n, 25) + 1)]
    return fits(np.bincount(fixed, minlength=len(chances))[: len(chances)], np.array(chances) * count)


def cycle_counts(rows: Ints) -> Ints:
    """Cycles of each permutation, by pointer doubling: the smallest element of its cycle is its own minimum."""
    n = rows.shape[1]
    lowest = np.broadcast_to(np.arange(n), rows.shape).copy()
    jump = rows.copy()
    for _ in range(max(1, (n - 1).bit_length())):
        np.minimum(lowest, np.take_along_axis(lowest, jump, axis=1), out=lowest)
        jump = np.take_along_axis(jump, jump, axis=1)
    return np.asarray((lowest == np.arange(n)).sum(axis=1))


def cycle_chances(n: int) -> Floats:
    """P(k cycles): unsigned Stirling numbers of the first kind over n!; the mean is the harmonic number H_n."""
    chances = np.zeros(n + 1)
    chances[0] = 1
    for m in range(1, n + 1):
        chances[1 : m + 1] = (chances[1 : m + 1] * (m - 1) + chances[:m]) / m
        chances[0] = 0
    return chances


def cycles_harmonic(rows: Ints) -> bool:
    count, n = rows.shape
    return fits(np.bincount(cycle_counts(rows), minlength=n + 1), cycle_chances(n) * count)


def both_parities(rows: Ints) -> bool:
    odd = (rows.shape[1] - cycle_counts(rows)) % 2
    return fits(np.bincount(odd, minlength=2), np.full(2, rows.shape[0] / 2))


def serial_correlation_none(rows: Ints) -> bool:
    # The sum of products of neighbours, in units of the values' variance, has mean -1 and variance ~ n over random permutations.
    count, n = rows.shape
    centred = rows - (n - 1) / 2
    sums = (centred[:, :-1] * centred[:, 1:]).sum(axis=1)
    variance = (n * n - 1) / 12
    score = (sums / variance + 1) / math.sqrt(n)
    return bool(abs(score.sum() / math.sqrt(count)) < Z)


def inversions_normal(rows: Ints) -> bool:
    count, n = rows.shape
    inversions = sum((rows[:, i : i + 1] > rows[:, i + 1 :]).sum(axis=1) for i in range(n - 1))
    score = (np.asarray(inversions) - n * (n - 1) / 4) / math.sqrt(n * (n - 1) * (2 * n + 5) / 72)
    spread = float((score**2).sum())
    return bool(abs(score.sum() / math.sqrt(count)) < Z) and chi2_quantile(count, -Z) < spread < chi2_quantile(count, Z)


def runs_normal(rows: Ints) -> bool:
    # Runs up and down: mean (2n - 1) / 3, variance (16n - 29) / 90.
    count, n = rows.shape
    rises = rows[:, 1:] > rows[:, :-1]
    runs = 1 + (rises[:, 1:] != rises[:, :-1]).sum(axis=1)
    score = (runs - (2 * n - 1) / 3) / math.sqrt((16 * n - 29) / 90)
    spread = float((score**2).sum())
    return bool(abs(score.sum() / math.sqrt(count)) < Z) and chi2_quantile(count, -Z) < spread < chi2_quantile(count, Z)


@pytest.mark.parametrize("n", SMALL + BESIDE_POWERS + LARGE)
def test_each_sample_is_equally_likely_at_a_position(n: int) -> None:
    assert positions_uniform(orders(n, enough(n)))


@pytest.mark.parametrize("n", [3, 5, 8, 16, 17, 20, *BESIDE_POWERS, *LARGE])
def test_differences_of_successive_samples_are_uniform(n: int) -> None:
    assert differences_uniform(orders(n, enough(n)))


@pytest.mark.parametrize("n", [7, 8, 9, 15, 16, 17, 20])
def test_each_pair_of_samples_is_equally_likely_at_the_first_two_positions(n: int) -> None:
    assert first_two_uniform(orders(n, enough(n)))


@pytest.mark.parametrize("n", [3, 4, 5])
def test_each_permutation_is_equally_likely(n: int) -> None:
    rows = orders(n, 20_000)
    number = {p: i for i, p in enumerate(itertools.permutations(range(n)))}
    counts = np.bincount([number[tuple(row)] for row in rows.tolist()], minlength=len(number))
    assert fits(counts, np.full(len(number), rows.shape[0] / len(number)))


@pytest.mark.parametrize("n", [5, 8, 16, 17, 20, *BESIDE_POWERS, *LARGE])
def test_fixed_points_and_cycles_are_those_of_random_permutations(n: int) -> None:
    rows = orders(n, enough(n))
    for check in OF_PERMUTATIONS:
        assert check(rows)


@pytest.mark.parametrize("n", LARGE)
def test_successive_samples_do_not_correlate(n: int) -> None:
    rows = orders(n, enough(n))
    assert serial_correlation_none(rows)
    assert runs_normal(rows)


@pytest.mark.parametrize("n", [64, 65, 128, 129])
def test_inversions_are_those_of_random_permutations(n: int) -> None:
    assert inversions_normal(orders(n, enough(n)))


def agreements(a: Ints, b: Ints) -> int:
    return int((a == b).sum())


def poisson_one(counts: Sequence[int]) -> bool:
    """Whether numbers of agreements of two independent orders are Poisson(1)."""
    chances = [math.exp(-1) / math.factorial(k) for k in range(12)]
    return fits(np.bincount(counts, minlength=12)[:12], np.array(chances) * len(counts))


def order_of(n: int, seed: int, epoch: int) -> Ints:
    return _native.Order(n, seed, epoch).indices(0, n)


@pytest.mark.parametrize("n", [17, 100, 1000, 1024])
def test_flipping_one_bit_of_seed_or_epoch_makes_an_independent_order(n: int) -> None:
    counts = []
    for seed, epoch in [(0, 0), (1, 5), (2**63, 2**31), (0x0123456789ABCDEF, 0xFEDCBA9876543210)]:
        base = order_of(n, seed, epoch)
        for bit in range(64):
            counts.append(agreements(base, order_of(n, seed ^ (1 << bit), epoch)))
            counts.append(agreements(base, order_of(n, seed, epoch ^ (1 << bit))))
    assert poisson_one(counts)


@pytest.mark.parametrize("n", [17, 1000, 1024])
def test_successive_and_exchanged_keys_make_independent_orders(n: int) -> None:
    keys = range(30)
    table = {(seed, epoch): order_of(n, seed, epoch) for seed in keys for epoch in keys}
    exchanged = [agreements(table[s, e], table[e, s]) for s in keys for e in keys if s < e]
    same_sum = [agreements(table[s, e], table[s + 1, e - 1]) for s in keys[:-1] for e in keys[1:]]
    next_epoch = [agreements(table[s, e], table[s, e + 1]) for s in keys for e in keys[:-1]]
    next_seed = [agreements(table[s, e], table[s + 1, e]) for s in keys[:-1] for e in keys]
    for counts in (exchanged, same_sum, next_epoch, next_seed):
        assert poisson_one(counts)


OF_PERMUTATIONS: list[Check] = [fixed_points_poisson, cycles_harmonic, both_parities]

# 24 chunks of 8 samples in windows of 4 chunks: 6 windows of 32.
CHUNKS, HELD, WINDOW = 24, 8, 4


@functools.cache
def window_orders(count: int = 6000) -> Ints:
    """Window orders of epochs 0 .. count, shape (count, 192)."""
    n = CHUNKS * HELD
    return np.stack([_native.Order(n, 11, epoch, "window", WINDOW, [n], [HELD]).indices(0, n) for epoch in range(count)])


def chunks_in_windows() -> Ints:
    """The chunks of each window in ascending order, shape (count, windows, WINDOW)."""
    rows = window_orders()
    chunks = (rows // HELD).reshape(rows.shape[0], CHUNKS // WINDOW, WINDOW * HELD)
    return np.sort(chunks, axis=2)[:, :, ::HELD]


def ranks_in_windows() -> Ints:
    """Each window as a permutation of its own samples: their ranks, in order. Shape (count, windows, WINDOW * HELD)."""
    rows = window_orders()
    inside = rows.reshape(rows.shape[0], CHUNKS // WINDOW, WINDOW * HELD)
    return np.asarray(inside.argsort(axis=2).argsort(axis=2))


def test_each_sample_is_equally_likely_at_a_position_of_a_window_order() -> None:
    rows = window_orders()
    for place in (0, 1, 31, 32, 100, 191):
        assert uniform(rows[:, place], CHUNKS * HELD)


def test_each_chunk_is_equally_likely_in_a_window_and_beside_any_other() -> None:
    chunks = chunks_in_windows()
    number = np.argmax((chunks == 0).any(axis=2), axis=1)  # The window of chunk 0.
    assert uniform(number, CHUNKS // WINDOW)
    beside = np.take_along_axis(chunks, number[:, None, None], axis=1)[:, 0, 1:]
    # Three neighbours a row, drawn without replacement from 23: one of them, by turns, keeps the counts independent.
    assert uniform(beside[np.arange(beside.shape[0]), np.random.default_rng(1).integers(0, 3, beside.shape[0])] - 1, CHUNKS - 1)


@pytest.mark.parametrize(
    "check", [positions_uniform, differences_uniform, fixed_points_poisson, cycles_harmonic, both_parities, inversions_normal]
)
def test_samples_inside_a_window_are_randomly_ordered(check: Check) -> None:
    ranks = ranks_in_windows()
    for window in range(ranks.shape[1]):
        assert check(ranks[:, window])


def test_windows_of_one_epoch_are_independent() -> None:
    ranks = ranks_in_windows()
    counts = [int(c) for c in (ranks[:, :-1] == ranks[:, 1:]).sum(axis=2).reshape(-1)]
    assert poisson_one(counts)


def test_the_order_of_chunks_says_nothing_about_the_order_inside() -> None:
    number = np.argmax((chunks_in_windows() == 0).any(axis=2), axis=1)
    first = ranks_in_windows()[:, 0, 0]
    assert uniform(number * WINDOW * HELD + first, CHUNKS * HELD)


def weaker_orders(n: int, rounds: int, swap: bool, count: int) -> Ints:
    """Orders of the twin with fewer rounds, or without the swap that makes odd permutations."""
    permutation = twin.Permutation(n, twin.mix_key(2026, np.arange(count)), rounds=rounds, swap=swap)
    return permutation.all().astype(np.int64)


def test_the_checks_find_a_network_of_two_rounds() -> None:
    rows = weaker_orders(1024, 2, swap=True, count=1500)
    assert not differences_uniform(rows)


def test_the_checks_find_a_network_without_the_swap() -> None:
    rows = weaker_orders(1024, 8, swap=False, count=500)
    assert not both_parities(rows)
    assert not cycles_harmonic(rows)


def test_the_checks_accept_the_twin_and_numpy() -> None:
    random = np.random.default_rng(2026)
    shuffled = np.stack([random.permutation(1024) for _ in range(1500)])
    checks: list[Check] = [
        positions_uniform,
        differences_uniform,
        fixed_points_poisson,
        cycles_harmonic,
        both_parities,
        serial_correlation_none,
    ]
    checks.append(runs_normal)
    for rows in (shuffled, weaker_orders(1024, 8, swap=True, count=500)):
        for check in checks:
            assert check(rows)
