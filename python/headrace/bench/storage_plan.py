"""What a storage benchmark is to read, and how: its options, the files, and the points to measure."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace._native import Dataset
from headrace.bench.file_system import FileSystem
from headrace.bench.scratch_file import scratch_file
from headrace.errors import NotFoundError

__all__ = ["PATTERNS", "READERS", "STATES", "Point", "StorageOptions", "Target", "checked_file", "opened_target", "plan"]

PATTERNS = ("sequential", "random")
READERS = ("mmap", "pread", "direct", "uring")
STATES = ("cold", "warm")
FIO_CHOICES = ("auto", "off", "all")

# What is measured unless the user says otherwise: about a minute. The device's own rate at rising depth, and the default reader of datasets.
_DEFAULT_BLOCKS = (("sequential", 1 << 20), ("random", 4 << 10), ("random", 128 << 10))
_DEFAULT_DEPTHS = (1, 8, 32, 128)
_DEFAULT_READERS = {"cold": ("direct", "mmap"), "warm": ("mmap", "pread", "uring")}
_DEFAULT_SIZE_BYTES = 1 << 30
_DIRECT_BYTES = 4096  # what the native reader aligns direct reads to; a multiple of every device's logical block that Linux allows
_MAX_BUFFER_BYTES = 1 << 30
_MAX_FILES = 16  # of a dataset: more open files do not change what its storage can do

Advance = Callable[[str, int, int, str], None]  # what is being done, how much is done, of how much, in which unit


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """None: a default that depends on the rest. Raises ValueError for what makes no sense.

    state: "cold" or "warm"; None: cold, but warm where the file system is memory. size_bytes: of a test file; None where PATH is a file.
    drop_machine_cache: empty the whole machine's page cache before each cold point, which needs root. fio: "auto" runs it where it is
    installed and does the same work, "all" for every point, "off" never.
    """

    patterns: tuple[str, ...] | None = None
    block_bytes: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    readers: tuple[str, ...] | None = None
    threads: tuple[int, ...] = (1,)
    seconds: float = 1.0  # of each point, in each round
    rounds: int = 1
    state: str | None = None
    size_bytes: int | None = None
    keep: bool = False
    drop_machine_cache: bool = False
    fio: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, chosen, known in (("patterns", self.patterns, PATTERNS), ("readers", self.readers, READERS)):
            unknown = [word for word in chosen or () if word not in known]
            if unknown or chosen == ():
                raise ValueError(f"{name} must be some of {', '.join(known)}, got {', '.join(map(repr, unknown)) or 'none'}")
        if self.state not in (None, *STATES):
            raise ValueError(f"state must be 'cold' or 'warm', got {self.state!r}")
        if self.fio not in FIO_CHOICES:
            raise ValueError(f"fio must be one of {', '.join(FIO_CHOICES)}, got {self.fio!r}")
        if not 0 < self.seconds <= 86400:
            raise ValueError(f"seconds must be above 0 and at most a day, got {self.seconds:g}")
        if not 1 <= self.rounds <= 1000:
            raise ValueError(f"rounds must be from 1 to 1000, got {self.rounds}")
        if self.size_bytes is not None and self.size_bytes < _DIRECT_BYTES:
            raise ValueError(f"a test file of {self.size_bytes} bytes is smaller than one block of {_DIRECT_BYTES}; take a larger one")
        for name, numbers, most in (
            ("depths", self.depths, 1024),
            ("threads", self.threads, 64),
            ("block_bytes", self.block_bytes, 64 << 20),
        ):
            wrong = [number for number in numbers or () if not 1 <= number <= most]
            if wrong or numbers == ():
                raise ValueError(f"{name} must be from 1 to {most}, got {', '.join(map(str, wrong)) or 'none'}")
        if self.state == "warm" and "direct" in (self.readers or ()):
            raise ValueError("direct reads never come from the page cache, so there is no warm run of them; leave out the reader or warm")
        if self.state == "warm" and self.drop_machine_cache:
            raise ValueError("a warm run reads from the page cache; emptying it before makes no sense")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement to make."""

    pattern: str
    block_bytes: int
    reader: str
    threads: int
    depth: int  # reads in flight, of each thread


@dataclass(frozen=True, kw_only=True)
class Target:
    """The files to read. kind: "dataset", "file", or "test file" (laid out for this run)."""

    kind: str
    path: Path
    files: tuple[Path, ...]
    file_bytes: int  # of `files` together
    files_total: int  # of the dataset; `files` are at most 16 of them, evenly spread
    samples: int | None  # of the dataset
    stored_bytes: int | None  # of all its files

    @property
    def largest_bytes(self) -> int:
        """Of one file: what a block must fit into."""
        return max(file.stat().st_size for file in self.files)


