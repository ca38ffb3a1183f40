"""Resampled datasets hold what imbalanced-learn makes of the same arrays, in the dtypes and shapes of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imblearn.combine import SMOTEENN
from imblearn.over_sampling import ADASYN, SMOTE, SMOTENC
from imblearn.under_sampling import TomekLinks

import headrace as hr


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [120, 30, 15])
    return {
        "x": (rng.normal(size=(165, 2, 2)) + y[:, None, None]).astype(np.float32),
        "age": rng.integers(0, 90, 165) + y,
        "carrier": rng.integers(0, 4, 165),
        "label": y,
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]) -> hr.Dataset:
    path = tmp_path_factory.mktemp("resample") / "d"
    hr.write(path, {**columns, "name": [f"n{i}" for i in range(165)]})
    return hr.open(path)


def matrix(columns: dict[str, Any]) -> Any:
    return np.concatenate([columns[name].reshape(165, -1).astype(np.float64) for name in ("x", "age", "carrier")], axis=1)


NUMBERS = ["x", "age", "carrier"]


@pytest.mark.parametrize(("method", "kind"), [("smote", SMOTE), ("adasyn", ADASYN), ("smote_enn", SMOTEENN)])
def test_made_samples_are_imbalanced_learns(dataset: hr.Dataset, columns: dict[str, Any], tmp_path: Path, method: str, kind: Any) -> None:
    made = hr.prep.resample(dataset, method, tmp_path / "out", label="label", fields=NUMBERS, seed=3)
    expected, labels = kind(random_state=3).fit_resample(matrix(columns), columns["label"])
    found = made[:]
    assert np.array_equal(found["label"], labels)
    assert found["x"].dtype == np.float32
    assert found["x"].shape == (len(labels), 2, 2)
    assert np.array_equal(found["x"].reshape(-1, 4), expected[:, :4].astype(np.float32))
    assert found["age"].dtype == columns["age"].dtype
    assert np.array_equal(found["age"], np.rint(expected[:, 4]))
    assert made.schema.names == ["x", "age", "carrier", "label"]
    if method == "smote":
        assert np.bincount(found["label"]).tolist() == [120, 120, 120]
        assert np.array_equal(found["x"][:165], columns["x"])  # What was there stays, first.


def test_categories_are_not_mixed(dataset: hr.Dataset, columns: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"label": "label", "fields": NUMBERS, "categorical": ["carrier"]}
    found = hr.prep.resample(dataset, "smotenc", tmp_path / "out", **options)[:]
    expected, _ = SMOTENC([5], random_state=0).fit_resample(matrix(columns), columns["label"])
    assert np.array_equal(found["carrier"], expected[:, 5])
    assert set(found["carrier"].tolist()) == {0, 1, 2, 3}


def test_methods_that_choose_keep_every_field(dataset: hr.Dataset, columns: dict[str, Any], tmp_path: Path) -> None:
    found = hr.prep.resample(dataset, "tomek_links", tmp_path / "tomek", label="label")[:]
    sampler = TomekLinks()
    sampler.fit_resample(matrix(columns), columns["label"])
    rows = np.sort(sampler.sample_indices_)
    assert found["name"] == [f"n{i}" for i in rows]
    assert np.array_equal(found["x"], columns["x"][rows])
    under = hr.prep.resample(dataset, "random_under", tmp_path / "under", label="label", sampling_strategy={0: 20})[:]
    assert np.bincount(under["label"]).tolist() == [20, 30, 15]
    over = hr.prep.resample(dataset, "random_over", tmp_path / "over", label="label")[:]
    assert np.bincount(over["label"]).tolist() == [120, 120, 120]
    assert all(over["x"][i].tolist() == columns["x"][int(name[1:])].tolist() for i, name in enumerate(over["name"]))


def test_an_object_and_labels_that_are_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    kinds = np.repeat(["cat", "owl"], [40, 10])
    hr.write(tmp_path / "d", {"x": rng.normal(size=(50, 3)), "kind": kinds.tolist(), "wild": rng.random(50) < 0.5})
    made = hr.prep.resample(hr.open(tmp_path / "d"), SMOTE(k_neighbors=3, random_state=1), tmp_path / "out", label="kind")
    found = made[:]
    assert sorted(found["kind"]) == ["cat"] * 40 + ["owl"] * 40
    assert found["wild"].dtype == np.bool_


def test_what_makes_no_sense_is_refused(dataset: hr.Dataset, tmp_path: Path) -> None:
    def resample(method: Any = "smote", **options: Any) -> Any:
        return hr.prep.resample(dataset, method, tmp_path / "never", **{"label": "label", **options})

    with pytest.raises(ValueError, match="field 'name' holds string values: nothing lies between two"):
        resample()
    with pytest.raises(KeyError, match="there is no field 'kind'"):
        resample(label="kind")
    with pytest.raises(ValueError, match="method is 'smoothe'; expected one of smote"):
        resample("smoothe")
    with pytest.raises(ValueError, match="'label' is the label"):
        resample(fields=["label", "x"])
    with pytest.raises(ValueError, match="categorical: 'carrier' is not among the fields"):
        resample(fields=["x"], categorical=["carrier"])
    with pytest.raises(TypeError, match="expected a name, or an object"):
        resample(3)
    assert not (tmp_path / "never").exists()
    hr.write(tmp_path / "taken", {"x": np.zeros(3)})
    with pytest.raises(hr.ExistsError):
        hr.prep.resample(dataset, "smote", tmp_path / "taken", label="label", fields=["x"])


class Never:
    """An object of imbalanced-learn's kind that must not be asked."""

    def fit_resample(self, x: Any, y: Any) -> Any:
        raise AssertionError("asked")


