"""What binds a loader on a dataset: the fastest that its bytes can be copied, decoded and read, measured in the same run.

Each limit is a whole epoch's seconds if nothing else had to be done. The slowest of them binds; the loader is held against it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from headrace._native import Dataset, Verification
from headrace.bench.ceilings import Ceilings

__all__ = ["Limit", "binding_limit", "dataset_limits", "decode_seconds"]

_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One resource. name: "memory copy", "codec decode" or "storage"."""

    name: str
    epoch_seconds: float
    bytes_per_second: float  # copy and decode: decoded bytes; storage: stored bytes, out of the page cache


def decode_seconds(dataset: Dataset, threads: int) -> float:
    """Seconds to decode every compressed block once with `threads` threads; 0 if no field is compressed.

    The difference between verifying with and without decoding, the best of alternating rounds: what reads and hashes takes part in both.
    """
    if all(field.codec == "none" for field in dataset.schema.fields):
        return 0.0
    best = {False: float("inf"), True: float("inf")}
    for _ in range(_ROUNDS):
        for decode in best:
            begin = time.perf_counter()
            Verification(dataset.path, dataset.version, decode=decode, threads=threads).run()
            best[decode] = min(best[decode], time.perf_counter() - begin)
    return max(0.0, best[True] - best[False])


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
