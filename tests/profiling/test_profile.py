"""Profiles against numpy, pandas and scipy, whatever the fields hold and however they are stored."""

from __future__ import annotations

import csv
import json
import pickle
from collections import Counter

import numpy as np
import pyarrow.parquet
import pytest
from scipy import stats

import headrace as hr
from headrace.profiling import accumulate
from headrace.profiling.accumulate import SHARES

ROWS = 30_000


def table(seed: int = 0, rows: int = ROWS) -> dict[str, object]:
    random = np.random.default_rng(seed)
    price = random.gamma(2, 30, rows)
    price[random.random(rows) < 0.05] = np.nan
    price[::1000] = np.inf
    return {
        "price": price,
        "half": (price / 2 + 3).astype(np.float64),
        "age": random.integers(18, 90, rows).astype(np.int16),
        "huge": random.integers(2**60, 2**60 + 50, rows),
        "flag": random.random(rows) < 0.2,
        "constant": np.full(rows, 7, np.int32),
        "small": random.normal(size=rows).astype(np.float16),
        "when": (np.datetime64("2013-01-01") + random.integers(0, 365, rows)).astype("datetime64[s]"),
        "vector": random.normal(size=(rows, 2, 3)).astype(np.float32),
        "colour": [("red", "green", "blue", "größer")[i] for i in random.choice(4, rows, p=[0.6, 0.3, 0.08, 0.02])],
        "note": [None if i % 10 == 0 else f"note {i % 700}" for i in range(rows)],
        "raw": [b"x" * int(size) for size in random.integers(0, 40, rows)],
        "ragged": [np.arange(i % 5, dtype=np.int32) for i in range(rows)],
    }


@pytest.fixture(scope="module")
def columns():
    return table()


