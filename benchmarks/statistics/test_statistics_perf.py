"""The accumulators beside a plain read of the same bytes, and beside numpy and scikit-learn, on one core each: answers are compared first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import headrace as hr
from benchmarks.interleave import interleaved
from headrace.statistics import CoMoments, Distinct, Frequencies, Moments, Quantiles

ROWS, WIDTH, BATCHES = 65536, 64, 8  # 16 MiB a batch of float32, 128 MiB in all: beyond the caches
_ROUNDS = 7


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    """Normal numbers, float32."""
    random = np.random.default_rng(0)
    return [random.normal(3, 2, (ROWS, WIDTH)).astype(np.float32) for _ in range(BATCHES)]


def read(batches: list[np.ndarray]) -> int:
    """Every byte once, by numpy's vectorised maximum of integers."""
    return max(int(batch.view(np.int32).max()) for batch in batches)


def in_turn(make: Callable[[], Any], batches: list[np.ndarray], **options: Any) -> Any:
    """An accumulator that took all batches."""
    made = make()
    for batch in batches:
        made.update(batch, **options)
    return made


@pytest.mark.informational
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_moments_against_reading(batches: list[np.ndarray], report: Any, dtype: str) -> None:
    values = [(batch * 1000).astype(dtype) for batch in batches]
    found = in_turn(lambda: Moments(WIDTH), values, threads=0)
    whole = np.concatenate(values).astype(np.float64)
    # numpy adds along axis 0 one after the other: it is the one that is off in the eleventh digit.
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.variance(), whole.var(0), rtol=1e-9)
    scaler = StandardScaler()
    timings = interleaved(
        {
            "ours": lambda: in_turn(lambda: Moments(WIDTH), values, threads=0),
            "read": lambda: read(values),
            "sklearn": lambda: [scaler.partial_fit(batch) for batch in values],
        },
        rounds=_ROUNDS,
    )
    size = sum(batch.nbytes for batch in values)
    speed = size / timings.median("ours") / 1e9
    report(
        f"moments of {dtype} / reading them, 1 thread",
        timings.speed_ratio("ours", "read"),
        limit="reading the same bytes",
        our_gigabytes_per_second=speed,
        spread=timings.spread("ours", "read"),
    )
    report(
        f"moments of {dtype} / scikit-learn's StandardScaler.partial_fit",
        timings.speed_ratio("ours", "sklearn"),
        peer="scikit-learn",
        our_gigabytes_per_second=speed,
        spread=timings.spread("ours", "sklearn"),
    )


@pytest.mark.informational
def test_covariances_against_numpy(batches: list[np.ndarray], report: Any) -> None:
    values = batches[:2]
    whole = np.concatenate(values).astype(np.float64)
    np.testing.assert_allclose(in_turn(lambda: CoMoments(WIDTH), values).covariance(1), np.cov(whole, rowvar=False), rtol=1e-9, atol=1e-9)
    threads = hr.num_threads()
    timings = interleaved(
        {"ours": lambda: in_turn(lambda: CoMoments(WIDTH), values, threads=threads), "numpy": lambda: np.cov(whole, rowvar=False)},
        rounds=_ROUNDS,
    )
    report("covariances / numpy.cov of float64", timings.speed_ratio("ours", "numpy"), peer="numpy", spread=timings.spread("ours", "numpy"))


@pytest.mark.informational
@pytest.mark.parametrize(
    ("name", "make", "numpy_way"),
    [
        ("quantiles", lambda: Quantiles(1), lambda values: np.quantile(values, [0.25, 0.5, 0.75])),
        ("distinct values", lambda: Distinct(), lambda values: len(np.unique(values))),
        ("frequencies of 1,000 values", lambda: Frequencies(), lambda values: np.unique(values, return_counts=True)),
    ],
)
def test_sketches_against_sorting(report: Any, name: str, make: Callable[[], Any], numpy_way: Callable[[Any], Any]) -> None:
    random = np.random.default_rng(1)
    values = random.integers(0, 1000, 2_000_000) if "frequencies" in name else random.normal(size=2_000_000)
    made, expected = make().update(values), numpy_way(values)
    if name == "quantiles":
        assert np.abs([(values <= q).mean() for q in made.quantile([0.25, 0.5, 0.75])[:, 0]] - np.array([0.25, 0.5, 0.75])).max() <= 0.002
    elif name == "distinct values":
        assert abs(made.estimate / expected - 1) < 4 * made.relative_error
    else:
        listed = dict(zip(*(part.tolist() for part in made.items()), strict=True))
        assert listed == dict(zip(*(part.tolist() for part in expected), strict=True))
    timings = interleaved({"ours": lambda: make().update(values), "numpy": lambda: numpy_way(values)}, rounds=_ROUNDS)
    report(
        f"{name} / numpy, 2,000,000 values",
        timings.speed_ratio("ours", "numpy"),
        peer="numpy",
        our_nanoseconds_a_value=timings.median("ours") / len(values) * 1e9,
        spread=timings.spread("ours", "numpy"),
    )
