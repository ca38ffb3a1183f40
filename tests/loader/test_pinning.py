"""Page-locked memory: each slab is locked once, unlocked once at its end, never while something may read it; a refusal costs speed, never a batch."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from headrace.loader import cuda, pinning
from tests.loader.fake_cuda import FakeCuda, FakeRuntimeLibrary, fake_library, release_done
from tests.loader.samples import assert_same, ids_of, numbered

N, BATCH = 400, 20


@pytest.fixture
def library() -> FakeRuntimeLibrary:
    """The stand-in for libcudart, loaded."""
    return fake_library()


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    """400 numbered samples."""
    return numbered(tmp_path / "d", N, codec="lz4", chunk_samples=32)


@pytest.fixture
def device(library: FakeRuntimeLibrary, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A fake device whose runtime locks pages by the library. Afterwards nothing is locked, and nothing went wrong in it."""
    fake = FakeCuda(locks_pages=True)
    monkeypatch.setattr(cuda, "runtime", fake)
    monkeypatch.setattr(pinning, "_warned", False)
    before = library.counts()
    assert library.hand_over()
    yield fake
    library.take_back()
    fake.run()
    gc.collect()
    release_done()
    after = library.counts()
    assert (after["locked"], after["bytes"], after["wrong"]) == (0, 0, before["wrong"])


MAPS = """\
7f00-7f01 r--p 00000000 00:00 1   /usr/lib/libcuda.so.1
7f01-7f02 r--p 00000000 00:00 2   /opt/old/libcudart.so.11.0
7f02-7f03 r-xp 00000000 00:00 2   /opt/old/libcudart.so.11.0
7f03-7f04 r--p 00000000 00:00 3   /home/a user/nvidia/libcudart-9335f6a2.so.12
7f04-7f05 r--p 00000000 00:00 4   /gone/libcudart.so.13 (deleted)
7f05-7f06 r--p 00000000 00:00 5   /libcudart.d/other.so
7f06-7f07 rw-p 00000000 00:00 0
"""


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("12.8", "/home/a user/nvidia/libcudart-9335f6a2.so.12"),
        ("11.8", "/opt/old/libcudart.so.11.0"),
        ("13.0", "/home/a user/nvidia/libcudart-9335f6a2.so.12"),
        (None, "/home/a user/nvidia/libcudart-9335f6a2.so.12"),
    ],
)
def test_the_runtime_of_torchs_version_is_found(version: str | None, found: str) -> None:
    assert pinning._find_runtime(MAPS, version) == found


def test_no_runtime_is_none(tmp_path: Path) -> None:
    assert pinning._find_runtime(MAPS.splitlines()[0], "12.8") is None
    assert not pinning.hand_over("", "12.8")
    # Not loaded, so it would be a second one; and a library that is loaded but lacks the functions.
    assert not pinning.hand_over("1-2 r--p 0 0:0 1   /nowhere/libcudart.so.12", "12.8")
    loaded = next(line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line)
    assert pinning._addresses(loaded) is None


def test_without_a_device_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pinning.can_lock_pages.cache_clear()
    assert not pinning.can_lock_pages()
    pinning.can_lock_pages.cache_clear()


def test_a_device_without_its_library_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(pinning, "_find_runtime", lambda maps, version: None)
    monkeypatch.setattr(pinning, "_warned", False)
    pinning.can_lock_pages.cache_clear()
    with pytest.warns(hr.HeadraceWarning, match="libcudart") as caught:
        assert [pinning.can_lock_pages() for _ in range(3)] == [False] * 3
    pinning.can_lock_pages.cache_clear()
    assert len(caught) == 1


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_each_slab_is_locked_once_and_unlocked_at_its_end(
    dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary, workers: int
) -> None:
    before = library.counts()
    want = ids_of(hr.DataLoader(dataset, BATCH, True, seed=4))
    loader = hr.DataLoader(dataset, BATCH, True, seed=4, num_workers=workers, device="cuda")
    for epoch in range(6):
        loader.set_epoch(0)
        assert ids_of(loader) == want, epoch
        assert all(library.is_locked(source) for source in device.sources[-3:])
    used = library.counts()
    made, reused = loader.stats()["slabs_made"], loader.stats()["slabs_reused"]
    assert 0 < used["locks"] - before["locks"] <= made
    assert made + reused >= 6 * N / BATCH
    assert reused > made  # Slabs are few, their uses many.
    assert used["unlocks"] == before["unlocks"]  # All are kept, and stay locked.
    assert device.named("pin") == []
    del loader
    gc.collect()
    after = library.counts()
    assert after["unlocks"] - before["unlocks"] == after["locks"] - before["locks"]


def test_a_slab_stays_locked_while_a_copy_may_read_it(dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary) -> None:
    device.eager = False
    before = library.counts()["locked"]
    loader = hr.DataLoader(dataset, BATCH, device="cuda")
    iterator = iter(loader)
    batch = next(iterator)
    del loader, iterator
    gc.collect()
    sources = list(device.sources)
    assert len(sources) == 1  # id and x in one piece; names stay on the host.
    assert library.counts()["locked"] == before + 1
    assert all(library.is_locked(source) for source in sources)
    release_done()
    assert all(library.is_locked(source) for source in sources)
    device.run()
    assert batch["id"].tolist() == list(range(BATCH))
    release_done()
    assert library.counts()["locked"] == before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("refusals", [1, 3, -1])
