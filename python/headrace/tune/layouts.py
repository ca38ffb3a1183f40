"""How a dataset could be laid out on disk: what that would take and how fast it would be read, measured on a sample of it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace import _native
from headrace.datasets.shards import Dataset
from headrace.datasets.shards import open as open_dataset
from headrace.errors import import_extra
from headrace.sampling.options import one_of, whole_number
from headrace.tune.measure import Options, Side, check_seconds, make_side, rates
from headrace.tune.search import SAMPLERS, importance_of, sampler_of
from headrace.writing.rewrite import rewrite

__all__ = ["LayoutSearch", "LayoutTrial", "layouts", "write_options"]

_LOGGER = logging.getLogger("headrace")
_CODECS = ("none", "lz4", "zstd:1", "zstd:3", "zstd:9", "auto")
_FILTERS = ("none", "shuffle", "bitshuffle", "delta")
_BLOCKS = (4 << 10, 16 << 10, 64 << 10, 256 << 10)
_CHUNKS = (1 << 20, 4 << 20, 16 << 20)
_SCRATCH = "headrace-tune-"
_ABANDONED_SECONDS = 60
_CACHED_PART = 8  # of the sample's raw bytes: what the cache of decoded blocks holds meanwhile
_AS_GOOD = 0.98  # of the fastest: then the smaller one is better
_SPACE: dict[str, tuple[Any, ...]] = {"codec": _CODECS, "filter": _FILTERS, "block_bytes": _BLOCKS, "chunk_bytes": _CHUNKS}


@dataclass(frozen=True, kw_only=True)
class LayoutTrial:
    """One layout. `options`: codec, filter, block_bytes, chunk_bytes; empty for the one that the dataset has.

    stored_bytes: predicted of the whole dataset. ratio: samples a second / those of the present layout, both on the sample, in turn. samples_per_second:
    predicted. All None with `error`, if it failed.
    """

    number: int
    options: Options
    stored_bytes: int | None = None
    ratio: float | None = None
    samples_per_second: float | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class LayoutSearch:
    """What `layouts()` found. `best`: the fastest within the bounds; of those about as fast, the smallest. None if no trial went well."""

    samples: int  # of the dataset
    sampled: int
    present: LayoutTrial  # as it is
    trials: list[LayoutTrial]
    best: LayoutTrial | None
    importance: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False


def layouts(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    batch_size: int = 256,
    order: str = "global",
    trials: int = 20,
    sampler: str = "tpe",
    seed: int = 0,
    seconds: float = 0.5,
    sample_bytes: int = 64 << 20,
    most_size: float | None = None,
    num_workers: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    on_trial: Callable[[LayoutTrial], object] | None = None,
) -> LayoutSearch:
    """Try layouts of a dataset (codec and level, filter, bytes of a block and of a chunk) on a sample of it, and predict size and samples a second of each.

    The sample, whole chunks spread over the dataset, at most `sample_bytes` of raw values, is written once as the dataset is laid out now, and once a
    trial; loaders of both run in turn, with memory for an eighth of its decoded blocks: the process's cache is set to that meanwhile, so nothing else
    should run in it. So rates are those of files in the page cache whose blocks are mostly decoded again; a dataset that stays in memory decoded is as
    fast in any layout from its second epoch on. Nothing is written but below `folder` (default: where temporary files go), and nothing is left there.
    most_size: of the dataset rewritten / as it is now; layouts above it cannot be best. num_workers: of the loaders, default the usable cores.
    `headrace.writing.rewrite.rewrite(dataset, path, **write_options(dataset, best.options))` writes the whole, as `headrace tune --rewrite --to` does.

    A trial that fails (a full disk, a codec that cannot hold a field) counts as failed, and the search goes on; Ctrl-C ends it with what was found.
    Raises MissingExtraError without Optuna, ValueError for options that make no sense or if nothing could be tried, and what reading raises.
    """
    optuna = import_extra("optuna", "tune", "headrace.tune.layouts")
    one_of("order", order, ("global", "window", "sequential"))
    one_of("sampler", sampler, SAMPLERS)
    trials = whole_number("trials", trials, 1, 10_000)
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(os.fspath(dataset))
    if not (os.path.isdir(opened.path) and opened.is_whole) or len(opened) == 0:
        raise ValueError(f"layouts() rewrites one dataset on disk, whole, with samples: not {opened!r}")
    batch_size = whole_number("batch_size", batch_size, 1, 1 << 32)
    check_seconds(seconds)
    if most_size is not None and not most_size > 0:
        raise ValueError(f"most_size must be above 0, got {most_size}")
    workers = _native.num_threads() if num_workers is None else whole_number("num_workers", num_workers, 0, 1025)
    with _scratch_folder(folder) as temporary:
        run = _Run(opened, temporary, batch_size, order, seconds, sample_bytes, workers)
        return _search(optuna, run, sampler, seed, trials, most_size, on_trial)


@contextlib.contextmanager
def _scratch_folder(parent: str | os.PathLike[str] | None) -> Iterator[Path]:
    """A folder of its own below `parent`, removed at the end. Those that killed searches left there are removed first: nobody holds their lock."""
    for left in Path(parent or tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError), _locked(left) as age:
            if age > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=parent) as name, _locked(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[float]:
    """Hold a folder, until the block or the process ends, however; gives the seconds since something in it was made. Raises OSError if another does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield time.time() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def write_options(dataset: Dataset, options: Options) -> dict[str, Any]:
    """For `rewrite()`: the codec of each field, and the size of chunks. Filters are for numbers alone; encoded images stay as they are stored."""
    if not options:
        return {"codec": None}
    codecs: dict[str, Any] = {}
    for one in dataset.schema.fields:
        if one.kind == "image":
            codecs[one.name] = {"codec": one.codec, "level": one.level, "block_bytes": one.block_bytes} if one.codec != "none" else "none"
            continue
        choice: dict[str, Any] = {"codec": options["codec"], "block_bytes": options["block_bytes"]}
        if options["codec"] not in ("none", "auto") and _is_number(one):
            choice["filter"] = options["filter"]
        codecs[one.name] = choice
    return {"codec": codecs, "chunk_bytes": options["chunk_bytes"]}


