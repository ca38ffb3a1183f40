"""What lies below a folder of class folders: listed natively and side by side, and kept between runs where a change would be noticed.

A folder's names are taken from what was kept only if its device, inode, mtime and ctime are still those of the listing; every folder is asked for them. The
native side says which listings can be kept at all: on local file systems, without links, and unchanged for some seconds before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import _native
from headrace.datasets.cache_folder import cache_folder

__all__ = ["FolderTree", "list_folders"]

_VERSION = 1
_LEAST_FILES = 1000  # fewer are listed faster than a file is opened
_THREADS = 8  # more than cores: a listing waits for the disk, or for a server
_Identity = tuple[int, int, int, int]


@dataclass
class _Folder:
    identity: _Identity
    files: list[str]  # sorted
    folders: list[str]  # sorted
    can_be_kept: bool


@dataclass(frozen=True)
class FolderTree:
    """All folders below `root`, by their path from there ("" for itself)."""

    root: str
    folders: dict[str, _Folder]

    @property
    def classes(self) -> list[str]:
        """The names of the folders right below the root, sorted."""
        return self.folders[""].folders

    def files(self, name: str, is_valid: Callable[[str], bool]) -> list[str]:
        """Paths below one class folder in torchvision's order: folders by path, then names."""
        prefix = os.path.join(self.root, "")
        below = [name]
        for path in below:  # Grows meanwhile.
            below += [f"{path}/{inner}" for inner in self.folders[path].folders]
        return [path for folder in sorted(below) for file in self.folders[folder].files if is_valid(path := f"{prefix}{folder}/{file}")]


def list_folders(root: str, *, cache: bool = True) -> FolderTree:
    """List a tree. Links to folders are followed; one that leads to a folder above it is a ValueError. Raises NotFoundError, StorageError.

    cache: take what did not change since from a file in the cache folder, and put there what was listed. Where that cannot be written, nothing is kept.
    """
    kept = _read_kept(root) if cache else {}
    found: dict[str, _Folder] = {}
    level, is_news = [""], False
    while level:
        paths = [os.fsencode(os.path.join(root, path)) for path in level]
        known = [kept[path].identity if path in kept else None for path in level]
        for path, listing in zip(level, _native.list_directories(paths, known, threads=_THREADS if len(level) > 8 else 0), strict=True):
            found[path] = kept[path] if listing is None else _folder_of(listing)
            is_news |= listing is not None and found[path].can_be_kept
        for path in level:
            _refuse_endless(root, path, found)
        level = [f"{path}/{name}" if path else name for path in level for name in found[path].folders]
    if cache and is_news and sum(len(folder.files) for folder in found.values()) >= _LEAST_FILES:
        _keep(root, found)
    return FolderTree(root, found)


def _folder_of(listing: tuple[list[int], bytes, bytes, bool]) -> _Folder:
    device, inode, mtime, ctime = listing[0]
    return _Folder((device, inode, mtime, ctime), _names(listing[1]), _names(listing[2]), listing[3])


def _names(joined: bytes) -> list[str]:
    return sorted(os.fsdecode(joined).split("/")) if joined else []


def _refuse_endless(root: str, path: str, found: dict[str, _Folder]) -> None:
    """A link to a folder above it would be followed until the system refuses, and give each image some forty times."""
    above = path
    while above:
        above = above.rpartition("/")[0]
        if found[above].identity[:2] == found[path].identity[:2]:
            raise ValueError(f"{os.path.join(root, path)} is a link to a folder that it is in; remove it")


def _kept_path(root: str) -> Path:
    key = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return cache_folder() / "listings" / f"{key}.json"


def _read_kept(root: str) -> dict[str, _Folder]:
    """What was kept of a tree; nothing if there is no file, or it is damaged or of another version."""
    try:
        kept = json.loads(_kept_path(root).read_bytes())
        if kept["version"] != _VERSION:
            return {}
        return {path: _restored(*folder) for path, folder in kept["folders"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _restored(identity: Any, files: Any, folders: Any) -> _Folder:
    device, inode, mtime, ctime = (int(number) for number in identity)
    return _Folder((device, inode, mtime, ctime), files.split("/") if files else [], folders.split("/") if folders else [], True)


def _keep(root: str, found: dict[str, _Folder]) -> None:
    """Write the file whole or not at all, in place of an older one: processes that list the same tree do not disturb each other."""
    folders = {path: (f.identity, "/".join(f.files), "/".join(f.folders)) for path, f in found.items() if f.can_be_kept}
    with contextlib.suppress(OSError):
        path = _kept_path(root)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=".listing-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"version": _VERSION, "folders": folders}, file)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
