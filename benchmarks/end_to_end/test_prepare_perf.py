"""Tables that are imputed, cut and standardized while they are loaded: beside loading them plain, and beside scikit-learn a batch; and fitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import headrace as hr
from benchmarks.interleave import interleaved
from headrace import prep

_ROWS, _WIDTH, _BATCH, _ROUNDS = 2_000_000, 64, 4096, 7


def written(path: Path, **options: Any) -> hr.Dataset:
    """2 million rows of 64 float32, a thirtieth of them null; measured in eighths, so that it compresses."""
    random = np.random.default_rng(3)
    with hr.Writer(path, **options) as writer:
        for begin in range(0, _ROWS, 100_000):
            x = np.round(random.standard_normal((100_000, _WIDTH), dtype=np.float32) * 24) / 8 + 10
            x[random.random((100_000, 4)).argmax(axis=1) == 0, ::8] = np.nan
            writer.extend({"x": x, "y": np.arange(begin, begin + 100_000)})
    return hr.open(path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """Stored raw: a scan is a copy of memory."""
    return written(tmp_path_factory.mktemp("prepare") / "d", codec="none")


def pipeline() -> prep.Pipeline:
    return prep.Pipeline([prep.Impute("mean", fields="x"), prep.Outliers("zscore", fields="x"), prep.Standardize(fields="x")])


class SklearnBatches:
    """The same steps with scikit-learn and numpy, a batch at a time: what people write."""

    def __init__(self, fill: Any, low: Any, high: Any, scaler: StandardScaler) -> None:
        from sklearn.impute import SimpleImputer

        self.imputer = SimpleImputer().fit(np.stack([fill, fill]).astype(np.float32))
        self.low, self.high, self.scaler = low.astype(np.float32), high.astype(np.float32), scaler

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        made = np.clip(self.imputer.transform(x.numpy()), self.low, self.high)
        return torch.from_numpy(self.scaler.transform(made))


def like(pipe: prep.Pipeline) -> SklearnBatches:
    """scikit-learn's objects with the same numbers."""
    scaler = StandardScaler()
    step = pipe.steps[2]
    scaler.mean_, scaler.var_, scaler.scale_ = step.mean_["x"], step.var_["x"], step.scale_["x"]
    scaler.n_features_in_, scaler.n_samples_seen_ = _WIDTH, _ROWS
    return SklearnBatches(pipe.steps[0].statistics_["x"], pipe.steps[1].low_["x"], pipe.steps[1].high_["x"], scaler)


def consume(loader: Any, then: Any = None) -> None:
    for batch in loader:
        if then is not None:
            then(batch["x"])


@pytest.mark.gate
def test_preparing_costs_little_beside_loading(dataset: hr.Dataset, report: Any) -> None:
    pipe = pipeline().fit(dataset)
    by_hand = like(pipe)
    options: dict[str, Any] = {"batch_size": _BATCH, "shuffle": True, "num_workers": 2}
    plain, fused = hr.DataLoader(dataset, **options), hr.DataLoader(dataset, **options, prepare=pipe)
    for raw, made in zip(plain, fused, strict=True):
        assert torch.equal(raw["y"], made["y"])
        torch.testing.assert_close(made["x"], by_hand(raw["x"]), rtol=1e-4, atol=1e-5)
    timings = interleaved(
        {"plain": lambda: consume(plain), "fused": lambda: consume(fused), "sklearn": lambda: consume(plain, by_hand)}, _ROUNDS
    )
    rate = _ROWS / timings.median("fused")
    report(
        "loading with Impute, Outliers and Standardize, beside plain loading",
        timings.speed_ratio("fused", "plain"),
        at_least=0.8,
        limit="plain loading",
        our_samples_per_second=rate,
    )
    report(
        "the same beside scikit-learn's transform a batch",
        timings.speed_ratio("fused", "sklearn"),
        at_least=10,
        peer="scikit-learn, a batch",
        our_samples_per_second=rate,
    )


@pytest.mark.gate
@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_fitting_is_a_scan(dataset: hr.Dataset, codec: str, tmp_path: Path, report: Any) -> None:
    """The cache holds no more than a sixteenth of the decoded data: each pass decodes it, as where memory is scarce."""
    if codec != "none":
        dataset = written(tmp_path / "d", codec=codec)

    def scan() -> None:
        consume(hr.DataLoader(dataset.select(["x"]), 16384, num_workers=2))

    def fit() -> prep.Pipeline:
        return prep.Pipeline([prep.Standardize()], fields="x").fit(dataset)

    def partial() -> StandardScaler:
        scaler = StandardScaler()
        consume(hr.DataLoader(dataset.select(["x"]), 16384, num_workers=2), lambda x: scaler.partial_fit(x.numpy()))
        return scaler

    ours, theirs = fit().steps[0], partial()
    np.testing.assert_allclose(ours.mean_["x"], theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.var_["x"], theirs.var_, rtol=1e-6)
    hr.set_cache_bytes(32 << 20)
    timings = interleaved({"scan": scan, "fit": fit, "partial_fit": partial}, _ROUNDS)
    hr.set_cache_bytes(None)
    rate = _ROWS / timings.median("fit")
    report(
        f"fitting Standardize beside a plain scan, {codec}",
        timings.speed_ratio("fit", "scan"),
        at_least=0.6,
        limit="plain scan",
        our_samples_per_second=rate,
    )
    report(
        f"fitting Standardize beside partial_fit, {codec}",
        timings.speed_ratio("fit", "partial_fit"),
        at_least=5 if codec == "none" else None,
        peer="scikit-learn, partial_fit",
        our_samples_per_second=rate,
    )
