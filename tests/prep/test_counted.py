"""Moments that the engine counts while it builds batches: bit for bit those of the rows in memory, wherever the rows lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace import _native, prep
from headrace.errors import HeadraceError
from headrace.prep.rows import Counted, DatasetRows
from headrace.statistics import Moments
from tests.prep.test_pipeline import assert_same

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]
ROWS = 70_001  # several spans of each width, and rows behind the last
LAYOUTS: dict[str, dict[str, Any]] = {
    "raw": {"codec": "none"},
    "small": {"codec": "none", "chunk_samples": 1537, "shard_bytes": 1 << 21},  # chunks end inside spans
    "compressed": {"codec": "lz4", "chunk_samples": 5000},
}


def columns(seed: int = 0) -> Arrays:
    """Fields of several widths and dtypes, with nulls, infinities, constants and values far from the first ones."""
    random = np.random.default_rng(seed)
    x = random.normal(5, 3, (ROWS, 33)).astype(np.float32)
    x[random.random(x.shape) < 0.05] = np.nan
    x[40_000, 1] = np.inf
    x[:, 2] = 0.1
    y = random.lognormal(size=(ROWS, 3))
    y[ROWS // 2 :] += 1e9
    scalar = random.normal(size=ROWS)
    scalar[::11] = np.nan
    return {"x": x, "y": y, "scalar": scalar, "n": random.integers(-5000, 5000, ROWS, dtype=np.int32)}


@pytest.fixture(scope="module")
def data() -> Arrays:
    return columns()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, data: Arrays) -> dict[str, Any]:
    """The same columns on disk, and in memory."""
    folder = tmp_path_factory.mktemp("counted")
    for name, options in LAYOUTS.items():
        hr.write(folder / name, data, **options)
    return {name: hr.open(folder / name) for name in LAYOUTS} | {"arrays": hr.from_arrays(data)}


def scaled(fields: Any = None) -> prep.Pipeline:
    return prep.Pipeline([prep.Impute("mean"), prep.Outliers("zscore"), prep.Standardize()], fields=fields)


@pytest.mark.parametrize("layout", [*LAYOUTS, "arrays"])
@pytest.mark.parametrize("threads", [0, 1, 2, 8])
@pytest.mark.parametrize("fields", [None, "x"])
def test_fitting_by_a_stream_is_fitting_in_memory(stored: dict[str, Any], data: Arrays, layout: str, threads: int, fields: Any) -> None:
    expected, found = scaled(fields).fit(data, num_threads=0), scaled(fields).fit(stored[layout], num_threads=threads)
    assert found.passes_ == 2
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        assert_same(ours.learned, theirs.learned)


@pytest.mark.parametrize("layout", [*LAYOUTS, "arrays"])
def test_fitting_a_choice_of_rows(stored: dict[str, Any], data: Arrays, layout: str) -> None:
    """Rows that do not lie side by side."""
    rows = np.sort(np.random.default_rng(1).permutation(ROWS)[:40_000])
    chosen = stored[layout][rows]
    found = scaled().fit(chosen, num_threads=2)
    expected = scaled().fit({name: column[rows] for name, column in data.items()})
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        assert_same(ours.learned, theirs.learned)


def test_null_fields_are_counted_as_they_are_filled(tmp_path: Path, data: Arrays) -> None:
    valid = np.arange(ROWS) % 3 != 0
    schema = hr.Schema([hr.Field("n", dtype="int32", nullable=True), hr.Field("y", dtype="float64", shape=(3,))], "dict")
    rows = zip(data["n"].tolist(), valid, data["y"], strict=True)
    hr.write(tmp_path / "d", ({"n": n if there else None, "y": y} for n, there, y in rows), schema=schema)
    found = scaled().fit(hr.open(tmp_path / "d"), num_threads=2)
    expected = scaled().fit({"n": data["n"], "n.valid": valid, "y": data["y"]})
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        assert_same(ours.learned, theirs.learned)


def batches_of(dataset: hr.Dataset, threads: int = 2) -> list[dict[str, Any]]:
    rows = DatasetRows(dataset)
    program = prep.program.Program(rows.fields)
    wanted = {"x": program.read("x"), "scalar": program.read("scalar")}
    plan = program.compile(wanted)
    return list(rows.batches(plan, list(wanted), threads, program.input_names, {"x": 33}))


def test_what_is_counted_is_not_delivered(stored: dict[str, Any], data: Arrays) -> None:
    """So the test above is one of counting, and a field beside it comes as values."""
    batches = batches_of(stored["raw"])
    moments = Moments(33)
    for batch in batches:
        counted = batch["x"]
        assert isinstance(counted, Counted)
        with pytest.raises(ValueError, match="'x' was counted: its values are not in the batch"):
            counted.batch.numpy(counted.field)
        with pytest.raises(ValueError, match="'x' was counted"):
            counted.batch.dlpacks()
        moments.add(counted.batch, counted.field)
    assert len(batches) > 1
    np.testing.assert_array_equal(moments.mean, Moments(33).update(data["x"]).mean)
    np.testing.assert_array_equal(np.concatenate([batch["scalar"] for batch in batches]).reshape(-1), data["scalar"])


def test_counted_rows_follow_whole_spans(stored: dict[str, Any]) -> None:
    counted = batches_of(stored["raw"])[0]["x"]
    with pytest.raises(ValueError, match="the rows before end within a span of"):
        Moments(33).update(np.zeros((5, 33))).add(counted.batch, counted.field)
    with pytest.raises(ValueError, match="they have width 33; expected 4"):
        Moments(4).add(counted.batch, counted.field)
    with pytest.raises(IndexError, match="field 1 of the batch was not counted"):
        Moments(33).add(counted.batch, 1)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"counted": [1], "batch_size": 4096}, "count output 1: the plan has 1"),
        ({"counted": [0], "batch_size": 1000}, "batches of 1000; expected a multiple of"),
        ({"counted": [0], "batch_size": 4096, "on_error": "skip"}, "use on_error='raise'"),
    ],
)
def test_bad_settings_of_the_engine(stored: dict[str, Any], options: dict[str, Any], what: str) -> None:
    program = prep.program.Program(DatasetRows(stored["raw"]).fields)
    plan = program.compile({"x": program.read("x")})
    with pytest.raises(ValueError, match=what):
        _native.Pipeline(stored["raw"].native, fields=[0], field_plan=plan, **options)


def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path, data: Arrays) -> None:
    """Rows are read where they lie in the mapped file, which was whole when it was opened and first read."""
    hr.write(tmp_path / "d", {"x": data["x"]}, codec="none")
    dataset = hr.open(tmp_path / "d")
    scaled().fit(dataset)
    shard = next((tmp_path / "d").rglob("*.hrs"))
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(HeadraceError):
        scaled().fit(dataset)
