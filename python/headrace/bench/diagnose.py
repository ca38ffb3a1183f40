"""What a loader waits for: each stage measured by a pass that leaves the others out, beside the whole."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace import _native
from headrace.bench.ceilings import copy_rate
from headrace.bench.limits import decode_seconds
from headrace.bench.page_cache import residency

__all__ = ["Diagnosis", "Stage", "diagnose"]

_STALL_SHARE = 0.05  # of the loop's time: less than that spent waiting is noise, and no loader could give more back
_READY_BYTES = 64 << 20  # decoded, of the pass in which nothing is read or decoded
_FEW = 3  # calls of a consumer that are timed at least


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage with nothing else to do. name: "storage", "decode", "preparation", "assembly", "collate", "transfer" or "consumer"."""

    name: str
    samples_per_second: float
    means: str  # what was measured
    advice: str  # what makes it faster


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `diagnose()` found. Rates are samples a second."""

    delivered: float  # the loop as it is: loader and consumer
    loader: float  # the loader alone, its batches thrown away
    stall_share: float  # of the loop's time, spent waiting for batches
    stages: list[Stage]
    bound_by: str  # the stage that binds: "consumer" where the loader is not the problem
    at_most: float  # times faster with that stage out of the way: what binds next
    verdict: str  # in words

    def __str__(self) -> str:
        return self.verdict


def diagnose(loader: Any, step: Callable[[Any], object] | None = None, *, seconds: float = 1.0) -> Diagnosis:
    """Find what binds a loop over a loader, and how much faster the loop could be at most.

    loader: a `headrace.DataLoader` that the native engine serves; it is not moved (a copy is iterated; one that follows a sampler is measured in
    headrace's own order instead). step: what the loop does with a batch, called for `seconds` over the loader and again on one batch alone, so one
    that trains is trained a little. None: batches are thrown away. seconds: for each pass, about six of them.

    Of datasets read as one (hr.mix, ConcatDataset) storage and decoding are not told apart from the rest.
    Storage is measured from what the files are read from now: out of the page cache if they are in it. Raises TypeError for a loader that runs
    as torch does, ValueError for a loader without a batch, and what reading raises.
    """
    if not getattr(loader, "is_native", False):
        raise TypeError("diagnose() needs a headrace.DataLoader whose dataset the native engine reads")
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds must be above 0 and at most 3600, got {seconds}")
    probe = _probe(loader)
    if len(probe) == 0:
        raise ValueError("this loader has no batch to measure")
    consume = step if step is not None else _nothing
    for _ in _batches(probe, 0.2 * seconds):  # What happens once: threads, first touch of files.
        pass
    before = probe.stats()
    alone, _, batch = _loop(probe, _nothing, seconds)
    after = probe.stats()
    delivered, waiting, batch = _loop(probe, consume, seconds) if step is not None else (alone, 1.0, batch)
    did: dict[str, float] = {
        name: after[name] - before[name] for name in ("samples", "bytes_decoded", "bytes_stored_read", "bytes_delivered")
    }
    did["prepare_seconds"] = sum(after["stages"][name] - before["stages"][name] for name in ("images", "fields"))
    stages = _stages(probe, did, seconds)
    if step is not None:
        stages.append(
            Stage(
                name="consumer",
                samples_per_second=_consumer(consume, batch, probe.batch_size or 1, seconds),
                means="step() on one batch, again and again",
                advice="make the step itself faster; no loader can",
            )
        )
    copying = copy_rate(max(1, probe.num_workers)) * did["samples"] / max(1, did["bytes_delivered"])
    return _judge(probe, delivered, alone, waiting, stages, copying)


def _probe(loader: Any) -> Any:
    """A loader over the same data with the same options, in headrace's own order, that shares no place with the user's."""
    if not loader.is_fed:
        return copy.copy(loader)
    batch_size = loader.batch_size or loader.partition.batch_size
    return type(loader)(
        loader.dataset,
        batch_size,
        True,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        prefetch_factor=loader.prefetch_factor,
        prefetch_bytes=loader.prefetch_bytes,
        ragged=loader.ragged,
        strings=loader.strings,
        device=loader.device,
        seed=0,
    )


def _nothing(batch: Any) -> None:
    pass


def _batches(loader: Any, seconds: float) -> Iterator[Any]:
    """Batches for so long, over as many epochs as it takes, one at least."""
    end = time.perf_counter() + seconds
    first = True
    while first or time.perf_counter() < end:
        for batch in loader:
            yield batch
            first = False
            if time.perf_counter() >= end:
                return


def _loop(loader: Any, consume: Callable[[Any], object], seconds: float) -> tuple[float, float, Any]:
    """(samples a second, share of the time spent waiting, the last batch)."""
    waited = busy = 0.0
    samples = 0
    delivered = loader.stats()["samples"]
    batch = None
    begin = time.perf_counter()
    for batch in _batches(loader, seconds):
        taken = time.perf_counter()
        waited += taken - begin
        consume(batch)
        begin = time.perf_counter()
        busy += begin - taken
    samples = loader.stats()["samples"] - delivered
    total = waited + busy
    return samples / total, waited / total, batch


def _consumer(step: Callable[[Any], object], batch: Any, samples: int, seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _FEW or time.perf_counter() < end:
        begin = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - begin)
    median = float(np.median(times))
    return samples / max(median, 1e-9)


def _stages(loader: Any, did: dict[str, float], seconds: float) -> list[Stage]:
    """did: what the loader alone delivered, decoded and read meanwhile: blocks that it found decoded, or decoded twice, change what a stage costs."""
    native = loader.source.native
    threads = max(1, loader.num_workers)
    stages = []
    files = _files(native)
    if files:
        cached = residency(files)
        # Mapped files that are in memory are used in place: nothing is read.
        if did["bytes_stored_read"] > 0 and (native.reader != "mmap" or cached is None or cached < 0.9):
            stages.append(_storage(loader, files, cached, did["bytes_stored_read"] / did["samples"], seconds))
        decoding = _decoding(loader, native, did["bytes_decoded"] / did["samples"], min(threads, _native.num_threads()))
        if decoding > 0:
            stages.append(
                Stage(
                    name="decode",
                    samples_per_second=1 / decoding,
                    means=f"the codecs alone on {threads} thread{'s' if threads > 1 else ''}, {did['bytes_decoded'] / did['samples']:,.0f} bytes a sample",
                    advice="more num_workers, a codec that decodes faster (lz4), or memory for decoded blocks (headrace.set_cache_bytes)",
                )
            )
    if did["prepare_seconds"] > 0:
        stages.append(
            Stage(
                name="preparation",
                samples_per_second=did["samples"] * min(threads, _native.num_threads()) / did["prepare_seconds"],
                means="thread seconds that prepare= (images decoded and transformed, fields computed) took while the loader ran alone",
                advice="more num_workers; smaller stored images, or a crop before a resize; of fields, a copy prepared once by Pipeline.apply()",
            )
        )
    stages.append(_assembly(loader, native, seconds))
    stages += _converting(loader, seconds)
    return stages


def _files(native: Any) -> list[Path]:
    """The shards; none of data in memory, and of several datasets read as one, which have no folder of their own."""
    folder = Path(native.path)
    return [folder / str(shard["file_name"]) for shard in native.shards] if folder.is_dir() else []


def _mapped(native: Any) -> Any:
    return native if native.reader == "mmap" else _native.Dataset(native.path, native.version, reader="mmap")


def _decoding(loader: Any, native: Any, bytes_a_sample: float, threads: int) -> float:
    """Seconds a sample."""
    fields = native.schema.fields
    compressed = sum(int(one["raw_bytes"]) for field, one in zip(fields, native.field_stats(), strict=True) if field.codec != "none")
    if bytes_a_sample * len(native) < 0.01 * compressed:  # All but everything was found decoded.
        return 0.0
    return decode_seconds(_mapped(native), threads) / max(1, compressed) * bytes_a_sample


def _storage(loader: Any, files: list[Path], cached: float | None, bytes_a_sample: float, seconds: float) -> Stage:
    native = loader.source.native
    random = loader.shuffle and loader.order == "global"
    largest = max(path.stat().st_size for path in files)
    block = min(_read_size(native, bytes_a_sample, random), max(4096, 1 << (largest // 4).bit_length() - 1))
    reader = "pread" if native.reader == "mmap" else native.reader
    result = _native.read_benchmark(
        [str(path) for path in files], block_bytes=block, depth=64, reader=reader, random=random, seconds=seconds
    )
    rate = float(result["bytes"]) / max(1e-9, float(result["seconds"]))
    where = (
        "the device"
        if cached is None or cached < 0.1
        else "the page cache"
        if cached > 0.9
        else f"the device ({100 * cached:.0f} % cached)"
    )
    return Stage(
        name="storage",
        samples_per_second=rate / bytes_a_sample,
        means=f"{'random' if random else 'sequential'} reads of {block >> 10} KiB from {where}, 64 in flight",
        advice="faster storage, order='window' (whole chunks, in turn), or a codec that stores fewer bytes",
    )


def _read_size(native: Any, bytes_a_sample: float, random: bool) -> int:
    """Of one read: a block where single samples are read, else a MiB; a power of two of at least a page."""
    if not random:
        return 1 << 20
    blocks = sum(int(one["blocks"]) for one in native.field_stats())
    stored = sum(int(one["stored_bytes"]) for one in native.field_stats())
    wanted = max(min(bytes_a_sample, stored / max(1, len(native))), stored / max(1, blocks))
    power = 1 << round(float(np.log2(max(1.0, wanted))))
    return min(1 << 20, max(4096, power))


def _assembly(loader: Any, native: Any, seconds: float) -> Stage:
    """A pass over so few samples that all are decoded and in memory."""
    raw = sum(int(one["raw_bytes"]) for one in native.field_stats()) if _files(native) else 0
    room = min(_READY_BYTES, _native.cache_stats()["capacity_bytes"] // 2 or _READY_BYTES)
    few = len(native) if raw == 0 else int(min(len(native), max(loader.partition.batch_size, room * len(native) // raw)))
    ready, fields = native, list(loader.source.field_numbers)
    if _native.cache_stats()["capacity_bytes"] < 2 * few * raw // max(1, len(native)):  # Nothing would stay decoded.
        ready, fields = _decoded(native, fields, few)
    pipeline = _native.Pipeline(
        ready,
        fields=fields,
        batch_size=loader.partition.batch_size,
        num_threads=loader.num_workers,
        prefetch_bytes=loader.prefetch_bytes or 0,
        ragged=loader.ragged,
    )
    order = np.arange(few) if not loader.shuffle else _native.Order(few, 0, 0).indices(0, few)

    def one_pass() -> int:
        pipeline.start_listed(order)
        while pipeline.next() is not None:
            pass
        return few

    one_pass()
    samples, begin = 0, time.perf_counter()
    while samples == 0 or time.perf_counter() - begin < seconds:
        samples += one_pass()
    spent = time.perf_counter() - begin
    pipeline.stop()
    return Stage(
        name="assembly",
        samples_per_second=samples / spent,
        means=f"{few} samples that are decoded and in memory, put into batches by {loader.num_workers} threads",
        advice="more num_workers, fewer fields, or narrower dtypes",
    )


def _decoded(native: Any, fields: list[int], few: int) -> tuple[Any, list[int]]:
    """The first samples as a table in memory; the dataset where fields vary in size or have nulls."""
    chosen = [native.schema.fields[field] for field in fields]
    if not _files(native) or any(field.kind != "tensor" or field.nullable for field in chosen):
        return native, fields
    batch = native.fetch(np.arange(few), fields)
    schema = _native.Schema([_native.Field(field.name, "tensor", field.dtype, field.shape) for field in chosen])
    return _native.make_table(schema, [[batch.numpy(number) for number in range(len(chosen))]]), list(range(len(chosen)))


def _converting(loader: Any, seconds: float) -> Iterator[Stage]:
    """What happens to a batch between the engine and the user."""
    custom = loader.converter() != loader.source.layout.to_torch
    if not custom and loader.device is None:
        return
    native = loader.source.native
    pipeline = loader.take_pipeline(native)
    try:
        batch = pipeline.replay(0, 0)
    finally:
        loader.give_pipeline(native, loader.partition, pipeline)
    samples = len(batch.indices)
    if loader.collate_fn is not None and loader.slab_of(batch) is None:
        yield Stage(
            name="collate",
            samples_per_second=_consumer(loader.to_host, batch, samples, seconds),
            means="collate_fn on the samples of one batch, on the caller's thread",
            advice="let headrace collate: without collate_fn no sample becomes a Python object",
        )
    if loader.pin_memory or loader.device is not None:
        whole = loader.convert if loader.device is None else _to_device(loader)
        yield Stage(
            name="transfer",
            samples_per_second=_consumer(whole, batch, samples, seconds),
            means="one batch, assembled already, into pinned or device memory",
            advice="device='cuda' copies beside the step, on a stream of its own; fewer bytes: narrower dtypes, cast on the device",
        )


def _to_device(loader: Any) -> Callable[[Any], object]:
    from headrace.loader.cuda import check_device
    from headrace.loader.transfer import Transfer

    device = check_device(loader.device)
    if device is None:
        return loader.convert  # type: ignore[no-any-return]
    transfer = Transfer(device)
    return lambda batch: transfer.copy(loader.to_host(batch), loader.slab_of(batch))


def _judge(loader: Any, delivered: float, alone: float, waiting: float, stages: list[Stage], copying: float) -> Diagnosis:
    """copying: samples a second that memory could be copied at, which no stage out of the way can beat."""
    slowest = sorted(stages, key=lambda stage: stage.samples_per_second)
    consumer = next((stage for stage in stages if stage.name == "consumer"), None)
    own = [stage for stage in slowest if stage.name != "consumer"]
    bound = own[0]
    if consumer is not None and (waiting < _STALL_SHARE or slowest[0] is consumer):
        bound = consumer
    rest = [stage.samples_per_second for stage in stages if stage is not bound]
    if bound is consumer:
        at_most = max(1.0, min([alone, *rest]) / delivered)
        verdict = (
            f"bound by the consumer: the loader is not the problem. It can deliver {alone:,.0f} samples/s, the step takes "
            f"{bound.samples_per_second:,.0f}; {100 * waiting:.1f} % of the time is spent waiting for batches. {bound.advice.capitalize()}."
        )
    else:
        at_most = max(1.0, min([copying, *rest]) / delivered)
        verdict = (
            f"bound by {bound.name} ({bound.samples_per_second:,.0f} samples/s: {bound.means}); fixing it yields at most {at_most:.1f}x of "
            f"{delivered:,.0f} samples/s. Do: {bound.advice}."
        )
        cores = _native.num_threads()
        if bound.name in ("decode", "preparation", "assembly") and loader.num_workers < cores:
            verdict += f" num_workers is {loader.num_workers}; {cores} cores are usable."
    return Diagnosis(
        delivered=delivered, loader=alone, stall_share=waiting, stages=stages, bound_by=bound.name, at_most=at_most, verdict=verdict
    )
