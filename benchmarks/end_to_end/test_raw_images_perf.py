"""Raw images, global shuffle, warm: ours beside copying as many bytes and a hand-written loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace
from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written import HandWrittenRows
from benchmarks.workloads.images import IMAGES_BATCH, Images
from headrace._native import Order, copy_limit, gather_limit

THREADS = 2
SEED = 11
ROUNDS = 15


@pytest.fixture(scope="module")
def images(folder: Path) -> Images:
    return Images.prepare(folder, int(os.environ.get("HEADRACE_BENCH_IMAGES", "40000")))


def drain(batches: Iterator[Any]) -> int:
    return sum(len(label) for _, label in batches)


def check_content(images: Images, batches: Iterator[Any]) -> None:
    """Every sample once, told by its label, and bit-equal to the array it came from."""
    seen = np.zeros(len(images), np.int64)
    for image, label in batches:
        np.testing.assert_array_equal(image.numpy(), images.images[label.numpy()])
        seen[label.numpy()] += 1
    assert (seen == 1).all()


@pytest.mark.gate
def test_raw_images(images: Images, benchmark: Any, report: Any) -> None:
    dataset = headrace.open(images.path).as_tuple("image", "label")
    loader = headrace.DataLoader(dataset, IMAGES_BATCH, True, num_workers=THREADS, seed=SEED)
    order = Order(len(images), SEED, 0).indices(0, len(images))
    rival = HandWrittenRows("hand-written, in memory", (images.images, images.labels), IMAGES_BATCH)

    def ours() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        loader.set_epoch(0)
        return iter(loader)

    check_content(images, ours())
    for one, other in zip(ours(), rival.batches(order), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    images.page_in()
    delivered = len(images) * images.sample_bytes
    batch_bytes = IMAGES_BATCH * images.sample_bytes
    timings = interleaved(
        {
            "ours": lambda: drain(ours()),
            "copy": lambda: copy_limit(delivered, batch_bytes, delivered // THREADS, THREADS),
            "gather": lambda: gather_limit([images.images, images.labels], order, IMAGES_BATCH, THREADS),
            "rival": lambda: drain(rival.batches(order)),
        },
        rounds=ROUNDS,
    )
    benchmark.pedantic(lambda: drain(ours()), rounds=1)
    speed = len(images) / timings.median("ours")
    report(
        "headrace / memory copy",
        timings.speed_ratio("ours", "copy"),
        at_least=0.8,
        limit=f"memory copy of the delivered bytes, {THREADS} threads",
        our_samples_per_second=speed,
        delivered_gigabytes_per_second=speed * images.sample_bytes / 1e9,
        ratio_to_a_bare_gather=timings.speed_ratio("ours", "gather"),
        spread=timings.spread("ours", "copy"),
        seconds_by_round=timings.seconds,
    )
    report(
        f"headrace / {rival.name}",
        timings.speed_ratio("ours", "rival"),
        at_least=3.0,
        peer=rival.name,
        our_samples_per_second=speed,
        their_samples_per_second=len(images) / timings.median("rival"),
        spread=timings.spread("ours", "rival"),
    )