def test_what_is_in_the_way_is_met_before_neighbours_are_looked_for(dataset: hr.Dataset, tmp_path: Path) -> None:
    hr.write(tmp_path / "taken", {"x": np.zeros(3)})
    with pytest.raises(hr.ExistsError, match="is a dataset already"):
        hr.prep.resample(dataset, Never(), tmp_path / "taken", label="label", fields=["x"])
    with pytest.raises(TypeError, match=r"fields is 'x'; expected a list of names: fields=\['x'\]"):
        hr.prep.resample(dataset, Never(), tmp_path / "out", label="label", fields="x")
    with pytest.raises(ValueError, match="the dataset is empty"):
        hr.prep.resample(dataset.subset([]), Never(), tmp_path / "out", label="label", fields=["x"])
    with pytest.raises(TypeError, match=r"takes a dataset of headrace: .* got str"):
        hr.prep.resample(str(tmp_path / "taken"), Never(), tmp_path / "out", label="label")
    with pytest.raises(ValueError, match="seed must be in"):
        hr.prep.resample(dataset, "smote", tmp_path / "out", label="label", fields=["x"], seed=-1)
    with pytest.raises(ValueError, match="categorical: 'smote' takes all fields for numbers; smotenc does not"):
        hr.prep.resample(dataset, "smote", tmp_path / "out", label="label", fields=["x", "carrier"], categorical=["carrier"])


def test_bad_values_and_labels_are_named(dataset: hr.Dataset, columns: dict[str, Any], tmp_path: Path) -> None:
    x = columns["x"].copy()
    x[7, 1, 0] = np.nan
    hr.write(tmp_path / "d", {"x": x, "f": x[:, 0, 0], "label": columns["label"]})
    holed = hr.open(tmp_path / "d")
    with pytest.raises(ValueError, match="field 'x', sample 7: nan is not finite, and has no neighbours"):
        hr.prep.resample(holed, "smote", tmp_path / "out", label="label", fields=["x"])
    drawn = hr.prep.resample(holed, "random_over", tmp_path / "drawn", label="label")  # Which looks at no value.
    assert len(drawn) == 360
    for label in ("f", "x"):
        with pytest.raises(ValueError, match=f"label {label!r} holds float32 of shape .*; expected classes"):
            hr.prep.resample(holed, "smote", tmp_path / "out", label=label, fields=["f" if label == "x" else "x"][:1])
    few = dataset.subset([*range(100), 120, 121, 122])
    with pytest.raises(ValueError, match="n_neighbors") as raised:
        hr.prep.resample(few, "smote", tmp_path / "out", label="label", fields=["x"])
    assert "'label' has 2 classes; the rarest, 1, has 3 samples" in raised.value.__notes__[0]
    assert not (tmp_path / "out").exists()


def test_nulls_are_refused(tmp_path: Path) -> None:
    hr.write(tmp_path / "null", {"x": np.ma.masked_array(np.arange(9.0), mask=np.arange(9) == 4), "label": np.arange(9) % 2})
    with pytest.raises(ValueError, match="field 'x', sample 4: a null has no neighbours"):
        hr.prep.resample(hr.open(tmp_path / "null"), "smote", tmp_path / "never", label="label")
