import subprocess
import sys

import numpy as np
import pytest

import headrace
from headrace._native import Dataset
from headrace.bench import bench_loader, limits
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
        assert result.samples_per_second == pytest.approx(np.median(1000 / np.array(result.epoch_seconds)))
        assert result.bytes_per_second == pytest.approx(result.samples_per_second * 20)
        assert (result.name, result.limit) == ("headrace", "memory copy")
        assert result.limit_share == pytest.approx(result.copy_share)
        assert result.cpu_seconds_per_gb > 0
        assert result.accelerator is None
        assert result.copy_share == pytest.approx(result.bytes_per_second / measured.ceilings[1].copy_bytes_per_second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "got 0, 3"),
        ({"epochs": 0}, "got 1024, 0"),
        ({"workers": ()}, r"got 1024, 3, \[\]"),
        ({"workers": (0, -1)}, r"\[0, -1\]"),
        ({"order": "random"}, "got 'random'"),
        ({"against": ("numpy", "webdataset")}, "one of torch, torch-batched, numpy, got 'webdataset'"),
        ({"compute_ms": 0}, "got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        bench_loader(dataset, **options)


def test_an_empty_dataset_is_refused(tmp_path):
    headrace.write(tmp_path / "d", {"x": np.zeros((0, 5), np.float32)})
    with pytest.raises(ValueError, match="the dataset is empty"):
        bench_loader(str(tmp_path / "d"))


def test_compressed_data_is_held_against_the_decode_rate_as_well(tmp_path):
    pytest.importorskip("torch")
    steps = np.random.default_rng(1).integers(0, 9, (4000, 256)).astype(np.float32)
    headrace.write(tmp_path / "d", {"x": steps}, codec="zstd:1")
    measured = bench_loader(str(tmp_path / "d"), batch_size=128, workers=(1,), epochs=1)
    limits = {limit.name: limit for limit in measured.limits[1]}
    assert set(limits) == {"memory copy", "codec decode"}
    assert limits["codec decode"].bytes_per_second == pytest.approx(steps.nbytes / limits["codec decode"].epoch_seconds)
    (result,) = measured.results
    slowest = max(limits.values(), key=lambda limit: limit.epoch_seconds)
    assert result.limit == slowest.name
    assert result.limit_share == pytest.approx(slowest.epoch_seconds / result.epoch_seconds[0])


def test_rivals_deliver_the_same_number_of_samples_and_are_compared_at_their_best(dataset):
    pytest.importorskip("torch")
    measured = bench_loader(dataset, batch_size=128, workers=(0,), epochs=2, against=("torch", "torch-batched", "numpy"))
    assert [result.name for result in measured.results] == ["headrace", "torch", "torch-batched", "numpy"]
    for result in measured.results:
        assert result.samples_per_second == pytest.approx(np.median(1000 / np.array(result.epoch_seconds)))
    assert set(measured.speed_ratios) == {"torch", "torch-batched", "numpy"}
    # Which of them is faster is for a quiet machine to say: an epoch takes less than the scheduler may take away.
    ours, *others = measured.results
    for rival in others:
        rounds = [theirs / mine for mine, theirs in zip(ours.epoch_seconds, rival.epoch_seconds, strict=True)]
        assert measured.speed_ratios[rival.name] == pytest.approx(np.median(rounds))


def test_a_hand_written_loop_needs_fields_of_a_fixed_shape(tmp_path):
    headrace.write(tmp_path / "d", {"name": ["a", "bb"], "x": np.arange(2)})
    with pytest.raises(ValueError, match="numpy needs fields of a fixed shape to gather from; name has none"):
        bench_loader(str(tmp_path / "d"), workers=(0,), epochs=1, against=("numpy",))


def test_a_simulated_accelerator_is_kept_busy(dataset):
    pytest.importorskip("torch")
    measured = bench_loader(dataset, batch_size=100, workers=(1,), epochs=1, compute_ms=5)
    run = measured.results[0].accelerator
    assert (run.steps, run.compute_seconds) == (10, 0.005)
    assert 0 < run.utilisation <= 1


def test_the_first_batch_does_not_wait_for_imports(dataset):
    code = (
        "import sys\n"
        "from headrace.bench import loader\n"
        "def ready(*facts): print('torch' in sys.modules, 'headrace.loader.loader' in sys.modules); sys.exit()\n"
        "loader._HeadraceRun = ready\n"
        f"loader.bench_loader({dataset!r}, workers=(0,), epochs=1)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_the_decode_limit_is_the_rate_times_all_bytes(tmp_path, monkeypatch):
    steps = np.random.default_rng(1).integers(0, 9, (4000, 256)).astype(np.float32)
    headrace.write(tmp_path / "d", {"x": steps, "y": np.arange(4000)}, codec={"x": "lz4", "y": "none"})
    native = Dataset(str(tmp_path / "d"))
    seconds = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    asked = []

    def rate(dataset, field, indices, batch_size, threads, with_filters):
        asked.append((field, len(indices), threads, with_filters))
        return {"seconds": next(seconds), "decoded_bytes": 2 * steps.nbytes, "stored_bytes": 1, "blocks": 1}

    monkeypatch.setattr(limits, "decode_rate", rate)
    assert limits.decode_seconds(native, 2) == pytest.approx(0.5)  # the best round; each byte was decoded twice in it
    assert asked == [(0, 4000, 2, True)] * 5
