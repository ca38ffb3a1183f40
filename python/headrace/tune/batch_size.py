"""The largest batch that fits, and the smallest that is about as fast as any."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from headrace.errors import HeadraceError
from headrace.sampling.options import whole_number

__all__ = ["BatchSizes", "MeasuredSize", "batch_size"]

_FEW = 3  # steps that are timed at least


@dataclass(frozen=True, kw_only=True)
class MeasuredSize:
    """One size. samples_per_second: of the step alone, on a batch that is there; None where it did not fit, for the reason in `error`."""

    batch_size: int
    samples_per_second: float | None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSizes:
    """What `batch_size()` found.

    largest: that fits. knee: the smallest measured size whose rate is at least `share` of the best one's: larger ones gain next to nothing. is_bounded:
    whether `largest` is where memory ended; else it is where the search was told to end, or the dataset.
    """

    largest: int
    knee: int
    share: float
    is_bounded: bool
    measured: list[MeasuredSize]  # in order of size


def batch_size(
    step: Callable[[Any], object],
    loader: Any,
    *,
    least: int = 1,
    most: int | None = None,
    seconds: float = 0.5,
    share: float = 0.95,
    reset: Callable[[], object] | None = None,
) -> BatchSizes:
    """Find the largest batch that a step can take, and the knee of its throughput, by doubling the size and then halving what is between.

    step: what the loop does with a batch (forward, backward, optimizer), called on real batches of the loader's dataset; it trains the model meanwhile: keep
    a copy of its state if that matters. A size does not fit if batch or step raise MemoryError, torch's out-of-memory errors or headrace's. loader: a
    `headrace.DataLoader` that the native engine serves; it is neither moved nor changed. least, most: bounds, `most` by default the samples of the
    dataset. seconds: for each size. share: of the best rate, for the knee. reset: called after a size that did not fit, before the next, to let go of what
    the step holds; torch's cache is emptied anyway.

    A process that the system kills for its memory (Linux kills rather than refuse) cannot be measured from within: give `most` on the host. Raises
    TypeError for a loader that runs as torch does, ValueError for bounds, MemoryError if not even `least` fits, and what else step raises.
    """
    if not getattr(loader, "is_native", False):
        raise TypeError("tune.batch_size() needs a headrace.DataLoader whose dataset the native engine reads")
    samples = len(loader.source)
    if samples == 0:
        raise ValueError("this loader's dataset has no sample to make a batch of")
    least = whole_number("least", least, 1, samples + 1)
    end = min(samples, samples if most is None else whole_number("most", most, least, 1 << 32))
    if not 0 < seconds <= 3600 or not 0 < share <= 1:
        raise ValueError(f"seconds must be above 0 and at most 3600, share above 0 and at most 1; got {seconds} and {share}")
    measured: dict[int, MeasuredSize] = {}

    def fits(size: int) -> bool:
        if size not in measured:
            measured[size] = _measure(step, loader, size, seconds, reset)
        return measured[size].samples_per_second is not None

    if not fits(least):
        raise MemoryError(f"a batch of {least} does not fit: {measured[least].error}")
    good, bad = least, end + 1
    while bad == end + 1 and good < end:
        size = min(2 * good, end)
        good, bad = (size, bad) if fits(size) else (good, size)
    # To an eighth: allocators round, so that a closer look says little.
    while bad <= end and bad - good > max(1, good // 8):
        size = (good + bad) // 2
        good, bad = (size, bad) if fits(size) else (good, size)
    found = [measured[size] for size in sorted(measured)]
    rates = {one.batch_size: one.samples_per_second for one in found if one.samples_per_second is not None}
    best = max(rates.values())
    return BatchSizes(
        largest=good,
        knee=min(size for size, rate in rates.items() if rate >= share * best),
        share=share,
        is_bounded=bad <= end,
        measured=found,
    )


def _measure(step: Callable[[Any], object], loader: Any, size: int, seconds: float, reset: Callable[[], object] | None) -> MeasuredSize:
    try:
        return MeasuredSize(batch_size=size, samples_per_second=_rate(step, loader, size, seconds))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        # Without the error itself, whose frames hold what did not fit.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
    _let_go(reset)
    return MeasuredSize(batch_size=size, samples_per_second=None, error=reason)


def _rate(step: Callable[[Any], object], loader: Any, size: int, seconds: float) -> float:
    batch = _batch_of(loader, size)
    step(batch)  # What happens once: kernels chosen, memory taken.
    _synchronize()
    begin = time.perf_counter()
    steps = 0
    while steps < _FEW or time.perf_counter() - begin < seconds:
        step(batch)
        steps += 1
        if steps % _FEW == 0:
            _synchronize()
    _synchronize()
    return size * steps / (time.perf_counter() - begin)


def _batch_of(loader: Any, size: int) -> Any:
    """The first samples of the order as one batch, as the loader would deliver it. Not this rank's share of them: that may be fewer than a batch."""
    native, partition = loader.source.native, replace(loader.partition, batch_size=size, rank=0, world_size=1, drop_last=False)
    pipeline = loader.take_pipeline(native, partition)
    try:
        batch = pipeline.replay_at(0, 0)
    finally:
        loader.give_pipeline(native, partition, pipeline)
    if loader.device is None:
        return loader.convert(batch)
    from headrace.loader.cuda import check_device
    from headrace.loader.transfer import Transfer

    device = check_device(loader.device)
    return loader.convert(batch) if device is None else Transfer(device).copy(loader.to_host(batch), loader.slab_of(batch))


def _is_out_of_memory(error: Exception) -> bool:
    """Also torch's allocators: torch.OutOfMemoryError of a device, a plain RuntimeError of the host."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, HeadraceError):
        return False
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text or "cudnn_status_alloc_failed" in text


def _let_go(reset: Callable[[], object] | None) -> None:
    import torch

    if reset is not None:
        reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
