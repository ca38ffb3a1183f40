"""Quantiles: numpy's while they are exact, within the stated rank error afterwards."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from headrace.statistics import Quantiles

Q = [0, 0.001, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77, 0.9, 0.999, 1]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "bool", "uint8"])
@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 50_000])
def test_few_values_are_numpys(dtype, rows):
    values = (np.random.default_rng(rows).normal(size=(rows, 3)) * 50).astype(dtype)
    found = Quantiles(3).update(values)
    assert found.is_exact
    np.testing.assert_array_equal(found.quantile(Q), np.quantile(values.astype(np.float64), Q, axis=0))
    np.testing.assert_array_equal(found.quantile(0.5), np.quantile(values.astype(np.float64), 0.5, axis=0))


def test_nulls_nan_and_infinities_are_left_out():
    random = np.random.default_rng(0)
    values = random.normal(size=(4000, 2))
    values[::7] = np.nan
    values[::11, 1] = np.inf
    valid = random.random(4000) < 0.9
    found = Quantiles(2).update(values, valid)
    for c in range(2):
        kept = values[valid & np.isfinite(values[:, c]), c]
        assert found.count[c] == len(kept)
        np.testing.assert_array_equal(found.quantile(Q)[:, c], np.quantile(kept, Q))


DISTRIBUTIONS = {
    "normal": lambda random, n: random.normal(size=n),
    "sorted": lambda random, n: np.arange(n, dtype=np.float64),
    "falling": lambda random, n: np.arange(n, 0, -1, dtype=np.float64),
    "long tail": lambda random, n: random.pareto(0.7, n),
    "few values": lambda random, n: random.integers(0, 5, n).astype(np.float64),
    "interleaved": lambda random, n: np.where(np.arange(n) % 2 == 0, np.arange(n), -np.arange(n)).astype(np.float64),
}


def rank_errors(found: np.ndarray, values: np.ndarray, q: list[float]) -> np.ndarray:
    """How far the ranks of `found` are from q: 0 where q is inside a run of equal values."""
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, found, "left") / len(values), np.searchsorted(ordered, found, "right") / len(values)
    return np.maximum(0, np.maximum(low - q, q - high))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_many_values_are_within_the_rank_error(name):
    values = DISTRIBUTIONS[name](np.random.default_rng(1), 400_000)
    found = Quantiles(1, rank_error=0.005).update(values)
    assert not found.is_exact
    assert rank_errors(found.quantile(Q)[:, 0], values, Q).max() <= 0.005
    assert found.quantile(0)[0] == values.min()
    assert found.quantile(1)[0] == values.max()
    points = np.quantile(values, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.cumulative(points), [(values <= p).mean() for p in points], atol=0.005)


def test_the_stated_error_holds_as_often_as_stated():
    """0.99 of single quantiles over seeds, streams and merges: of 4,000, at most 1 % and three standard deviations of chance may be beyond."""
    beyond = asked = 0
    q = np.linspace(0.02, 0.98, 20)
    for trial in range(100):
        values = np.random.default_rng(trial).normal(size=(80_000, 1))
        one = Quantiles(1, rank_error=0.02, seed=trial).update(values)
        parts = [Quantiles(1, rank_error=0.02, seed=trial + 1000 * k).update(part) for k, part in enumerate(np.array_split(values, 1))]
        for found in (one, *parts):
            beyond += int((rank_errors(found.quantile(q)[:, 0], values[:, 0], q) > 0.02).sum())
            asked += len(q)
    assert asked == 4000
    assert beyond <= 0.01 * asked + 3 * np.sqrt(0.01 * 0.99 * asked)


def test_neither_cut_nor_threads_change_a_bit():
    random = np.random.default_rng(2)
    values = random.normal(size=(100_000, 9)).astype(np.float32)
    whole = Quantiles(9, 0.01, seed=5).update(values, threads=0)
    assert not whole.is_exact
    for threads in (1, 2, 8):
        cut, begin = Quantiles(9, 0.01, seed=5), 0
        while begin < len(values):
            end = begin + int(random.integers(1, 20_000))
            cut.update(values[begin:end], threads=threads)
            begin = end
        assert cut.state_dict() == whole.state_dict()
    assert Quantiles(9, 0.01, seed=6).update(values).state_dict() != whole.state_dict()


def test_merged_parts_are_within_the_rank_error():
    values = np.random.default_rng(3).exponential(size=600_000)
    merged = Quantiles(1, 0.005)
    for number, part in enumerate(np.array_split(values, 13)):
        merged.merge(Quantiles(1, 0.005, seed=number).update(part))
    assert merged.count[0] == len(values)
    assert rank_errors(merged.quantile(Q)[:, 0], values, Q).max() <= 0.005
    small = Quantiles(1).update(values[:100]).merge(Quantiles(1).update(values[100:200]))
    assert small.is_exact
    np.testing.assert_array_equal(small.quantile(Q)[:, 0], np.quantile(values[:200], Q))
    large = Quantiles(1, 0.005).update(values[:100]).merge(merged)  # An exact one takes in a sketch.
    assert rank_errors(large.quantile(Q)[:, 0], values, Q).max() <= 0.0055
    itself = merged.merge(merged)
    assert itself.count[0] == 2 * len(values)
    assert rank_errors(itself.quantile(Q)[:, 0], values, Q).max() <= 0.006


def test_memory_is_bounded():
    found = Quantiles(1, 0.01)
    for seed in range(30):
        found.update(np.random.default_rng(seed).normal(size=100_000))
    assert len(found.state_dict()["state"]) < 4 / 3 * 8 * 4500  # base64 of about 2,000 values, whatever was added


def test_states_are_json_and_pickle_and_go_on_alike():
    random = np.random.default_rng(4)
    values = random.normal(size=(200_000, 2))
    found = Quantiles(2, 0.01).update(values[:100_000])
    for other in (Quantiles.from_state(json.loads(json.dumps(found.state_dict()))), pickle.loads(pickle.dumps(found))):
        assert other.state_dict() == found.state_dict()
        assert other.update(values[100_000:]).state_dict() == Quantiles(2, 0.01).update(values).state_dict()
    state = found.state_dict()
    for broken in (state["state"][:-8], state["state"][:80] + "AAAAAAAA" + state["state"][88:]):
        with pytest.raises(ValueError, match="not the state of Quantiles"):
            Quantiles.from_state({**state, "state": broken})


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="rank_error is 0;"):
        Quantiles(1, 0.0)
    with pytest.raises(ValueError, match="width is 0"):
        Quantiles(0)
    with pytest.raises(ValueError, match=r"q is 1\.5; expected 0 to 1"):
        Quantiles(1).update([1.0]).quantile(1.5)
    with pytest.raises(ValueError, match=r"rank_error 0\.002; expected 1 and 0\.001"):
        Quantiles(1).merge(Quantiles(1, 0.002))
    with pytest.raises(IndexError, match="column 3"):
        Quantiles(1).cumulative([0.0], 3)
    assert np.isnan(Quantiles(2).quantile(0.5)).all()
    assert np.isnan(Quantiles(2).cumulative([0.5])).all()