def _is_number(one: Any) -> bool:
    return one.kind in ("tensor", "ragged") and one.itemsize > 1 and one.dtype[0] in "iuf" and not one.dtype.startswith("bfloat")


class _Run:
    """Writes the sample in a layout and measures it beside the present one."""

    def __init__(
        self, dataset: Dataset, folder: Path, batch_size: int, order: str, seconds: float, sample_bytes: int, workers: int
    ) -> None:
        self.dataset, self._folder, self._seconds, self._workers = dataset, folder, seconds, workers
        self._batch_size, self._order = batch_size, order
        self.rows = _sample(dataset, whole_number("sample_bytes", sample_bytes, 1, 1 << 63))
        # What is already decoded costs the same in every layout, so little of the sample stays so.
        self._chosen_cache_bytes = _native.chosen_cache_bytes()
        _native.set_cache_bytes(int(_raw_bytes(dataset) * len(self.rows) / len(dataset) / _CACHED_PART))
        _, chunk = max(dataset.native.chunk_layout)
        try:
            path = self._write({"codec": None, "chunk_samples": chunk})
            self._present = self._side(path)
        except BaseException:
            _native.set_cache_bytes(self._chosen_cache_bytes)
            raise
        self._scale = sum(int(shard["file_bytes"]) for shard in dataset.native.shards) / _bytes_of(path)
        self.present_bytes = round(_bytes_of(path) * self._scale)

    def _write(self, options: dict[str, Any]) -> Path:
        path = Path(tempfile.mkdtemp(dir=self._folder)) / "d"
        rewrite(self.dataset, path, rows=self.rows, **options)
        return path

    def _side(self, path: Path) -> Side:
        options: Options = {"num_workers": self._workers, "prefetch_factor": None, "reader": "mmap", "window": None}
        side = make_side(open_dataset(path), options, batch_size=min(self._batch_size, len(self.rows)), order=self._order, step=None)
        side.drive(self._seconds)  # Each block is checked when it is first read, and never again.
        return side

    def trial(self, number: int, options: Options) -> LayoutTrial:
        side, path = None, None
        try:
            path = self._write(write_options(self.dataset, options))
            side = self._side(path)
            rate, reference = rates(side, self._present, self._seconds)
            self.present_rate = reference
            stored = round(_bytes_of(path) * self._scale)
            return LayoutTrial(number=number, options=options, stored_bytes=stored, ratio=rate / reference, samples_per_second=rate)
        except Exception as error:  # noqa: BLE001 - a full disk, a filter that a field cannot have: the others go on
            _LOGGER.info("tune: layout %d, %s, failed: %s: %s", number, options, type(error).__name__, error)
            return LayoutTrial(number=number, options=options, error=f"{type(error).__name__}: {error}")
        finally:
            if side is not None:
                side.close()
            if path is not None:
                _remove(path)

    def present(self) -> LayoutTrial:
        """The layout as it is, beside itself."""
        return LayoutTrial(number=-1, options={}, stored_bytes=self.present_bytes, ratio=1.0, samples_per_second=self.present_rate)

    present_rate = 0.0

    def close(self) -> None:
        self._present.close()
        _native.set_cache_bytes(self._chosen_cache_bytes)


