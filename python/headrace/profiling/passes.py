"""One pass over a dataset in row order: the engine reads and decodes batches ahead, while the one before them is counted on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from headrace import _native
from headrace.profiling.accumulate import FieldStatistics, Rows
from headrace.profiling.columns import Numbers, column_of

__all__ = ["count_all"]

_MOST_ROWS = 65536
_BATCH_BYTES = 16 << 20  # of one batch, about
_UNKNOWN_ROW_BYTES = 64 << 10  # of samples whose size is known only when they are read
_AHEAD_BATCHES = 2

Progress = Callable[[int, int], object]


def count_all(dataset: Any, chosen: Sequence[int], statistics: Sequence[FieldStatistics], rows: Rows, progress: Progress | None) -> None:
    """Count the chosen fields (by their place in dataset.schema) of every sample."""
    fields = [dataset.schema.fields[number] for number in chosen]
    native = dataset.native
    threads = _native.num_threads()
    together = set(rows.names)
    alone = 0 if len(fields) >= threads else threads  # A task takes one core where there are enough for all.
    total, done = len(dataset), 0
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for batch in _batches(dataset, [dataset.field_numbers[number] for number in chosen], _batch_rows(native, fields)):
            columns = [column_of(batch, number, field) for number, field in enumerate(fields)]
            tasks = [task for one, column in zip(statistics, columns, strict=True) for task in one.tasks(column, alone)]
            numbers = [one for one, field in zip(columns, fields, strict=True) if field.name in together and isinstance(one, Numbers)]
            size = len(batch)
            tasks += [partial(rows.add_rows, columns, size), partial(rows.add_numbers, numbers, alone)]
            for running in [pool.submit(task) for task in tasks]:
                running.result()
            done += size
            if progress is not None:
                progress(done, total)


def _batch_rows(native: _native.Dataset, fields: Sequence[_native.Field]) -> int:
    row_bytes = 0
    for field in fields:
        row_bytes += field.row_bytes if field.kind == "tensor" else _UNKNOWN_ROW_BYTES if field.kind in ("image", "bytes") else 256
    return max(1, min(_MOST_ROWS, _BATCH_BYTES // max(1, row_bytes)))


def _batches(dataset: Any, numbers: list[int], batch_rows: int) -> Iterator[_native.Batch]:
    pipeline = _native.Pipeline(
        dataset.native,
        fields=numbers,
        batch_size=batch_rows,
        num_threads=_native.num_threads(),
        prefetch_batches=_AHEAD_BATCHES,
        ragged="offsets",
    )
    pipeline.start(0)
    while (batch := pipeline.next()) is not None:
        yield batch
    note = getattr(dataset, "note_fallback", None)
    if note is not None:
        note()
