"""Photos to normalised float32 batches: ours beside libjpeg-turbo's own decode rate and the plain chain that people write by hand.

HEADRACE_BENCH_PHOTOS=N  photos of about 500x375 (default 2000) and, a tenth of it, of 2000x1500
Needs simplejpeg and opencv-python-headless (pip install); scikit-image, where there is one, lends more photos.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

import headrace
from benchmarks.interleave import interleaved
from benchmarks.rivals.hand_written_photos import PlainChain
from benchmarks.workloads.photos import PHOTOS_BATCH, Photos
from headrace import images

THREADS = 2
ROUNDS = int(os.environ.get("HEADRACE_BENCH_ROUNDS", "7"))
PHOTOS = int(os.environ.get("HEADRACE_BENCH_PHOTOS", "2000"))
NORMALISED = [images.ToDtype("float32", scale=True), images.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
TRAIN = [images.RandomResizedCrop(224), images.RandomHorizontalFlip(), *NORMALISED]
EVALUATE = [images.Resize(256), images.CenterCrop(224), *NORMALISED]

pytest.importorskip("simplejpeg", reason="the plain chain decodes with simplejpeg")
pytest.importorskip("cv2", reason="the plain chain resizes with OpenCV")


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    return Photos.prepare(folder, PHOTOS)


@pytest.fixture(scope="module")
def repacked(photos: Photos, folder: Path) -> Any:
    """The same files in a dataset, losslessly repacked."""
    path = folder / f"{photos.root.name}-repacked-dataset"
    if not path.exists():
        headrace.convert(photos.root, path, repack="lossless")
    return headrace.open(path).as_tuple("image", "label")


def loader_of(photos: Photos, transform: images.Compose) -> Any:
    return headrace.DataLoader(headrace.ImageFolder(photos.root, transform), PHOTOS_BATCH, shuffle=True, num_workers=THREADS)


def drain(batches: Any) -> int:
    return sum(len(batch[0]) if isinstance(batch, (list, tuple)) else len(batch) for batch in batches)


def cpu_seconds(work: Any) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.gate
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_photos(photos: Photos, repacked: Any, kind: str, report: Any) -> None:
    steps = TRAIN if kind == "train" else EVALUATE
    plain = PlainChain(photos.paths, PHOTOS_BATCH, train=kind == "train")
    fast, exact = (loader_of(photos, images.Compose(steps, exact=is_exact)) for is_exact in (False, True))
    packed = headrace.DataLoader(repacked, PHOTOS_BATCH, shuffle=True, num_workers=THREADS, prepare=images.Compose(steps))
    photos.page_in()
    timings = interleaved(
        {
            "fast": lambda: drain(fast),
            "packed": lambda: drain(packed),
            "exact": lambda: drain(exact),
            "one core": lambda: drain(plain.batches(0)),
            "pool": lambda: drain(plain.batches(THREADS)),
            "decode": lambda: plain.decode_all(THREADS),
        },
        rounds=ROUNDS,
    )
    works = {"fast": lambda: drain(fast), "packed": lambda: drain(packed), "pool": lambda: drain(plain.batches(THREADS))}
    costs = {name: cpu_seconds(work) for name, work in works.items()}
    report(
        f"photos, {kind}: headrace / twice the plain chain on a core",
        timings.speed_ratio("fast", "one core") / 2,
        at_least=1.5,
        limit="the plain chain's rate on one core, times the cores",
        our_samples_per_second=photos.samples / timings.median("fast"),
        plain_chain_a_core=photos.samples / timings.median("one core"),
        our_cpu_seconds_per_1000=costs["fast"] / photos.samples * 1000,
        spread=timings.spread("fast", "one core"),
        seconds_by_round=timings.seconds,
    )
    report(
        f"photos, {kind}, losslessly repacked: headrace / twice the plain chain on a core",
        timings.speed_ratio("packed", "one core") / 2,
        at_least=1.9,
        limit="the plain chain's rate on one core, times the cores",
        our_samples_per_second=photos.samples / timings.median("packed"),
        our_cpu_seconds_per_1000=costs["packed"] / photos.samples * 1000,
        beside_as_they_are=timings.speed_ratio("packed", "fast"),
        spread=timings.spread("packed", "one core"),
    )
    report(
        f"photos, {kind}: headrace / a pool of the plain chain",
        timings.speed_ratio("fast", "pool"),
        peer="simplejpeg + OpenCV in a thread pool",
        our_samples_per_second=photos.samples / timings.median("fast"),
        their_samples_per_second=photos.samples / timings.median("pool"),
        their_cpu_seconds_per_1000=costs["pool"] / photos.samples * 1000,
        spread=timings.spread("fast", "pool"),
    )
    report(
        f"photos, {kind}: exact / libjpeg-turbo's full decode",
        timings.speed_ratio("exact", "decode"),
        at_least=0.9,
        limit=f"simplejpeg's decode of all pixels and nothing else, {THREADS} threads",
        our_samples_per_second=photos.samples / timings.median("exact"),
        decoded_per_second=photos.samples / timings.median("decode"),
        spread=timings.spread("exact", "decode"),
    )


@pytest.mark.gate
def test_large_photos(folder: Path, report: Any) -> None:
    photos = Photos.prepare(folder, max(PHOTOS_BATCH, PHOTOS // 10), 2000, 1500)
    plain = PlainChain(photos.paths, PHOTOS_BATCH)
    loader = loader_of(photos, images.Compose(TRAIN))
    photos.page_in()
    timings = interleaved({"fast": lambda: drain(loader), "pool": lambda: drain(plain.batches(THREADS))}, rounds=ROUNDS)
    report(
        "photos of 2000x1500: headrace / a pool of the plain chain",
        timings.speed_ratio("fast", "pool"),
        at_least=4.0,
        peer="simplejpeg + OpenCV in a thread pool",
        our_samples_per_second=photos.samples / timings.median("fast"),
        their_samples_per_second=photos.samples / timings.median("pool"),
        spread=timings.spread("fast", "pool"),
    )
