"""Batches to a GPU: bytes/s against bare copies from pinned memory, copies beside compute (by events), and what a small batch costs. Needs a GPU."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import headrace
from benchmarks.interleave import interleaved
from headrace.loader import cuda

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch sees no CUDA device here")

ROW_BYTES = 1 << 20
ROWS = 1024  # 1 GiB
BATCH = 64  # 64 MiB
ROUNDS = 7


@pytest.fixture(scope="module")
def source() -> Any:
    """1 GiB in memory, whose rows are copied once into a batch."""
    return headrace.from_arrays({"x": np.random.default_rng(0).integers(0, 255, (ROWS, ROW_BYTES), dtype=np.uint8)})


@pytest.fixture(scope="module")
def workers() -> int:
    """Threads of the engine: what the process may use."""
    return headrace.num_threads()


class TimedCuda(cuda.CudaRuntime):
    """The real runtime, whose copies are timed on their stream: an event before the first, and the one after the last, tell the time."""

    def __init__(self) -> None:
        self.spans: list[tuple[Any, Any]] = []

    def new_event(self) -> Any:
        return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        begin, end = self.new_event(), self.new_event()
        begin.record(torch.cuda.current_stream())
        copied = super().copy(tensor, device)
        end.record(torch.cuda.current_stream())
        self.spans.append((begin, end))
        return copied


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> TimedCuda:
    """The runtime that loaders of this test use."""
    made = TimedCuda()
    monkeypatch.setattr(cuda, "runtime", made)
    return made


class Copies:
    """Bare copies of a batch from two pinned buffers to two on the device."""

    def __init__(self) -> None:
        self._host = [torch.empty((BATCH, ROW_BYTES), dtype=torch.uint8).pin_memory() for _ in range(2)]
        self._there = [torch.empty_like(one, device="cuda") for one in self._host]

    def begin(self, count: int) -> tuple[Any, Any]:
        """Queue so many on the current stream; the events before and after them."""
        begin, end = (torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2))
        begin.record()
        for i in range(count):
            self._there[i % 2].copy_(self._host[i % 2], non_blocking=True)
        end.record()
        return begin, end

    def seconds(self, count: int) -> float:
        """Of so many, one after the other."""
        begin, end = self.begin(count)
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Copies without a pause, on a stream and a thread of their own."""
        done = threading.Event()

        def pump() -> None:
            with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
                while not done.is_set():
                    self.begin(8)[1].synchronize()

        thread = threading.Thread(target=pump)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.fixture(scope="module")
def copies() -> Copies:
    """Buffers that are made once."""
    return Copies()


def drain(loader: Any) -> float:
    """Seconds of a pass whose consumer only takes batches."""
    begin = time.perf_counter()
    for _ in loader:
        pass
    torch.cuda.synchronize()
    return time.perf_counter() - begin


