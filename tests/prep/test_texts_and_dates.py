"""Clean, Cross and DateParts against Python's own texts and pandas' dates."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace import prep

TEXTS = st.lists(
    st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["ẞtraße\u2003", "\u00a0ΑΣ ", " \t\n", "İ", "ﬁ"])), min_size=1, max_size=30
)


def cleaned(values: Any, **how: Any) -> Any:
    pipe = prep.Pipeline([prep.Clean(**how)]).fit({"x": values})
    return prep.Pipeline.from_json(pipe.to_json()).transform({"x": values}, num_threads=2)["x"]


@given(values=TEXTS, strip=st.booleans(), casefold=st.booleans())
@settings(max_examples=60)
def test_strip_and_casefold_are_pythons(values: list[str | None], strip: bool, casefold: bool) -> None:
    expected = []
    for one in values:
        out = one if one is None or not strip else one.strip()
        expected.append(out if out is None or not casefold else out.casefold())
    assert cleaned(values, strip=strip, casefold=casefold) == expected


def test_every_character_folds_and_strips_as_pythons() -> None:
    values = [chr(code) for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    assert cleaned(values, casefold=True) == [one.strip().casefold() for one in values]


def test_replace_is_of_whole_texts_after_the_others() -> None:
    values = ["NYC ", "N/A", "nyc2", None, ""]
    out = cleaned(values, casefold=True, replace={"nyc": "new york", "n/a": None, "": "nothing"})
    assert out == ["new york", None, "nyc2", None, "nothing"]


def test_unify_types() -> None:
    same = ["1", " 1.0", "+1", "1e0", "1.000", "01"]
    assert cleaned(same, unify_types=True) == ["1"] * len(same)
    values = [
        "-2.50",
        "1e400",
        "True",
        "FALSE",
        "NaN",
        "none",
        "",
        "NA",
        "0x10",
        "1_000",
        "inf",
        "-0.0",
        "9007199254740993",
        "3.1.4",
        "+-1",
        "-",
    ]
    expected = ["-2.5", "1e400", "true", "false", None, None, None, None, "0x10", "1_000", "inf", "0", None, "3.1.4", "+-1", "-"]
    out = cleaned(values, unify_types=True)
    expected[12] = out[12]
    assert out == expected
    assert float(out[12]) == float(2**53)


def test_cleaned_texts_are_encoded_and_counted_after_cleaning(tmp_path: Path) -> None:
    values = [" A", "a", None, "B ", "b", "N/A"] * 50
    hr.write(tmp_path / "d", {"x": values, "y": np.arange(300)}, chunk_samples=64)
    dataset = hr.open(tmp_path / "d")
    steps = [prep.Clean(casefold=True, replace={"n/a": None}), prep.OneHot()]
    pipe = prep.Pipeline(steps).fit(dataset)
    assert pipe.get_feature_names_out() == ["x_a", "x_b", "x_null"]
    expected = np.tile(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32), (50, 1))
    np.testing.assert_array_equal(pipe.transform(dataset)["x"], expected)
    loader = hr.DataLoader(dataset, batch_size=70, prepare=pipe, num_workers=2)
    np.testing.assert_array_equal(np.concatenate([batch["x"].numpy() for batch in loader]), expected)


def test_texts_that_are_not_encoded_are_written(tmp_path: Path) -> None:
    values = ["  x", None, "y  "]
    hr.write(tmp_path / "d", {"t": values, "y": np.arange(3)})
    dataset = hr.open(tmp_path / "d")
    pipe = prep.Pipeline([prep.Clean()]).fit(dataset)
    assert pipe.transform(dataset)["t"] == ["x", None, "y"]
    pipe.apply(dataset, tmp_path / "out")
    assert [hr.open(tmp_path / "out")[i]["t"] for i in range(3)] == ["x", None, "y"]


TEXTS = [("  Straße ", None, "", "n/a", "日本 ", "a\x00b ", "\u2003x" * 7)[i % 7] for i in range(5000)]


def made_by_hand(i: int) -> tuple[str | None, str | None]:
    text = TEXTS[i]
    clean = None if text is None else text.strip().casefold()
    clean = None if clean == "n/a" else clean
    return clean, None if clean is None else f"{clean}|{i % 3}"


@pytest.fixture
def texts(tmp_path: Path) -> hr.Dataset:
    raw = [None if text is None else text.encode() for text in TEXTS]
    columns = {"t": TEXTS, "raw": raw, "k": np.arange(5000) % 3, "y": np.arange(5000), "x": np.ones((5000, 2), np.float32)}
    hr.write(tmp_path / "d", columns, chunk_samples=100)
    return hr.open(tmp_path / "d")


def spelled() -> prep.Pipeline:
    return prep.Pipeline(
        [prep.Clean(casefold=True, replace={"n/a": None}, fields=["t", "raw"]), prep.Cross("t", "k"), prep.Standardize(fields="x")]
    )


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 3}, {"shuffle": "window", "seed": 3, "reader": "pread"}], ids=str)
def test_batches_hold_texts_that_steps_made(texts: hr.Dataset, workers: int, options: dict[str, Any]) -> None:
    if "reader" in options:
        options = dict(options)
        texts = hr.open(texts.path, reader=options.pop("reader"))
    pipe = spelled().fit(texts)
    kept = []  # Their memory is their own.
    for batch in hr.DataLoader(texts, batch_size=1700, prepare=pipe, num_workers=workers, **options):
        kept.append((batch["y"].tolist(), batch["t"], batch["t_x_k"], batch["raw"]))
    assert sorted(i for rows, *_ in kept for i in rows) == list(range(5000))
    for rows, cleaned, crossed, raw in kept:
        assert list(zip(cleaned, crossed, strict=True)) == [made_by_hand(i) for i in rows]
        assert raw == [None if (text := made_by_hand(i)[0]) is None else text.encode() for i in rows]
    if not options:
        whole = pipe.transform(texts)
        assert whole["t"] == [text for _, cleaned, *_ in kept for text in cleaned]


def test_texts_that_steps_made_after_a_resume_and_in_parts(texts: hr.Dataset) -> None:
    train = texts.split(train=0.5, test=0.5)["train"]
    pipe = pickle.loads(pickle.dumps(spelled().fit(train)))
    loader = hr.DataLoader(train, batch_size=64, prepare=pipe, shuffle=True, seed=1, num_workers=2)
    batches = iter(loader)
    for _ in range(5):
        next(batches)
    state = loader.state_dict()
    rest = [(batch["y"].tolist(), batch["t"]) for batch in batches]
    other = hr.DataLoader(train, batch_size=64, prepare=pipe, shuffle=True, seed=1)
    other.load_state_dict(state)
    assert [(batch["y"].tolist(), batch["t"]) for batch in other] == rest
    for rows, cleaned in rest:
        assert cleaned == [made_by_hand(i)[0] for i in rows]


def test_no_rows_of_texts_that_steps_made(texts: hr.Dataset) -> None:
    pipe = spelled().fit(texts)
    assert list(hr.DataLoader(texts.subset([]), batch_size=4, prepare=pipe)) == []
    null = texts.subset([1])
    only = next(iter(hr.DataLoader(null, batch_size=4, prepare=spelled().fit(null))))
    assert (only["t"], only["t_x_k"], only["raw"]) == ([None], [None], [None])


def test_texts_that_steps_made_beside_damaged_samples(texts: hr.Dataset) -> None:
    shard = next(Path(texts.path).glob("*.hrs"))
    pipe = spelled().fit(texts)
    stored = bytearray(shard.read_bytes())
    stored[stored.index(b"Stra")] ^= 0xFF
    shard.unlink()
    shard.write_bytes(stored)
    damaged = hr.open(texts.path)
    found = [
        [(batch["y"].tolist(), batch["t"]) for batch in hr.DataLoader(damaged, batch_size=64, prepare=pipe, num_workers=n, on_error="skip")]
        for n in (0, 2, 8)
    ]
    assert found[0] == found[1] == found[2]
    assert 0 < sum(len(rows) for rows, _ in found[0]) < 5000
    for rows, cleaned in found[0]:
        assert cleaned == [made_by_hand(i)[0] for i in rows]


def test_cross_knows_each_combination() -> None:
    data = {"a": ["x|", "x", None, "x\\", "x"], "b": ["y", "|y", "y", "y", "|y"]}
    out = prep.Pipeline([prep.Cross("a", "b")]).fit(data).transform(data)
    assert out["a_x_b"] == ["x\\||y", "x|\\|y", None, "x\\\\|y", "x|\\|y"]
    mixed = {"i": np.array([3, -1]), "f": np.array([0.1, 2.0]), "ok": np.array([True, False])}
    assert prep.Pipeline([prep.Cross("i", "f", name="c")]).fit(mixed).transform(mixed)["c"] == ["3|0.1", "-1|2"]
    pipe = prep.Pipeline([prep.Cross("i", "ok"), prep.Ordinal(fields="i_x_ok")]).fit(mixed)
    assert pipe.transform(mixed)["i_x_ok"].tolist() == [1, 0]
    assert pipe.clone().steps[0].get_params() == {"a": "i", "b": "ok", "name": None}
    with pytest.raises(ValueError, match="there is a field 'f' already"):
        prep.Pipeline([prep.Cross("i", "ok", name="f")]).fit(mixed)


PARTS = ["year", "month", "day", "weekday", "hour", "minute", "second", "dayofyear"]


@pytest.mark.parametrize("unit", ["D", "h", "m", "s", "ms", "us", "ns", "25s", "M", "Y", "W"])
def test_date_parts_are_pandas(unit: str) -> None:
    seconds = np.random.default_rng(1).integers(-(2**32), 2**33, 2000)
    dates = seconds.astype("datetime64[s]").astype(f"datetime64[{unit}]")
    dates[5] = np.datetime64("NaT", "s")
    out = prep.Pipeline([prep.DateParts(PARTS)]).fit({"when": dates}).transform({"when": dates})["when"]
    theirs = pd.Series(dates.astype("datetime64[s]")).dt
    names = {"weekday": "day_of_week", "dayofyear": "day_of_year"}
    expected = np.stack([getattr(theirs, names.get(part, part)).to_numpy(np.float64) for part in PARTS], axis=1).astype(np.float32)
    np.testing.assert_array_equal(out, expected)
    assert np.isnan(out[5]).all()


def test_dates_far_away_and_cycles() -> None:
    dates = np.array(["2000-02-29T23:59", "1900-03-01", "0001-01-01", "-4000-12-31", "9999-12-31"], "datetime64[m]")
    pipe = prep.Pipeline([prep.DateParts(["year", "day", "dayofyear"])]).fit({"d": dates})
    assert pipe.transform({"d": dates})["d"].tolist() == [[2000, 29, 60], [1900, 1, 60], [1, 1, 1], [-4000, 31, 366], [9999, 31, 365]]
    far = np.array([2**62, -(2**62)]).view("datetime64[D]")
    assert np.isnan(prep.Pipeline([prep.DateParts(["year"])]).fit({"d": far}).transform({"d": far})["d"]).all()
    cyclic = prep.Pipeline([prep.DateParts(["year", "hour"], cyclic=True)]).fit({"d": dates})
    assert cyclic.get_feature_names_out() == ["d_year", "d_hour_sin", "d_hour_cos"]
    turn = 2 * np.pi * np.array([23, 0, 0, 0, 0]) / 24
    np.testing.assert_allclose(cyclic.transform({"d": dates})["d"][:, 1:], np.stack([np.sin(turn), np.cos(turn)], axis=1), atol=1e-7)


def test_dates_from_a_loader_and_frames(tmp_path: Path) -> None:
    dates = np.datetime64("2024-01-01T00", "h") + np.arange(100)
    hr.write(tmp_path / "d", {"when": dates, "y": np.arange(100)})
    dataset = hr.open(tmp_path / "d")
    pipe = prep.Pipeline([prep.DateParts(["day", "hour"])]).fit(dataset)
    batch = next(iter(hr.DataLoader(dataset, batch_size=100, prepare=pipe)))
    np.testing.assert_array_equal(batch["when"].numpy()[:, 1], np.arange(100) % 24)
    frame = pd.DataFrame({"when": pd.Series(dates.astype("datetime64[ns]")), "s": [" a"] * 100})
    out = prep.Pipeline([prep.DateParts(["day"]), prep.Clean()]).fit(frame).transform(frame)
    assert out["when"].tolist() == [1 + i // 24 for i in range(100)]
    assert set(out["s"]) == {"a"}


def test_what_they_refuse() -> None:
    with pytest.raises(ValueError, match="no part 'fortnight'"):
        prep.DateParts(["fortnight"])
    with pytest.raises(TypeError, match="expected datetime64"):
        prep.Pipeline([prep.DateParts(fields="x")]).fit({"x": np.arange(3)})
    with pytest.raises(TypeError, match="expected texts"):
        prep.Pipeline([prep.Clean(fields="x")]).fit({"x": np.arange(3)})
