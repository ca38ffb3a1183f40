"""The order of the C++ core equals its numpy twin, value by value, and never changes. Whether it is random: test_order_statistics.py."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import _native
from tests.sampling import order_twin as twin

WORDS = [0, 1, 2, 41, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
SIZES = [*range(1, 21), 31, 32, 33, 100, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 5000]


def global_order(num_samples: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return _native.Order(num_samples, seed, epoch).indices(0, num_samples)


def window_order(shards: list[tuple[int, int]], window: int, seed: int, epoch: int) -> _native.Order:
    samples, chunks = [s for s, _ in shards], [c for _, c in shards]
    return _native.Order(sum(samples), seed, epoch, "window", window, samples, chunks)


@pytest.mark.parametrize("num_samples", SIZES)
def test_global_order_equals_the_twin_for_every_size(num_samples: int) -> None:
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (12345, 678), (2**64 - 1, 2**64 - 1)]:
        np.testing.assert_array_equal(global_order(num_samples, seed, epoch), twin.global_order(num_samples, seed, epoch))


@pytest.mark.parametrize("seed", WORDS)
def test_global_order_equals_the_twin_for_every_key(seed: int) -> None:
    for epoch in WORDS:
        np.testing.assert_array_equal(global_order(1500, seed, epoch), twin.global_order(1500, seed, epoch))


@given(st.integers(1, 4000), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_global_order_equals_the_twin_for_any_key(num_samples: int, seed: int, epoch: int) -> None:
    np.testing.assert_array_equal(global_order(num_samples, seed, epoch), twin.global_order(num_samples, seed, epoch))


@pytest.mark.parametrize("bits", [20, 31, 32, 33, 47, 48])
def test_positions_of_large_orders_equal_the_twin(bits: int) -> None:
    for num_samples in {2**bits - 1, 2**bits, min(2**bits + 1, 2**48)}:
        permutation = twin.Permutation(num_samples, twin.mix_key(3, 4))
        order = _native.Order(num_samples, 3, 4)
        for begin in (0, num_samples // 3, num_samples - 100):
            expected = permutation.forward(np.arange(begin, begin + 100, dtype=np.uint64))
            np.testing.assert_array_equal(order.indices(begin, begin + 100), expected)


LAYOUTS = [
    [(1, 1)],
    [(1000, 100)],
    [(1001, 100)],
    [(300, 64), (300, 64), (300, 64)],
    [(640, 64), (0, 64), (5, 64), (64, 64), (0, 64)],
    [(500, 7), (500, 64), (13, 100), (1, 3), (200, 1)],
    [(100, 10), (0, 4096)],
]


@pytest.mark.parametrize("shards", LAYOUTS)
@pytest.mark.parametrize("window", [1, 2, 3, 8, 32, 10_000])
def test_window_order_equals_the_twin(shards: list[tuple[int, int]], window: int) -> None:
    samples, chunks = [s for s, _ in shards], [c for _, c in shards]
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (2**64 - 1, 5)]:
        order = window_order(shards, window, seed, epoch)
        expected = twin.window_order(samples, chunks, window, seed, epoch)
        np.testing.assert_array_equal(order.indices(0, len(order)), expected)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), min_size=1, max_size=6).filter(
        lambda shards: sum(s for s, _ in shards) > 0
    ),
    st.integers(1, 20),
    st.integers(0, 2**64 - 1),
    st.data(),
)
@settings(max_examples=30)  # The twin draws every permutation in Python.
def test_any_range_of_a_window_order_equals_the_twin(shards: list[tuple[int, int]], window: int, seed: int, data: st.DataObject) -> None:
    expected = twin.window_order([s for s, _ in shards], [c for _, c in shards], window, seed, 7)
    begin = data.draw(st.integers(0, expected.size))
    end = data.draw(st.integers(begin, expected.size))
    np.testing.assert_array_equal(window_order(shards, window, seed, 7).indices(begin, end), expected[begin:end])


def test_sequential_order_is_the_identity() -> None:
    np.testing.assert_array_equal(_native.Order(1000, 5, 6, "sequential").indices(17, 1000), np.arange(17, 1000))


def test_seed_and_epoch_are_not_interchangeable() -> None:
    assert not np.array_equal(global_order(1000, 0, 1), global_order(1000, 1, 0))
    assert not np.array_equal(global_order(1000, 0, 2), global_order(1000, 1, 1))


# Written down once: a saved position means these samples. A change here breaks every resumed run.
GOLDEN_SMALL: dict[tuple[int, int, int], list[int]] = {
    (10, 0, 0): [1, 3, 4, 0, 6, 7, 2, 8, 5, 9],
    (10, 0, 1): [1, 9, 5, 8, 7, 3, 2, 0, 6, 4],
    (10, 1, 0): [0, 5, 7, 8, 1, 9, 4, 3, 6, 2],
    (1, 3, 3): [0],
    (2, 0, 0): [1, 0],
    (2, 0, 1): [1, 0],
    (7, 18446744073709551615, 5): [5, 3, 0, 6, 2, 1, 4],
    (20, 42, 0): [13, 3, 10, 1, 4, 0, 19, 5, 2, 18, 15, 9, 12, 6, 11, 17, 8, 7, 14, 16],
}


def test_small_orders_never_change() -> None:
    for (num_samples, seed, epoch), expected in GOLDEN_SMALL.items():
        assert global_order(num_samples, seed, epoch).tolist() == expected


# CRC-32 of the order as little-endian int64.
GOLDEN_CHECKSUMS: dict[tuple[int, int, int], int] = {
    (1000, 0, 0): 3447624289,
    (1024, 0, 0): 881610785,
    (1025, 5, 9): 2539818115,
    (1000003, 7, 1): 1385167252,
}


def test_large_orders_never_change() -> None:
    for (num_samples, seed, epoch), expected in GOLDEN_CHECKSUMS.items():
        assert zlib.crc32(global_order(num_samples, seed, epoch).astype("<i8").tobytes()) == expected


GOLDEN_FAR = [248741531304013, 186041476312206, 216119241384138]


# Of 2^48 samples, seed 7, epoch 8: positions 2^47 and the next two.
GOLDEN_FAR = [248741531304013, 186041476312206, 216119241384138]


def test_far_positions_never_change() -> None:
    assert _native.Order(2**48, 7, 8).indices(2**47, 2**47 + 3).tolist() == GOLDEN_FAR


GOLDEN_WINDOW: dict[tuple[int, int, int], list[int]] = {
    (1, 0, 0): [2, 3, 5, 7, 6, 9, 10, 8, 0, 1, 4],
    (2, 0, 1): [8, 3, 10, 9, 2, 5, 4, 6, 7, 1, 0],
    (3, 9, 4): [4, 2, 10, 9, 8, 3, 6, 7, 5, 1, 0],
    (100, 1, 1): [3, 0, 6, 5, 10, 7, 9, 2, 1, 4, 8],
}
GOLDEN_WINDOW_CHECKSUM = 491377194


def test_window_orders_never_change() -> None:
    for (window, seed, epoch), expected in GOLDEN_WINDOW.items():
        assert window_order([(5, 2), (0, 2), (6, 3)], window, seed, epoch).indices(0, 11).tolist() == expected
    large = window_order([(70_000, 128), (30_001, 100)], 32, 1, 2)
    assert zlib.crc32(large.indices(0, len(large)).astype("<i8").tobytes()) == GOLDEN_WINDOW_CHECKSUM
