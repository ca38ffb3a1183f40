"""Fault F04: a declared size that no reader should believe is refused before anything is allocated for it.

Each file is read by a child process that may grow by 512 MiB of address space; a reader that believes a size dies there, or grows more
than 64 MiB, and fails the test.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_schema as s
import xxhash
from reference_reader import read_dataset
from reference_schema import Field, ReferenceFormatError, Schema
from reference_writer import (
    BlockImage,
    ManifestImage,
    ShardImage,
    make_uuid,
    put_manifest,
    render_schema,
    write_dataset,
)

from headrace import _native as hr

CHILD = """
import json, resource, sys
import numpy as np
from headrace import _native as hr

def address_space():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

hr.Verification(sys.argv[1], decode=True, threads=1).run()  # the pool's threads and arenas are there before the limit
limit = address_space() + (512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {}
for use in ("open", "fetch", "verify"):
    try:
        if use == "verify":
            damages = hr.Verification(sys.argv[2], decode=True, threads=1).run()["damages"]
            found[use] = [damages[0]["error"], damages[0]["message"]] if damages else None
        else:
            dataset = hr.Dataset(sys.argv[2])
            dataset.shards
            found[use] = None
            if use == "fetch":
                dataset.fetch(np.arange(min(len(dataset), 2)), range(len(dataset.schema.fields))).numpy(0)
    except Exception as error:
        found[use] = [type(error).__name__, str(error)]
found["grown"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    write_dataset(path, Schema((Field("x", codec=s.LZ4),)), [[b"a"] * 100], chunk_samples=50)
    return path


def read_under_limit(whole: Path, path: Path) -> dict[str, list[str] | None]:
    """[class, message] of what opening, fetching and verifying raised, by a child with little memory."""
    command = [sys.executable, "-c", CHILD, str(whole), str(path)]
    child = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    assert found.pop("grown") < 64 << 10, "KiB"
    return found  # type: ignore[no-any-return]


def declare_values(image: ShardImage, size: int, payload: bytes = b"x") -> None:
    """Say that the values have `size` bytes: a table of blocks of 64 MiB, each with this payload."""
    chunk = image.chunks[0]
    page = chunk.pages[0]
    width = "<Q" if size >= 1 << 32 else "<I"
    offsets = b"".join(struct.pack(width, end) for end in [0] * chunk.num_samples + [size])
    sizes = [min(BLOCK, size - begin) for begin in range(0, size, BLOCK)]
    at = s.align((1 + len(sizes)) * s.BLOCK_ENTRY_BYTES, s.PAGE_ALIGN)
    page.blocks = [BlockImage(offsets, at, at, len(offsets), len(offsets))]
    at = s.align(at + len(offsets), s.PAGE_ALIGN)
    page.blocks += [BlockImage(payload, at + i * len(payload), at + i * len(payload), len(payload), part) for i, part in enumerate(sizes)]
    page.num_blocks, page.values_bytes, page.size = len(page.blocks), size, at + len(sizes) * len(payload)
    chunk.size = s.align(page.size, s.CHUNK_ALIGN)
    image.index_at = chunk.at + chunk.size


def zstd_frame(content_size: int, window_log: int = 0) -> bytes:
    """A Zstandard frame with one raw block of 4 bytes that declares any content size and, if not 0, any window."""
    descriptor = bytes([0xC0]) + bytes([(window_log - 10) << 3]) if window_log else bytes([0xE0])
    return b"\x28\xb5\x2f\xfd" + descriptor + struct.pack("<Q", content_size) + (4 << 3 | 1).to_bytes(3, "little") + b"boom"


def lz4_frame(content_size: int) -> bytes:
    """An LZ4 frame with 4 MiB blocks, one of them with 4 stored bytes, that declares any content size."""
    descriptor = b"\x68\x70" + struct.pack("<Q", content_size)
    block = struct.pack("<I", 0x80000004) + b"boom"
    return b"\x04\x22\x4d\x18" + descriptor + bytes([xxhash.xxh32_intdigest(descriptor) >> 8 & 0xFF]) + block + bytes(4)


BLOCK = 64 * s.MIB
CODECS = (s.NONE, s.LZ4, s.LZ4HC, s.ZSTD)
PLAIN, LZ4, LZ4HC, ZSTD = (Schema((Field("v", s.BYTES, codec=codec, level=1, block_bytes=BLOCK),)) for codec in CODECS)
LIMIT, CORRUPT = "LimitExceededError", "CorruptDataError"

# schema, samples, doctor, class, words
SHARD_BOMBS: dict[str, tuple[Schema, int, Callable[[ShardImage], None], str, list[str]]] = {
    "values of 2^40 bytes": (ZSTD, 1, lambda i: declare_values(i, 1 << 40), LIMIT, ["chunk 0"]),
    "values of 257 MiB in two samples": (ZSTD, 2, lambda i: declare_values(i, 257 * s.MIB), LIMIT, ["chunk 0"]),
    "values of 17 GiB in one sample": (ZSTD, 1, lambda i: declare_values(i, 17 << 30), LIMIT, ["chunk 0"]),
    "lz4 ratio": (LZ4, 2, lambda i: declare_values(i, BLOCK, lz4_frame(BLOCK)), LIMIT, ["chunk 0", "'v'", "67108864"]),
    "lz4hc ratio": (LZ4HC, 2, lambda i: declare_values(i, BLOCK, lz4_frame(BLOCK)), LIMIT, ["chunk 0", "'v'", "67108864"]),
    "lz4 frame of 2^40 bytes": (LZ4, 2, lambda i: declare_values(i, 65000, lz4_frame(1 << 40)), CORRUPT, ["chunk 0", "'v'"]),
    "zstd frame of 2^40 bytes": (ZSTD, 2, lambda i: declare_values(i, 65000, zstd_frame(1 << 40)), CORRUPT, ["chunk 0", "'v'"]),
    "zstd frame of 4 bytes for 64 MiB": (ZSTD, 2, lambda i: declare_values(i, BLOCK, zstd_frame(BLOCK)), CORRUPT, ["chunk 0", "'v'"]),
    "zstd window of 2^31": (ZSTD, 2, lambda i: declare_values(i, 65000, zstd_frame(65000, 31)), LIMIT, ["2147483648", "134217728"]),
    "index of 2^40 bytes": (PLAIN, 1, lambda i: i.footer.update(num_chunks=1 << 34, index_bytes=96 << 34), CORRUPT, ["index"]),
    "index beyond the file": (PLAIN, 1, lambda i: i.footer.update(num_chunks=1 << 20, index_bytes=96 << 20), CORRUPT, ["index"]),
    "schema beyond the file": (PLAIN, 1, lambda i: i.footer.update(schema_bytes=1 << 40), CORRUPT, ["schema"]),
    "chunk samples": (PLAIN, 1, lambda i: setattr(i, "chunk_samples", (1 << 24) + 1), LIMIT, ["16777217", "16777216"]),
    "fields": (PLAIN, 1, lambda i: setattr(i, "num_fields", 4097), CORRUPT, ["4097 fields"]),
}  # fmt: skip


def check_bomb(whole: Path, path: Path, error: str, words: list[str]) -> None:
    """Some use refuses it with this class and these words, and so does Verification; the reference refuses it too."""
    with pytest.raises(ReferenceFormatError):
        read_dataset(path)
    found = read_under_limit(whole, path)
    for use in ("fetch", "verify"):
        refusal = found[use]
        assert refusal is not None, use
        assert refusal[0] == error, (use, refusal)
        assert all(word in refusal[1] for word in words), (use, refusal)


@pytest.mark.parametrize("bomb", SHARD_BOMBS)
def test_shard_that_declares_too_much_is_refused(whole: Path, tmp_path: Path, bomb: str) -> None:
    schema, samples, doctor, error, words = SHARD_BOMBS[bomb]
    write_dataset(tmp_path, schema, [[b"a"] * samples], chunk_samples=samples, doctor=doctor)
    check_bomb(whole, tmp_path, error, ["shard-", *words])


def manifest_of(schema: bytes, **values: object) -> ManifestImage:
    image = ManifestImage(make_uuid(3), schema, [])
    for name, value in values.items():
        setattr(image, name, value)
    return image


ONE = render_schema(Schema((Field("needle", metadata="straw"),)))
MANIFEST_BOMBS: dict[str, tuple[ManifestImage, str, list[str]]] = {
    "fields": (manifest_of(struct.pack("<I", 0xFFFFFFFF) + ONE[4:]), LIMIT, ["4294967295", "4096"]),
    "one field too many": (manifest_of(struct.pack("<I", 4097) + ONE[4:]), LIMIT, ["4097", "4096"]),
    "name": (manifest_of(render_schema(Schema((Field("n" * 1025),)))), LIMIT, ["1025", "1024"]),
    "dims": (manifest_of(render_schema(Schema((Field("f", dims=(1,) * 33),)))), LIMIT, ["33", "32"]),
    "itemsize": (manifest_of(render_schema(Schema((Field("f", dtype=s.CHARS, itemsize=s.MIB + 1),)))), LIMIT, ["1048577", "1048576"]),
    "block bytes": (manifest_of(render_schema(Schema((Field("f", block_bytes=BLOCK + 1),)))), LIMIT, ["67108865", "67108864"]),
    "schema's metadata": (manifest_of(ONE[:8] + struct.pack("<I", 0xFFFFFFFF) + ONE[12:]), LIMIT, ["4294967295", "16777216"]),
    "field's metadata": (manifest_of(ONE.replace(b"\5\0\0\0straw", b"\xff\xff\xff\xffstraw")), LIMIT, ["4294967295", "16777216"]),
    "metadata beyond the manifest": (manifest_of(ONE.replace(b"\5\0\0\0straw", b"\0\0\xff\0straw")), CORRUPT, ["schema"]),
    "extensions": (manifest_of(ONE[:-4] + b"\xff\xff\xff\xff"), CORRUPT, ["extension"]),
    "extension's bytes": (manifest_of(ONE[:-4] + b"\1\0\0\0" + b"\1\0\0\0\xff\xff\xff\xff"), CORRUPT, ["extension"]),
    "schema bytes": (manifest_of(ONE, schema_bytes=0xFFFFFFFF), CORRUPT, ["schema"]),
    "shards": (manifest_of(ONE, num_shards=0xFFFFFFFF), LIMIT, ["4294967295", "1048576"]),
    "one shard too many": (manifest_of(ONE, num_shards=(1 << 20) + 1), LIMIT, ["1048577", "1048576"]),
    "shards beyond the manifest": (manifest_of(ONE, num_shards=1 << 20), CORRUPT, ["shard"]),
}  # fmt: skip


@pytest.mark.parametrize("bomb", MANIFEST_BOMBS)
def test_manifest_that_declares_too_much_is_refused(whole: Path, tmp_path: Path, bomb: str) -> None:
    image, error, words = MANIFEST_BOMBS[bomb]
    put_manifest(tmp_path, image)
    check_bomb(whole, tmp_path, error, ["manifest-0000000001.hrm", *words])


def test_manifest_of_many_gibibytes_is_not_read(whole: Path, tmp_path: Path) -> None:
    """A sparse file: no disk has to hold it, and no memory."""
    file = put_manifest(tmp_path, manifest_of(ONE))
    os.truncate(file, 1 << 33)
    for refusal in read_under_limit(whole, tmp_path).values():
        assert refusal is not None
        assert refusal[0] == LIMIT
        assert "manifest-0000000001.hrm" in refusal[1]
        assert "8589934592" in refusal[1]


def test_limits_themselves_are_legal(tmp_path: Path) -> None:
    """The last value that a reader accepts, for each limit that a small file can reach."""
    fields = [Field("n" * 1024), Field("d", dims=(1,) * 32), Field("s", dtype=s.CHARS, itemsize=s.MIB), Field("b", block_bytes=BLOCK)]
    schema = Schema(tuple(fields) + tuple(Field(f"f{i}") for i in range(4092)))
    write_dataset(tmp_path, schema, [[b"a".ljust(field.row_bytes, b"\0")] for field in schema.fields], chunk_samples=1 << 24)
    assert read_dataset(tmp_path).num_samples == 1
    batch = hr.Dataset(str(tmp_path)).fetch(np.zeros(1, np.int64), range(4096))
    assert batch.numpy(1).shape == (1, *[1] * 32)
    assert batch.numpy(2).tolist() == [b"a"]
    assert batch.numpy(4095).tolist() == [97]
    assert hr.Verification(str(tmp_path), decode=True).run()["damages"] == []