def _search(
    optuna: Any, run: _Run, sampler: str, seed: int, trials: int, most_size: float | None, on_trial: Callable[[LayoutTrial], object] | None
) -> LayoutSearch:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler_of(optuna, sampler, seed, _SPACE))
    if sampler != "grid":
        study.enqueue_trial({"codec": "auto", "filter": "none", "block_bytes": 16 << 10, "chunk_bytes": 4 << 20})
    done: list[LayoutTrial] = []
    interrupted = False

    def measure(asked: Any) -> float:
        options = {name: asked.suggest_categorical(name, list(values)) for name, values in _SPACE.items()}
        trial = run.trial(asked.number, options)
        done.append(trial)
        if on_trial is not None:
            on_trial(trial)
        if trial.ratio is None:
            raise optuna.TrialPruned
        return trial.ratio

    try:
        study.optimize(measure, n_trials=trials)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        optuna.logging.set_verbosity(verbosity)
        run.close()
    good = [trial for trial in done if trial.ratio is not None]
    if not good and not interrupted:
        raise ValueError(f"none of {len(done)} layouts could be tried; the first failed with: {done[0].error}")
    return LayoutSearch(
        samples=len(run.dataset),
        sampled=len(run.rows),
        present=run.present(),
        trials=done,
        best=_best([run.present(), *good], run.present_bytes, most_size) if good else None,
        importance=importance_of(optuna, study),
        interrupted=interrupted,
    )


def _best(trials: list[LayoutTrial], present_bytes: int, most_size: float | None) -> LayoutTrial | None:
    within = [trial for trial in trials if most_size is None or (trial.stored_bytes or 0) <= most_size * present_bytes]
    if not within:
        return None
    fastest = max(trial.ratio or 0.0 for trial in within)
    return min((trial for trial in within if (trial.ratio or 0.0) >= _AS_GOOD * fastest), key=lambda trial: trial.stored_bytes or 0)


def _sample(dataset: Dataset, most_bytes: int) -> Any:
    """Row numbers: whole chunks, evenly spread; all rows if they are few enough."""
    rows = min(len(dataset), max(1, most_bytes * len(dataset) // max(1, _raw_bytes(dataset))))
    if rows == len(dataset):
        return np.arange(rows, dtype=np.int64)
    chunk = min(max(size for _, size in dataset.native.chunk_layout), rows)
    runs = max(1, rows // chunk)
    begins = np.linspace(0, (len(dataset) - chunk) // chunk, runs).astype(np.int64) * chunk
    return (np.unique(begins)[:, None] + np.arange(chunk)).reshape(-1)


def _raw_bytes(dataset: Dataset) -> int:
    return sum(int(stats["raw_bytes"]) for stats in dataset.native.field_stats())


def _bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    for file in sorted(path.parent.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.parent.rmdir()
