import numpy as np
import pytest

import headrace
from headrace._native import Dataset
from headrace.bench import bench_loader
from headrace.bench.loader import check_exactly_once


@pytest.fixture
def dataset(tmp_path):
    headrace.write(tmp_path / "d", {"x": np.arange(5000, dtype=np.float32).reshape(1000, 5)}, codec="none", chunk_samples=64)
    return str(tmp_path / "d")


@pytest.mark.parametrize("order", ["global", "window", "sequential"])
def test_every_sample_is_counted_once(dataset, order):
    assert check_exactly_once(Dataset(dataset), batch_size=37, order=order, num_threads=2, seed=1) == 1000


@pytest.mark.parametrize("order", ["global", "window", "sequential"])
def test_results_are_consistent_with_the_dataset(dataset, order):
    pytest.importorskip("torch")
    measured = bench_loader(dataset, batch_size=128, order=order, workers=(0, 1), epochs=2)
    assert (measured.samples, measured.checked_samples, measured.raw_bytes) == (1000, 1000, 20_000)
    for result in measured.results:
        assert result.samples_per_second == pytest.approx(1000 / np.median(result.epoch_seconds))
        assert result.bytes_per_second == pytest.approx(result.samples_per_second * 20)
        assert result.copy_share == pytest.approx(result.bytes_per_second / measured.ceilings[1].copy_bytes_per_second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "got 0, 3"),
        ({"epochs": 0}, "got 1024, 0"),
        ({"workers": ()}, r"got 1024, 3, \[\]"),
        ({"workers": (0, -1)}, r"\[0, -1\]"),
        ({"order": "random"}, "got 'random'"),
    ],
)
def test_options_that_make_no_sense_are_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        bench_loader(dataset, **options)


def test_an_empty_dataset_is_refused(tmp_path):
    headrace.write(tmp_path / "d", {"x": np.zeros((0, 5), np.float32)})
    with pytest.raises(ValueError, match="the dataset is empty"):
        bench_loader(str(tmp_path / "d"))
