"""where() against numpy on the whole columns, with nulls and NaN, and that chunks which cannot match are not read."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr

ROWS = 400
RNG = np.random.default_rng(1)
N = np.sort(RNG.integers(-50, 50, ROWS))  # sorted: its chunks differ
F = np.where(RNG.random(ROWS) < 0.1, np.nan, np.round(N / 7, 1)).astype(np.float32)
NULL = RNG.random(ROWS) < 0.2
M = RNG.integers(0, 10, ROWS)
S = np.array([f"s{i}" for i in RNG.integers(0, 5, ROWS)], dtype=object)
B = S.astype("S2")
T = np.where(RNG.random(ROWS) < 0.1, np.datetime64("NaT", "D"), np.datetime64("2020-06-01") + N.astype("timedelta64[D]"))
D = T - np.datetime64("2020-06-01")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("where") / "d"
    hr.write(
        path,
        {
            "n": N,
            "f": F,
            "m": np.ma.masked_array(M, mask=NULL),
            "s": list(S),
            "b": B,
            "t": T,
            "d": D,
            "v": np.zeros((ROWS, 2)),
            "i": np.arange(ROWS),
        },
        chunk_samples=16,
    )
    return hr.open(path)


def rows_of(part: hr.Dataset) -> list[int]:
    return part.select(["i"])[:]["i"].tolist() if len(part) else []


# Each condition twice: as headrace takes it, and as (true, known) in numpy.
def leaf(name: str, op: str, value: Any) -> tuple[Any, Any, Any]:
    column = {"n": N, "f": F, "m": M, "s": S, "b": B, "t": T, "d": D}[name]
    known = ~NULL if name == "m" else np.ones(ROWS, bool)
    ours = hr.col(name)
    other = {"t": np.datetime64, "d": np.timedelta64, "b": str.encode}.get(name, lambda same: same)(value)
    with np.errstate(invalid="ignore"):
        pairs = {
            "==": (ours == value, column == other), "!=": (ours != value, column != other), "<": (ours < value, column < other),
            "<=": (ours <= value, column <= other), ">": (ours > value, column > other), ">=": (ours >= value, column >= other),
        }  # fmt: skip
    condition, true = pairs[op]
    return condition, true & known, known


OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
LEAVES = st.one_of(
    st.tuples(st.just("n"), OPERATORS, st.integers(-60, 60)),
    st.tuples(st.just("f"), OPERATORS, st.sampled_from([-3.0, 0.0, 0.1, 5.5, float("inf")])),
    st.tuples(st.just("m"), OPERATORS, st.integers(0, 10)),
    st.tuples(st.just("s"), OPERATORS, st.sampled_from(["s0", "s3", "zz"])),
    st.tuples(st.just("b"), OPERATORS, st.sampled_from(["s0", "s3", "zz"])),
    st.tuples(
        st.just("t"), OPERATORS, st.sampled_from(["2020-05-25", "2020-06-01T12:00", datetime.date(2020, 6, 4), np.datetime64("2020-06-01")])
    ),
    st.tuples(st.just("d"), OPERATORS, st.sampled_from([np.timedelta64(0, "D"), np.timedelta64(36, "h"), datetime.timedelta(days=-9)])),
).map(lambda parts: leaf(*parts))


def either(a: Any, b: Any) -> Any:
    true = a[1] | b[1]
    return a[0] | b[0], true, true | (a[2] & b[2])


def both(a: Any, b: Any) -> Any:
    false = (a[2] & ~a[1]) | (b[2] & ~b[1])
    return a[0] & b[0], a[1] & b[1], (a[1] & b[1]) | false


def negated(a: Any) -> Any:
    return ~a[0], a[2] & ~a[1], a[2]


CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: either(*p)), st.tuples(inner, inner).map(lambda p: both(*p)), inner.map(negated)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(CONDITIONS)
def test_where_is_what_numpy_says(dataset: hr.Dataset, condition: Any) -> None:
    ours, true, _ = condition
    assert rows_of(dataset.where(ours)) == np.flatnonzero(true).tolist()


def test_sets_and_nulls(dataset: hr.Dataset) -> None:
    assert rows_of(dataset.where(hr.col("m").is_null())) == np.flatnonzero(NULL).tolist()
    assert rows_of(dataset.where(~hr.col("m").is_null())) == np.flatnonzero(~NULL).tolist()
    assert rows_of(dataset.where(hr.col("m").isin([1, 3]))) == np.flatnonzero(np.isin(M, [1, 3]) & ~NULL).tolist()
    assert rows_of(dataset.where(~hr.col("m").isin([1, 3]))) == np.flatnonzero(~np.isin(M, [1, 3]) & ~NULL).tolist()
    assert rows_of(dataset.where(hr.col("s").isin(["s1", "s2"]))) == np.flatnonzero(np.isin(S, ["s1", "s2"])).tolist()
    assert rows_of(dataset.where(hr.col("n").isin([]))) == []


def test_of_a_part(dataset: hr.Dataset) -> None:
    part = dataset.subset(np.arange(ROWS)[::-3])
    expected = [i for i in range(ROWS)[::-3] if N[i] > 3]
    assert rows_of(part.where(hr.col("n") > 3)) == expected
    assert len(dataset.where(hr.col("n") > 1000)) == 0


def test_chunks_that_cannot_match_are_not_read(tmp_path: Path) -> None:
    """Damaged, so that reading them would raise."""
    hr.write(tmp_path / "d", {"n": np.arange(1000), "i": np.arange(1000)}, chunk_samples=100, codec="none")
    shard = next((tmp_path / "d").glob("*.hrs"))
    data = bytearray(shard.read_bytes())
    for begin in (300, 800):
        at = data.find(np.arange(begin, begin + 100).tobytes())
        assert at > 0
        data[at] ^= 1
    shard.write_bytes(data)
    dataset = hr.open(tmp_path / "d")
    assert len(dataset.where((hr.col("n") >= 420) & (hr.col("n") < 790))) == 370
    assert len(dataset.where(hr.col("n").isin([5, 999]))) == 2
    # Chunk 3 matches as a whole, by its statistics; 7 and less than 100 of 4 are read.
    assert len(dataset.where((hr.col("n") >= 300) & (hr.col("n") < 450))) == 150
    with pytest.raises(hr.CorruptDataError):
        dataset.where(hr.col("n") == 350)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: d.where(hr.col("z") > 1), KeyError, "no field 'z'"),
        (lambda d: d.where(hr.col("n") > "a"), TypeError, "the field holds int64"),
        (lambda d: d.where(hr.col("s") > 1), TypeError, "the field holds object"),
        (lambda d: d.where(hr.col("t") > 1), TypeError, "the field holds datetime64"),
        (lambda d: d.where(hr.col("t") > "soon"), TypeError, "Error parsing datetime string"),
        (lambda d: d.where(hr.col("d") > "1"), TypeError, "the field holds timedelta64"),
        (lambda d: d.where(hr.col("v") > 1), TypeError, "only fields of one value a sample"),
        (lambda d: d.where(lambda row: True), TypeError, "takes a condition"),
        (lambda d: d.where(hr.col("n") == None), TypeError, "is_null"),  # noqa: E711
        (lambda d: d.where(1 < hr.col("n") < 5), TypeError, "combine conditions with"),
        (lambda d: d.where((hr.col("n") > 1) and (hr.col("n") < 5)), TypeError, "combine conditions with"),
        (lambda d: hr.col(3), TypeError, "field's name"),
    ],
)
def test_what_makes_no_sense(dataset: hr.Dataset, call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(dataset)


def test_a_number_counts_in_the_units_of_a_duration(tmp_path: Path) -> None:
    values = (np.arange(20) - 5).astype("timedelta64[25s]")
    hr.write(tmp_path / "d", {"d": values, "i": np.arange(20)})
    ds = hr.open(tmp_path / "d")
    for number in (3, np.int64(3)):
        assert rows_of(ds.where(hr.col("d") < number)) == np.flatnonzero(values < np.timedelta64(75, "s")).tolist() == list(range(8))
    with pytest.raises(TypeError, match="the field holds timedelta64"):
        ds.where(hr.col("d") < 2.5)