@pytest.fixture(scope="module")
def dataset(columns, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "d"
    hr.write(path, columns)
    return hr.open(path)


@pytest.fixture(scope="module")
def found(dataset):
    return hr.profile(dataset, label="colour")


@pytest.mark.parametrize("name", ["price", "half", "age", "flag", "constant", "small"])
def test_numbers_are_numpys(found, columns, name):
    values = np.asarray(columns[name]).astype(np.float64)
    finite = values[np.isfinite(values)]
    field = found[name]
    assert (field.rows, field.nulls, field.infinities, field.values) == (ROWS, np.isnan(values).sum(), np.isinf(values).sum(), len(finite))
    assert field.mean == pytest.approx(finite.mean(), rel=1e-12)
    assert field.deviation == pytest.approx(finite.std(), rel=1e-12)
    assert (field.min, field.max) == (finite.min(), finite.max())
    assert field.skew == (None if name == "constant" else pytest.approx(stats.skew(finite), rel=1e-9))
    assert field.rank_error == 0
    assert list(field.quantiles.values()) == np.quantile(finite, SHARES).tolist()
    assert field.median == np.quantile(finite, 0.5)
    counts = Counter(values[~np.isnan(values)].tolist())
    if field.distinct_error == 0:
        assert field.distinct == len(counts)
        assert field.frequent == sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    else:
        assert field.distinct == pytest.approx(len(counts), rel=4 * field.distinct_error)


def test_histograms_hold_every_value_once(found, columns):
    for name in ("price", "small", "age", "flag"):
        values = np.asarray(columns[name]).astype(np.float64)
        histogram = found[name].histogram
        assert histogram.counts.tolist() == np.histogram(values[np.isfinite(values)], histogram.edges)[0].tolist()
        assert histogram.counts.sum() == np.isfinite(values).sum()
    sketched, flat = found["vector"].histogram, columns["vector"].reshape(-1).astype(np.float64)
    assert (found["vector"].rank_error, sketched.counts.sum()) == (0.001, len(flat))
    np.testing.assert_allclose(sketched.counts, np.histogram(flat, sketched.edges)[0], atol=0.002 * len(flat))
    assert np.unique(np.diff(found["age"].histogram.edges)).tolist() == [2.0]  # 72 ages in 40 bins: two in each
    assert found["constant"].histogram.counts.tolist() == [ROWS]


def test_large_integers_and_dates_keep_their_bounds(found, columns):
    assert (found["huge"].min, found["huge"].max) == (columns["huge"].min(), columns["huge"].max())
    assert found["huge"].distinct == 50
    when = columns["when"].astype(np.int64)
    assert (found["when"].kind, found["when"].min, found["when"].max) == ("time", when.min(), when.max())
    assert found["when"].mean == pytest.approx(when.mean(), rel=1e-12)


def test_components_of_vectors(found, columns):
    values = columns["vector"].astype(np.float64)
    field = found["vector"]
    assert field.mean == pytest.approx(values.mean(), rel=1e-9)
    assert [one.name for one in field.components] == [f"vector[{i},{j}]" for i in range(2) for j in range(3)]
    for one, column in zip(field.components, values.reshape(ROWS, 6).T, strict=True):
        assert one.mean == pytest.approx(column.mean(), rel=1e-10)
        assert one.quantiles[0.25] == np.quantile(column, 0.25)
    wide = hr.profile(hr.from_arrays({"v": columns["vector"]}), components=5)["v"]
    assert (wide.components, wide.distinct, wide.frequent, wide.mean) == ([], None, [], field.mean)


def test_texts_bytes_and_ragged_fields(found, columns):
    colour, note = found["colour"], found["note"]
    counts = Counter(columns["colour"])
    assert colour.frequent == sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert (colour.of, colour.mean) == ("lengths", pytest.approx(np.mean([len(c.encode()) for c in columns["colour"]]), rel=1e-12))
    assert (note.nulls, note.distinct, note.null_share) == (3000, 630, 0.1)
    assert found["raw"].mean == pytest.approx(np.mean([len(one) for one in columns["raw"]]), rel=1e-12)
    assert found["raw"].distinct is None
    assert (found["ragged"].mean, found["ragged"].max) == (2.0, 4.0)
    inner = found["ragged"].components[0]
    assert (inner.name, inner.values, inner.max) == ("ragged[...]", 2 * ROWS, 3.0)


def test_correlations_constants_and_near_duplicates(found, columns):
    names = found.correlated_names
    stacked = np.stack([np.asarray(columns[name]).astype(np.float64) for name in names], axis=1)
    complete = stacked[np.isfinite(stacked).all(axis=1)]
    with np.errstate(all="ignore"):
        expected = np.corrcoef(complete, rowvar=False)
    assert found.correlation_rows == len(complete)
    np.testing.assert_allclose(found.correlation, np.where(np.isnan(found.correlation), np.nan, expected), atol=1e-10)
    assert [pair[:2] for pair in found.near_duplicates] == [("price", "half")]
    assert found.constants == ["constant"]


def test_class_balance(found, columns):
    counts = Counter(columns["colour"]).most_common()
    assert [(value, rows) for value, rows, _ in found.classes] == counts
    assert sum(share for _, _, share in found.classes) == pytest.approx(1)
    assert found.imbalance == counts[0][1] / counts[-1][1]


def test_duplicate_rows_are_counted(tmp_path):
    random = np.random.default_rng(1)
    rows = [(int(a), "t" * int(b), None if c == 0 else float(c)) for a, b, c in random.integers(0, 6, (5000, 3))]
    hr.write(tmp_path / "d", {"a": np.array([r[0] for r in rows]), "b": [r[1] for r in rows], "c": [r[2] for r in rows]})
    found = hr.profile(tmp_path / "d")
    assert (found.duplicate_rows, found.duplicate_rows_error) == (5000 - len(set(rows)), 0.0)
    assert hr.profile(tmp_path / "d", fields=["a"]).duplicate_rows == 5000 - 6
    shifted = hr.profile(hr.from_arrays({"a": np.array([[1, 2], [2, 1], [1, 2]])}))
    assert shifted.duplicate_rows == 1
    texts = hr.profile(hr.from_arrays({"s": np.array([["ab", "c"], ["a", "bc"], ["ab", "c"]])}))
    assert texts.duplicate_rows == 1


def test_many_rows_are_estimated_within_the_errors(monkeypatch):
    monkeypatch.setattr(accumulate, "_TRACKED_ROWS", 1 << 14)
    values = np.concatenate([np.arange(100_000), np.arange(50_000)])
    dataset = hr.from_arrays({"x": np.random.default_rng(2).permutation(values)})
    found = hr.profile(dataset)
    assert 0 < found.duplicate_rows_error < 3000
    assert abs(found.duplicate_rows - 50_000) < 4 * found.duplicate_rows_error
    assert found["x"].rank_error == 0.001
    assert abs((values <= found["x"].median).mean() - 0.5) < 0.0015
    assert abs(found["x"].distinct / 100_000 - 1) < 4 * found["x"].distinct_error
    parts = [hr.profile(dataset.subset(rows)) for rows in np.array_split(np.arange(150_000), 2)]
    merged = parts[0].merge(parts[1])
    assert abs(merged.duplicate_rows - 50_000) < 4 * merged.duplicate_rows_error


def assert_alike(a: hr.Profile, b: hr.Profile) -> None:
    """Exact figures to the last bits, and sketches that are exact."""
    assert (a.rows, a.duplicate_rows, a.constants, a.classes) == (b.rows, b.duplicate_rows, b.constants, b.classes)
    np.testing.assert_allclose(a.correlation, b.correlation, atol=1e-12)
    for one, other in zip(a.fields, b.fields, strict=True):
        for name in ("nulls", "infinities", "values", "min", "max", "distinct"):
            assert getattr(one, name) == getattr(other, name)
        if one.rank_error == 0:
            assert one.quantiles == other.quantiles
        if one.distinct_error == 0:
            assert one.frequent == other.frequent
        for name in ("mean", "deviation", "skew"):
            mine, expected = getattr(one, name), getattr(other, name)
            assert mine == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12))


