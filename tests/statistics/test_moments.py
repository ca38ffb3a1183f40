"""Moments against numpy and scipy, whatever the cut, the threads and the values."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from headrace.statistics import Moments

WIDTHS = (1, 2, 3, 7, 11, 17, 31, 32, 33, 64, 100, 128, 129, 300)
ANSWERS = ("count", "nulls", "infinities", "mean", "min", "max", "skew")
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


def assert_same(a: Moments, b: Moments) -> None:
    for name in ANSWERS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_array_equal(a.variance(), b.variance())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2, 31, 129, 5000])
def test_finite_values_are_numpys(width, rows):
    values = np.random.default_rng(width * rows).normal(3, 2, (rows, width))
    found = Moments(width).update(values)
    np.testing.assert_array_equal(found.count, np.full(width, rows))
    np.testing.assert_array_equal(found.nulls + found.infinities, np.zeros(width, np.int64))
    np.testing.assert_array_equal(found.min, values.min(0))
    np.testing.assert_array_equal(found.max, values.max(0))
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance(), values.var(0), rtol=1e-12)
    if rows > 2:
        np.testing.assert_allclose(found.skew, stats.skew(values), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_as_it_is(dtype):
    values = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 100, (3000, 5)).astype(dtype)
    as_double = values.astype(np.float64)
    found = Moments(5).update(values)
    np.testing.assert_allclose(found.mean, as_double.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.variance(1), as_double.var(0, ddof=1), rtol=1e-12)
    assert_same(found, Moments(5).update(as_double))


@pytest.mark.parametrize("width", [1, 5, 64, 200])
def test_nulls_and_infinities_are_counted_apart(width):
    random = np.random.default_rng(width)
    values = random.normal(size=(7000, width))
    values[random.random(values.shape) < 0.1] = np.nan
    values[random.random(values.shape) < 0.05] = np.inf
    values[random.random(values.shape) < 0.05] = -np.inf
    for valid in (None, random.random(values.shape) < 0.9, random.random(len(values)) < 0.9):
        there = np.ones_like(values, bool) if valid is None else valid if valid.ndim == 2 else np.repeat(valid[:, None], width, 1)
        kept = np.where(there & np.isfinite(values), values, np.nan)
        found = Moments(width).update(values, valid)
        np.testing.assert_array_equal(found.nulls, (~there | np.isnan(values)).sum(0))
        np.testing.assert_array_equal(found.infinities, (there & np.isinf(values)).sum(0))
        np.testing.assert_array_equal(found.count, np.isfinite(kept).sum(0))
        np.testing.assert_array_equal(found.min, np.nanmin(kept, 0))
        np.testing.assert_array_equal(found.max, np.nanmax(kept, 0))
        np.testing.assert_allclose(found.mean, np.nanmean(kept, 0), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.variance(), np.nanvar(kept, 0), rtol=1e-12)


@pytest.mark.parametrize("width", [1, 6, 64, 150])
@pytest.mark.parametrize("dtype", ["float32", "int16", "float64"])
def test_neither_cut_nor_threads_change_a_bit(width, dtype):
    random = np.random.default_rng(3)
    values = (random.normal(size=(400_000 // width, width)) * 100).astype(dtype)
    valid = random.random(len(values)) < 0.95
    whole = Moments(width).update(values, valid, threads=0)
    for threads in (1, 2, 8):
        assert_same(Moments(width).update(values, valid, threads=threads), whole)
        cut, begin = Moments(width), 0
        while begin < len(values):
            end = begin + int(random.integers(1, 30_000))
            cut.update(values[begin:end], valid[begin:end], threads=threads)
            begin = end
        assert_same(cut, whole)


def test_looking_changes_nothing():
    values = np.random.default_rng(4).normal(size=(10_000, 3))
    looked, other = Moments(3), Moments(3)
    for begin in range(0, 10_000, 700):
        looked.update(values[begin : begin + 700])
        _ = looked.mean, looked.state_dict()
        other.update(values[begin : begin + 700])
    assert_same(looked, other)


@pytest.mark.parametrize("offset", [1e8, -1e8, 1e12])
def test_a_large_offset_costs_no_accuracy(offset):
    values = np.random.default_rng(5).normal(size=200_000) + offset
    exact = [float(value) - offset for value in values]  # exact: the offset's bits are a multiple of theirs
    found = Moments(1).update(values)
    mean = math.fsum(exact) / len(exact)
    assert found.mean[0] - offset == pytest.approx(mean, abs=abs(offset) * 4e-15)
    assert found.variance()[0] == pytest.approx(math.fsum((value - mean) ** 2 for value in exact) / len(exact), rel=1e-12)


def test_the_ends_of_float64():
    for scale in (1e300, 1e-300, 5e-324):
        values = np.array([1.0, 2.0, 3.0, 4.0, 7.0] * 300) * scale
        found = Moments(1).update(values)
        assert found.mean[0] == pytest.approx(3.4 * scale, rel=1e-12, abs=5e-324)
        assert (found.min[0], found.max[0]) == (scale, 7 * scale)
    most = np.finfo(np.float64).max
    assert Moments(1).update(np.full(5000, most)).mean[0] == most
    opposite = Moments(1).update(np.array([most, -most] * 3000))
    assert opposite.mean[0] == 0
    assert opposite.variance()[0] == np.inf
    apart = Moments(1).update(np.full(4096, most)).merge(Moments(1).update(np.full(4096, -most)))
    assert apart.mean[0] == 0
    assert apart.variance()[0] == np.inf


@pytest.mark.parametrize("value", [0.1, 1e300, -3.3e-310, 7.0])
def test_constants_have_no_variance(value):
    found = Moments(1).update(np.full(100_000, value))
    assert found.mean[0] == found.min[0] == found.max[0] == value
    assert found.variance()[0] == 0
    assert np.isnan(found.skew[0])


def test_without_values_there_is_no_answer():
    for found in (Moments(2), Moments(2).update(np.zeros((0, 2))), Moments(2).update(np.full((50, 2), np.nan))):
        for name in ("mean", "min", "max", "skew"):
            assert np.isnan(getattr(found, name)).all()
        assert np.isnan(found.variance()).all()
    one = Moments(1).update([4.0])
    assert np.isnan(one.variance(1)[0])
    assert one.variance()[0] == 0


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 70), st.integers(1, 5)),
        elements=st.one_of(
            st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf, 5e-324, 1e300, -1e300, 0.0, -0.0, 2.5]), st.floats(1e8, 1e8 + 1)
        ),
    ),
    st.integers(0, 70),
)
def test_any_values_as_numpys(values, cut):
    width = values.shape[1]
    found = Moments(width).update(values[:cut]).update(values[cut:])
    merged = Moments(width).update(values[:cut]).merge(Moments(width).update(values[cut:]))
    finite = np.isfinite(values)
    for moments in (found, merged):
        np.testing.assert_array_equal(moments.count, finite.sum(0))
        np.testing.assert_array_equal(moments.nulls, np.isnan(values).sum(0))
        for c in range(width):
            column = values[finite[:, c], c]
            if len(column) == 0:
                assert np.isnan(moments.mean[c])
                continue
            assert (moments.min[c], moments.max[c]) == (column.min(), column.max())
            wide = column.astype(np.longdouble)
            largest = float(np.abs(column).max())
            assert moments.mean[c] == pytest.approx(float(wide.mean()), rel=1e-12, abs=max(1e-12 * largest, 5e-324))
            variance = float(np.mean((wide - wide.mean()) ** 2)) if largest < 1e150 else None
            if variance is not None:
                assert moments.variance()[c] == pytest.approx(variance, rel=1e-10, abs=1e-25 * largest**2 + 1e-320)


def test_merged_parts_are_the_whole():
    values = np.random.default_rng(6).gamma(2, 3, (50_000, 7))
    parts = [Moments(7).update(part) for part in np.array_split(values, 9)]
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    np.testing.assert_allclose(whole.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.variance(), values.var(0), rtol=1e-12)
    np.testing.assert_allclose(whole.skew, stats.skew(values), rtol=1e-9)
    itself = Moments(7).update(values)
    np.testing.assert_allclose(itself.merge(itself).mean, values.mean(0), rtol=1e-12)
    np.testing.assert_array_equal(itself.count, np.full(7, 100_000))


def test_a_state_is_json_and_pickles():
    moments = Moments(3).update(np.random.default_rng(7).normal(size=(1000, 3)))
    for other in (Moments.from_state(json.loads(json.dumps(moments.state_dict()))), pickle.loads(pickle.dumps(moments))):
        np.testing.assert_array_equal(other.mean, moments.mean)
        assert other.state_dict() == moments.state_dict()


@pytest.mark.parametrize("damage", ["cut", "kind", "width", "text", "nan"])
def test_a_damaged_state_is_refused(damage):
    import base64

    state = Moments(2).update(np.ones((5, 2))).state_dict()
    raw = bytearray(base64.b64decode(state["state"]))
    if damage == "cut":
        raw = raw[:-3]
    elif damage == "kind":
        state["kind"] = "Quantiles"
    elif damage == "width":
        raw[4:12] = (1 << 60).to_bytes(8, "little")
    elif damage == "nan":
        raw[12 + 3 * 16 : 12 + 3 * 16 + 8] = np.float64(np.nan).tobytes()
    state["state"] = "%" if damage == "text" else base64.b64encode(bytes(raw)).decode()
    with pytest.raises(ValueError, match="state"):
        Moments.from_state(state)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="width is 0"):
        Moments(0)
    moments = Moments(3)
    with pytest.raises(ValueError, match=r"values have shape \(4, 2\); expected \(rows, 3\)"):
        moments.update(np.zeros((4, 2)))
    with pytest.raises(TypeError, match="complex128"):
        moments.update(np.zeros((4, 3), complex))
    with pytest.raises(ValueError, match=r"valid is bool of shape \(3,\); expected C-contiguous bool of shape \(4,\) or \(4, 3\)"):
        moments.update(np.zeros((4, 3)), np.ones(3, bool))
    with pytest.raises(TypeError, match="valid is int64"):
        moments.update(np.zeros((4, 3)), np.ones(4, np.int64))
    with pytest.raises(ValueError, match="threads is -1"):
        moments.update(np.zeros((4, 3)), threads=-1)
    with pytest.raises(ValueError, match="width 2; expected 3"):
        moments.merge(Moments(2))


def test_strided_and_big_endian_arrays_are_converted():
    values = np.arange(600.0).reshape(100, 6)
    np.testing.assert_array_equal(Moments(3).update(values[:, ::2]).mean, values[:, ::2].mean(0))
    np.testing.assert_array_equal(Moments(6).update(values.astype(">f8")).mean, values.mean(0))
