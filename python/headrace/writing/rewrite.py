"""A dataset's samples in a new dataset that is laid out otherwise: codecs, filters, sizes of blocks and chunks. Values stay what they are, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace._native import Batch, DatasetWriter, Field, Schema
from headrace.datasets.shards import Dataset
from headrace.writing.codecs import CodecOption, apply_codecs
from headrace.writing.writer import refuse_existing

__all__ = ["rewrite"]

_PART_BYTES = 32 << 20  # raw, read and written at a time


def rewrite(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    codec: CodecOption = "auto",
    rows: npt.NDArray[np.int64] | None = None,
    progress: Callable[[int, int | None, str], object] | None = None,
    **sizes: Any,
) -> int:
    """Write the samples of a dataset on disk to a new one at `path`; returns its version, 1.

    codec: as of `headrace.write`; "auto" chooses anew, whatever the fields are stored as now; None keeps what they are stored as. rows: which samples, by
    default all, in order. sizes: chunk_samples, chunk_bytes, shard_bytes, threads. progress: called with (samples done, all of them, "samples").
    Nothing is at `path` before all is written, and nothing is left after an error. Raises ExistsError, StorageError, ValueError for what a codec cannot hold.
    """
    target = os.path.abspath(os.fsdecode(path))
    refuse_existing(target)
    stored = dataset.schema
    fields = stored.fields if codec is None else [_plain(field) for field in stored.fields]
    chosen, auto = apply_codecs(fields, codec)
    writer = DatasetWriter(target, Schema(chosen, stored.container, stored.metadata), auto_codec=auto, **sizes)
    wanted = np.arange(len(dataset), dtype=np.int64) if rows is None else dataset.absolute(rows)
    try:
        step = _part_rows(dataset, len(wanted))
        for begin in range(0, len(wanted), step):
            batch = dataset.native.fetch(wanted[begin : begin + step], dataset.field_numbers)
            writer.extend([_part(batch, number, field) for number, field in enumerate(chosen)], len(batch))
            if progress is not None:
                progress(min(begin + step, len(wanted)), len(wanted), "samples")
        return writer.commit()
    except BaseException:
        writer.abort()
        raise


def _plain(field: Field) -> Field:
    return Field(field.name, field.kind, field.dtype, field.shape, field.nullable, metadata=field.metadata)


def _part_rows(dataset: Dataset, rows: int) -> int:
    raw = sum(int(stats["raw_bytes"]) for stats in dataset.native.field_stats())
    return max(1, min(rows, _PART_BYTES * len(dataset.native) // max(1, raw), 1 << 20))


class _Capsule:
    """Hands one DLPack capsule to numpy."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _part(batch: Batch, number: int, field: Field) -> tuple[Any, Any, Any]:
    """(values, offsets in bytes, valid) of a field, as DatasetWriter takes them."""
    valid = batch.valid(number) if field.nullable else None
    if field.kind in ("tensor", "ragged"):
        found = batch.numpy(number)
        values, offsets = (found, None) if field.kind == "tensor" else found
        values = np.ascontiguousarray(values)
        # numpy lends neither dates nor wide characters as they are.
        plain = values.view(np.uint8) if values.dtype.kind in "MmSU" and values.ndim > 0 and values.size > 0 else values
        return plain, None if offsets is None else (offsets * field.row_bytes).astype(np.uint64), valid
    values = np.from_dlpack(_Capsule(batch.dlpack(number)))
    return values, np.from_dlpack(_Capsule(batch.dlpack(number, "offsets"))).astype(np.uint64), valid