def test_merged_parts_are_the_single_pass(dataset, found):
    parts = [hr.profile(dataset.subset(rows), label="colour") for rows in np.array_split(np.arange(ROWS), 3)]
    before = parts[0].to_dict()
    assert_alike(parts[0].merge(parts[1]).merge(parts[2]), found)
    assert parts[0].to_dict() == before  # merge() changes neither side
    with pytest.raises(ValueError, match="profiles are of other fields"):
        parts[0].merge(hr.profile(dataset, fields=["age"]))


def test_threads_change_nothing(dataset, found):
    before = hr.num_threads()
    try:
        for threads in (1, 2, 8):
            hr.set_num_threads(threads)
            assert hr.profile(dataset, label="colour").to_dict() == found.to_dict()
    finally:
        hr.set_num_threads(before)


def test_views_arrays_and_paths(dataset, found, columns):
    assert hr.profile(dataset.path)["age"].to_dict() == found["age"].to_dict()
    arrays = hr.profile(hr.from_arrays({name: columns[name] for name in ("price", "age", "when", "vector")}))
    assert arrays["vector"].to_dict() == found["vector"].to_dict()
    chosen = hr.profile(dataset.select(["note", "age"]), fields=["age"])
    assert [one.name for one in chosen.fields] == ["age"]
    assert chosen["age"].to_dict() == found["age"].to_dict()
    assert hr.profile(dataset.subset([0, 5])).rows == 2
    bits = hr.profile(dataset.select(["small"]).cast({"small": "bfloat16"}))["small"]
    assert bits.mean == pytest.approx(found["small"].mean, abs=0.01)


def test_progress_reaches_the_end(dataset):
    seen = []
    hr.profile(dataset, fields=["age"], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ROWS, ROWS)


def test_nothing_to_count(tmp_path):
    empty = hr.profile(hr.from_arrays({"x": np.zeros(0), "v": np.zeros((0, 2)), "n": np.zeros((3, 0))[:0]}))
    assert (empty.rows, empty.duplicate_rows, empty["x"].mean, empty["x"].quantiles, empty["x"].histogram) == (0, 0, None, {}, None)
    assert "0 samples" in str(empty)
    json.loads(empty.to_json())
    nulls = hr.profile(hr.from_arrays({"x": np.full(50, np.nan), "y": np.arange(50.0)}))
    assert (nulls["x"].nulls, nulls["x"].null_share, nulls["x"].median, nulls["x"].is_constant) == (50, 1.0, None, False)
    assert nulls.correlation_rows == 0
    schema = hr.Schema([hr.Field("t", "string", nullable=True), hr.Field("x", dtype="float64", nullable=True)])
    hr.write(tmp_path / "d", {"t": [None, None], "x": [None, 1.5]}, schema=schema)
    written = hr.profile(tmp_path / "d", label="t")
    assert (written["t"].nulls, written["t"].distinct, written.classes, written.imbalance) == (2, 0, [], None)
    assert (written["x"].nulls, written["x"].mean, written["x"].deviation, written["x"].skew) == (1, 1.5, 0.0, None)
    times = hr.profile(hr.from_arrays({"t": np.array(["NaT", "2020-01-01"], "datetime64[D]")}))["t"]
    assert (times.nulls, times.values, times.min) == (1, 1, 18262)


