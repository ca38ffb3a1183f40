"""Encoders against scikit-learn, numpy and xxhash: unseen categories, nulls, empty texts, every kind of category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import preprocessing

import headrace as hr
from headrace import prep

TEXTS = st.lists(
    st.one_of(st.none(), st.sampled_from(["", "a", "b", "ß", "東京", " a", "A"]), st.text(max_size=3)), min_size=1, max_size=40
)
NUMBERS = st.lists(st.sampled_from([-0.0, 0.0, 1.5, -3.0, np.nan, 1e300]), min_size=1, max_size=40)
RNG = np.random.default_rng(5)


def made(steps: Sequence[prep.Step], fit: dict[str, Any], then: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the steps, fitted on one batch, make of another, without and with threads."""
    pipe = prep.Pipeline(steps).fit(fit)
    first: dict[str, Any] = pipe.transform(fit if then is None else then, num_threads=0)
    second = prep.Pipeline.from_json(pipe.to_json()).transform(fit if then is None else then, num_threads=2)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    return first


def columns(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """As scikit-learn's encoders take them."""
    array = np.array(values) if all(isinstance(one, float) for one in values) else np.array(values, dtype=object)
    return array.reshape(-1, 1)


@pytest.mark.parametrize("kind", ["texts", "numbers"])
@given(data=st.data())
@settings(max_examples=40)
def test_ordinal_is_scikit_learns(kind: str, data: Any) -> None:
    values = TEXTS if kind == "texts" else NUMBERS
    fit, then = data.draw(values), data.draw(values)
    theirs = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    fit, wanted = [np.nan if one is None else one for one in fit], fit
    known = [one for one in fit if one == one]
    if not known:
        return
    # Nulls that fitting never saw are unknown to scikit-learn; here they are nulls.
    theirs.fit(columns([*fit, np.nan]))
    is_null = np.array([one is None or one != one for one in then])
    filled = [known[0] if null else one for one, null in zip(then, is_null, strict=True)]
    expected = np.where(is_null, -2, theirs.transform(columns(filled)).ravel())
    step = prep.Ordinal(fields="x")
    shown = (lambda rows: {"x": rows}) if kind == "texts" else (lambda rows: {"x": np.array(rows)})
    out = made([step], shown(wanted), shown(then))["x"]
    assert out.dtype == np.int64
    assert out.tolist() == expected.astype(np.int64).tolist()
    assert list(step.categories_["x"][0]) == sorted(set(known))


@given(fit=TEXTS, then=TEXTS, most=st.sampled_from([None, 1, 2, 3]), least=st.sampled_from([None, 2, 0.2]), unknown=st.booleans())
@settings(max_examples=80)
def test_one_hot_is_scikit_learns(
    fit: list[str | None], then: list[str | None], most: int | None, least: float | None, unknown: bool
) -> None:
    handle = "infrequent_if_exist" if unknown else "ignore"
    theirs = preprocessing.OneHotEncoder(handle_unknown=handle, max_categories=most, min_frequency=least, sparse_output=False)
    theirs.fit(columns(fit))
    step = prep.OneHot(most, min_frequency=least, unknown="infrequent" if unknown else "zeros")
    pipe = prep.Pipeline([step]).fit({"x": fit})
    out = pipe.transform({"x": then})["x"]
    np.testing.assert_array_equal(out, theirs.transform(columns(then)))
    names = [name.replace("x0_", "x_") for name in theirs.get_feature_names_out()]
    renamed = {"x_None": "x_null", "x_infrequent_sklearn": "x_infrequent"}
    if "None" not in fit:
        assert pipe.get_feature_names_out() == [renamed.get(name, name) for name in names]


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool", "float32", "float64"])
def test_one_hot_of_numbers_of_several_components(dtype: str) -> None:
    fit = RNG.integers(0, 2 if dtype == "bool" else 5, (200, 3)).astype(dtype)
    then = RNG.integers(0, 2 if dtype == "bool" else 7, (300, 3)).astype(dtype)
    theirs = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(fit)
    pipe = prep.Pipeline([prep.OneHot(fields="x")]).fit({"x": fit})
    np.testing.assert_array_equal(pipe.transform({"x": then})["x"], theirs.transform(then))
    expected = [name.replace("x0_", "x_0_").replace("x1_", "x_1_").replace("x2_", "x_2_") for name in theirs.get_feature_names_out()]
    assert pipe.get_feature_names_out("x") == expected


def test_nulls_as_zeros_and_nulls_that_fitting_never_saw() -> None:
    fit, then = ["a", None, "b"], ["b", None, "", "a"]
    assert made([prep.OneHot(nulls="zeros")], {"x": fit}, {"x": then})["x"].tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]
    assert made([prep.OneHot()], {"x": ["a", "b"]}, {"x": then})["x"].tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]
    with pytest.raises(ValueError, match="'x' has no categories: all its values are null"):
        prep.Pipeline([prep.OneHot(nulls="zeros")]).fit({"x": [None, None]})