def checked_file(path: Path) -> Path:
    """`path`, if it is a file that can be read and holds something. Raises ValueError, OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: expected a file, a dataset or a directory, found a device, pipe or socket; name a file on it")
    if status.st_size == 0:
        raise ValueError(f"{path}: the file is empty, there is nothing to read")
    with path.open("rb"):
        pass  # raises PermissionError now rather than later
    return path


def _dataset_target(path: Path) -> Target | None:
    """The shards of a dataset; None if the directory holds none."""
    try:
        dataset = Dataset(str(path), 0)
    except NotFoundError:
        return None
    shards = [path / str(shard["file_name"]) for shard in dataset.shards]
    if not shards:
        raise ValueError(f"{path}: the dataset is empty, there is nothing to read")
    chosen = [shards[i * len(shards) // _MAX_FILES] for i in range(_MAX_FILES)] if len(shards) > _MAX_FILES else shards
    files = tuple(checked_file(file) for file in chosen)
    return Target(
        kind="dataset",
        path=path,
        files=files,
        file_bytes=sum(file.stat().st_size for file in files),
        files_total=len(shards),
        samples=len(dataset),
        stored_bytes=sum(file.stat().st_size for file in shards),
    )


def _file_target(path: Path, kind: str) -> Target:
    size = path.stat().st_size
    return Target(kind=kind, path=path, files=(path,), file_bytes=size, files_total=1, samples=None, stored_bytes=None)


@contextlib.contextmanager
def opened_target(path: Path, options: StorageOptions, advance: Advance) -> Iterator[Target]:
    """The files at `path`; a test file in it, where it is a plain directory, or at it, where nothing is there and a size was given.

    The test file is removed at the end unless `options.keep`. Raises NotFoundError, ValueError, StorageError, other OSErrors.
    """
    if path.is_dir():
        dataset = _dataset_target(path)
        if dataset is None:
            place = path / f"headrace-bench-storage-{os.getpid()}.bin"
        elif options.size_bytes is not None:
            raise ValueError(f"{path}: this is a dataset, and its own files are read; --size is for a test file in a plain directory")
        else:
            yield dataset
            return
    elif os.path.lexists(path):
        if options.size_bytes is not None:
            raise ValueError(f"{path}: there is a file; --size is for a test file in a directory, or where nothing is yet")
        yield _file_target(checked_file(path), "file")
        return
    elif options.size_bytes is None or not path.parent.is_dir():
        raise NotFoundError(f"{path}: no such file, dataset or directory; name one, or give --size for a test file of that name")
    else:
        place = path
    size = (options.size_bytes or _DEFAULT_SIZE_BYTES) // _DIRECT_BYTES * _DIRECT_BYTES
    laid_out = scratch_file(
        place, size, keep=options.keep, advance=lambda done, total: advance("laying out the test file", done, total, "bytes")
    )
    with laid_out as file:
        yield _file_target(file, "test file")


def _combinations(options: StorageOptions, largest_bytes: int) -> list[tuple[str, int]]:
    """Patterns with their block sizes. Without sizes from the user: those of the defaults that the files hold eight of, or else the smallest."""
    patterns = options.patterns or PATTERNS
    if options.block_bytes is not None:
        return [(pattern, size) for pattern in patterns for size in options.block_bytes]
    defaults = [(pattern, size) for pattern, size in _DEFAULT_BLOCKS if pattern in patterns]
    fitting = [(pattern, size) for pattern, size in defaults if 8 * size <= largest_bytes]
    if "sequential" in patterns and all(pattern != "sequential" for pattern, _ in fitting):
        fitting.insert(0, ("sequential", _DIRECT_BYTES))
    return fitting or [(pattern, _DIRECT_BYTES) for pattern in patterns]


def plan(options: StorageOptions, target: Target, state: str, file_system: FileSystem) -> list[Point]:
    """The points to measure. Raises ValueError, naming the option, for blocks that no file holds or that direct reads cannot have."""
    readers = options.readers or _DEFAULT_READERS[state]
    combinations = _combinations(options, target.largest_bytes)
    for _, size in combinations:
        if size > target.largest_bytes:
            raise ValueError(f"a block of {size} bytes is larger than the largest file of {target.path} ({target.largest_bytes} bytes)")
        if "direct" in readers and size % _DIRECT_BYTES:
            block = file_system.logical_block_bytes
            device = f"; the device's logical block has {block}" if block else ""
            raise ValueError(f"a block of {size} bytes cannot be read direct: it must be a multiple of {_DIRECT_BYTES}{device}")
    points = [
        Point(pattern=pattern, block_bytes=size, reader=reader, threads=threads, depth=depth)
        for pattern, size in combinations
        for reader in readers
        for threads in options.threads
        for depth in options.depths or _DEFAULT_DEPTHS
    ]
    for point in points:
        if point.depth * point.threads * point.block_bytes > _MAX_BUFFER_BYTES:
            raise ValueError(
                f"depth {point.depth} * block {point.block_bytes} * threads {point.threads} is more than 1 GiB of buffers; take less of one"
            )
    return points