def test_bad_arguments_are_named(dataset):
    with pytest.raises(KeyError, match=r"there is no field 'prize'; the dataset has 'price'"):
        hr.profile(dataset, fields=["prize"])
    with pytest.raises(KeyError, match="there is no field 'prize'"):
        hr.profile(dataset, label="prize")
    with pytest.raises(ValueError, match=r"label='vector': the field holds number of shape \(2, 3\)"):
        hr.profile(dataset, label="vector")
    with pytest.raises(ValueError, match="at least one field, and none twice"):
        hr.profile(dataset, fields=["age", "age"])
    with pytest.raises(ValueError, match="rank_error is 0"):
        hr.profile(dataset, rank_error=0)
    with pytest.raises(ValueError, match="bins is 0; expected 1 to 10000"):
        hr.profile(dataset, bins=0)
    with pytest.raises(TypeError, match=r"got ndarray; arrays: headrace\.from_arrays"):
        hr.profile(np.zeros(3))
    with pytest.raises(hr.NotFoundError):
        hr.profile("/no/such/dataset")
    with pytest.raises(KeyError, match="no field 'x' was profiled"):
        hr.profile(dataset, fields=["age"])["x"]


def test_files_hold_the_figures(found, tmp_path):
    found.to_csv(tmp_path / "p.csv")
    found.to_parquet(tmp_path / "p.parquet")
    with (tmp_path / "p.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    stored = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert [line["field"] for line in lines] == [line["field"] for line in stored]
    assert len(lines) == len(found.fields) + 6 + 1
    price = next(line for line in stored if line["field"] == "price")
    assert (price["mean"], price["q0.5"], price["nulls"]) == (found["price"].mean, found["price"].median, found["price"].nulls)
    assert float(lines[0]["mean"]) == found["price"].mean
    assert json.loads(found.to_json(tmp_path / "p.json")) == json.loads((tmp_path / "p.json").read_text())
    read = json.loads(found.to_json())
    assert read["fields"][0]["quantiles"][3] == {"share": 0.5, "value": found["price"].median}
    assert read["correlation"]["matrix"][5][0] is None  # of a constant


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_shows_every_field(found, tmp_path, ending):
    path = tmp_path / f"p.{ending}"
    found.plot(path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        # One group of axes a field, one for the matrix, one for its scale.
        assert content.count(b'<g id="axes_') == len(found.fields) + 2


def test_a_profile_pickles(found):
    again = pickle.loads(pickle.dumps(found))
    assert again.to_dict() == found.to_dict()
    assert repr(again) == repr(found)


def test_the_table_reads(found):
    text = str(found)
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["price", "half", "age"]
    assert "near-duplicate fields: price and half (+1.000)" in text
    assert "classes of colour: red " in text
    assert "constant fields: constant" in text
    assert " 2013-01-01 " in text
    for width in (80, 100, 120):
        assert max(map(len, found.to_text(width).splitlines()[2:22])) <= width


def test_a_plot_of_fields_without_a_finite_number_and_of_the_widest_span(tmp_path):
    wide = np.where(np.arange(100) % 2 == 0, -1.7e308, 1.7e308)
    hr.profile(hr.from_arrays({"inf": np.full(100, -np.inf), "wide": wide, "null": np.full(100, np.nan)})).plot(tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "wide" in drawn
    assert hr.profile(hr.from_arrays({"inf": np.full(100, -np.inf)}))["inf"].infinities == 100


def test_classes_are_printed_as_one_short_line(tmp_path):
    hr.write(tmp_path / "d", {"s": ["\x1b[31mred", "a" * 1000] * 5})
    line = next(line for line in str(hr.profile(hr.open(tmp_path / "d"), label="s")).splitlines() if line.startswith("classes of s"))
    assert "\x1b" not in line
    assert "a" * 37 + "..." in line
    assert len(line) < 200


def test_complex_numbers_are_no_label():
    with pytest.raises(ValueError, match="label='z': the field holds complex64"):
        hr.profile(hr.from_arrays({"z": np.zeros(3, np.complex64)}), label="z")
