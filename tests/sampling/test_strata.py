"""Orders by classes: what batches hold, how often samples come, equal to a twin in numpy and to imbalanced-learn's counts."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

import headrace as hr
from headrace import _native
from headrace.sampling import StrataOrder
from tests.sampling.order_twin import Permutation, mix_key

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)
SEEDS = st.integers(0, 2**63)


def counts_of(labels: Any, rows: Any) -> Any:
    classes = np.unique(labels)
    return np.array([(labels[rows] == one).sum() for one in classes])


@settings(max_examples=150, deadline=None)
@given(LABELS, st.integers(1, 50), SEEDS, st.integers(0, 5))
def test_every_batch_holds_each_class_in_its_share(labels: Any, batch: int, seed: int, epoch: int) -> None:
    order = hr.sampling.stratified_batches(labels, batch_size=batch)
    samples = order.indices(seed=seed, epoch=epoch)
    assert sorted(samples.tolist()) == list(range(len(labels)))
    shares = np.bincount(labels)[np.unique(labels)] / len(labels)
    for begin in range(0, len(labels), batch):
        rows = samples[begin : begin + batch]
        assert (np.abs(counts_of(labels, rows) - shares * len(rows)) < 1).all()
        # All that came before, too: a global batch of several ranks, and what is left at the end.
        assert (np.abs(counts_of(labels, samples[:begin]) - shares * begin) < 1).all()


@settings(max_examples=60, deadline=None)
@given(LABELS, SEEDS, st.sampled_from(["under", "over"]))
def test_classes_have_exactly_what_is_stated(labels: Any, seed: int, way: str) -> None:
    make = hr.sampling.undersample if way == "under" else hr.sampling.oversample
    sizes = np.bincount(labels)[np.unique(labels)]
    order, wanted = make(labels), sizes.min() if way == "under" else sizes.max()
    first, second = order.indices(seed=seed), order.indices(seed=seed, epoch=1)
    for samples in (first, second):
        assert len(samples) == len(sizes) * wanted == len(order)
        assert (counts_of(labels, samples) == wanted).all()
        times = np.bincount(samples, minlength=len(labels))
        for one in np.unique(labels):
            assert np.ptp(times[labels == one]) <= 1
    if way == "under":
        assert len(set(first.tolist())) == len(first)


def test_draws_are_fresh_each_epoch_and_reach_every_sample() -> None:
    labels = np.repeat([0, 1], [200, 20])
    order = hr.sampling.undersample(labels)
    epochs = [order.indices(epoch=epoch) for epoch in range(200)]
    assert len({tuple(sorted(samples.tolist())) for samples in epochs}) == 200
    times = np.bincount(np.concatenate(epochs), minlength=220)
    assert (times[200:] == 200).all()
    # Of 200 samples 20 an epoch: 20 times in 200, with a standard deviation of 4.2.
    assert np.abs(times[:200] - 20).max() < 5 * 4.3
    # Positions too: the small class is in both halves of an epoch.
    early = np.mean([(samples[:20] >= 200).mean() for samples in epochs])
    assert early == pytest.approx(0.5, abs=0.04)


RATIOS: list[Any] = ["auto", "minority", "majority", "not minority", "not majority", "all"]


@pytest.mark.parametrize("ratio", [*RATIOS, {"a": 7}, {"a": 9, "c": 5}])
def test_undersampling_counts_as_imbalanced_learn_does(ratio: Any) -> None:
    labels = np.repeat(["a", "b", "c"], [40, 12, 25])
    if ratio == "minority":  # imbalanced-learn refuses what changes nothing.
        assert hr.sampling.undersample(labels, ratio).counts() == {"a": 40, "b": 12, "c": 25}
        return
    _, theirs = RandomUnderSampler(sampling_strategy=ratio, random_state=0).fit_resample(np.zeros((77, 1)), labels)
    kinds, counts = np.unique(theirs, return_counts=True)
    assert hr.sampling.undersample(labels, ratio).counts() == dict(zip(kinds.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("ratio", [*RATIOS, {"b": 30}, {"b": 12, "c": 41}])
def test_oversampling_counts_as_imbalanced_learn_does(ratio: Any) -> None:
    labels = np.repeat(["a", "b", "c"], [40, 12, 25])
    if ratio == "majority":
        assert hr.sampling.oversample(labels, ratio).counts() == {"a": 40, "b": 12, "c": 25}
        return
    _, theirs = RandomOverSampler(sampling_strategy=ratio, random_state=0).fit_resample(np.zeros((77, 1)), labels)
    kinds, counts = np.unique(theirs, return_counts=True)
    assert hr.sampling.oversample(labels, ratio).counts() == dict(zip(kinds.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.99, 1.0])
def test_ratios_of_two_classes(ratio: float) -> None:
    labels = np.repeat([0, 1], [83, 31])
    for make, theirs in ((hr.sampling.undersample, RandomUnderSampler), (hr.sampling.oversample, RandomOverSampler)):
        _, resampled = theirs(sampling_strategy=ratio, random_state=0).fit_resample(np.zeros((114, 1)), labels)
        assert list(make(labels, ratio).counts().values()) == np.bincount(resampled).tolist()


def twin(order: StrataOrder, seed: int, epoch: int, layout: Any) -> Any:
    """strata.cc in numpy. layout: the class at each position, or None where a permutation has that."""
    key = mix_key(seed, epoch)
    begins = np.concatenate([[0], np.cumsum(order.quotas)])
    if layout is None:
        slots = Permutation(len(order), mix_key(mix_key(key, 2**64 - 1), 0)).forward(np.arange(len(order))).astype(np.int64)
    else:
        slots = np.empty(len(order), np.int64)
        for k in range(len(order.classes)):
            slots[layout == k] = begins[k] + np.arange(order.quotas[k])
    out = np.empty(len(order), np.int64)
    for k in range(len(order.classes)):
        members = np.flatnonzero(order.numbers == k)
        here = np.flatnonzero((slots >= begins[k]) & (slots < begins[k + 1]))
        taken = slots[here] - begins[k]
        for r in np.unique(taken // len(members)):
            walk = Permutation(len(members), mix_key(mix_key(key, k), int(r)))
            of_round = taken // len(members) == r
            out[here[of_round]] = members[walk.forward(taken[of_round] % len(members)).astype(np.int64)]
    return out


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (0, 1), (2**64 - 1, 7)])
def test_the_order_is_its_twins(seed: int, epoch: int) -> None:
    labels = np.random.default_rng(0).choice(4, 500, p=[0.6, 0.25, 0.1, 0.05])
    for order in (hr.sampling.undersample(labels), hr.sampling.oversample(labels), hr.sampling.oversample(labels, {3: 400})):
        assert np.array_equal(order.indices(seed=seed, epoch=epoch), twin(order, seed, epoch, None))
    order = hr.sampling.stratified_batches(labels, batch_size=32)
    samples = order.indices(seed=seed, epoch=epoch)
    layout = labels[order.indices()]  # The same for every seed and epoch.
    assert np.array_equal(labels[samples], layout)
    assert np.array_equal(samples, twin(order, seed, epoch, layout))


@settings(max_examples=40, deadline=None)
@given(LABELS, st.integers(0, 20), SEEDS)
def test_any_part_is_computed_alone_and_found_again(labels: Any, block: int, seed: int) -> None:
    order = hr.sampling.stratified_batches(labels, batch_size=block) if block else hr.sampling.oversample(labels)
    whole = order.indices(seed=seed)
    for begin in range(0, len(order), 7):
        assert np.array_equal(order.indices(begin, min(begin + 7, len(order)), seed=seed), whole[begin : begin + 7])
    for sample in range(0, len(labels), 11):
        places = np.flatnonzero(whole == sample)
        for begin in (0, len(order) // 2):
            later = places[places >= begin]
            assert order.table.next_use(seed, 0, sample, begin) == (int(later[0]) if len(later) else None)


def test_labels_of_a_dataset_and_of_any_dtype(tmp_path: Any) -> None:
    names = np.array(["cat", "dog", "cat", "owl", "cat", "dog"])
    hr.write(tmp_path / "d", {"kind": names.tolist(), "gap": np.ma.masked_array(np.arange(6), mask=np.arange(6) == 3)})
    ds = hr.open(tmp_path / "d")
    assert hr.sampling.undersample(ds, field="kind") == hr.sampling.undersample(names)
    assert hr.sampling.undersample(names).counts() == {"cat": 1, "dog": 1, "owl": 1}
    assert (
        hr.sampling.stratified_batches(ds, "kind", batch_size=3).fingerprint
        == hr.sampling.stratified_batches(names, batch_size=3).fingerprint
    )
    with pytest.raises(ValueError, match="field 'gap', sample 3: its label is null"):
        hr.sampling.oversample(ds, field="gap")
    with pytest.raises(KeyError, match="there is no field 'kin'"):
        hr.sampling.oversample(ds, field="kin")
    with pytest.raises(ValueError, match="which field is the label"):
        hr.sampling.oversample(ds)


def test_orders_are_values() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0, 1])
    order = hr.sampling.stratified_batches(labels, batch_size=3)
    again = pickle.loads(pickle.dumps(order))
    assert again == order
    assert hash(again) == hash(order)
    assert np.array_equal(again.indices(seed=5), order.indices(seed=5))
    others = [hr.sampling.stratified_batches(labels, batch_size=4), hr.sampling.stratified_batches(labels[::-1], batch_size=3)]
    others += [hr.sampling.undersample(labels), hr.sampling.oversample(labels)]
    assert len({one.fingerprint for one in [order, *others]}) == 5
    open_end = hr.sampling.stratified_batches(labels)
    assert open_end.for_batches(3) == order
    assert pickle.loads(pickle.dumps(open_end)) == open_end
    with pytest.raises(ValueError, match="how many samples has a batch"):
        open_end.indices()
    assert "classes=2" in repr(order)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hr.sampling.undersample([0, 1, 1], {1: 3}), "class 1 has 2 samples, 3 are asked for: undersample takes none twice"),
        (lambda: hr.sampling.oversample([0, 1, 1], {1: 1}), "class 1 has 2 samples, 1 are asked for: oversample leaves none out"),
        (lambda: hr.sampling.oversample([0, 1, 1], {2: 1}), "there is no class 2; there are 0, 1"),
        (lambda: hr.sampling.oversample([0, 1, 2], 0.5), "a number is for two classes, there are 3"),
        (lambda: hr.sampling.oversample([0, 1], 1.5), "above 0 and 1 at most"),
        (lambda: hr.sampling.oversample([0, 1], "most"), "ratio is 'most'; expected"),
        (lambda: hr.sampling.oversample([]), "at least one"),
        (lambda: hr.sampling.oversample([0.0, float("nan")]), "labels: sample 1 is NaN"),
        (lambda: hr.sampling.oversample(["a", None]), "labels: sample 1 is None"),
        (lambda: hr.sampling.undersample(np.array(["2020-01-01", "NaT"], "M8[D]")), "labels: sample 1 is NaT"),
        (lambda: hr.sampling.stratified_batches([0, 1], batch_size=0), "batch_size must be in"),
        (lambda: _native.Strata(np.array([0, 5], np.uint32), [1, 1]), "the class of sample 1 is 5; there are 2 quotas"),
        (lambda: _native.Strata(np.zeros((2, 2), np.uint32), [1]), "classes have 2 dimensions"),
        (lambda: hr.sampling.undersample([0, 1]).indices(1, 3), "positions must grow, up to 2"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
