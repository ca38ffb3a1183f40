"""Dropping and filling the page cache, and seeing how much is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.bench import page_cache
from headrace.bench.file_system import file_system_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(os.urandom((1 << 20) + 5))
    return path


def test_filled_files_are_there(file):
    done: list[int] = []
    page_cache.fill([file, file], done.append)
    assert done[-1] == 2 * ((1 << 20) + 5)
    assert page_cache.residency([file]) == 1.0


def test_dropped_files_are_gone(file):
    page_cache.drop_files([file])  # dirty pages too: they are written back first
    assert page_cache.residency([file]) == (1.0 if file_system_of(file).kind == "memory" else 0.0)


def test_mincore_agrees_with_cachestat(file):
    pages = page_cache._pages_by_mincore(file)
    page_cache.fill([file])
    assert pages is not None
    assert page_cache._pages_by_mincore(file) == 257
    with file.open("rb") as opened:
        seen = page_cache._pages_by_cachestat(opened.fileno())
    # None before Linux 6.5; overlay's files have no pages of their own.
    assert seen == 257 or seen is None or (seen == 0 and file_system_of(file).kind == "overlay")


def test_empty_files_have_no_pages(tmp_path):
    (tmp_path / "e").touch()
    assert page_cache.residency([tmp_path / "e"]) is None


def test_the_machines_cache_needs_root(monkeypatch, tmp_path):
    monkeypatch.setattr(page_cache, "_DROP_CACHES", tmp_path)  # a directory: cannot be written
    with pytest.raises(PermissionError, match="needs root and a writable"):
        page_cache.drop_all_caches()
