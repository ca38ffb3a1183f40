"""Datasets of every kind of field, and what each sample of them must be: computed from the index alone, never read back."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import headrace
from headrace import Field, Schema, _native

ROWS = 300
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
# Each adds one copy of the fields with this storage; blocks are small, so that samples straddle them.
STORAGES = {"raw": ("none", "none"), "lz4": ("lz4", "shuffle"), "zstd": ("zstd", "none"), "hc": ("lz4hc", "none")}


def numbers(dtype: str, i: int, shape: tuple[int, ...] = ()) -> np.ndarray[Any, Any]:
    """Values of sample i: all different for neighbouring i, and of both signs where the dtype has them."""
    count = math.prod(shape)
    base = np.arange(i * 7, i * 7 + count) if count else np.arange(0)
    if np.dtype(dtype).kind == "b":
        return (base % 3 == 0).reshape(shape)
    if np.dtype(dtype).kind == "c":
        return (base - 50 + 1j * base).astype(dtype).reshape(shape)
    return ((base * (-1) ** i) % 251 - (0 if np.dtype(dtype).kind == "u" else 120)).astype(dtype).reshape(shape)


@functools.cache
def sample(i: int) -> dict[str, Any]:
    """What dataset[i] of `all_kinds` gives, without storage suffixes. Not to be changed."""
    text = f"sämple {i} " + "é" * (i % 5)
    values: dict[str, Any] = {name: numbers(name, i)[()] for name in DTYPES}
    values["matrix"] = numbers("float32", i, (3, 5))
    values["empty"] = np.zeros((2, 0), np.int16)
    values["brain"] = np.float32(i * 0.5 - 30)
    values["date"] = np.datetime64("2013-01-01T05:00", "ns") + np.timedelta64(i, "h")
    values["span"] = np.timedelta64(i - 100, "s")
    values["chars"] = np.bytes_(f"id{i % 97}")
    values["letters"] = np.str_(f"ä{i % 89}")
    values["maybe"] = numbers("int32", 0 if i % 5 == 0 else i, (2,)) * (i % 5 != 0)
    values["maybe.valid"] = np.bool_(i % 5 != 0)
    values["ragged"] = numbers("int16", i, (i % 7,))
    values["ragged2"] = numbers("float64", i, (i % 4, 3))
    values["maybe_ragged"] = numbers("uint8", i, (0 if i % 6 == 0 else i % 9,))
    values["maybe_ragged.valid"] = np.bool_(i % 6 != 0)
    values["blob"] = bytes([i % 256]) * (i % 11)
    values["text"] = text
    values["maybe_text"] = None if i % 4 == 0 else text[::-1]
    values["picture"] = b"\xff\xd8" + bytes(range(i % 60))
    return values


FIELDS: dict[str, dict[str, Any]] = {name: {"dtype": name} for name in DTYPES} | {
    "matrix": {"dtype": "float32", "shape": (3, 5)},
    "empty": {"dtype": "int16", "shape": (2, 0)},
    "brain": {"dtype": "bfloat16"},
    "date": {"dtype": "datetime64[ns]"},
    "span": {"dtype": "timedelta64[s]"},
    "chars": {"dtype": "S12"},
    "letters": {"dtype": "U4"},
    "maybe": {"dtype": "int32", "shape": (2,), "nullable": True},
    "ragged": {"kind": "ragged", "dtype": "int16"},
    "ragged2": {"kind": "ragged", "dtype": "float64", "shape": (3,)},
    "maybe_ragged": {"kind": "ragged", "dtype": "uint8", "nullable": True},
    "blob": {"kind": "bytes"},
    "text": {"kind": "string"},
    "maybe_text": {"kind": "string", "nullable": True},
    "picture": {"kind": "image"},
}


def native_column(name: str, rows: Sequence[int]) -> tuple[Any, Any, Any]:
    """(values, offsets, valid) of one field, as DatasetWriter.extend takes them."""
    spec = FIELDS[name]
    values = [sample(i)[name] for i in rows]
    valid = None
    if spec.get("nullable"):
        valid = np.array([sample(i).get(f"{name}.valid", sample(i)[name] is not None) for i in rows], bool)
    if spec.get("kind") is None:
        if spec["dtype"] == "bfloat16":
            array = (np.array(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        else:
            array = np.array(values, dtype=spec["dtype"])
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8), None, valid
    parts = [v.encode() if isinstance(v, str) else b"" if v is None else v if isinstance(v, bytes) else v.tobytes() for v in values]
    return b"".join(parts), np.cumsum([0] + [len(part) for part in parts], dtype=np.uint64), valid


def fields_of(storage: str, names: Sequence[str] = tuple(FIELDS)) -> list[Field]:
    """The fields of `all_kinds` under one codec and filter."""
    codec, transform = STORAGES[storage]
    made = []
    for name in names:
        spec = FIELDS[name]
        numeric = spec.get("kind") in (None, "ragged") and spec["dtype"][0] not in "SU" and np.prod(spec.get("shape", ())) > 0
        made.append(Field(name, codec=codec, filter=transform if numeric else "none", block_bytes=512, **spec))
    return made


def write_all_kinds(
    path: Path, storage: str = "raw", container: str = "dict", rows: int = ROWS, names: Sequence[str] = tuple(FIELDS)
) -> None:
    """Write samples 0..rows in shards of 128 samples, chunks of 32."""
    writer = _native.DatasetWriter(str(path), Schema(fields_of(storage, names), container), chunk_samples=32, shard_bytes=1)
    for begin in range(0, rows, 128):
        part = range(begin, min(rows, begin + 128))
        writer.extend([native_column(name, part) for name in names], len(part))
    writer.commit()


def check_sample(got: dict[str, Any], i: int) -> None:
    """Equal names, types, dtypes, shapes and bits."""
    want = sample(i)
    assert set(got) == set(want)
    for name, value in want.items():
        assert_same(got[name], value, f"sample {i}, {name}")


def assert_same(got: Any, want: Any, place: str = "") -> None:
    """Deep equality of what datasets and loaders deliver: containers, types, dtypes, shapes and values."""
    if isinstance(want, (np.ndarray, np.generic)):
        assert isinstance(got, (np.ndarray, np.generic)), place
        assert got.dtype == want.dtype, (place, got.dtype, want.dtype)
        assert got.shape == want.shape, (place, got.shape, want.shape)
        assert got.tobytes() == want.tobytes(), (place, got, want)
    elif isinstance(want, torch.Tensor):
        assert isinstance(got, torch.Tensor), place
        assert got.dtype == want.dtype, (place, got.dtype, want.dtype)
        assert got.shape == want.shape, (place, got.shape, want.shape)
        assert torch.equal(got, want), place
    elif isinstance(want, dict):
        assert isinstance(got, dict), place
        assert list(got) == list(want), (place, list(got), list(want))
        for key in want:
            assert_same(got[key], want[key], f"{place}[{key!r}]")
    elif isinstance(want, (list, tuple)):
        assert type(got) is type(want), (place, type(got), type(want))
        assert len(got) == len(want), place
        for number, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    else:
        assert type(got) is type(want), (place, got, want)
        assert got == want, place


def numbered(path: Path, rows: int = 1000, *, codec: str = "none", chunk_samples: int = 64, **options: Any) -> headrace.Dataset:
    """A dataset whose field `id` is the sample's number, with three more that follow from it."""
    ids = np.arange(rows, dtype=np.int64)
    columns = {"id": ids, "x": np.stack([ids * k for k in (1, -2, 3)], axis=1).astype(np.float32), "name": [f"n{i}" for i in ids]}
    headrace.write(path, columns, codec=codec, chunk_samples=chunk_samples, **options)
    return headrace.open(path)


