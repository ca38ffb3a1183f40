"""A pipeline as a whole: passes, fitting by streams, JSON, errors, frames, rows that are left out or interpolated."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import headrace as hr
from headrace import prep
from headrace.errors import CorruptDataError, HeadraceWarning, UnsupportedVersionError
from tests.loader.samples import damage, numbered

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def columns(rows: int = 3000, seed: int = 0) -> Arrays:
    """A matrix with nulls and an infinity, a float64 and an integer field, and a label."""
    random = np.random.default_rng(seed)
    x = random.normal(5, 3, (rows, 4)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    x[3, 1] = np.inf
    z = random.lognormal(size=rows)
    z[::7] = np.nan
    return {"x": x, "z": z, "n": random.integers(-50, 50, rows, dtype=np.int32), "y": random.integers(0, 3, rows)}


def typical() -> prep.Pipeline:
    return prep.Pipeline(
        [
            prep.Impute("median", fields=["x", "z"], indicator=True),
            prep.Outliers("iqr", fields=["x", "z"]),
            prep.Standardize(fields=["x", "z", "n"]),
            prep.Power(fields="z"),
            prep.Concat("features", fields=["x", "z", "n", "*_missing"]),
        ]
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, hr.Dataset]:
    """The same columns on disk: raw, compressed, and in small chunks and shards."""
    folder = tmp_path_factory.mktemp("prep")
    kinds: dict[str, dict[str, Any]] = {
        "raw": {"codec": "none"},
        "compressed": {"codec": "zstd"},
        "small": {"codec": "lz4", "chunk_samples": 97, "shard_bytes": 1 << 15},
    }
    for name, options in kinds.items():
        hr.write(folder / name, columns(), **options)
    return {name: hr.open(folder / name) for name in kinds}


def test_it_says_how_many_passes_it_needs() -> None:
    data = columns()
    x = {"x": data["x"]}
    for steps, passes in [
        ([prep.Clip(0, 1)], 0),
        ([prep.Standardize()], 1),
        ([prep.Impute("mean"), prep.Outliers("zscore")], 1),
        ([prep.Impute("median"), prep.Outliers("iqr")], 1),
        ([prep.Impute("mean"), prep.Standardize(), prep.MinMax(), prep.MaxAbs()], 1),
        ([prep.Impute("mean"), prep.Outliers("zscore"), prep.Standardize()], 2),
        ([prep.Clip(0, 1), prep.Standardize(), prep.Robust()], 2),
        ([prep.Log1p(), prep.Power()], 2),
        ([prep.Impute("constant"), prep.Standardize()], 1),
    ]:
        pipe = prep.Pipeline(steps)
        assert pipe.passes(x) == passes
        with np.errstate(all="ignore"):
            assert pipe.fit(x).passes_ == passes, steps
    # Fields by themselves: each takes what it needs in the same passes.
    pipe = prep.Pipeline([prep.Standardize(fields="x"), prep.Clip(0, 2, fields="z"), prep.Robust(fields=["x", "z"])])
    assert pipe.passes(data) == pipe.fit(data).passes_ == 2


@pytest.mark.parametrize("kind", ["raw", "compressed", "small"])
@pytest.mark.parametrize("threads", [0, 1, 2, 8])
def test_fitting_by_a_stream_is_fitting_in_memory(stored: dict[str, hr.Dataset], kind: str, threads: int) -> None:
    expected = typical().fit(columns(), num_threads=0)
    pipe = typical().fit(stored[kind], num_threads=threads)
    for ours, theirs in zip(pipe.steps, expected.steps, strict=True):
        assert_same(ours.learned, theirs.learned)
    assert_same(pipe.transform(stored[kind], num_threads=threads), expected.transform(columns()))


def assert_same(a: Any, b: Any) -> None:
    """Equal bit for bit, NaN included."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    else:
        np.testing.assert_array_equal(a, b, strict=True)


def test_fitting_reads_no_field_but_its_own(tmp_path: Path) -> None:
    """Another field may even be damaged: it is neither read nor decoded."""
    numbered(tmp_path / "d", 300)
    damage(tmp_path / "d", 1, [0])
    pipe = prep.Pipeline([prep.Standardize()], fields="id").fit(hr.open(tmp_path / "d"))
    assert pipe.steps[0].mean_["id"] == 149.5
    with pytest.raises(CorruptDataError):
        prep.Pipeline([prep.Standardize()], fields="x").fit(hr.open(tmp_path / "d"))