def test_ordinal_codes_are_what_was_asked_for() -> None:
    step = prep.Ordinal(unknown_value=np.nan, null_value=9, dtype="float32")
    out = made([step], {"x": ["b", "", "a"]}, {"x": ["a", None, "?", "", "b"]})["x"]
    np.testing.assert_array_equal(out, np.array([1, 9, np.nan, 0, 2], np.float32))
    with pytest.raises(ValueError, match=r"unknown_value is 0\.5; expected a whole number"):
        prep.Ordinal(unknown_value=0.5)
    with pytest.raises(ValueError, match="has 200 categories, which int8 does not hold"):
        made([prep.Ordinal(dtype="int8", fields="x")], {"x": np.arange(200)})


def test_validity_and_not_a_time_are_nulls() -> None:
    known = {"x": np.array([3, 1, 3]), "x.valid": np.array([True, True, False])}
    assert made([prep.Ordinal(fields="x")], known)["x"].tolist() == [1, 0, -2]
    dates = np.array(["2020-01-02", "NaT", "1969-12-31"], "datetime64[D]")
    pipe = prep.Pipeline([prep.OneHot(fields="x")]).fit({"x": dates})
    assert pipe.transform({"x": dates})["x"].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert pipe.get_feature_names_out() == ["x_1969-12-31", "x_2020-01-02", "x_null"]


@given(fit=TEXTS, then=TEXTS)
@settings(max_examples=30)
def test_frequency(fit: list[str | None], then: list[str | None]) -> None:
    out = made([prep.Frequency()], {"x": fit}, {"x": then})["x"]
    expected = np.array([fit.count(one) / len(fit) for one in then], np.float32)
    np.testing.assert_array_equal(out, expected)


@given(values=TEXTS, n=st.integers(1, 1000), seed=st.integers(0, 2**40))
@settings(max_examples=30)
def test_hash_of_texts_is_xxh3(values: list[str | None], n: int, seed: int) -> None:
    out = made([prep.Hash(n, seed=seed, null_value=-7)], {"x": values})["x"]
    assert out.tolist() == [-7 if one is None else xxhash.xxh3_64_intdigest(one.encode(), seed) % n for one in values]


def test_hash_of_numbers_and_as_columns() -> None:
    whole, broken = np.array([0, -1, 2**40, 5]), np.array([-0.0, 1.5, np.nan, np.inf])
    out = made([prep.Hash(97, fields=["i", "f"])], {"i": whole, "f": broken})
    assert out["i"].tolist() == [xxhash.xxh3_64_intdigest(one.tobytes()) % 97 for one in whole]
    assert out["f"].tolist() == [-1 if one != one else xxhash.xxh3_64_intdigest(np.float64(one + 0.0).tobytes()) % 97 for one in broken]
    codes = out["f"]
    columns = made([prep.Hash(97, onehot=True, fields="f")], {"f": broken.astype(np.float32)})["f"]
    assert columns.shape == (4, 97)
    assert columns.sum(axis=1).tolist() == [1, 1, 0, 1]
    assert columns.argmax(axis=1)[[0, 1, 3]].tolist() == codes[[0, 1, 3]].tolist()


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_bucketize_between_edges_is_numpys_digitize(dtype: str, right: bool) -> None:
    edges = [-1.0, 0.0, 0.1, 2.0]
    x = np.concatenate([RNG.normal(size=(50, 2)), [[0, 2], [-1, 0.1]]]).astype(dtype)
    if dtype != "int32":
        x[:3, 0] = np.inf, -np.inf, np.nan
    out = made([prep.Bucketize(edges, right=right, null_value=-9)], {"x": x})["x"]
    expected = np.where(np.isnan(x), -9, np.digitize(x.astype(np.float64), edges, right=right))
    np.testing.assert_array_equal(out, expected)
    flat = made([prep.Bucketize(edges, right=right, onehot=True)], {"x": x})["x"].reshape(len(x), 2, 5)
    np.testing.assert_array_equal(flat, np.arange(5) == expected[..., None])