def test_a_refused_lock_costs_one_warning_and_no_batch(
    dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary, refusals: int, workers: int
) -> None:
    loader = hr.DataLoader(dataset, BATCH, True, seed=1, num_workers=workers, device="cuda")
    before = library.counts()
    library.refuse(refusals)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            loader.set_epoch(0)
            assert ids_of(loader) == ids_of(hr.DataLoader(dataset, BATCH, True, seed=1))
    assert [warning.category for warning in caught] == [hr.HeadraceWarning]
    assert "CUDA refused to page-lock" in str(caught[0].message)
    assert library.last_error() == 0  # Torch would take it for its own.
    after = library.counts()
    asked = after["refused"] - before["refused"]
    assert asked == (3 if refusals < 0 else min(refusals, 3))  # Once a pass.
    assert device.named("pin") != []  # One copy more, in memory that torch gives.
    assert (after["locks"] > before["locks"]) == (refusals == 1)


def test_with_no_pinned_memory_at_all_batches_still_arrive(dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary) -> None:
    library.refuse(-1)
    device.pin_error = "CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ids_of(hr.DataLoader(dataset, BATCH, device="cuda")) == ids_of(hr.DataLoader(dataset, BATCH))
    assert [warning.category for warning in caught] == [hr.HeadraceWarning]


def test_a_device_that_failed_is_no_refusal(dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary) -> None:
    library.refuse(-1)
    device.pin_error = "CUDA error: device-side assert triggered"
    loader = hr.DataLoader(dataset, BATCH, device="cuda")
    with pytest.warns(hr.HeadraceWarning), pytest.raises(RuntimeError, match="device-side assert"):
        next(iter(loader))


def test_batches_of_collate_fn_pass_through_torchs_pinned_memory(
    dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary
) -> None:
    before = library.counts()
    collate = lambda samples: data.default_collate(samples)  # noqa: E731
    assert_same(list(hr.DataLoader(dataset, BATCH, collate_fn=collate, device="cuda")), list(hr.DataLoader(dataset, BATCH)))
    assert len(device.named("pin")) == 2 * N / BATCH
    assert library.counts() == before


def test_pin_memory_is_silent_where_there_is_no_device(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for collate in (None, lambda samples: data.default_collate(samples)):
        want = list(hr.DataLoader(dataset, BATCH, collate_fn=collate))
        assert_same(list(hr.DataLoader(dataset, BATCH, collate_fn=collate, pin_memory=True)), want)


class Pinned(list[Any]):
    """What a fake pin_memory() made."""


def test_pin_memory_pins_every_batch(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.utils.data._utils.pin_memory, "pin_memory", lambda batch: Pinned([batch]))
    for collate in (None, lambda samples: data.default_collate(samples)):
        loader = hr.DataLoader(dataset, BATCH, collate_fn=collate, pin_memory=True)
        batches = [*loader, loader.replay(0)]
        assert {type(batch) for batch in batches} == {Pinned}
        assert_same([batch[0] for batch in batches], [*hr.DataLoader(dataset, BATCH), hr.DataLoader(dataset, BATCH).replay(0)])


def test_pinned_memory_that_is_refused_costs_one_warning_and_no_batch(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(batch: Any) -> Any:
        raise RuntimeError(errors[0])

    errors = ["CUDA error: out of memory"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.utils.data._utils.pin_memory, "pin_memory", refuse)
    monkeypatch.setattr(pinning, "_warned", False)
    loader = hr.DataLoader(dataset, BATCH, pin_memory=True, num_workers=2)
    with pytest.warns(
        hr.HeadraceWarning, match=r"pin_memory=True: torch could not have pinned memory \(CUDA error: out of memory\)"
    ) as caught:
        got = [*loader, *loader]
    assert len(caught) == 1
    assert_same(got, 2 * list(hr.DataLoader(dataset, BATCH)))
    errors[0] = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        next(iter(loader))


def test_large_locked_slabs_are_kept_between_batches(device: FakeCuda, library: FakeRuntimeLibrary) -> None:
    """Beyond what is kept of slabs that are not locked (64 MiB): to lock them anew for each batch would cost more than the copy."""
    rows = hr.from_arrays({"x": np.zeros((64, 1 << 18), np.float32)})  # 1 MiB a sample
    before = library.counts()
    loader = hr.DataLoader(rows, 16, num_workers=1, prefetch_factor=5, device="cuda", prefetch_bytes=512 << 20)
    for _ in range(3):
        held = list(loader)
        assert len(held) == 4
        del held
    used = library.counts()
    assert used["unlocks"] == before["unlocks"]
    assert used["locks"] - before["locks"] == loader.stats()["slabs_made"] <= 7
