"""Check every byte of a dataset or shard."""

from __future__ import annotations

import os
from typing import Any

from headrace import _native

__all__ = ["verify"]


def verify(path: str | os.PathLike[str], version: int | None = None, *, decode: bool = False, threads: int = 0) -> dict[str, Any]:
    """Read every byte of a dataset directory (or one shard file) and report each damage: of all its versions, unless one is named.

    Checks manifests, headers, indexes, schemas, block tables, every block's checksum, padding and offsets; with `decode`, also that
    every block decodes. Returns {"shards", "chunks", "blocks", "bytes", "samples", "damages": [{"path", "chunk", "field", "offset",
    "bytes", "error", "message"}]}.
    threads: that read and hash at once, 0 for all of the engine's. Raises NotFoundError where there is nothing to check.
    """
    if threads < 0:
        raise ValueError(f"threads must be at least 0, got {threads}")
    if version is not None and (type(version) is not int or not 1 <= version < 1 << 64):
        raise ValueError(f"version is {version!r}; expected a number from 1 on, or None for all")
    return _native.Verification(os.fsdecode(path), version or 0, decode=decode, threads=threads).run()
