"""Covariances and scatter inside classes against numpy, scipy and scikit-learn."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import f_classif

from headrace.statistics import ClassMoments, CoMoments


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 64, 100])
@pytest.mark.parametrize("rows", [2, 63, 10_000])
def test_covariances_are_numpys(width, rows):
    random = np.random.default_rng(width + rows)
    values = random.normal(size=(rows, width)) @ random.normal(size=(width, width)) + 50
    found = CoMoments(width).update(values)
    assert found.count == rows
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance(1), np.cov(values, rowvar=False).reshape(width, width), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.correlation(), np.corrcoef(values, rowvar=False).reshape(width, width), rtol=1e-9, atol=1e-11)


def test_a_large_offset_costs_no_accuracy():
    values = np.random.default_rng(0).integers(0, 1000, (30_000, 3)).astype(np.float64)
    np.testing.assert_allclose(CoMoments(3).update(values + 1e9).covariance(), CoMoments(3).update(values).covariance(), rtol=1e-9)


def test_rows_with_any_null_or_infinity_are_left_out():
    random = np.random.default_rng(1)
    values = random.normal(size=(5000, 4))
    values[random.random(values.shape) < 0.02] = np.nan
    values[7, 2] = np.inf
    valid = random.random(values.shape) < 0.98
    kept = values[(np.isfinite(values) & valid).all(1)]
    found = CoMoments(4).update(values, valid)
    assert (found.count, found.left_out) == (len(kept), 5000 - len(kept))
    np.testing.assert_allclose(found.covariance(), np.cov(kept, rowvar=False, ddof=0), rtol=1e-11)


def test_constant_columns_have_no_correlation():
    values = np.random.default_rng(2).normal(size=(1000, 3))
    values[:, 1] = 0.1
    found = CoMoments(3).update(values).correlation()
    assert np.isnan(found[1]).all()
    assert found[0, 0] == found[2, 2] == 1


def test_neither_cut_nor_threads_change_a_bit():
    random = np.random.default_rng(3)
    values = random.normal(size=(30_000, 40)).astype(np.float32)
    values[random.random(values.shape) < 0.001] = np.nan
    labels = random.integers(-1, 6, len(values))
    whole, classes = CoMoments(40).update(values, threads=0), ClassMoments(40, 6).update(values, labels, threads=0)
    for threads in (1, 2, 8):
        cut, cut_classes, begin = CoMoments(40), ClassMoments(40, 6), 0
        while begin < len(values):
            end = begin + int(random.integers(1, 5000))
            cut.update(values[begin:end], threads=threads)
            cut_classes.update(values[begin:end], labels[begin:end], threads=threads)
            _ = cut.mean  # Looking changes nothing.
            begin = end
        np.testing.assert_array_equal(cut.scatter, whole.scatter)
        np.testing.assert_array_equal(cut_classes.within, classes.within)
        np.testing.assert_array_equal(cut_classes.mean, classes.mean)


def test_classes_as_scikit_learn():
    random = np.random.default_rng(4)
    labels = random.integers(0, 5, 20_000)
    values = random.normal(size=(5, 8))[labels] * 2 + random.normal(size=(20_000, 8)) @ random.normal(size=(8, 8))
    found = ClassMoments(8, 5).update(values, labels)
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(values, labels)
    np.testing.assert_array_equal(found.count, np.bincount(labels))
    np.testing.assert_allclose(found.mean, reference.means_, rtol=1e-10)
    np.testing.assert_allclose(found.within / len(labels), reference.covariance_, rtol=1e-9, atol=1e-10)
    total = CoMoments(8).update(values).scatter
    np.testing.assert_allclose(found.within + found.between, total, rtol=1e-9, atol=1e-6)
    f = (np.diagonal(found.between) / 4) / (np.diagonal(found.within) / (len(labels) - 5))
    np.testing.assert_allclose(f, f_classif(values, labels)[0], rtol=1e-9)


def test_more_classes_than_rows_in_a_block():
    random = np.random.default_rng(5)
    labels, values = random.integers(0, 9000, 30_000), random.normal(size=(30_000, 3))
    found = ClassMoments(3, 10_000).update(values, labels)
    means = (
        np.array([np.bincount(labels, values[:, c], 10_000) for c in range(3)]).T
        / np.maximum(np.bincount(labels, minlength=10_000), 1)[:, None]
    )
    np.testing.assert_allclose(found.mean[:9000][found.count[:9000] > 0], means[:9000][found.count[:9000] > 0], rtol=1e-9, atol=1e-12)
    assert np.isnan(found.mean[9500:]).all()
    rest = values - means[labels]
    np.testing.assert_allclose(found.within, rest.T @ rest, rtol=1e-9, atol=1e-6)


def test_merged_parts_are_the_whole():
    random = np.random.default_rng(6)
    values, labels = random.normal(5, 1, (20_000, 9)), random.integers(0, 3, 20_000)
    whole = ClassMoments(9, 3).update(values, labels)
    merged, covariances = ClassMoments(9, 3), CoMoments(9)
    for part in np.array_split(np.arange(20_000), 7):
        merged.merge(ClassMoments(9, 3).update(values[part], labels[part]))
        covariances.merge(CoMoments(9).update(values[part]))
    np.testing.assert_array_equal(merged.count, whole.count)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.within, whole.within, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(covariances.covariance(), np.cov(values, rowvar=False, ddof=0), rtol=1e-9, atol=1e-11)


def test_states_are_json_and_pickle():
    random = np.random.default_rng(7)
    classes = ClassMoments(3, 2).update(random.normal(size=(100, 3)), random.integers(0, 2, 100))
    pairs = CoMoments(3).update(random.normal(size=(100, 3)))
    for made in (classes, pairs):
        assert pickle.loads(pickle.dumps(made)).state_dict() == made.state_dict()
        assert type(made).from_state(json.loads(json.dumps(made.state_dict()))).state_dict() == made.state_dict()
    state = pairs.state_dict()
    with pytest.raises(ValueError, match="expected 'ClassMoments'"):
        ClassMoments.from_state(state)
    with pytest.raises(ValueError, match="has 2 classes"):
        CoMoments.from_state({**classes.state_dict(), "kind": "CoMoments"})
    with pytest.raises(ValueError, match="not the state"):
        CoMoments.from_state({**state, "state": state["state"][:-8]})


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="width is 20000; expected 1 to 16384"):
        CoMoments(20_000)
    with pytest.raises(ValueError, match="classes is 0"):
        ClassMoments(3, 0)
    classes = ClassMoments(2, 3)
    with pytest.raises(ValueError, match="row 1 of the batch has label 3; expected 0 to 2, or -1"):
        classes.update(np.zeros((2, 2)), [0, 3])
    with pytest.raises(ValueError, match="labels have 1 entries; expected one for each of 2 rows"):
        classes.update(np.zeros((2, 2)), [0])
    with pytest.raises(TypeError, match="labels are float64"):
        classes.update(np.zeros((2, 2)), [0.0, 1.0])
    with pytest.raises(ValueError, match="width 2 and 2 classes; expected 2 and 3"):
        classes.merge(ClassMoments(2, 2))
    assert classes.count.sum() == 0
    assert np.isnan(CoMoments(2).covariance()).all()
    assert np.isnan(CoMoments(2).mean).all()
