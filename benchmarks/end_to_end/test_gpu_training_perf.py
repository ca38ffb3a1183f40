"""Training ResNets on a GPU from JPEG files: images/s of whole epochs against the GPU alone, and against torch's DataLoader with torchvision. Needs a GPU.

HEADRACE_BENCH_PHOTOS=N  photos of about 500x375 (default 2000)
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import headrace
from benchmarks.interleave import interleaved
from benchmarks.workloads.photos import Photos
from headrace import images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch sees no CUDA device here")

PHOTOS = int(os.environ.get("HEADRACE_BENCH_PHOTOS", "2000"))
BATCH = 256
EPOCHS = 3
ROUNDS = 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    made = Photos.prepare(folder, PHOTOS)
    made.page_in()
    return made


def transform() -> images.Compose:
    """What ResNets are trained with."""
    return images.Compose(
        [images.RandomResizedCrop(224), images.RandomHorizontalFlip(), images.ToDtype("float32", scale=True), images.Normalize(MEAN, STD)]
    )


def ours(photos: Photos, device: str | None = "cuda") -> headrace.DataLoader:
    """As many threads as it chooses."""
    source = headrace.ImageFolder(photos.root, transform())
    return headrace.DataLoader(source, BATCH, True, num_workers="auto", drop_last=True, device=device, seed=1)


def theirs(photos: Photos, workers: int) -> Any:
    """torch's loader as its documentation advises: workers that stay, pinned memory."""
    v2 = pytest.importorskip("torchvision.transforms.v2", reason="torch's side reads photos with torchvision")
    torchvision = pytest.importorskip("torchvision")
    steps = [
        v2.RandomResizedCrop(224),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    source = torchvision.datasets.ImageFolder(photos.root, v2.Compose(steps))
    return torch.utils.data.DataLoader(
        source, BATCH, shuffle=True, num_workers=workers, drop_last=True, pin_memory=True, persistent_workers=True, prefetch_factor=4
    )


def step_of(name: str) -> Callable[[Any, Any], None]:
    """One step of training in bfloat16, channels last."""
    torchvision = pytest.importorskip("torchvision", reason="the networks are torchvision's")
    network = getattr(torchvision.models, name)(num_classes=10).cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(pictures: Any, labels: Any) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(pictures.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def train(epochs: Iterable[Any], step: Callable[[Any, Any], None]) -> int:
    """Images of all batches."""
    count = 0
    for batches in epochs:
        for pictures, labels in batches:
            step(pictures.cuda(non_blocking=True), labels.cuda(non_blocking=True))
            count += len(labels)
    torch.cuda.synchronize()
    return count


@pytest.mark.informational
@pytest.mark.parametrize("name", ["resnet50", "resnet18"])
def test_training(photos: Photos, name: str, report: Any) -> None:
    loader, host = ours(photos), ours(photos, None)
    for (there, numbers), (here, same) in zip(loader, host, strict=True):  # The same batches, bit for bit.
        assert there.is_cuda
        assert torch.equal(there.cpu(), here)
        assert torch.equal(numbers.cpu(), same)
    step = step_of(name)
    workers = headrace.num_threads()
    other = theirs(photos, workers)
    resident = (torch.randn(BATCH, 3, 224, 224, device="cuda"), torch.randint(10, (BATCH,), device="cuda"))
    steps = PHOTOS // BATCH
    for _ in range(20):  # cuDNN chooses its kernels.
        step(*resident)
    count = steps * BATCH * EPOCHS
    tasks = {
        "GPU alone": lambda: train([[resident] * steps] * EPOCHS, step),
        "ours": lambda: train([loader] * EPOCHS, step),
        "torch": lambda: train([other] * EPOCHS, step),
    }
    for task in tasks.values():
        assert task() == count
    timings = interleaved(tasks, ROUNDS, warm_up=False)
    stalls = loader.stats()
    rates = {name: count / timings.median(name) for name in tasks}
    host_seconds = statistics.median(interleaved({"host": lambda: [None for _ in host]}, ROUNDS).seconds["host"])
    report(f"{name}: training / the GPU alone", timings.speed_ratio("ours", "GPU alone"), limit="the GPU alone", our_samples_per_second=rates["ours"],
           limit_samples_per_second=rates["GPU alone"], loader_alone_samples_per_second=steps * BATCH / host_seconds, threads=stalls["num_threads"],
           spread=timings.spread("ours", "GPU alone"), device=torch.cuda.get_device_name())  # fmt: skip
    report(f"{name}: training / torch's DataLoader", timings.speed_ratio("ours", "torch"), peer="torch, torchvision", our_samples_per_second=rates["ours"],
           their_samples_per_second=rates["torch"], their_workers=workers, spread=timings.spread("ours", "torch"))  # fmt: skip
