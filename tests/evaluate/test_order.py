"""The qualities of orders against what numpy says of them, and against what is known of the extremes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.utils.data

import headrace
from headrace.evaluate import order

SAMPLES = 20_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("order") / "d"
    headrace.write(path, {"x": np.arange(SAMPLES)}, chunk_samples=100, codec="none")
    return path


def loader(path: Path, **options: object) -> headrace.DataLoader:
    return headrace.DataLoader(headrace.open(path), 50, **options)  # type: ignore[arg-type]


def test_the_stored_order_does_not_mix(stored: Path) -> None:
    found = order(loader(stored, shuffle=False), memory_chunks=1)
    assert (found.mean_displacement, found.neighbour_survival) == (0, 1)
    assert found.distance == pytest.approx(1, abs=1e-6)
    assert not found.mixes
    # Half a chunk a batch: each is read once, by the first of the two batches that it holds.
    assert (found.chunks_a_batch, found.reads_a_chunk, found.memory_chunks) == (1, 1, 1)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_the_global_order_mixes_like_numpys(stored: Path, epoch: int) -> None:
    ours = order(loader(stored, shuffle=True, seed=3), epoch=epoch)
    theirs = order(np.random.default_rng(epoch).permutation(SAMPLES))
    for found in (ours, theirs):
        assert found.mixes
        assert found.mean_displacement == pytest.approx(found.uniform_displacement, abs=0.01)
        assert found.neighbour_survival < 10 / SAMPLES
        assert found.distance < 0.01
    # 50 random chunks of 200 a batch: each is touched anew by every batch that wants it.
    assert ours.chunks_a_batch == pytest.approx(200 * (1 - (1 - 1 / 200) ** 50), rel=0.02)


def test_displacement_and_survival_are_numpys(stored: Path) -> None:
    one = loader(stored, shuffle=True, order="window", window=4, seed=5)
    found = order(one, epoch=2)
    one.set_epoch(2)
    indices = torch.cat([batch["x"] for batch in one]).numpy()
    assert found.mean_displacement == pytest.approx(np.abs(indices - np.arange(SAMPLES)).mean() / SAMPLES, rel=1e-12)
    assert found.neighbour_survival == pytest.approx((np.abs(np.diff(indices)) == 1).mean(), rel=1e-12)


def test_a_wider_window_mixes_better_and_reads_no_more(stored: Path) -> None:
    found = [order(loader(stored, shuffle=True, order="window", window=window)) for window in (1, 16, 128)]
    assert found[0].neighbour_survival > found[1].neighbour_survival > found[2].neighbour_survival
    assert found[0].distance > found[1].distance > found[2].distance > found[2].uniform_survival
    for one in found:
        assert one.reads_a_chunk == pytest.approx(1, abs=0.05)


def test_reads_are_those_of_a_least_recently_used_memory(stored: Path) -> None:
    """Against a plain list, on an order that comes back to chunks."""
    one = loader(stored, shuffle=True, seed=1)
    indices = one.sampler.order().indices(0, SAMPLES)
    memory: list[int] = []
    reads = 0
    for begin in range(0, SAMPLES, 50):
        for chunk in sorted({int(i) // 100 for i in indices[begin : begin + 50]}):
            reads += chunk not in memory
            memory = [*(kept for kept in memory if kept != chunk), chunk][-60:]
    assert order(one, memory_chunks=60).reads_a_chunk == pytest.approx(reads / 200, rel=1e-12)


def test_label_entropy_of_batches(stored: Path) -> None:
    labels = np.arange(SAMPLES) // (SAMPLES // 4)  # stored class by class: 2 bits in all
    plain = order(loader(stored, shuffle=False), labels=labels)
    mixed = order(loader(stored, shuffle=True), labels=labels)
    assert plain.batch_label_entropy == 0
    assert plain.uniform_label_entropy == pytest.approx(2 - 3 / (2 * 50 * np.log(2)))
    assert mixed.batch_label_entropy == pytest.approx(plain.uniform_label_entropy, abs=0.01)


def test_a_long_epoch_is_looked_at_in_parts() -> None:
    dataset = headrace.from_arrays({"x": np.broadcast_to(np.zeros(1, np.int8), (30_000_000,))})
    found = order(headrace.DataLoader(dataset, 256, shuffle=True))
    assert found.samples == 30_000_000
    assert found.looked_at == 2048 * 512
    assert found.mixes
    plain = order(headrace.DataLoader(dataset, 256, shuffle=False))
    assert plain.neighbour_survival == 1
    assert plain.distance == pytest.approx(1, abs=0.02)


def test_what_cannot_be_measured_says_so(stored: Path) -> None:
    dataset = headrace.open(stored)
    fed = headrace.DataLoader(dataset, 50, sampler=torch.utils.data.RandomSampler(dataset))
    with pytest.raises(TypeError, match="sampler"):
        order(fed)
    with pytest.raises(TypeError, match="a mixture draws from several datasets"):
        order(headrace.DataLoader(headrace.mix([dataset, dataset], weights=[0.5, 0.5]), 50, shuffle=True))
    with pytest.raises(TypeError, match=r"DataLoader or indices"):
        order([0.5, 1.5])
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); expected \(20000,\)"):
        order(loader(stored, shuffle=True), labels=[1, 2, 3])
    with pytest.raises(ValueError, match="at least 2"):
        order(np.arange(1))


def test_measuring_moves_nothing(stored: Path) -> None:
    one = loader(stored, shuffle=True, seed=4)
    before = next(iter(one))["x"].tolist()
    one = loader(stored, shuffle=True, seed=4)
    order(one, epoch=9)
    assert next(iter(one))["x"].tolist() == before
