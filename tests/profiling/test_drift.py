"""PSI and Kolmogorov-Smirnov against scipy and the definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import special, stats

import headrace as hr
from headrace.profiling.drift import kolmogorov


def arrays(**columns: np.ndarray) -> hr.ArrayDataset:
    return hr.from_arrays(columns)


@pytest.mark.parametrize("x", [1e-9, 0.05, 0.2, 0.5, 0.8, 0.999999, 1.0, 1.3, 2.0, 4.0, 6.0])
def test_kolmogorovs_limit_is_scipys(x):
    assert kolmogorov(x) == pytest.approx(special.kolmogorov(x), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("shift", "rows"), [(0.0, (500, 700)), (0.3, (4000, 1500)), (2.0, (300, 20_000)), (0.0, (1, 1))])
def test_exact_distances_are_scipys(shift, rows):
    random = np.random.default_rng(int(shift * 10) + rows[0])
    a, b = random.normal(size=rows[0]).round(2), random.normal(shift, 1.2, rows[1]).round(2)
    found = hr.drift(arrays(x=a), arrays(x=b))["x"]
    assert found.ks == pytest.approx(stats.ks_2samp(a, b).statistic, rel=1e-14)
    assert found.ks_error == 0
    assert found.p_value == pytest.approx(stats.kstwobign.sf(np.sqrt(rows[0] * rows[1] / sum(rows)) * found.ks), rel=1e-9)
    if min(rows) > 200:  # the limit is near what scipy says of so many
        assert found.p_value == pytest.approx(stats.ks_2samp(a, b, method="asymp").pvalue, abs=0.03)


def test_distances_of_many_values_are_within_their_error():
    random = np.random.default_rng(1)
    a, b = random.normal(size=200_000), random.normal(0.1, 1, 150_000)
    found = hr.drift(arrays(x=a), arrays(x=b), rank_error=0.005)["x"]
    assert found.ks_error == 0.01
    assert found.ks == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic, abs=0.01)


def test_psi_over_deciles():
    random = np.random.default_rng(2)
    a, b = random.gamma(2, size=20_000), random.gamma(2.5, size=9000)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    before, after = (np.bincount(np.searchsorted(edges, side, side="left"), minlength=10) / len(side) for side in (a, b))
    found = hr.drift(arrays(x=a), arrays(x=b))["x"]
    assert found.psi == pytest.approx(((after - before) * np.log(after / before)).sum(), rel=1e-9)


def test_psi_over_values_and_texts(tmp_path):
    before, after = np.array([0] * 60 + [1] * 40), np.array([0] * 20 + [1] * 70 + [2] * 10)
    expected = 0.0
    for a, b in ((0.6, 0.2), (0.4, 0.7), (1e-4, 0.1)):
        expected += (b - a) * np.log(b / a)
    assert hr.drift(arrays(x=before), arrays(x=after))["x"].psi == pytest.approx(expected, rel=1e-12)
    for name, side in (("a", before), ("b", after)):
        hr.write(tmp_path / name, {"t": [f"class {value}" for value in side]})
    found = hr.drift(tmp_path / "a", tmp_path / "b")["t"]
    assert found.psi == pytest.approx(expected, rel=1e-12)
    assert (found.ks, found.p_value, found.verdict) == (None, None, "much")


def test_nothing_moved_between_equal_datasets():
    values = np.random.default_rng(3).normal(size=(5000, 2))
    found = hr.drift(arrays(v=values, k=np.arange(5000) % 7), arrays(v=values, k=np.arange(5000) % 7))
    assert [(one.psi, one.ks, one.p_value, one.verdict) for one in found.fields] == [(0.0, 0.0, 1.0, "none")] * 2
    assert found.moved == []


def test_fields_of_one_side_only_and_nulls():
    a = arrays(x=np.arange(100.0), only=np.arange(100))
    b = arrays(x=np.where(np.arange(100) < 50, np.nan, 1.0), new=np.arange(100))
    found = hr.drift(a, b)
    assert (found.missing, found.added, found["x"].null_share) == (["only"], ["new"], (0.0, 0.5))
    assert found["x"].verdict == "much"
    empty = hr.drift(a, arrays(x=np.full(5, np.nan)))["x"]
    assert (empty.psi, empty.ks, empty.verdict) == (None, None, "unknown")
    with pytest.raises(ValueError, match="no field is in both: x, only against z"):
        hr.drift(a, arrays(z=np.arange(3)))
    with pytest.raises(KeyError, match="no field 'q' was compared"):
        found["q"]


def test_profiles_compare_like_datasets():
    random = np.random.default_rng(4)
    a, b = arrays(x=random.normal(size=1000)), arrays(x=random.normal(1, 1, 1000))
    found = hr.profile(a).drift(hr.profile(b))
    assert found.to_dict() == hr.drift(a, b).to_dict()
    assert json.loads(json.dumps(found.to_dict()))["fields"][0]["verdict"] == "much"
    assert [one.name for one in found.moved] == ["x"]
    assert str(found).splitlines()[2].split() == ["field", "PSI", "drift", "KS", "p", "mean", "before", "after", "nulls", "before", "after"]