def ids_of(batches: Any) -> list[list[int]]:
    """Field `id` of each batch."""
    return [batch["id"].tolist() for batch in batches]


def damage(path: Path, field: int, samples: Sequence[int], *, at: int = 5) -> None:
    """Flip one byte in the first values block that holds each of these samples; fields must be raw, one block a page.

    The block is found in the file by its bytes, as `field` of the native dataset delivers them.
    """
    native = _native.Dataset(str(path))
    stats = native.chunk_stats(field)
    for number in samples:
        chunk = int(np.searchsorted(stats["first_sample"], number, side="right")) - 1
        first, count = int(stats["first_sample"][chunk]), int(stats["num_samples"][chunk])
        values = native.fetch(np.arange(first, first + count), [field]).numpy(0)
        flip(path, values.tobytes(), at)


def flip(path: Path, found: bytes, at: int) -> Path:
    """Invert byte `at` of the one place where these bytes stand in the dataset's shards; the shard stays the same file."""
    for shard in sorted(Path(path).glob("*.hrs")):
        whole = shard.read_bytes()
        place = whole.find(found)
        if place < 0:
            continue
        assert whole.find(found, place + 1) < 0, "these bytes are not unique"
        stamp = shard.stat()
        with shard.open("r+b") as file:
            file.seek(place + at)
            file.write(bytes([whole[place + at] ^ 0xFF]))
        os.utime(shard, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return shard
    raise AssertionError("these bytes are in no shard")


@contextmanager
def pool_of(threads: int) -> Iterator[None]:
    """The process's pool with this many threads, and as it was afterwards."""
    before = headrace.num_threads()
    headrace.set_num_threads(threads)
    try:
        yield
    finally:
        headrace.set_num_threads(before)


def open_files() -> list[str]:
    """What this process has open, by name; sockets and pipes by kind."""
    names = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # The listing's own.
            continue
        names.append(target)
    return sorted(names)


def thread_count() -> int:
    """Threads of this process that are neither Python's nor the pool's."""
    return len(os.listdir("/proc/self/task")) - threading.active_count() - _native.running_threads()


def run_python(code: str, *arguments: Any, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that imports what this one does; the timeout is a guard against hanging, not a measure."""
    # Python 3.12+ warns at each fork of a process with threads, and forking under live engine threads is what some tests are for.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code, *map(str, arguments)]
    here = os.pathsep.join(
        dict.fromkeys([str(Path(headrace.__file__).parents[1]), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    environment = {**os.environ, "PYTHONPATH": here, **options.pop("env", {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False, **options)


def answer_of(code: str, *arguments: Any, **options: Any) -> Any:
    """Run code that prints one line of JSON; it must end well and say nothing else."""
    done = run_python(code, *arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def torch_batch(
    rows: Sequence[int], ragged: str = "padded", names: Sequence[str] = tuple(FIELDS), *, strings: str = "lists"
) -> dict[str, Any]:
    """What a loader delivers of these samples of `all_kinds`, made by torch from the samples."""
    samples = [sample(i) for i in rows]
    out: dict[str, Any] = {}
    for name in names:
        spec, values = FIELDS[name], [s[name] for s in samples]
        if spec.get("kind") == "ragged":
            inner = spec.get("shape", ())
            lengths = torch.tensor([len(value) for value in values], dtype=torch.int64)
            joined = torch.from_numpy(np.concatenate([*values, np.empty((0, *inner), spec["dtype"])]))
            if ragged == "padded":
                parts = list(joined.split(lengths.tolist()))
                out[name] = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
                out[f"{name}.length"] = lengths
            else:
                out[name] = (joined, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))
        elif spec.get("kind") is not None and strings == "offsets":
            parts = [b"" if v is None else v.encode() if isinstance(v, str) else v for v in values]
            joined = torch.tensor(list(b"".join(parts)), dtype=torch.uint8)
            out[name] = (joined, torch.tensor([sum(map(len, parts[:i])) for i in range(len(parts) + 1)]))
            if spec.get("nullable"):
                out[f"{name}.valid"] = torch.tensor([v is not None for v in values])
        elif spec.get("kind") is not None:
            out[name] = values
        elif spec["dtype"] == "bfloat16":
            out[name] = torch.tensor(np.array(values)).to(torch.bfloat16)
        elif spec["dtype"][0] in "SU":
            out[name] = [value.item() for value in values]
        else:
            array = np.array(values)
            out[name] = torch.from_numpy(array.view(np.int64) if array.dtype.kind in "mM" else array)
        if f"{name}.valid" in samples[0]:
            out[f"{name}.valid"] = torch.tensor([bool(s[f"{name}.valid"]) for s in samples])
    return out


def wait_until_ready(loader: headrace.DataLoader, batches: int) -> None:
    """Wait until the engine has so many batches."""
    while loader.stats()["batches_ready"] < batches:
        time.sleep(0.001)
