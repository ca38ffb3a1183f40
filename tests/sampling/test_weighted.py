"""Weighted orders: exact shares, independent draws from a known generator, the same for any number of threads."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace import _native
from headrace.sampling import WeightedOrder, class_balanced, weighted
from tests.sampling.order_twin import mix_key

STREAM = int.from_bytes(b"weights", "big")


def shares(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(weights, dtype=np.float64)
    return array / array.sum()


def alias_twin(weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(threshold, alias) of whole-unit masses by the plain sweep: light and heavy samples, each in ascending order."""
    size, bin_units = len(weights), 1 << 32
    exact = [int(w) for w in weights]  # tests give masses: whole, summing to size * 2^32
    assert sum(exact) == size * bin_units
    threshold, alias = [0] * size, list(range(size))
    light = [i for i in range(size) if exact[i] < bin_units]
    heavy = [i for i in range(size) if exact[i] >= bin_units]
    left = exact[heavy[0]]
    while light or heavy:
        if left > bin_units:
            i = light.pop(0)
            threshold[i], alias[i] = exact[i], heavy[0]
            left -= bin_units - exact[i]
        else:
            i = heavy.pop(0)
            if left < bin_units:
                threshold[i], alias[i] = left, heavy[0]
            left = exact[heavy[0]] - (bin_units - left) if heavy else 0
    return np.array(threshold, dtype=np.uint64), np.array(alias, dtype=np.uint64)


def draw_twin(probabilities: npt.NDArray[np.float64], count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The draws, from numpy's own Philox and the plain sweep."""
    size = len(probabilities)
    threshold, alias = alias_twin(np.rint(probabilities * size * 2.0**32))
    generator = np.random.Philox(key=np.array([int(mix_key(seed, epoch)[0]), STREAM], dtype=np.uint64), counter=2**256 - 1)
    words = generator.random_raw(2 * count)
    bins = np.array([int(w) * size >> 64 for w in words[0::2]], dtype=np.uint64)
    kept = (words[1::2] >> np.uint64(32)) < threshold[bins]
    return np.where(kept, bins, alias[bins]).astype(np.int64)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 257])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_draws_equal_those_of_numpys_philox_and_a_plain_alias_table(size: int, seed: int) -> None:
    order = weighted(np.random.default_rng(size).random(size) ** 3, 2000)
    for epoch in (0, 1):
        np.testing.assert_array_equal(order.indices(seed=seed, epoch=epoch), draw_twin(order.probabilities(), 2000, seed, epoch))


@given(st.lists(st.one_of(st.just(0.0), st.floats(0, 1e300)), min_size=1, max_size=200).filter(lambda w: sum(w) > 0))
def test_probabilities_are_the_weights_shares(weights: list[float]) -> None:
    found = weighted(weights).probabilities()
    largest = max(weights)
    np.testing.assert_allclose(found, shares([w / largest for w in weights]), rtol=1e-12, atol=2.0**-31 / len(weights))
    assert (found[np.asarray(weights) == 0] == 0).all()
    assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
def test_the_table_is_the_same_for_any_number_of_threads(threads: int) -> None:
    weights = np.random.default_rng(0).pareto(0.7, 400_000)
    assert _native.AliasTable(weights, threads).fingerprint == _native.AliasTable(weights, 3).fingerprint