def test_what_moments_pass_on_is_what_another_pass_finds() -> None:
    data = {"x": columns()["x"]}
    chained = prep.Pipeline([prep.Impute("mean"), prep.Standardize(), prep.MinMax((-2, 5))]).fit(data)
    first = prep.Pipeline([prep.Impute("mean"), prep.Cast("float64")]).fit(data)
    filled = first.transform(data)
    second = prep.Pipeline([prep.Standardize()]).fit(filled)
    np.testing.assert_allclose(chained.steps[1].mean_["x"], second.steps[0].mean_["x"], rtol=1e-6)
    np.testing.assert_allclose(chained.steps[1].var_["x"], second.steps[0].var_["x"], rtol=1e-6)
    scaled = prep.Pipeline([prep.Standardize(), prep.Cast("float64")]).fit(filled).transform(filled)
    finite = np.where(np.isfinite(scaled["x"]), scaled["x"], np.nan)
    np.testing.assert_allclose(chained.steps[2].data_min_["x"], np.nanmin(finite, axis=0), rtol=1e-5)
    np.testing.assert_allclose(chained.steps[2].data_max_["x"], np.nanmax(finite, axis=0), rtol=1e-5)


def test_quantiles_of_filled_values_are_those_of_the_filled_data() -> None:
    data = {"x": columns()["x"].astype(np.float64)}
    for strategy in ("mean", "median", "constant"):
        chained = prep.Pipeline([prep.Impute(strategy, fill_value=4.0), prep.Robust(), prep.Cast("float64")]).fit(data)
        assert chained.passes_ == 1
        filled = prep.Pipeline([prep.Impute(strategy, fill_value=4.0), prep.Cast("float64")]).fit(data).transform(data)
        direct = prep.Pipeline([prep.Robust()]).fit(filled)
        np.testing.assert_allclose(chained.steps[1].center_["x"], direct.steps[0].center_["x"], rtol=1e-12)
        np.testing.assert_allclose(chained.steps[1].scale_["x"], direct.steps[0].scale_["x"], rtol=1e-12)


def test_json_keeps_every_bit(tmp_path: Path) -> None:
    pipe = typical().fit(columns())
    pipe.save(tmp_path / "pipe.json")
    again = prep.load(tmp_path / "pipe.json")
    assert again == pipe
    assert again.passes_ == pipe.passes_
    assert_same(again.transform(columns(seed=1)), pipe.transform(columns(seed=1)))
    assert pickle.loads(pickle.dumps(pipe)) == pipe
    unfitted = prep.Pipeline.from_json(typical().to_json())
    assert unfitted == typical()
    assert not unfitted.is_fitted


def test_bad_json_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "pipe.json"
    typical().fit(columns()).save(path)
    text = path.read_text()
    saved = json.loads(text)
    cases: list[tuple[str, type[Exception], str]] = [
        (text[:-20], CorruptDataError, "no JSON"),
        ("[]", CorruptDataError, "headrace.prep"),
        (json.dumps({**saved, "version": 99}), UnsupportedVersionError, "version 99"),
        (json.dumps({**saved, "version": "1"}), CorruptDataError, "version is '1'"),
        (text.replace('"strategy": "median"', '"strategy": "mean"'), CorruptDataError, "checksum"),
        (json.dumps({**saved, "checksum": "0"}), CorruptDataError, "checksum"),
    ]
    for content, error, words in cases:
        path.write_text(content)
        with pytest.raises(error, match=words) as caught:
            prep.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError):
        prep.load(tmp_path / "absent.json")


