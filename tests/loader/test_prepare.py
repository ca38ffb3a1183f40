"""DataLoader(prepare=pipeline): what batches hold, whatever the storage, order, threads and errors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from headrace import prep
from tests.loader.samples import damage

ROWS = 700


def columns() -> dict[str, Any]:
    random = np.random.default_rng(4)
    x = random.normal(2, 3, (ROWS, 5)).astype(np.float32)
    x[random.random(x.shape) < 0.2] = np.nan
    return {"x": x, "w": random.normal(size=ROWS), "text": [f"row {i}" for i in range(ROWS)], "y": np.arange(ROWS)}


def pipeline() -> prep.Pipeline:
    return prep.Pipeline(
        [
            prep.Impute("mean", indicator=True, fields="x"),
            prep.Outliers("zscore", fields="x"),
            prep.Standardize(fields=["x", "w"]),
            prep.Concat("features"),
        ]
    )


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prepare")
    schema = hr.Schema(
        [
            hr.Field("x", dtype="float32", shape=(5,)),
            hr.Field("w", dtype="float64", nullable=True),
            hr.Field("text", kind="string"),
            hr.Field("y", dtype="int64"),
        ],
        "dict",
    )
    hr.write(folder / "raw", columns(), codec="none", chunk_samples=64)
    hr.write(folder / "zstd", columns(), codec="zstd", chunk_samples=50, shard_bytes=1 << 14)
    hr.write(folder / "nullable", [dict(zip(columns(), row, strict=True)) for row in zip(*columns().values(), strict=True)], schema=schema)
    opened = {name: hr.open(folder / name) for name in ("raw", "zstd", "nullable")}
    opened["pread"] = hr.open(folder / "zstd", reader="pread")
    opened["arrays"] = hr.from_arrays({name: values for name, values in columns().items() if name != "text"})
    return opened


@pytest.fixture(scope="module")
def expected(datasets: dict[str, Any]) -> Any:
    return pipeline().fit(datasets["arrays"]).transform(datasets["arrays"])["features"]


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("kind", ["raw", "zstd", "nullable", "pread", "arrays"])
@pytest.mark.parametrize("order", [{}, {"shuffle": True, "seed": 3}, {"shuffle": True, "seed": 3, "order": "window", "window": 2}])
def test_batches_are_those_of_transform(datasets: dict[str, Any], expected: Any, kind: str, order: dict[str, Any], workers: int) -> None:
    pipe = pipeline().fit(datasets[kind])
    loader = hr.DataLoader(datasets[kind], 48, num_workers=workers, prepare=pipe, **order)
    seen = []
    for batch in loader:
        assert list(batch) == [name for name in ("text", "y", "features") if name in batch]
        np.testing.assert_array_equal(batch["features"].numpy(), expected[batch["y"].numpy()])
        if "text" in batch:
            assert batch["text"] == [f"row {i}" for i in batch["y"].tolist()]
        seen += batch["y"].tolist()
    assert sorted(seen) == list(range(ROWS))
    assert loader.stats()["stages"]["fields"] > 0


def test_replay_resume_and_pickle(datasets: dict[str, Any]) -> None:
    pipe = pipeline().fit(datasets["raw"])
    loader = hr.DataLoader(datasets["raw"], 32, shuffle=True, seed=1, num_workers=2, prepare=pipe)
    batches = [batch["features"] for batch in loader]
    plain = hr.DataLoader(datasets["raw"], 32, shuffle=True, seed=1)
    assert loader.state_dict() == {**loader.state_dict(), "version": plain.state_dict()["version"]}
    assert torch.equal(loader.replay(5, epoch=0)["features"], batches[5])
    again = pickle.loads(pickle.dumps(hr.DataLoader(datasets["raw"], 32, shuffle=True, seed=1, prepare=pipe)))
    steps = iter(again)
    for k in range(7):
        assert torch.equal(next(steps)["features"], batches[k])
    resumed = hr.DataLoader(datasets["raw"], 32, shuffle=True, seed=1, prepare=pipe)
    resumed.load_state_dict(again.state_dict())
    assert torch.equal(next(iter(resumed))["features"], batches[7])


def test_subsets_splits_mixtures_and_casts(datasets: dict[str, Any], expected: Any) -> None:
    dataset = datasets["zstd"]
    pipe = pipeline().fit(dataset)
    rows = np.array([5, 3, 600, 5])
    whole = {row: expected[row] for row in range(ROWS)}
    with pytest.warns(hr.HeadraceWarning, match="fitted on"):
        loader = hr.DataLoader(dataset.subset(rows), 3, prepare=pipe)
    np.testing.assert_array_equal(torch.cat([batch["features"] for batch in loader]).numpy(), np.stack([whole[row] for row in rows]))
    train = dataset.split(train=0.5, seed=0)["train"]
    own = pipeline().fit(train)
    mixed = hr.mix([dataset, dataset], weights=[1, 2])
    for batch in hr.DataLoader(mixed, 20, shuffle=True, prepare=own):
        assert batch["features"].shape == (20, 11) or len(batch["y"]) < 20
    cast = dataset.cast({"x": "float64"})
    made = pipeline().fit(cast)
    total = torch.cat([batch["features"] for batch in hr.DataLoader(cast, 64, prepare=made)]).numpy()
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-5)


def test_sequences(datasets: dict[str, Any]) -> None:
    view = datasets["raw"].select(["x", "y"]).sequences(4, 2)
    pipe = prep.Pipeline([prep.Impute("constant", fill_value=-1, fields="x")]).fit(view)
    x = np.where(np.isnan(columns()["x"]), -1, columns()["x"])
    for workers in (0, 2):
        batches = list(hr.DataLoader(view, 10, num_workers=workers, prepare=pipe))
        np.testing.assert_array_equal(batches[1]["x"].numpy(), np.stack([x[2 * i : 2 * i + 4] for i in range(10, 20)]))


def test_collate_fn_gets_prepared_samples(datasets: dict[str, Any], expected: Any) -> None:
    pipe = pipeline().fit(datasets["raw"])
    loader = hr.DataLoader(datasets["raw"], 8, prepare=pipe, collate_fn=lambda samples: samples)
    samples = next(iter(loader))
    np.testing.assert_array_equal(samples[3]["features"], expected[3])
    assert samples[3]["text"] == "row 3"


def test_tuples_and_torch_datasets() -> None:
    x, y = torch.arange(40, dtype=torch.float32).reshape(20, 2), torch.arange(20)
    dataset = torch.utils.data.TensorDataset(x, y)
    pipe = prep.Pipeline([prep.MinMax(fields="0")]).fit({"0": x, "1": y})
    made, label = next(iter(hr.DataLoader(dataset, 20, prepare=pipe)))
    np.testing.assert_allclose(made.numpy(), ((x - x[0]) / (x[-1] - x[0])).numpy(), rtol=1e-6)
    assert torch.equal(label, y)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_damaged_samples(tmp_path: Path, on_error: str, workers: int) -> None:
    data = {name: values for name, values in columns().items() if name != "text"}
    hr.write(tmp_path / "d", data, codec="none", chunk_samples=50)
    whole = hr.open(tmp_path / "d")
    pipe = pipeline().fit(whole)
    expected = pipe.transform(whole)["features"]
    damage(tmp_path / "d", 0, [30, 333])
    loader = hr.DataLoader(hr.open(tmp_path / "d"), 32, num_workers=workers, prepare=pipe, on_error=on_error, max_errors=ROWS)
    seen = 0
    for batch in loader:
        np.testing.assert_array_equal(batch["features"].numpy(), expected[batch["y"].numpy()])
        seen += len(batch["y"])
    assert loader.stats()["skipped"] > 0
    assert seen == (ROWS if on_error == "replace" else ROWS - loader.stats()["skipped"])
    with pytest.raises(hr.CorruptDataError):
        list(hr.DataLoader(hr.open(tmp_path / "d"), 32, num_workers=workers, prepare=pipe))


def test_what_a_loader_cannot_run_is_said_when_it_is_made(datasets: dict[str, Any]) -> None:
    dataset = datasets["raw"]
    with pytest.raises(prep.NotFittedError, match="has not been fitted"):
        hr.DataLoader(dataset, 8, prepare=pipeline())
    ordered = prep.Pipeline([prep.Impute("interpolate", fields="x")]).fit(dataset)
    with pytest.raises(ValueError, match="neighbouring rows"):
        hr.DataLoader(dataset, 8, shuffle=True, prepare=ordered)
    dropping = prep.Pipeline([prep.Impute("drop", fields="x")]).fit(dataset)
    with pytest.raises(ValueError, match=r"pipe\.keep"):
        hr.DataLoader(dataset, 8, prepare=dropping)
    view = dropping.keep(dataset)
    assert 0 < len(view) < ROWS
    loader = hr.DataLoader(view, 1000, prepare=dropping)
    assert not torch.isnan(next(iter(loader))["x"]).any()
    pipe = pipeline().fit(dataset)
    with pytest.raises(KeyError, match="'x'"):
        hr.DataLoader(dataset.select(["w", "y"]), 8, prepare=pipe)
    with pytest.raises(TypeError, match="fitted on tensor float32"):
        hr.DataLoader(dataset.cast({"x": "float64"}), 8, prepare=pipe)
