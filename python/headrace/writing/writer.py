"""Writing datasets: `Writer` for samples and columns as they come, `write` for a whole source."""

from __future__ import annotations

import json
import logging
import operator
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from headrace._native import Dataset, DatasetWriter, Field, Schema
from headrace.errors import ClosedError, ExistsError
from headrace.writing.base import Column, Place
from headrace.writing.batches import Batch, Source, rows_of
from headrace.writing.codecs import CodecOption, apply_codecs
from headrace.writing.rows import RowBuffer, RowSource
from headrace.writing.sources import columns_of, source_of

__all__ = ["Progress", "Writer", "refuse_existing", "write"]

_log = logging.getLogger("headrace")

Progress = Callable[[int, int | None, str], object]
"""Called with (done, total or None if unknown, unit)."""

_SIZES = {"chunk_samples": (1, 1 << 24), "chunk_bytes": (1, 1 << 62), "shard_bytes": (1, 1 << 62), "threads": (0, 1 << 30)}
_MANIFEST = re.compile(r"manifest-\d{10,}\.hrm")


def write(
    path: str | os.PathLike[str],
    source: Any,
    *,
    schema: Schema | None = None,
    codec: CodecOption = "auto",
    fields: Sequence[str] | None = None,
    append: bool = False,
    chunk_samples: int | None = None,
    chunk_bytes: int | None = None,
    shard_bytes: int | None = None,
    threads: int | None = None,
    batch_rows: int | None = None,
    container: str | None = None,
    metadata: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write all samples of `source` to a new dataset at `path` and return its version, 1 (or, with `append`, the next one).

    source: a dict of columns (arrays, memory maps, tensors, lists; lists of arrays become ragged if their lengths vary); a numpy array,
    structured or plain; a pandas data frame; an iterable of dicts, tuples or single values, streamed in bounded memory, whose first
    `batch_rows` (4096) samples decide the schema; a torch Dataset; anything with `__arrow_c_stream__`. Arrays are not changed.
    schema: what to write, instead of inferring it: values are then made to fit, if that loses nothing.
    codec: "auto" (chosen by trying them on the first values; Writer.choices and the logger "headrace" say why), "none", "lz4", "lz4hc",
    "zstd", with a level "zstd:9", or a dict from field to one of those or to dict(codec=, level=, filter=, block_bytes=, dictionary=);
    None: as `schema` says. filter: "shuffle", "bitshuffle", "delta" or "delta+shuffle", for numbers. dictionary=True (zstd): one is
    trained on the first chunk, which pays where blocks are of few KiB.
    fields: the fields to take, in this order; for tuples and single values, their names.
    append: add to the dataset at `path`, with its schema. chunk_samples, chunk_bytes, shard_bytes: sizes; left out, they are chosen.
    threads: encoding at once, all by default. container: how samples are delivered, "dict", "tuple" or "single"; as in the source
    by default. metadata: JSON text kept in the schema. progress: called with (samples done, total or None, "samples").

    Nothing is visible at `path` before everything is written, and nothing is left after an error or interrupt.
    Raises ExistsError, NotFoundError (append), StorageError; ValueError or TypeError naming sample and field for values that do not fit.
    """
    writer = Writer(
        path,
        schema,
        codec=codec,
        append=append,
        chunk_samples=chunk_samples,
        chunk_bytes=chunk_bytes,
        shard_bytes=shard_bytes,
        threads=threads,
        container=container,
        metadata=metadata,
    )
    with writer:
        names = None if writer.schema is None else writer.schema.names
        writer.write_source(source_of(source, fields=fields, names=names, batch_rows=batch_rows), progress)
    assert writer.version is not None
    return writer.version


def refuse_existing(path: str | os.PathLike[str]) -> None:
    """Raises ExistsError if `path` is a file or holds a dataset."""
    path = os.fsdecode(path)
    if os.path.isdir(path):
        found = next((name for name in sorted(os.listdir(path)) if _MANIFEST.fullmatch(name)), None)
        if found is not None:
            raise ExistsError(
                f"{path} is a dataset already (it has {found}); choose another path, remove it, or add to it with append=True"
            )
    elif os.path.lexists(path):
        raise ExistsError(f"{path} is a file; choose another path")


class Writer:
    """Writes samples to a new dataset, or with `append` to a new version of one. Arguments as for `write`.

    Leaving the with block commits; leaving it with an exception aborts, and nothing is left. Calls of several threads follow one another.
    After an error in `append` the writer is aborted; after one in `extend` it goes on without that call's samples.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: Schema | None = None,
        *,
        codec: CodecOption = "auto",
        append: bool = False,
        chunk_samples: int | None = None,
        chunk_bytes: int | None = None,
        shard_bytes: int | None = None,
        threads: int | None = None,
        container: str | None = None,
        metadata: str | None = None,
    ) -> None:
        self._lock = threading.RLock()  # held by every call, and guards all below
        # Files follow until commit(), wherever the process goes meanwhile.
        self.path = os.path.abspath(os.fsdecode(path)) if path else ""
        self.version: int | None = None  # set by commit()
        self._codec = codec
        self._container = container
        self._metadata = metadata
        self._options: dict[str, Any] = {"append": append}
        sizes = {"chunk_samples": chunk_samples, "chunk_bytes": chunk_bytes, "shard_bytes": shard_bytes, "threads": threads}
        for name, value in sizes.items():
            if value is not None:
                self._options[name] = _size(name, value)
        if schema is not None and not isinstance(schema, Schema):
            raise TypeError(f"schema is a {type(schema).__name__}; expected a headrace.Schema")
        if metadata is not None:
            _demand_json(metadata)
        self._native: DatasetWriter | None = None
        self._schema: Schema | None = None
        self._closed = ""
        self._samples = 0
        self._buffer = RowBuffer()
        if not append:
            refuse_existing(self.path)
        elif schema is None:
            schema = Dataset(self.path).schema
        if schema is not None:
            self._begin(schema.fields, schema.container, schema.metadata)

    @property
    def schema(self) -> Schema | None:
        """What is written; None until it is known. Codecs that are chosen by measurement are final after commit()."""
        return self._native.schema if self._native is not None else self._schema

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Why the fields under codec="auto" are stored as they are; empty until the first chunk is full, or commit().

        One dict a field: field, reason (in words), chosen (index of a trial), trials: each a dict of codec, filter, level, dictionary,
        block_bytes, ratio (raw / stored), decode_bytes_per_second (decoded, one thread), seconds_per_gb (what was weighed: a GB read from
        storage of 1 GB/s and decoded by 4 threads). The first trial is the field as it is.
        """
        return self._native.choices if self._native is not None else []

    @property
    def num_samples(self) -> int:
        """Samples taken so far, by this writer."""
        with self._lock:
            return self._samples + len(self._buffer)

    def append(self, sample: Any) -> None:
        """Take one sample: a dict, a tuple, or a single value. Arrays are copied."""
        with self._lock:
            self._demand_open()
            try:
                self._buffer.append(sample)
                if self._buffer.full:
                    self._flush()
            except BaseException:
                self.abort()
                raise

    def extend(self, columns: Any) -> None:
        """Take many samples: a dict or tuple of columns of equal length, first dimension samples, or a structured array or table."""
        with self._lock:
            self._demand_open()
            if hasattr(columns, "__arrow_c_stream__") and not hasattr(columns, "iloc"):
                self.write_source(source_of(columns))
                return
            self._flush()
            names = self._schema.names if self._schema is not None else None
            parts, container = columns_of(columns, names, self._samples)
            rows = rows_of(parts)
            if self._schema is None:
                self._begin([column.field(name) for name, column in parts.items()], container)
            if rows:
                self._take(Batch(parts, rows))
                self._buffer.skip(rows)

    def write_source(self, source: Source, progress: Progress | None = None) -> None:
        """Take all samples of a source. Progress is called after each batch with (done, total or None, unit)."""
        with self._lock:
            self._demand_open()
            self._flush()
            if self._schema is None:
                self._begin(source.fields(), source.container)
            elif isinstance(source, RowSource):
                source.expect(self._schema.names, self._schema.container)
            done = 0
            for batch in source.batches():
                self._take(batch)
                done += batch.rows
                if progress is not None:
                    progress(*source.progress(done))
            self._buffer.skip(done)

    def commit(self) -> int:
        """Publish everything taken as one version, and return its number. The writer is closed then."""
        with self._lock:
            self._demand_open()
            try:
                self._flush()
                if self._native is None:
                    raise ValueError(
                        f"nothing to write to {self.path}: no samples came and no schema was given; pass schema= for an empty dataset"
                    )
                self.version = self._native.commit()
                self._schema = self._native.schema
                for choice in self.choices:
                    _log.info("%s: field %r: %s", self.path, choice["field"], choice["reason"])
            except BaseException:
                self.abort()
                raise
            self._closed = "committed"
            return self.version

    def abort(self) -> None:
        """Drop everything taken; nothing is left. Does nothing after commit() or abort()."""
        with self._lock:
            if not self._closed:
                self._closed = "aborted"
                if self._native is not None:
                    self._native.abort()

    def __enter__(self) -> Writer:
        self._demand_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.abort()
        elif not self._closed:
            self.commit()

    def __repr__(self) -> str:
        return f"Writer({self.path!r}, {self._closed or 'open'}, num_samples={self.num_samples})"

    def _demand_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the writer of {self.path} was {self._closed}; make a new one")

    def _begin(self, fields: Sequence[Field], container: str, metadata: str = "") -> None:
        _refuse_clash(fields)
        chosen, auto = apply_codecs(fields, self._codec)
        text = metadata if self._metadata is None else self._metadata
        schema = Schema(chosen, self._container or container, text)
        self._native = DatasetWriter(self.path, schema, auto_codec=auto, **self._options)
        self._schema = schema
        if not self._buffer.container:
            self._buffer.expect(schema.names, schema.container)

    def _flush(self) -> None:
        if len(self._buffer):
            batch = self._buffer.drain()
            if self._schema is None:
                fields = [column.field(name) for name, column in batch.columns.items()]
                self._begin(fields, self._buffer.container)
            self._take(batch)

    def _take(self, batch: Batch) -> None:
        assert self._schema is not None
        assert self._native is not None
        encoded = encode(batch.columns, self._schema, self._samples)
        try:
            self._native.extend(encoded, batch.rows)
        except ValueError as error:
            if self._samples:
                error.add_note(f"rows are counted from sample {self._samples}, the first of this part")
            raise
        self._samples += batch.rows


def _refuse_clash(fields: Sequence[Field]) -> None:
    """Batches have `<name>.valid` beside a nullable field and `<name>.length` beside a padded one: no field may be called that."""
    names = {field.name for field in fields}
    for field in fields:
        beside = [f"{field.name}.valid"] * field.nullable + [f"{field.name}.length"] * (field.kind == "ragged")
        for name in beside:
            if name in names:
                what = "its validity" if name.endswith(".valid") else "its lengths"
                raise ValueError(f"fields {field.name!r} and {name!r}: batches give the first {what} under the second name; rename one")


def _size(name: str, value: Any) -> int:
    try:
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}, {value!r}; expected a whole number") from None
    least, most = _SIZES[name]
    if not least <= size <= most:
        raise ValueError(f"{name} must be at least {least}, and at most {most}, got {size}")
    return size


def _demand_json(metadata: Any) -> None:
    if not isinstance(metadata, str):
        raise TypeError(f"metadata is a {type(metadata).__name__}; expected JSON text, as json.dumps() makes it")
    try:
        json.loads(metadata or "null")
    except ValueError as error:
        raise ValueError(f"metadata is no JSON text: {error}") from None


def encode(columns: Mapping[str, Column], schema: Schema, first: int) -> list[Any]:
    """One (values, offsets, valid) a field of the schema. Raises ValueError naming field and sample."""
    missing = [name for name in schema.names if name not in columns]
    extra = [name for name in columns if name not in schema.names]
    if missing or extra:
        raise ValueError(f"expected fields {schema.names}, found {list(columns)} (missing {missing}, unexpected {extra})")
    encoded = [columns[field.name].encode(field, Place(field.name, first)) for field in schema.fields]
    # numpy refuses to lend dates through the buffer protocol.
    return [(values.view("<i8") if values.dtype.kind in "Mm" else values, offsets, valid) for values, offsets, valid in encoded]
