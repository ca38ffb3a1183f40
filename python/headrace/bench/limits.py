"""What binds a loader on a dataset: the fastest that its bytes can be copied, decoded and read, measured in the same run.

Each limit is a whole epoch's seconds if nothing else had to be done. The slowest of them binds; the loader is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace._native import Dataset, decode_rate
from headrace.bench.ceilings import Ceilings

__all__ = ["Limit", "binding_limit", "dataset_limits", "decode_seconds"]

_ROUNDS = 5
_DECODED_BYTES = 256 << 20  # of each field: its codec's rate is known long before all of it is decoded
_BATCHES = 8  # for each thread, so that they end together


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One resource. name: "memory copy", "codec decode" or "storage"."""

    name: str
    epoch_seconds: float
    bytes_per_second: float  # copy and decode: decoded bytes; storage: stored bytes, out of the page cache


def decode_seconds(dataset: Dataset, threads: int) -> float:
    """Seconds to decode every compressed block once with `threads` threads; 0 if no field is compressed.

    Measured in a bare loop over the first blocks of each field, filters included, the best of some rounds; what is left out counts alike.
    """
    seconds = 0.0
    for number, (field, stats) in enumerate(zip(dataset.schema.fields, dataset.field_stats(), strict=True)):
        raw_bytes = int(stats["raw_bytes"])
        if field.codec == "none" or raw_bytes == 0:
            continue
        samples = max(1, min(len(dataset), len(dataset) * _DECODED_BYTES // raw_bytes))
        batch_size = max(1, samples // (_BATCHES * threads))
        rates = [decode_rate(dataset, number, np.arange(samples), batch_size, threads, with_filters=True) for _ in range(_ROUNDS)]
        # Per decoded byte: a block on the border of two batches is decoded for both.
        seconds += raw_bytes * min((rate["seconds"] / rate["decoded_bytes"] for rate in rates if rate["decoded_bytes"]), default=0.0)
    return seconds


def dataset_limits(*, raw_bytes: int, stored_bytes: int, decoding_seconds: float, ceilings: Ceilings, mapped: bool) -> list[Limit]:
    """The limits that apply: copying always, decoding where something is compressed, storage unless the files are mapped and copied from in place."""
    limits = [
        Limit(name="memory copy", epoch_seconds=raw_bytes / ceilings.copy_bytes_per_second, bytes_per_second=ceilings.copy_bytes_per_second)
    ]
    if decoding_seconds > 0:
        limits.append(Limit(name="codec decode", epoch_seconds=decoding_seconds, bytes_per_second=raw_bytes / decoding_seconds))
    if not mapped and ceilings.read_bytes_per_second > 0:
        read = ceilings.read_bytes_per_second
        limits.append(Limit(name="storage", epoch_seconds=stored_bytes / read, bytes_per_second=read))
    return limits


def binding_limit(limits: list[Limit]) -> Limit:
    """The slowest."""
    return max(limits, key=lambda limit: limit.epoch_seconds)
