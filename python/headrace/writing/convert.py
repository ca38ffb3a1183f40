"""`convert`: files of other formats into a dataset."""

from __future__ import annotations

import glob as globbing
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from headrace.errors import NotFoundError
from headrace.writing.batches import Source
from headrace.writing.codecs import CodecOption
from headrace.writing.formats import csv, images, ipc, npy, npz, orc, parquet
from headrace.writing.writer import Progress, Writer, refuse_existing

__all__ = ["FORMATS", "convert", "convert_with"]

FORMATS: dict[str, Callable[..., Source]] = {
    "images": images.image_source,
    "npy": npy.npy_source,
    "npz": npz.npz_source,
    "csv": csv.csv_source,
    "parquet": parquet.parquet_source,
    "orc": orc.orc_source,
    "arrow": ipc.ipc_source,
}

_EXTENSIONS = {
    ".npy": "npy",
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".orc": "orc",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_COMPRESSED = (".gz", ".bz2", ".zst")
_WRITER_OPTIONS = ("append", "chunk_samples", "chunk_bytes", "shard_bytes", "container")


def convert(
    src: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dst: str | os.PathLike[str],
    *,
    format: str | None = None,
    progress: Progress | None = None,
    codec: CodecOption = "auto",
    threads: int | None = None,
    **options: Any,
) -> int:
    """Write the samples of files to a new dataset at `dst`, streamed in bounded memory, and return its version.

    src: a folder of images by class (torchvision's ImageFolder), or a file, list, glob or folder of files that are .npy, .npz, .csv,
    .parquet, .orc, .arrow or .feather; files of a glob or folder are taken in the order of their names, and all need the same fields.
    format: one of FORMATS, instead of looking at the names. progress: called with (done, total or None, unit), where unit is
    "samples", or before that "bytes scanned" or "samples scanned" for formats that are looked through first (CSV, ORC, Arrow).
    codec, threads: as for `write`. options: those of `write` (append, chunk_samples, chunk_bytes, shard_bytes, container), and of the
    format: `fields` for all but images, `allow_unsafe_types` for NumPy files, `extensions`, `repack` ("lossless"), `max_side`,
    `quality` and `store` (see `headrace.writing.formats.images.image_source`) for images, and for CSV `delimiter`,
    `column_names`, `column_types`, `null_values`, `strings_can_be_null`, `encoding` and `block_bytes`.

    Raises ExistsError before any work if there is a dataset at `dst`; NotFoundError; UnsafeDataError for pickled arrays;
    CorruptDataError naming the file; MissingExtraError if the format needs pyarrow. After an error or interrupt nothing is left.
    """
    writer = convert_with(src, dst, format=format, progress=progress, codec=codec, threads=threads, **options)
    assert writer.version is not None
    return writer.version


def convert_with(
    src: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dst: str | os.PathLike[str],
    *,
    format: str | None = None,
    progress: Progress | None = None,
    codec: CodecOption = "auto",
    threads: int | None = None,
    **options: Any,
) -> Writer:
    """`convert`, but returns the writer, which is committed and says what it chose."""
    if not options.get("append"):
        refuse_existing(dst)
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
    paths, name = _found(src, format)
    writer_options = {key: options.pop(key) for key in _WRITER_OPTIONS if key in options}
    known = [key for key in inspect.signature(FORMATS[name]).parameters if key not in ("paths", "threads", "scanned")]
    unknown = [key for key in options if key not in known]
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r} for {name}; known are {', '.join([*known, *_WRITER_OPTIONS])}")
    if "scanned" in inspect.signature(FORMATS[name]).parameters:
        options["scanned"] = progress
    source = FORMATS[name](paths, threads=threads, **options)
    metadata = getattr(source, "metadata", None)
    with Writer(dst, codec=codec, threads=threads, metadata=metadata, **writer_options) as writer:
        writer.write_source(source, progress)
    return writer


def _found(src: Any, format: str | None) -> tuple[list[str], str]:
    """(files or the one folder of images, format). Raises NotFoundError or ValueError saying what was found."""
    if isinstance(src, (str, os.PathLike)):
        paths = _expanded(os.fsdecode(src), format)
    else:
        paths = [os.fsdecode(path) for path in src]
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise NotFoundError(f"there is no {missing[0]}")
    if not paths:
        raise NotFoundError("there are no files to convert: the list is empty")
    if format is not None:
        return paths, format
    names = {_format_of(path) for path in paths}
    if len(names) > 1:
        raise ValueError(f"the files are of several formats, {', '.join(sorted(names))}; convert them separately, or say format=")
    return paths, names.pop()


def _expanded(src: str, format: str | None) -> list[str]:
    if os.path.isdir(src):
        return [src] if format == "images" else _in_folder(src, format)
    if os.path.exists(src):
        return [src]
    if any(char in src for char in "*?["):
        paths = sorted(globbing.glob(src, recursive=True))
        if paths:
            return paths
        raise NotFoundError(f"no file matches {src}")
    raise NotFoundError(f"there is no {src}")


def _in_folder(folder: str, format: str | None) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    tables = [os.path.join(folder, name) for name in names if (kind := _kind(name)) is not None and format in (None, kind)]
    classes = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    if format is not None:
        if not tables:
            raise NotFoundError(f"{folder} has no {format} files")
        return tables
    if tables and classes:
        raise ValueError(
            f"{folder} has both folders ({classes[0]}, ...) and files ({os.path.basename(tables[0])}, ...); say format='images' or another"
        )
    if tables:
        return tables
    if classes:
        return [folder]
    raise NotFoundError(f"{folder} has neither class folders of images nor files of a known format ({' '.join(_EXTENSIONS)})")


def _kind(path: str) -> str | None:
    base, extension = os.path.splitext(path.lower())
    if extension in _COMPRESSED and os.path.splitext(base)[1] in (".csv", ".tsv", ".tab"):
        return "csv"
    return _EXTENSIONS.get(extension)


def _format_of(path: str) -> str:
    if os.path.isdir(path):
        return "images"
    kind = _kind(path)
    if kind is None:
        raise ValueError(f"cannot tell the format of {path}; say format= ({', '.join(FORMATS)})")
    return kind