def test_bad_fields_are_one_clear_error_each() -> None:
    data = columns()
    with pytest.raises(KeyError, match="'q'"):
        prep.Pipeline([prep.Standardize(fields="q")]).fit(data)
    with pytest.raises(KeyError, match="'q'"):
        prep.Pipeline([prep.Standardize()], fields="q").fit(data)
    texts = {**data, "s": np.array(["a", "b"] * (len(data["y"]) // 2))}
    with pytest.raises(TypeError, match="'s' holds string"):
        prep.Pipeline([prep.Standardize(fields="s")]).fit(texts)
    with pytest.raises(ValueError, match="no samples"):
        prep.Pipeline([prep.Standardize()]).fit({"x": np.zeros((0, 2))})
    with pytest.raises(TypeError, match="got int"):
        prep.Pipeline([prep.Standardize()]).fit(3)
    with pytest.raises(TypeError, match=r"steps\[0\]"):
        prep.Pipeline(["Standardize"])  # type: ignore[list-item]
    pipe = prep.Pipeline([prep.Standardize(fields="x")]).fit(data)
    with pytest.raises(KeyError, match="'x', which the pipeline was fitted on"):
        pipe.transform({"z": data["z"]})
    with pytest.raises(TypeError, match="'x' is tensor float64"):
        pipe.transform({**data, "x": data["x"].astype(np.float64)})
    with pytest.raises(TypeError, match="shape"):
        pipe.transform({**data, "x": data["x"][:, :2]})
    pipe.transform({"x": data["x"]})  # Fields that no step reads may be missing.


def test_not_fitted_is_an_error_of_scikit_learns_kind() -> None:
    pipe = typical()
    for use in (lambda: pipe.transform(columns()), lambda: pipe.get_feature_names_out(), lambda: pipe.steps[2].mean_):
        with pytest.raises(prep.NotFittedError, match="fit"):
            use()
    assert issubclass(prep.NotFittedError, ValueError)
    assert issubclass(prep.NotFittedError, AttributeError)


@pytest.mark.parametrize("wrong", [{"strategy": "x"}, {"strategy": "interpolate", "indicator": True}])
def test_bad_parameters_of_impute(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Impute"):
        prep.Impute(**wrong)


def test_bad_parameters_of_others() -> None:
    for make in (
        lambda: prep.Outliers("x"),
        lambda: prep.Outliers(action="x"),
        lambda: prep.Outliers(threshold=-1),
        lambda: prep.Outliers("quantile", threshold=(0.9, 0.1)),
        lambda: prep.Clip(2, 1),
        lambda: prep.MinMax((1, 1)),
        lambda: prep.Robust(quantile_range=(80, 20)),
        lambda: prep.Normalize("l3"),
        lambda: prep.Cast("text"),
        lambda: prep.Power("x"),
        lambda: prep.Quantile("x"),
        lambda: prep.Quantile(n_quantiles=0),
        lambda: prep.Concat(dtype="int8"),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


def test_parameters_as_scikit_learn_keeps_them() -> None:
    step = prep.Impute("median", indicator=True, fields=["x"])
    assert step.get_params() == {"strategy": "median", "fill_value": 0.0, "indicator": True, "fields": ["x"]}
    assert clone(step).get_params() == step.get_params()
    assert step.set_params(strategy="mean") is step
    assert step.strategy == "mean"
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        step.set_params(depth=3)
    pipe = prep.Pipeline([step, prep.Standardize()])
    pipe.set_params(**{"0__strategy": "constant", "fields": "x"})
    assert pipe.steps[0].strategy == "constant"
    assert pipe.get_params()["0__strategy"] == "constant"
    assert pipe.fit(columns()).clone().is_fitted is False
    with pytest.raises(ValueError, match="no parameter"):
        pipe.set_params(**{"7__strategy": "mean"})


def test_names_and_the_diagram() -> None:
    pipe = typical().fit(columns())
    names = pipe.get_feature_names_out("features")
    assert names == ["x_0", "x_1", "x_2", "x_3", "z", "n", "x_0_missing", "x_1_missing", "x_2_missing", "x_3_missing", "z_missing"]
    assert pipe.transform(columns())["features"].shape[1] == len(names)
    text = repr(pipe)
    assert text.startswith("Pipeline, fitted in ")
    assert "x: float32[4]" in text
    assert "features: float32[11]" in text
    assert "Impute(strategy='median', indicator=True, fields=['x', 'z'])" in text
    assert "not fitted" in repr(typical())
    with pytest.raises(KeyError, match="'q'"):
        pipe.get_feature_names_out("q")


@pytest.mark.parametrize(
    ("fields", "touched"),
    [
        ("x", {"x"}),
        (["x", "n"], {"x", "n"}),
        ("float32", {"x"}),
        ("number", {"x", "z", "n", "y"}),
        ("[xz]", {"x", "z"}),
        (None, {"x", "z", "n", "y"}),
    ],
)
def test_fields_by_name_dtype_or_pattern(fields: Any, touched: set[str]) -> None:
    pipe = prep.Pipeline([prep.Standardize(fields=fields)]).fit(columns())
    assert set(pipe.steps[0].mean_) == touched
    assert set(prep.Pipeline([prep.Standardize()], fields=fields).fit(columns()).steps[0].mean_) == touched
    made = pipe.transform(columns())
    for name, values in columns().items():
        if name not in touched:
            assert_same(made[name], values)


def test_dtypes_that_are_delivered() -> None:
    data = columns()
    made = prep.Pipeline([prep.Standardize(fields=["x", "z", "n"]), prep.Cast("float64", fields="z"), prep.Cast("int8", fields="y")]).fit(
        data
    )
    found = made.transform(data)
    assert {name: str(values.dtype) for name, values in found.items()} == {"x": "float32", "z": "float64", "n": "float32", "y": "int8"}
    assert_same(found["y"], data["y"].astype(np.int8))
    large = {"id": np.array([2**60 + 1, -3])}
    assert_same(prep.Pipeline([prep.Cast("int64")]).fit(large).transform(large)["id"], large["id"])


def test_validity_of_nullable_fields_is_null(tmp_path: Path) -> None:
    schema = hr.Schema([hr.Field("v", dtype="int32", nullable=True), hr.Field("y", dtype="int64")], "dict")
    hr.write(tmp_path / "d", [{"v": None if i % 3 == 0 else i, "y": i} for i in range(50)], schema=schema)
    dataset = hr.open(tmp_path / "d")
    pipe = prep.Pipeline([prep.Impute("mean", indicator=True, fields="v")]).fit(dataset)
    present = [i for i in range(50) if i % 3]
    assert pipe.steps[0].statistics_["v"].tolist() == [np.mean(present)]
    made = pipe.transform(dataset)
    assert set(made) == {"v", "y", "v_missing"}
    np.testing.assert_allclose(made["v"], [np.mean(present) if i % 3 == 0 else i for i in range(50)], rtol=1e-6)
    values = np.arange(50, dtype=np.int32)
    in_memory = {"v": values, "v.valid": values % 3 != 0, "y": np.arange(50)}
    assert_same(prep.Pipeline([prep.Impute("mean", indicator=True, fields="v")]).fit(in_memory).transform(in_memory), {**made})


def test_pandas_frames() -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1.0, None, 3.0, 500.0], "b": [1, 2, 3, 4], "s": ["x", None, "y", "z"]}, index=[10, 11, 12, 13])
    pipe = prep.Pipeline(
        [prep.Impute("mean"), prep.Outliers("quantile", threshold=(0, 0.9), action="drop", fields="a"), prep.MinMax()]
    ).fit(frame)
    made = pipe.transform(frame)
    assert isinstance(made, pd.DataFrame)
    assert list(made.index) == [10, 11, 12]
    assert list(made.columns) == ["a", "b", "s"]
    assert made["b"].tolist() == [0, 0.5, 1]
    assert made["s"].tolist()[0] == "x"


def test_dropping_rows(stored: dict[str, hr.Dataset]) -> None:
    pipe = prep.Pipeline(
        [prep.Impute("drop", fields=["x", "z"]), prep.Outliers("zscore", action="drop", fields="z"), prep.Standardize(fields="x")]
    )
    pipe.fit(stored["raw"])
    data = columns()
    there = ~(np.isnan(data["x"]).any(axis=1) | np.isnan(data["z"]))
    mean, deviation = data["z"][there].mean(), data["z"][there].std()
    kept = np.flatnonzero(there & (np.abs(data["z"] - mean) <= 3 * deviation))
    view = pipe.keep(stored["raw"])
    assert_same(np.asarray(view[:]["y"]), data["y"][kept])
    x = np.where(np.isfinite(data["x"][kept]), data["x"][kept].astype(np.float64), np.nan)
    np.testing.assert_allclose(pipe.steps[2].mean_["x"], np.nanmean(x, axis=0), rtol=1e-12)
    assert len(pipe.transform(stored["small"])["y"]) == len(kept) == len(pipe.transform(data)["y"])


@pytest.mark.parametrize("kind", ["raw", "small"])
def test_interpolation_along_the_rows(stored: dict[str, hr.Dataset], kind: str) -> None:
    import pandas as pd

    data = columns()
    data["z"][:5] = np.nan
    data["z"][-9:] = np.nan
    expected = pd.Series(data["z"]).interpolate(limit_direction="both").to_numpy()
    pipe = prep.Pipeline([prep.Impute("interpolate", fields="z"), prep.Cast("float64", fields="z"), prep.MinMax(fields="z")]).fit(data)
    assert pipe.steps[2].data_max_["z"][0] == np.nanmax(expected)
    np.testing.assert_allclose(prep.Pipeline(pipe.steps[:2]).fit(data).transform(data)["z"], expected, rtol=1e-12)
    streamed = prep.Pipeline([step.clone() for step in pipe.steps]).fit(stored[kind])
    in_memory = prep.Pipeline([step.clone() for step in pipe.steps]).fit(columns())
    assert_same(streamed.transform(stored[kind])["z"], in_memory.transform(columns())["z"])
    with pytest.raises(ValueError, match="put it before"):
        prep.Pipeline([prep.Clip(0, 1, fields="z"), prep.Impute("interpolate", fields="z")]).fit(data)


def test_interpolation_does_not_depend_on_how_rows_are_cut() -> None:
    from headrace.prep.ordered import interpolated

    random = np.random.default_rng(0)
    values = random.normal(size=(500, 3))
    values[random.random(values.shape) < 0.7] = np.nan
    values[:40, 1], values[200:, 2] = np.nan, np.nan
    whole = np.concatenate([part["x"] for part in interpolated([{"x": values}], ["x"])])
    for step in (1, 7, 64, 499):
        parts = interpolated(({"x": values[i : i + step]} for i in range(0, 500, step)), ["x"])
        assert_same(np.concatenate([part["x"] for part in parts]), whole)
    assert not np.isnan(whole).any()


def test_apply_writes_what_transform_gives(stored: dict[str, hr.Dataset], tmp_path: Path) -> None:
    pipe = typical().fit(stored["raw"])
    assert pipe.apply(stored["small"], tmp_path / "out", codec="lz4") == 1
    assert_same(hr.open(tmp_path / "out")[:], pipe.transform(stored["raw"]))


def test_preparing_a_part_of_what_was_fitted_on_warns(stored: dict[str, hr.Dataset], tmp_path: Path) -> None:
    dataset = stored["raw"]
    parts = dataset.split(train=0.8, test=0.2, seed=1)
    right = prep.Pipeline([prep.Standardize(fields="x")]).fit(parts["train"])
    wrong = prep.Pipeline([prep.Standardize(fields="x")]).fit(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in parts.values():
            right.transform(part)
        right.transform(dataset)  # All of what it was fitted on, and more.
        wrong.transform(dataset)
    right.save(tmp_path / "right.json")
    wrong.save(tmp_path / "wrong.json")
    for pipe in (wrong, prep.load(tmp_path / "wrong.json")):
        with pytest.warns(HeadraceWarning, match="600 of these 600 samples were among the 3000"):
            pipe.transform(parts["test"])
    other = dataset.split(train=0.8, test=0.2, seed=2)
    for pipe in (right, prep.load(tmp_path / "right.json")):
        with pytest.warns(HeadraceWarning, match="among the 2400 that the pipeline was fitted on"):
            pipe.transform(other["test"])


def test_a_label_among_all_fields_warns() -> None:
    data = {"x": np.arange(10.0), "label": np.arange(10) % 2}
    with pytest.warns(HeadraceWarning, match=r"Standardize\(\) works on 'label' too"):
        hr.prep.Pipeline([hr.prep.Standardize()]).fit(data)
    kept = hr.prep.Pipeline([hr.prep.Standardize()], fields=["x"]).fit(data).transform(data)
    np.testing.assert_array_equal(kept["label"], data["label"])
    hr.prep.Pipeline([hr.prep.Standardize(fields="x")]).fit(data)


def test_a_step_that_does_nothing_warns() -> None:
    data = {"name": ["a", "b"] * 20, "x": np.arange(40.0)}
    with pytest.warns(HeadraceWarning, match=r"Standardize\(\) does nothing: no field among 'name' suits it \(expected numbers"):
        prep.Pipeline([prep.Standardize()], fields=["name"]).fit(data)
    with pytest.warns(HeadraceWarning, match=r"OneHot\(\) does nothing: no field among 'x' suits it"):
        prep.Pipeline([prep.Standardize(), prep.OneHot()], fields=["x"]).fit(data)
    prep.Pipeline([prep.OneHot(), prep.Standardize(), prep.Concat("all")], fields=["name", "x"]).fit(data)  # Warnings are errors here.
