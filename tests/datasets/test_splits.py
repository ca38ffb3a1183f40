"""Parts of a dataset: every sample in its place, classes in their shares, groups and times never in two parts."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, StratifiedKFold

import headrace as hr
from headrace.datasets.splits import bootstrap_rows, fold_rows, sample_rows, split_rows

SIZES = st.integers(1, 300)
KEYS = st.lists(st.integers(0, 9), min_size=1, max_size=300).map(np.array)
SEEDS = st.integers(0, 2**32)
SHARES = st.lists(st.integers(1, 10), min_size=1, max_size=4).map(lambda parts: {f"p{i}": p / sum(parts) for i, p in enumerate(parts)})


@settings(max_examples=60, deadline=None)
@given(SIZES, SHARES, SEEDS)
def test_every_row_is_in_one_part_of_its_size(size: int, shares: dict[str, float], seed: int) -> None:
    parts = split_rows(size, shares, seed=seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(size))
    for name, rows in parts.items():
        assert abs(len(rows) - shares[name] * size) <= 1
        assert (np.diff(rows) > 0).all()
    again = split_rows(size, shares, seed=seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


@settings(max_examples=60, deadline=None)
@given(KEYS, SHARES, SEEDS)
def test_stratified_parts_hold_their_share_of_each_class(labels: Any, shares: dict[str, float], seed: int) -> None:
    parts = split_rows(len(labels), shares, seed=seed, stratify=labels)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    for name, rows in parts.items():
        for label in np.unique(labels):
            assert abs((labels[rows] == label).sum() - shares[name] * (labels == label).sum()) <= 1


@settings(max_examples=60, deadline=None)
@given(KEYS, SHARES, SEEDS)
def test_no_group_is_in_two_parts(groups: Any, shares: dict[str, float], seed: int) -> None:
    parts = split_rows(len(groups), shares, seed=seed, group=groups)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(groups)))
    seen: set[int] = set()
    for name, rows in parts.items():
        here = set(groups[rows].tolist())
        assert not seen & here
        seen |= here
        assert abs(len(rows) - shares[name] * len(groups)) <= 2 * np.bincount(groups).max()


@settings(max_examples=60, deadline=None)
@given(KEYS, SHARES)
def test_times_never_go_back_and_are_not_divided(times: Any, shares: dict[str, float]) -> None:
    parts = [rows for rows in split_rows(len(times), shares, time=times).values() if len(rows)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(times)))
    for earlier, later in itertools.pairwise(parts):
        assert times[earlier].max() < times[later].min()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=12, max_size=300).map(np.array), st.integers(2, 6), SEEDS)
def test_folds(labels: Any, k: int, seed: int) -> None:
    for stratify in (None, labels):
        pairs = list(fold_rows(len(labels), k, seed=seed, stratify=stratify))
        assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == list(range(len(labels)))
        sizes = [len(held) for _, held in pairs]
        assert max(sizes) - min(sizes) <= 1
        for train, held in pairs:
            assert sorted([*train, *held]) == list(range(len(labels)))
            if stratify is not None:
                for label in np.unique(labels):
                    assert abs((labels[held] == label).sum() - (labels == label).sum() / k) < 1


def test_group_folds_are_as_level_as_scikit_learns() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 1000)
    ours = [held for _, held in fold_rows(1000, 5, group=groups)]
    theirs = [held for _, held in GroupKFold(5).split(np.zeros(1000), groups=groups)]
    assert sorted(map(len, ours)) == sorted(map(len, theirs))
    assert all(not set(groups[a]) & set(groups[b]) for i, a in enumerate(ours) for b in ours[:i])


@settings(max_examples=60, deadline=None)
@given(KEYS, st.floats(0, 1), SEEDS)
def test_samples(labels: Any, share: float, seed: int) -> None:
    for stratify in (None, labels):
        rows = sample_rows(len(labels), share, seed=seed, stratify=stratify)
        assert len(rows) == round(share * len(labels))
        assert (np.diff(rows) > 0).all()
        if stratify is not None:
            for label in np.unique(labels):
                assert abs((labels[rows] == label).sum() - share * (labels == label).sum()) <= 1


def test_samples_are_drawn_alike() -> None:
    counts = sum(np.bincount(sample_rows(20, 5, seed=seed), minlength=20) for seed in range(2000))
    # 500 each, with a standard deviation of 19.
    assert np.abs(counts - 500).max() < 5 * 19.4


def test_bootstrap() -> None:
    pairs = list(bootstrap_rows(2000, 20, seed=3))
    for drawn, left in pairs:
        assert len(drawn) == 2000
        assert sorted({*drawn.tolist(), *left.tolist()}) == list(range(2000))
        assert not set(drawn.tolist()) & set(left.tolist())
    assert np.mean([len(left) / 2000 for _, left in pairs]) == pytest.approx(np.exp(-1), abs=0.02)
    assert not np.array_equal(pairs[0][0], pairs[1][0])
    assert np.array_equal(next(bootstrap_rows(2000, 1, seed=3))[0], pairs[0][0])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("splits") / "d"
    rng = np.random.default_rng(0)
    hr.write(
        path,
        {
            "x": np.arange(500),
            "label": rng.integers(0, 3, 500),
            "patient": [f"p{i}" for i in rng.integers(0, 30, 500)],
            "when": np.sort(rng.integers(0, 100, 500)).astype("datetime64[D]"),
            "gap": np.ma.masked_array(np.arange(500.0), mask=np.arange(500) == 7),
        },
        chunk_samples=64,
    )
    return hr.open(path)


def rows_of(part: hr.Dataset) -> list[int]:
    return [x for batch in hr.DataLoader(part.select(["x"]), 64) for x in batch["x"].tolist()]


def test_parts_are_datasets_that_loaders_read(dataset: hr.Dataset) -> None:
    parts = dataset.split(train=0.8, valid=0.1, test=0.1, stratify="label")
    assert {name: len(part) for name, part in parts.items()} == pytest.approx({"train": 400, "valid": 50, "test": 50}, abs=2)
    rows = {name: rows_of(part) for name, part in parts.items()}
    assert sorted(row for part in rows.values() for row in part) == list(range(500))
    assert len({part.fingerprint for part in parts.values()} | {dataset.fingerprint}) == 4
    assert rows_of(pickle.loads(pickle.dumps(parts["test"]))) == rows["test"]
    # A part of a part.
    inner = parts["train"].split(a=0.5, b=0.5, seed=1)
    assert sorted(rows_of(inner["a"]) + rows_of(inner["b"])) == sorted(rows["train"])


def test_keys_by_name_and_by_array(dataset: hr.Dataset) -> None:
    by_name = dataset.split(train=0.7, test=0.3, group="patient")
    by_array = dataset.split(train=0.7, test=0.3, group=np.array(dataset[:]["patient"]))
    assert rows_of(by_name["train"]) == rows_of(by_array["train"])
    patients = [set(part[:]["patient"]) for part in by_name.values()]
    assert not patients[0] & patients[1]
    early, late = dataset.split(early=0.5, late=0.5, time="when").values()
    assert early[:]["when"].max() < late[:]["when"].min()


def test_folds_samples_and_splitters(dataset: hr.Dataset) -> None:
    held = [rows_of(part) for _, part in dataset.kfold(5, stratify="label")]
    assert sorted(row for part in held for row in part) == list(range(500))
    assert len(dataset.sample(0.1)) == len(dataset.sample(50)) == 50
    assert [len(drawn) for drawn, _ in dataset.bootstrap(3)] == [500] * 3
    labels = dataset[:]["label"]
    splitter = StratifiedKFold(4)
    for (train, test), (rows, others) in zip(dataset.split_by(splitter, y="label"), splitter.split(np.zeros(500), labels), strict=True):
        assert rows_of(train) == rows.tolist()
        assert rows_of(test) == others.tolist()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: d.split(), ValueError, "at least one part"),
        (lambda d: d.split(a=0.7, b=0.7), ValueError, "1 at most together"),
        (lambda d: d.split(a=0.5, b=-0.5), ValueError, "above 0"),
        (lambda d: d.split(a=0.5, stratify="label", group="patient"), ValueError, "give one of"),
        (lambda d: d.split(a=0.5, stratify="colour"), KeyError, "no field 'colour'"),
        (lambda d: d.split(a=0.5, stratify="gap"), ValueError, "stratify='gap': sample 7 is null"),
        (lambda d: d.split(a=0.5, stratify=[1, 2]), ValueError, r"stratify: expected one value a sample, shape \(500,\), got \(2,\)"),
        (lambda d: d.split(a=0.5, time=np.full(500, np.nan)), ValueError, "sample 0 is NaN"),
        (lambda d: d.split(a=0.5, time=np.array(["NaT"] * 500, "M8[s]")), ValueError, "time: sample 0 is NaT"),
        (lambda d: d.split(a=0.5, stratify=[*"ab" * 249, "a", None]), ValueError, "stratify: sample 499 is None"),
        (lambda d: list(d.kfold(1)), ValueError, "k"),
        (lambda d: list(d.kfold(501)), ValueError, "500 samples for 501 folds"),
        (lambda d: list(d.kfold(31, group="patient")), ValueError, "30 groups for 31 folds"),
        (lambda d: d.sample(501), ValueError, "there are 500 samples"),
        (lambda d: d.sample(1.5), ValueError, "there are 500 samples"),
        (lambda d: d.sample("all"), TypeError, "a number of samples or a fraction"),
    ],
)
def test_what_makes_no_sense(dataset: hr.Dataset, call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(dataset)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=20, max_size=300).map(np.array), st.integers(2, 5), SEEDS)
def test_no_group_is_in_two_folds(groups: Any, k: int, seed: int) -> None:
    if len(np.unique(groups)) < k:
        with pytest.raises(ValueError, match="groups for"):
            list(fold_rows(len(groups), k, seed=seed, group=groups))
        return
    held: list[int] = []
    for train, test in fold_rows(len(groups), k, seed=seed, group=groups):
        assert not set(groups[train].tolist()) & set(groups[test].tolist())
        assert sorted([*train, *test]) == list(range(len(groups)))
        held += test.tolist()
    assert sorted(held) == list(range(len(groups)))


def test_splitters_of_scikit_learn_keep_groups_and_times_apart(dataset: hr.Dataset) -> None:
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, TimeSeriesSplit

    for splitter in (GroupKFold(4), StratifiedGroupKFold(4), GroupShuffleSplit(4, random_state=0)):
        pairs = list(dataset.split_by(splitter, y="label", groups="patient"))
        for train, test in pairs:
            seen = [set(part.select(["patient"])[:]["patient"]) for part in (train, test)]
            assert not seen[0] & seen[1]
        assert len({part.fingerprint for pair in pairs for part in pair} | {dataset.fingerprint}) == 9
    for train, test in dataset.split_by(TimeSeriesSplit(4)):  # Stored in the order of time.
        assert max(rows_of(train)) < min(rows_of(test))
        again = pickle.loads(pickle.dumps(test))
        assert again.fingerprint == test.fingerprint
        assert rows_of(again) == rows_of(test)
