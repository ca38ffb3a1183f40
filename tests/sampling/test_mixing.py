"""Mixed orders: exact shares in each cycle, every sample of a source once before any comes again, each position by itself; and a numpy twin."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

from headrace import _native
from headrace.sampling.mixing import MixedOrder, slots_of
from tests.sampling.order_twin import Permutation, mix_key

SIZES = (70, 7, 500)


def sources(sizes: tuple[int, ...] = SIZES, steps: tuple[int, ...] | None = None) -> list[tuple[int, int, int]]:
    steps = steps or (1,) * len(sizes)
    begins = [0, *itertools.accumulate(size * step for size, step in zip(sizes, steps, strict=True))]
    return list(zip(begins, sizes, steps, strict=False))


def walk(size: int, key: Any, taken: int) -> int:
    return int(Permutation(size, mix_key(key, taken // size)).forward(taken % size)[0])


def twin(places: list[tuple[int, int, int]], slots: list[int], seed: int, epoch: int, end: int) -> list[int]:
    """Positions [0, end), one idea a line."""
    key, cycle, out, taken = mix_key(seed, epoch), sum(slots), [], [0] * len(slots)
    every = [begin + step * i for begin, size, step in places for i in range(size)]
    for position in range(end):
        if cycle == 0:
            out.append(every[walk(len(every), key, position)])
            continue
        number, at = divmod(position, cycle)
        if at == 0:
            owners = np.repeat(np.arange(len(slots)), slots).tolist()
            for i in range(cycle - 1, 0, -1):
                j = int(mix_key(mix_key(key, number), i)[0]) * (i + 1) >> 64
                owners[i], owners[j] = owners[j], owners[i]
        which = owners[at]
        begin, size, step = places[which]
        out.append(begin + step * walk(size, mix_key(key, (1 << 64) - 1 - which), taken[which]))
        taken[which] += 1
    return out


def test_the_core_and_the_twin_agree() -> None:
    for slots, steps in (([3, 1, 4], (1, 1, 1)), ([600, 1, 0], (2, 5, 3)), ([0, 0, 1], (1, 1, 1)), ([0, 0, 0], (1, 2, 3))):
        places = sources(steps=steps)
        mixture = _native.Mixture([(*place, count) for place, count in zip(places, slots, strict=True)])
        assert mixture.indices(5, 9, 0, 700).tolist() == twin(places, slots, 5, 9, 700)


@pytest.mark.parametrize("weights", [[0.7, 0.1, 0.2], [1, 1, 1], [0, 1, 3], [1e-7, 1, 1], [0.123456789, 0.3, 0.4]])
def test_shares_are_exact_in_every_cycle(weights: list[float]) -> None:
    order = MixedOrder(sources(), weights, 4_000_000)
    slots = order.slots(0)
    cycle = sum(slots)
    shares = np.array(weights) / sum(weights)
    assert cycle <= 4096
    assert np.abs(np.array(slots) / cycle - shares).max() <= 1 / 4096
    assert [count > 0 for count in slots] == [weight > 0 for weight in weights]
    for begin in (0, 3 * cycle, 800 * cycle):
        drawn = order.source_of(order.indices(begin, begin + cycle, seed=3))
        assert np.bincount(drawn, minlength=3).tolist() == slots


def test_common_denominators_are_met_exactly() -> None:
    assert slots_of(np.array([0.7, 0.3])) == [7, 3]
    assert slots_of(np.array([2.0, 1.0])) == [2, 1]
    assert slots_of(np.array([5.0])) == [1]
    assert slots_of(np.array([70.0, 7.0, 500.0])) == [70, 7, 500]
    assert slots_of(np.array([1.0, np.pi - 3])) == [113, 16]  # nearer than all others of at most 4096 slots
    many = np.random.default_rng(0).random(1000)
    assert np.abs(np.array(slots_of(many)) / sum(slots_of(many)) - many / many.sum()).max() <= 1 / 4096
    assert sum(slots_of(np.array([1.0, *[1e-12] * 100]))) == 4096
    with pytest.raises(ValueError, match="4097 sources have a weight; at most 4096"):
        slots_of(np.ones(4097))


def test_a_source_gives_all_of_its_samples_before_any_comes_again() -> None:
    order = MixedOrder(sources(), [1, 1, 2], 8_000)
    for epoch in (0, 1):
        drawn = order.indices(seed=1, epoch=epoch)
        which = order.source_of(drawn)
        rounds = []
        for number, (begin, size, _) in enumerate(sources()):
            mine = drawn[which == number] - begin
            assert len(mine) == (2_000, 2_000, 4_000)[number]
            for at in range(0, len(mine), size):
                assert len(set(mine[at : at + size].tolist())) == len(mine[at : at + size])
            rounds.append(mine[:size].tolist() == mine[size : 2 * size].tolist())
        assert rounds == [False] * 3


def test_without_weights_every_sample_comes_once() -> None:
    order = MixedOrder(sources((70, 7, 1_000_003)), None)
    for epoch in range(2):
        drawn = order.indices(epoch=epoch)
        assert np.array_equal(np.sort(drawn), np.arange(1_000_080))
        assert order.indices(500_000, 500_010, epoch=epoch).tolist() == drawn[500_000:500_010].tolist()


def test_every_position_is_computed_alone_and_seeds_and_epochs_differ() -> None:
    order = MixedOrder(sources(), [0.5, 0.3, 0.2], 100_000)
    whole = order.indices(seed=4, epoch=2)
    for begin, end in ((0, 1), (9, 11), (511, 513), (1_000, 3_000), (99_999, 100_000), (5, 5)):
        assert order.indices(begin, end, seed=4, epoch=2).tolist() == whole[begin:end].tolist()
    assert not np.array_equal(order.indices(seed=2, epoch=4), whole)
    huge = MixedOrder([(0, 1 << 40, 1), (1 << 40, 1 << 40, 1)], [1, 1], 1 << 48)
    at = (1 << 48) - 64
    assert huge.indices(at, at + 64).tolist() == huge.indices(at - 64, at + 64)[64:].tolist()


def test_shares_follow_a_function_of_the_epoch_or_are_set() -> None:
    order = MixedOrder(sources(), lambda epoch: [1, 0, epoch], 1024)
    assert [np.bincount(order.source_of(order.indices(epoch=epoch)), minlength=3).tolist() for epoch in (0, 1, 3)] == [
        [1024, 0, 0],
        [512, 0, 512],
        [256, 0, 768],
    ]
    order = MixedOrder(sources(), [1, 1, 2], 1024)
    before = order.indices(seed=1)
    again = pickle.loads(pickle.dumps(order))
    order.set_weights([0, 0, 1])
    assert (order.source_of(order.indices()) == 2).all()
    assert again.indices(seed=1).tolist() == before.tolist()
    with pytest.raises(ValueError, match="expected one number each"):
        order.set_weights([1])
    assert (order.source_of(order.indices()) == 2).all()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, 2], r"weights have shape \(2,\) for 3 sources"),
        ([1, -1, 1], "finite, not negative and not all 0"),
        ([0, 0, 0], "not all 0"),
        ([1, float("nan"), 1], "finite"),
    ],
)
def test_bad_weights_are_refused(weights: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MixedOrder(sources(), weights)


def test_bad_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="source 1 is empty, and has the weight"):
        MixedOrder([(0, 5, 1), (5, 0, 1)], [1, 1])
    assert sorted(MixedOrder([(0, 5, 1), (5, 0, 1)], [1, 0]).indices().tolist()) == list(range(5))
    with pytest.raises(ValueError, match="have no samples"):
        MixedOrder([(0, 0, 1)], [1])
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        MixedOrder(sources(), [1, 1, 1], 0)
    bad: list[Any] = [
        ([(0, 0, 1, 1)], "source 0 has a share and no samples"),
        ([(0, 0, 1, 0)], "none of them has samples"),
        ([(0, 1, 1, 1), (0, 1, 1, 4096)], "source 1 has more than 4096 slots"),
        ([(1 << 47, 1 << 47, 2, 1)], r"source 0 has samples beyond 2\^48"),
        ([(0, 1 << 63, 1 << 63, 1)], r"source 0 has samples beyond 2\^48"),
    ]
    for native, words in bad:
        with pytest.raises(ValueError, match=words):
            _native.Mixture(native)
