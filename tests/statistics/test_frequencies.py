"""Frequencies and Distinct against collections.Counter and sets."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.statistics import Distinct, Frequencies


def as_pair(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate(([0], np.cumsum([len(text) for text in texts]))).astype(np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), offsets


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_counts_are_exact_up_to_the_limit(dtype):
    values = np.random.default_rng(0).integers(-50 if dtype[0] in "if" else 0, 2 if dtype == "bool" else 60, 20_000).astype(dtype)
    found, counts = Frequencies().update(values).items()
    expected = sorted(Counter(values.tolist()).items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(found.tolist(), counts.tolist(), strict=True)) == expected


def test_large_integers_stay_apart():
    values = np.array([2**63, 2**63 + 1, 2**64 - 1, 2**64 - 1], np.uint64)
    found, counts = Frequencies().update(values).items()
    assert found.dtype == np.uint64
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == {2**64 - 1: 2, 2**63: 1, 2**63 + 1: 1}
    low = np.array([-(2**63), 2**63 - 1, 2**53 + 1, 2**53], np.int64)
    assert sorted(Frequencies().update(low).items()[0].tolist()) == sorted(low.tolist())


def test_nulls_nan_and_zeros():
    values = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, 1.5])
    found = Frequencies().update(values, np.array([1, 1, 1, 1, 1, 1, 0], bool))
    assert (found.count, found.nulls) == (5, 2)
    assert dict(zip(found.items()[0].tolist(), found.items()[1].tolist(), strict=True)) == {0.0: 2, np.inf: 1, -np.inf: 1, 1.5: 1}


@given(st.lists(st.one_of(st.none(), st.binary(max_size=5), st.text(max_size=4)), max_size=60))
def test_texts_as_a_counter(texts):
    plain = [text.encode() if isinstance(text, str) else text for text in texts]
    found = Frequencies().update(texts)
    expected = sorted(Counter(text for text in plain if text is not None).items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(found.items()[0], found.items()[1].tolist(), strict=True)) == expected
    assert found.nulls == plain.count(None)


def test_ways_to_give_texts():
    texts = [b"a", b"", b"bb", b"a"]
    expected = Frequencies().update(texts).state_dict()
    assert Frequencies().update(as_pair(texts)).state_dict() == expected
    assert Frequencies().update(np.array(texts)).state_dict() == expected
    assert Frequencies().update(np.array(["a", "", "bb", "a"])).state_dict() == expected
    masked = Frequencies().update(as_pair(texts), np.array([True, False, True, True]))
    assert (masked.count, masked.nulls) == (3, 1)


@pytest.mark.parametrize("limit", [2, 10, 100, 1000])
@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_beyond_the_limit_the_bound_holds(limit, kind):
    values = np.random.default_rng(limit).zipf(1.2, 60_000) % 100_000
    truth = Counter(values.tolist())
    given_values = values if kind == "numbers" else as_pair([str(value).encode() for value in values.tolist()])
    found = Frequencies(limit).update(given_values)
    listed = {int(value): int(count) for value, count in zip(*found.items(), strict=True)}
    assert not found.is_exact
    assert 0 < found.error <= 2 * len(values) / limit
    assert len(found) <= limit
    for value, count in truth.items():
        assert count - found.error <= listed.get(value, 0) <= count


def test_cuts_and_merges():
    random = np.random.default_rng(2)
    values = random.zipf(1.3, 50_000) % 5000
    whole, cut, begin = Frequencies(500).update(values), Frequencies(500), 0
    while begin < len(values):
        end = begin + int(random.integers(1, 4000))
        cut.update(values[begin:end])
        begin = end
    assert cut.state_dict() == whole.state_dict()
    merged = Frequencies(500)
    for part in np.array_split(values, 6):
        merged.merge(Frequencies(500).update(part))
    truth = Counter(values.tolist())
    listed = dict(zip(merged.items()[0].tolist(), merged.items()[1].tolist(), strict=True))
    assert merged.count == len(values)
    assert all(count - merged.error <= listed.get(value, 0) <= count for value, count in truth.items())
    exact = Frequencies().update(values[:20_000]).merge(Frequencies().update(values[20_000:]))
    assert exact.is_exact
    np.testing.assert_array_equal(exact.items()[1], Frequencies().update(values).items()[1])
    itself = Frequencies().update([1, 1, 2])
    assert itself.merge(itself).items()[1].tolist() == [4, 2]


def test_states_are_json_and_pickle():
    for made in (Frequencies().update([b"x", "y", None]), Frequencies(3).update(np.arange(50) % 7), Distinct(8).update(np.arange(500))):
        assert pickle.loads(pickle.dumps(made)).state_dict() == made.state_dict()
        state = json.loads(json.dumps(made.state_dict()))
        assert type(made).from_state(state).state_dict() == made.state_dict()
        with pytest.raises(ValueError, match="not the state"):
            type(made).from_state({**state, "state": state["state"][:-4]})


@pytest.mark.parametrize("count", [0, 1, 10, 1000, 30_000, 1_000_000])
def test_distinct_is_within_its_error(count):
    values = np.random.default_rng(count).permutation(np.arange(count)) * 7919
    for found in (Distinct().update(values), Distinct().update(values.astype(np.float64))):
        assert abs(found.estimate - count) <= 4 * found.relative_error * count
    assert Distinct().relative_error == pytest.approx(1.04 / 128)


def test_the_error_of_distinct_is_as_stated():
    errors = [Distinct(10).update(np.random.default_rng(seed).integers(0, 2**62, 20_000)).estimate / 20_000 - 1 for seed in range(200)]
    assert abs(np.mean(errors)) < 3 * 1.04 / 32 / np.sqrt(200)
    assert 0.8 < np.std(errors) / (1.04 / 32) < 1.2


def test_distinct_knows_no_order_nor_threads_nor_parts():
    random = np.random.default_rng(3)
    values = random.integers(0, 50_000, 300_000)
    whole = Distinct().update(values, threads=0).state_dict()
    for threads in (1, 2, 8):
        assert Distinct().update(values, threads=threads).state_dict() == whole
    assert Distinct().update(values[200_000:]).merge(Distinct().update(random.permutation(values[:200_000]))).state_dict() == whole
    texts = [str(value) for value in values[:100_000].tolist()]
    assert Distinct().update(texts, threads=2).state_dict() == Distinct().update(texts, threads=0).state_dict()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="limit is 1; expected 2 to"):
        Frequencies(1)
    with pytest.raises(ValueError, match="precision is 3; expected 4 to 18"):
        Distinct(3)
    for made in (Frequencies().update([1, 2]), Distinct().update([1, 2])):
        with pytest.raises(ValueError, match="another kind of values than before"):
            made.update(["a"])
        with pytest.raises(TypeError, match="complex"):
            made.update(np.zeros(3, complex))
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            made.update(np.zeros((2, 2), np.int64))
    values = np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match=r"offsets\[2\] is 9; expected 1 to 4"):
        Frequencies().update((values, np.array([0, 1, 9])))
    with pytest.raises(ValueError, match=r"offsets\[2\] is 0; expected 1 to 4"):
        Frequencies().update((values, np.array([0, 1, 0])))
    with pytest.raises(ValueError, match="the other has limit 9; expected 65536"):
        Frequencies().merge(Frequencies(9))
    with pytest.raises(ValueError, match="the other has precision 9; expected 14"):
        Distinct().merge(Distinct(9))
    assert Frequencies().items()[0].tolist() == []