@pytest.mark.gate
def test_copies_run_at_the_rate_of_pinned_memory(source: Any, timed: TimedCuda, copies: Copies, report: Any) -> None:
    """Each copy alone, by events: page-locked slabs against torch's pinned buffers, both with the call that begins it. No threads use the memory beside."""
    loader = headrace.DataLoader(source, BATCH, device="cuda")
    for batch in loader:  # Locks the slabs; and the answer is right.
        assert batch["x"].is_cuda
    assert torch.equal(batch["x"].cpu(), list(headrace.DataLoader(source, BATCH))[-1]["x"])
    ratios, rates = [], []
    for _ in range(ROUNDS):
        limit = BATCH * ROW_BYTES / statistics.median(copies.seconds(1) for _ in range(ROWS // BATCH))
        timed.spans.clear()
        drain(loader)
        ours = statistics.median(BATCH * ROW_BYTES / (begin.elapsed_time(end) / 1e3) for begin, end in timed.spans)
        ratios.append(ours / limit)
        rates.append(ours)
    report(
        "copies from slabs / copies from pinned memory",
        statistics.median(ratios),
        at_least=0.95,
        limit="pinned copy",
        our_bytes_per_second=statistics.median(rates),
        device=torch.cuda.get_device_name(),
    )


@pytest.mark.gate
def test_a_pass_reaches_what_binds_it(source: Any, workers: int, copies: Copies, report: Any) -> None:
    """Bytes/s of a pass to the device / the slower of a bare copy and the same loader on the host while bare copies read memory beside it."""
    device = headrace.DataLoader(source, BATCH, num_workers=workers, device="cuda")
    host = headrace.DataLoader(source, BATCH, num_workers=workers)

    def beside() -> float:
        with copies.beside():
            return drain(host)

    tasks: dict[str, Any] = {
        "device": lambda: drain(device),
        "host": lambda: drain(host),
        "host beside copies": beside,
        "copy": lambda: copies.seconds(ROWS // BATCH),
    }
    timings = interleaved(tasks, ROUNDS)
    binding = [max(pair) for pair in zip(timings.seconds["host beside copies"], timings.seconds["copy"], strict=True)]
    report(
        "a pass to the device / what binds it",
        statistics.median(limit / ours for limit, ours in zip(binding, timings.seconds["device"], strict=True)),
        at_least=0.95,
        limit="pinned copy or the engine",
        **{f"{name.replace(' ', '_')}_bytes_per_second": ROWS * ROW_BYTES / timings.median(name) for name in tasks},
    )


@pytest.mark.gate
@pytest.mark.parametrize("batch", [256, 2048, 16384])
def test_small_batches(workers: int, batch: int, report: Any) -> None:
    """Time of a batch of 264 B a sample, two fields, with device= / with the quicker of two ways by hand, from the same loader's batches."""
    count = 200_000
    rng = np.random.default_rng(0)
    table = headrace.from_arrays({"x": rng.random((count, 64), dtype=np.float32), "y": np.arange(count)})
    workers = min(4, workers)
    host, pinned, device = (
        headrace.DataLoader(table, batch, True, num_workers=workers, seed=1, **options)
        for options in ({}, {"pin_memory": True}, {"device": "cuda"})
    )

    def by_hand(loader: Any, move: Callable[[torch.Tensor], torch.Tensor]) -> float:
        begin = time.perf_counter()
        for values in loader:
            {name: move(value) for name, value in values.items()}
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    for ours, theirs in zip(device, host, strict=True):
        assert all(torch.equal(ours[name].cpu(), theirs[name]) for name in ("x", "y"))
    tasks: dict[str, Any] = {
        "device": lambda: drain(device),
        "host": lambda: drain(host),
        "to": lambda: by_hand(host, lambda value: value.to("cuda")),
        "pin_memory, to": lambda: by_hand(pinned, lambda value: value.to("cuda", non_blocking=True)),
    }
    timings = interleaved(tasks, ROUNDS)
    report(
        f"batches of {batch} x 264 B / by hand",
        min(timings.speed_ratio("device", "to"), timings.speed_ratio("device", "pin_memory, to")),
        at_least=1.0,
        peer="by hand",
        **{f"{name.replace(', ', '_')}_microseconds": 1e6 * timings.median(name) / (count / batch) for name in tasks},
    )


def steps(loader: Any, weight: torch.Tensor, products: int) -> Iterator[tuple[Any, Any]]:
    """Compute on each batch, and wait for it as `loss.item()` does: events before and after each step's work."""
    for batch in loader:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        scale = batch["x"][0, 0].float()
        for _ in range(products):
            weight = torch.tanh(weight @ weight) * (1 + 0 * scale)
        end.record()
        end.synchronize()
        yield begin, end


@pytest.mark.gate
def test_copies_run_beside_compute(source: Any, workers: int, timed: TimedCuda, copies: Copies, report: Any) -> None:
    """The share of the copies' time that lies within the compute of a consumer which waits for every step: without copying ahead it is 0."""
    loader = headrace.DataLoader(source, BATCH, num_workers=workers, device="cuda")
    weight = torch.randn(4096, 4096, device="cuda") / 64
    copy_seconds = copies.seconds(8) / 8
    one = list(itertools.islice(steps(loader, weight, 4), 3))[-1]  # The first ones include what a library does once.
    products = max(1, round(4 * copy_seconds / max(one[0].elapsed_time(one[1]) / 4e3, 1e-6)))
    drain(loader)
    shares = []
    for _ in range(3):
        timed.spans.clear()
        origin = torch.cuda.Event(enable_timing=True)
        origin.record()
        computed = [(origin.elapsed_time(a), origin.elapsed_time(b)) for a, b in steps(loader, weight, products)]
        copied = [(origin.elapsed_time(a), origin.elapsed_time(b)) for a, b in timed.spans][2:]  # The engine starts with the pass.
        inside = sum(max(0.0, min(end, done) - max(begin, start)) for begin, end in copied for start, done in computed)
        shares.append(inside / sum(end - begin for begin, end in copied))
    report(
        "share of copying that runs beside compute",
        statistics.median(shares),
        at_least=0.8,
        limit="all of it",
        products_a_step=products,
        batches=len(computed),
    )
