"""`device="cuda"` and pinned memory on a real device. What a model of a device can show is in test_transfer.py and test_pinning.py."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from headrace.loader import pinning
from tests.loader.samples import ROWS, assert_same, numbered, run_python, torch_batch, write_all_kinds

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch sees no CUDA device here"),
]

SECOND = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a GPU beside the first")
CYCLES = 20_000_000  # about 10 ms


@pytest.fixture(autouse=True)
def no_error_stays_behind() -> Iterator[None]:
    """Every test ends with a device that works, and with no memory of ours that a copy reads."""
    pinning._warned = False
    yield
    torch.cuda.synchronize()
    gc.collect()
    assert torch.ones(2, device="cuda").sum().item() == 2


@pytest.fixture(scope="module")
def rows() -> np.ndarray[Any, Any]:
    """4096 rows of 16 KiB, each with its number in every place."""
    return np.repeat(np.arange(4096, dtype=np.float32)[:, None], 4096, axis=1)


@pytest.fixture(scope="module")
def source(rows: np.ndarray[Any, Any]) -> Any:
    """The rows, read in place."""
    return hr.from_arrays({"x": rows, "id": np.arange(len(rows))})


def on_host(batch: Any) -> Any:
    """The same batch with tensors of the host; every tensor was on the device."""
    if isinstance(batch, torch.Tensor):
        assert batch.is_cuda
        return batch.cpu()
    if isinstance(batch, dict):
        return {key: on_host(value) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(on_host(value) for value in batch)
    return batch


def warm_up(loader: hr.DataLoader) -> None:
    """Lock slabs and allocate device memory: both may wait for the device, once."""
    for _ in range(3):
        for _ in loader:
            pass
    torch.cuda.synchronize()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_every_kind_of_field_arrives(tmp_path: Path, ragged: str, workers: int) -> None:
    write_all_kinds(tmp_path / "d", "lz4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # None was refused.
        got = list(hr.DataLoader(hr.open(tmp_path / "d"), 64, device="cuda", num_workers=workers, ragged=ragged))
    assert_same([on_host(batch) for batch in got], [torch_batch(range(i, min(ROWS, i + 64)), ragged) for i in range(0, ROWS, 64)])


def test_slabs_are_page_locked_and_torch_sees_it(source: Any) -> None:
    loader = hr.DataLoader(source, 256, device="cuda")
    for _ in loader:
        pass
    pipeline = loader.take_pipeline(loader.source.native)
    batch = pipeline.replay(0, 0)
    assert pinning.can_lock_pages()
    assert batch.lock_pages()
    assert all(tensor.is_pinned() for tensor in loader.to_host(batch).values())


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("side", [False, True], ids=["default stream", "a stream of the consumer's own"])
@pytest.mark.parametrize("size", [256, 32])  # 4 MiB, and one that is small: it travels as one piece
def test_a_slow_consumer_sees_every_batch_whole(source: Any, workers: int, side: bool, size: int) -> None:
    """The host runs far ahead: batches are dropped, and their slabs and device memory used anew, long before the device comes to them."""
    source = source.subset(range(16 * size))
    loader = hr.DataLoader(source, size, True, num_workers=workers, prefetch_factor=1, device="cuda")
    plain = hr.DataLoader(source, size, True)
    stream = torch.cuda.Stream() if side else torch.cuda.current_stream()
    with torch.cuda.stream(stream):
        for _ in range(4):
            found = []
            for batch in loader:
                torch.cuda._sleep(CYCLES)
                found.append((batch["x"].double().sum(1) / 4096 - batch["id"]).abs().max() + batch["id"].sum())
            want = [float(batch["id"].sum()) for batch in plain]
            assert [value.item() for value in found] == want


def test_pinned_batches_survive_a_copy_that_comes_late(source: Any) -> None:
    """What every training loop does: x = x.to(device, non_blocking=True), behind work that is still queued."""
    loader = hr.DataLoader(source, 256, num_workers=2, prefetch_factor=1, pin_memory=True)
    found = []
    for batch in loader:
        assert batch["x"].is_pinned()
        torch.cuda._sleep(CYCLES)
        moved = {name: value.to("cuda", non_blocking=True) for name, value in batch.items()}
        del batch
        found.append((moved["x"].double().mean(1) - moved["id"]).abs().max())
    assert max(value.item() for value in found) == 0


def test_the_host_waits_for_nothing(source: Any) -> None:
    """next() returns while the device is still busy with what came before."""
    loader = hr.DataLoader(source, 64, num_workers=2, device="cuda")
    warm_up(loader)
    iterator = iter(loader)
    next(iterator)
    torch.cuda.synchronize()
    torch.cuda._sleep(100 * CYCLES)
    busy = torch.cuda.Event()
    busy.record()
    for _ in range(2):
        next(iterator)
    assert not busy.query()


def test_a_copy_runs_beside_the_consumers_work(source: Any) -> None:
    loader = hr.DataLoader(source, 1024, num_workers=2, device="cuda")
    warm_up(loader)
    iterator = iter(loader)
    next(iterator)
    torch.cuda.synchronize()
    torch.cuda._sleep(100 * CYCLES)
    busy = torch.cuda.Event()
    busy.record()
    next(iterator)
    lane = iterator._transfer._lane  # type: ignore[attr-defined]
    lane.stream.synchronize()
    assert not busy.query()  # The copies are done, the consumer's work is not.


def test_a_refused_lock_costs_one_warning(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.loader.cuda.CudaRuntime.can_lock_pages", lambda self: True)
    import ctypes

    from headrace import _native

    refuse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)(lambda at, size, flags: 2)
    free = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda at: 0)
    _native.set_host_register(*(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in (refuse, free)))
    try:
        with pytest.warns(hr.HeadraceWarning, match="refused to page-lock") as caught:
            got = [on_host(batch) for batch in hr.DataLoader(source, 512, num_workers=2, device="cuda")]
    finally:
        pinning.can_lock_pages.cache_clear()
        _native.set_host_register(0, 0)
    assert len(caught) == 1
    assert_same(got, list(hr.DataLoader(source, 512)))


def test_collate_fn_other_datasets_and_replay(source: Any, tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "d", 100)
    collate: Callable[[list[Any]], Any] = lambda samples: [data.default_collate(samples), "kept"]  # noqa: E731
    got = [on_host(batch) for batch in hr.DataLoader(dataset, 10, collate_fn=collate, num_workers=2, device="cuda")]
    assert_same(got, list(hr.DataLoader(dataset, 10, collate_fn=collate)))
    got = [on_host(batch) for batch in hr.DataLoader(list(range(50)), 8, num_workers=1, device="cuda")]
    assert_same(got, list(data.DataLoader(list(range(50)), 8)))
    assert_same(on_host(hr.DataLoader(dataset, 10, True, device="cuda").replay(3)), hr.DataLoader(dataset, 10, True).replay(3))


def test_device_memory_stays_bounded(source: Any) -> None:
    """A host that runs ahead of the device does not fill it with batches: 16 MiB each, 256 of them."""
    loader = hr.DataLoader(source, 1024, num_workers=2, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()  # Freed memory that the device has not come past counts, too.
    for _ in range(64):
        for batch in loader:
            torch.cuda._sleep(CYCLES // 10)
            batch["x"].add_(1)
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_reserved() - before <= (256 << 20) + 8 * (18 << 20)


def test_exit_with_copies_under_way(tmp_path: Path) -> None:
    numbered(tmp_path / "d", 1000)
    code = """
import sys, torch
import headrace as hr
loader = hr.DataLoader(hr.open(sys.argv[1]), 100, num_workers=2, device="cuda")
iterator = iter(loader)
torch.cuda._sleep(200_000_000)
for _ in range(3):
    batch = next(iterator)
sys.exit(5)
"""
    done = run_python(code, tmp_path / "d", timeout=120)
    assert (done.returncode, done.stderr) == (5, "")


@SECOND
def test_no_context_is_made_on_another_device(tmp_path: Path) -> None:
    numbered(tmp_path / "d", 1000)
    code = """
import gc, sys, torch
import headrace as hr
loader = hr.DataLoader(hr.open(sys.argv[1]), 100, num_workers=2, device="cuda:1")
for _ in range(3):
    for batch in loader:
        assert batch["id"].device == torch.device("cuda", 1)
del loader, batch
gc.collect()
assert not torch._C._cuda_hasPrimaryContext(0)
assert torch.cuda.current_device() == 0
"""
    done = run_python(code, tmp_path / "d", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