@given(
    values=st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6), st.just(np.nan)), min_size=2, max_size=60),
    n=st.integers(1, 8),
)
@settings(max_examples=40)
def test_bucketize_by_quantiles(values: list[float], n: int) -> None:
    x = np.array(values)
    known = x[~np.isnan(x)]
    if len(known) == 0:
        return
    step = prep.Bucketize(n=n)
    out = made([step], {"x": x})["x"]
    edges = np.unique(np.quantile(known, np.arange(1, n) / n)) if n > 1 else np.zeros(0)
    np.testing.assert_allclose(step.edges_["x"][0], edges, rtol=1e-12, atol=1e-12)
    assert out.tolist() == [-1 if v != v else int(np.digitize(v, step.edges_["x"][0])) for v in x]


def test_scalers_and_concat_take_what_encoders_make_in_one_pass() -> None:
    color, city = ["a", "b", "a", None], ["x", "x", "y", "z"]
    data = {"color": color, "city": city, "size": np.array([1.0, 2, 3, 4], np.float32)}
    steps = [
        prep.OneHot(fields="color"),
        prep.Ordinal(fields="city"),
        prep.Standardize(fields="size"),
        prep.Concat(fields=["color", "city", "size"]),
    ]
    pipe = prep.Pipeline(steps)
    assert pipe.passes(data) == 1
    out = pipe.fit(data).transform(data)
    assert pipe.passes_ == 1
    assert pipe.get_feature_names_out("features") == ["color_a", "color_b", "color_null", "city", "size"]
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 2]]
    np.testing.assert_allclose(out["features"][:, :4], expected)
    scaled = prep.Pipeline([prep.Ordinal(fields="city"), prep.MaxAbs(fields="city")]).fit(data)
    assert scaled.passes_ == 2
    assert scaled.transform(data)["city"].tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
def test_loader_from_disk_delivers_what_transform_does(tmp_path: Path, threads: int) -> None:
    rows = 5000
    words = [None if i % 11 == 0 else f"w{i * i % 37}" for i in range(rows)]
    data = {"word": words, "n": np.arange(rows) % 13, "y": np.arange(rows)}
    hr.write(tmp_path / "d", data, chunk_samples=512)
    dataset = hr.open(tmp_path / "d")
    pipe = prep.Pipeline([prep.Hash(50, fields="n"), prep.OneHot(max_categories=20)]).fit(dataset)
    whole = pipe.transform(data)
    seen = 0
    for batch in hr.DataLoader(dataset, batch_size=256, shuffle=True, seed=3, prepare=pipe, num_workers=threads):
        at = batch["y"].numpy()
        np.testing.assert_array_equal(batch["word"].numpy(), whole["word"][at])
        np.testing.assert_array_equal(batch["n"].numpy(), whole["n"][at])
        seen += len(at)
    assert seen == rows


def test_what_encoders_refuse() -> None:
    with pytest.raises(TypeError, match=r"uint64.*Cast that first"):
        prep.Pipeline([prep.Ordinal(fields="x")]).fit({"x": np.arange(3, dtype=np.uint64)})
    with pytest.raises(ValueError, match="max_categories is 0"):
        prep.OneHot(0)
    with pytest.raises(ValueError, match=r"min_frequency is 1\.5"):
        prep.OneHot(min_frequency=1.5)
    with pytest.raises(ValueError, match="do not rise"):
        prep.Bucketize([1, 1])
    with pytest.raises(ValueError, match="either edges or n"):
        prep.Bucketize()


def test_rows_that_an_earlier_step_leaves_out_are_not_counted() -> None:
    data = {"n": np.array([1.0, np.nan, 3.0, np.nan, 5.0]), "w": ["a", "b", "é", None, "a"], "k": np.array([1, 9, 2, 8, 1])}
    steps = [prep.Impute("drop", fields="n"), prep.Frequency(fields="w"), prep.Ordinal(fields="k")]
    pipe = prep.Pipeline(steps).fit(data)
    assert pipe.steps[1].categories_["w"] == [["a", "é"]]
    out = pipe.transform(data)
    np.testing.assert_allclose(out["w"], [2 / 3, 1 / 3, 2 / 3])
    assert out["k"].tolist() == [0, 1, 0]


def test_categories_of_bytes_need_be_no_utf8(tmp_path: Path) -> None:
    values = [b"\xff", b"a", b"\xff\x00", b"a"]
    hr.write(tmp_path / "d", {"b": values})
    dataset = hr.open(tmp_path / "d")
    pipe = prep.Pipeline.from_json(prep.Pipeline([prep.Ordinal(fields="b")]).fit(dataset).to_json())
    assert pipe.transform(dataset)["b"].tolist() == [1, 0, 2, 0]