def test_counts_of_draws_pass_a_chi_square_test() -> None:
    weights = np.random.default_rng(3).random(1000) ** 4
    probabilities = shares(weights)
    for seed in range(5):
        order = weighted(weights, 2_000_000)
        seen = np.bincount(order.indices(seed=seed), minlength=1000)
        expected = probabilities * order.num_samples
        common = expected >= 10
        chi_square = float(((seen - expected)[common] ** 2 / expected[common]).sum())
        degrees = int(common.sum()) - 1
        # Wilson and Hilferty's normal approximation of chi-square.
        z = ((chi_square / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / (2 / (9 * degrees)) ** 0.5
        assert abs(z) < 4, f"seed {seed}: chi-square {chi_square:.1f} of {degrees} degrees"


def test_neighbouring_draws_epochs_and_seeds_are_independent() -> None:
    order = weighted([1, 1, 2, 4], 400_000)
    a, b = order.indices(seed=1), order.indices(seed=1, epoch=1)
    probabilities = order.probabilities()
    joint = np.outer(probabilities, probabilities)
    for first, second in [(a[0::2], a[1::2]), (a, b), (a, order.indices(seed=2)), (a[:-1], a[1:])]:
        seen = np.bincount(first * 4 + second, minlength=16).reshape(4, 4)
        expected = joint * len(first)
        assert float(((seen - expected) ** 2 / expected).sum()) < 44  # 15 degrees of freedom: p = 1e-4


def test_any_range_is_computed_alone() -> None:
    order = weighted(np.arange(1, 100), 10_000)
    whole = order.indices(seed=5, epoch=6)
    for begin, end in [(0, 1), (1, 2), (37, 101), (9_999, 10_000), (10_000, 10_000)]:
        np.testing.assert_array_equal(order.indices(begin, end, seed=5, epoch=6), whole[begin:end])
    far = weighted([1, 2, 3], 2**48)
    assert far.indices(2**48 - 3, 2**48).shape == (3,)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool", "list", "torch"])
def test_every_kind_of_number_gives_the_same_order(kind: str) -> None:
    plain = [1, 0, 1, 1, 0]
    given: Any = plain if kind == "list" else torch.tensor(plain) if kind == "torch" else np.array(plain, dtype=kind)
    assert weighted(given) == weighted(np.array(plain, dtype=np.float64))


def test_strided_weights_are_read_as_they_are() -> None:
    weights = np.arange(1, 21, dtype=np.float32)
    assert weighted(weights[::2]) == weighted(weights[::2].copy())


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, -1], r"weights\[1\] is -1"),
        ([1, float("nan")], r"weights\[1\] is "),
        ([float("inf")], r"weights\[0\] is inf"),
        ([0, 0, 0], "all 3 weights are 0"),
        ([], "no weights"),
        ([[1, 2]], "shape"),
        (3.0, "shape"),
    ],
)
def test_bad_weights_are_named(weights: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        weighted(weights)


def test_what_are_no_numbers_is_refused() -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        weighted(["a", "b"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="num_samples"):
        weighted([1, 2], 0)


def test_an_order_is_pickled_whole() -> None:
    order = weighted(np.random.default_rng(0).random(1000), 77)
    again: WeightedOrder = pickle.loads(pickle.dumps(order))
    assert again == order
    np.testing.assert_array_equal(again.indices(seed=3), order.indices(seed=3))
    assert weighted([1, 2]) != weighted([2, 1])
    assert "weights=1000" in repr(order)


LABELS: dict[str, npt.NDArray[Any]] = {
    "int64": np.array([5, 5, 5, 5, -1, -1, 2**40, 5]),
    "uint8": np.array([0, 0, 0, 1, 0, 0, 2, 2], dtype=np.uint8),
    "bool": np.array([True] * 6 + [False] * 2),
    "string": np.array(["cat", "cat", "dog", "cat", "", "cat", "cat", "dog"], dtype=object),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_classes_are_balanced(tmp_path: Path, kind: str, threads: int) -> None:
    labels = LABELS[kind]
    hr.write(tmp_path / "d", {"x": np.arange(8), "label": labels}, chunk_samples=3)
    before = hr.num_threads()
    try:
        hr.set_num_threads(threads)
        order = class_balanced(hr.open(tmp_path / "d"), "label")
    finally:
        hr.set_num_threads(before)
    _, which, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    np.testing.assert_allclose(order.probabilities(), 1 / (counts[which] * len(counts)), rtol=1e-8)


def test_classes_of_arrays_in_memory_and_of_many_batches_are_balanced() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 200_000) ** 2
    order = class_balanced(hr.from_arrays({"x": np.arange(200_000), "y": labels}), "y")
    drawn = np.bincount(labels[order.indices()], minlength=5)[[0, 1, 4]]
    assert abs(drawn - 200_000 / 3).max() < 6 * (200_000 * 2 / 9) ** 0.5


def test_what_is_no_label_is_refused(tmp_path: Path) -> None:
    schema = hr.Schema(
        [hr.Field("v", dtype="float32"), hr.Field("n", dtype="int64", nullable=True), hr.Field("m", dtype="int64", shape=(2,))]
    )
    hr.write(tmp_path / "d", [{"v": 1.0, "n": None, "m": [1, 2]}], schema=schema)
    dataset = hr.open(tmp_path / "d")
    with pytest.raises(ValueError, match="field 'v' is no label"):
        class_balanced(dataset, "v")
    with pytest.raises(ValueError, match="field 'm' is no label"):
        class_balanced(dataset, "m")
    with pytest.raises(ValueError, match="sample 0: its label is null"):
        class_balanced(dataset, "n")
    with pytest.raises(KeyError, match="no field 'z'"):
        class_balanced(dataset, "z")
