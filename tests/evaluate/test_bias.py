"""Parts of one distribution are found alike, as often as the level says; shifted ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import headrace as hr
from headrace.evaluate.bias import population_stability


def columns(n: int, seed: int, shift: float = 0.0, odd: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    carriers = rng.choice(["AA", "UA", "DL"], n, p=[0.2, 0.2, 0.6] if odd else [0.5, 0.3, 0.2])
    return {
        "distance": rng.normal(size=n) + shift,
        "carrier": list(carriers),
        "pixels": rng.normal(size=(n, 2, 3)).astype(np.float32),
        "stops": rng.integers(0, 4, n),
        "late": rng.random(n) < 0.3,
        "path": [np.arange(i % 3) for i in range(n)],
    }


def written(path: Any, **options: Any) -> hr.Dataset:
    hr.write(path, columns(**options))
    return hr.open(path)


def test_psi_by_hand() -> None:
    # (q - p) ln(q / p), with half a sample added to each of two bins: p = 30.5/51, 20.5/51; q = 10.5/51, 40.5/51.
    p, q = np.array([30.5, 20.5]) / 51, np.array([10.5, 40.5]) / 51
    assert population_stability(np.array([30.0, 20.0]), np.array([10.0, 40.0])) == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert population_stability(np.array([5.0, 5.0]), np.array([50.0, 50.0])) == pytest.approx(0, abs=1e-12)


def test_one_distribution(tmp_path: Any) -> None:
    train, test = written(tmp_path / "a", n=3000, seed=1), written(tmp_path / "b", n=1000, seed=2)
    found = hr.evaluate.bias(train, test=test)
    assert found.shifted == ()
    assert found.separations[0].p_value > 0.05
    assert found.separations[0].accuracy == pytest.approx(0.5, abs=0.06)
    assert found.verdict.startswith("no difference beyond chance")
    assert found.left_out == ("path",)
    assert {one.field for one in found.fields} == {"distance", "carrier", "stops", "late"} | {
        f"pixels[{i}, {j}]" for i in range(2) for j in range(3)
    }
    by_name = {one.field: one for one in found.fields}
    ks = stats.ks_2samp(train.select(["distance"])[:]["distance"], test.select(["distance"])[:]["distance"])
    assert by_name["distance"].distance == pytest.approx(ks.statistic)
    assert by_name["distance"].p_value == pytest.approx(ks.pvalue)
    assert by_name["stops"].psi < 0.05
    assert found.rows == {"train": 3000, "test": 1000}


def test_shifts_are_named(tmp_path: Any) -> None:
    train = written(tmp_path / "a", n=3000, seed=1)
    valid, test = written(tmp_path / "b", n=1000, seed=2), written(tmp_path / "c", n=1000, seed=3, shift=0.5, odd=True)
    found = hr.evaluate.bias(train, valid, test)
    assert {(one.part, one.field) for one in found.shifted} == {("test", "distance"), ("test", "carrier")}
    by_part = {one.part: one for one in found.separations}
    assert by_part["valid"].p_value > 0.01
    assert by_part["test"].p_value < 1e-6
    assert by_part["test"].roc_auc > 0.65
    text = str(found)
    assert "carrier in test" in text
    assert "distance in test" in text
    carrier = next(one for one in found.shifted if one.field == "carrier")
    assert carrier.psi > 0.25
    assert carrier.distance == pytest.approx(0.4, abs=0.05)


def test_what_only_all_fields_together_show(tmp_path: Any) -> None:
    """The same distribution of each field, another of both: x and y go together in one part, and against each other in the other."""
    rng = np.random.default_rng(5)
    for name, sign in (("a", 1), ("b", -1)):
        x = rng.normal(size=2000)
        hr.write(tmp_path / name, {"x": x, "y": sign * x + 0.3 * rng.normal(size=2000)})
    found = hr.evaluate.bias(hr.open(tmp_path / "a"), test=hr.open(tmp_path / "b"))
    assert found.shifted == ()
    assert found.separations[0].accuracy > 0.8
    assert "no field alone differs" in found.verdict


def test_the_level_holds(tmp_path: Any) -> None:
    rng, wrong, told = np.random.default_rng(6), 0, 0
    for seed in range(60):
        parts = [hr.from_arrays({"x": rng.normal(size=200), "k": rng.integers(0, 3, 200)}) for _ in range(2)]
        found = hr.evaluate.bias(parts[0], test=parts[1], seed=seed)
        wrong += bool(found.shifted)
        told += found.separations[0].p_value < 0.05
    # 5 % of 60, and 4 standard deviations.
    assert wrong <= 9
    assert told <= 9


def test_nulls_and_dates(tmp_path: Any) -> None:
    days = np.datetime64("2013-01-01", "D") + np.arange(500)
    for name, share in (("a", 0.05), ("b", 0.4)):
        hole = np.arange(500) % 100 < 100 * share
        hr.write(tmp_path / name, {"x": np.ma.masked_array(np.sin(np.arange(500.0)), mask=hole), "day": days})
    found = {one.field: one for one in hr.evaluate.bias(hr.open(tmp_path / "a"), test=hr.open(tmp_path / "b")).fields}
    assert found["x"].psi > 0.5  # Of what is there, nothing changed; more is missing.
    assert found["day"].distance == 0.0


def test_what_makes_no_sense_is_refused(tmp_path: Any) -> None:
    train = written(tmp_path / "a", n=300, seed=1)
    with pytest.raises(ValueError, match="give valid=, test= or both"):
        hr.evaluate.bias(train)
    with pytest.raises(KeyError, match="test has no field 'stops'"):
        hr.evaluate.bias(train, test=train.select(["distance"]), fields=["distance", "stops"])
    with pytest.raises(ValueError, match="none of the fields"):
        hr.evaluate.bias(train, test=train, fields=["path"])
    for rows in (0, 3):
        with pytest.raises(ValueError, match=f"test has {rows} samples: fewer than 4"):
            hr.evaluate.bias(train, test=train.subset(np.arange(rows)))
    with pytest.raises(TypeError, match="valid is str; expected a dataset of headrace"):
        hr.evaluate.bias(train, str(tmp_path / "a"))
    with pytest.raises(TypeError, match=r"fields is 'stops'; expected a list of names: fields=\['stops'\]"):
        hr.evaluate.bias(train, train, fields="stops")
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        hr.evaluate.bias(train, train, level=95)


def arrays(n: int, seed: int, x: Any) -> hr.ArrayDataset:
    rng = np.random.default_rng(seed)
    return hr.from_arrays({"a": rng.normal(size=n), "x": x(rng, n)})


def test_nulls_are_compared_too() -> None:
    train = arrays(400, 1, lambda rng, n: np.where(rng.random(n) < 0.5, np.nan, rng.normal(size=n)))
    full, empty = arrays(300, 2, lambda rng, n: rng.normal(size=n)), arrays(300, 3, lambda rng, n: np.full(n, np.nan))
    found = hr.evaluate.bias(train, full, empty, samples=400)
    shifts = {one.part: one for one in found.fields if one.field == "x"}
    missing = int(np.isnan([one["x"] for one in train]).sum())
    for part, nulls in (("valid", 0), ("test", 300)):
        table = [[missing, 400 - missing], [nulls, 300 - nulls]]
        p_value = stats.chi2_contingency(table, correction=False).pvalue
        assert shifts[part].distance == pytest.approx(abs(missing / 400 - nulls / 300), abs=1e-12)
        assert shifts[part].p_value == pytest.approx(p_value * (2 if part == "valid" else 1), rel=1e-9)
    assert {one.part for one in found.shifted} == {"valid", "test"}


def test_fields_without_a_value_are_alike() -> None:
    nothing = [arrays(200, seed, lambda rng, n: np.full(n, np.nan)) for seed in (1, 2)]
    one = next(one for one in hr.evaluate.bias(nothing[0], test=nothing[1]).fields if one.field == "x")
    assert (one.psi, one.distance, one.p_value) == (0, 0, 1)


def test_a_null_is_not_the_empty_text(tmp_path: Any) -> None:
    parts = []
    for name, other in (("a", None), ("b", "")):
        hr.write(tmp_path / name, {"s": [["x", other][i % 2] for i in range(200)]})
        parts.append(hr.open(tmp_path / name))
    assert [one.field for one in hr.evaluate.bias(parts[0], test=parts[1]).shifted] == ["s"]


def test_numbers_against_texts(tmp_path: Any) -> None:
    hr.write(tmp_path / "a", {"s": ["x", "y"] * 100})
    hr.write(tmp_path / "b", {"s": np.arange(200) / 7})
    with pytest.raises(TypeError, match="field 's' holds numbers on one side, and texts on the other"):
        hr.evaluate.bias(hr.open(tmp_path / "a"), test=hr.open(tmp_path / "b"))
