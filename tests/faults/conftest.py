"""A faulty disk for the tests that need one, and the check that each test leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.faults.faulty_disk import FaultyDisk, leaves_nothing, require, why_no_fuse, write


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyDisk]:
    """A faulty disk with the dataset `d` on it, for the tests of one file."""
    require(why_no_fuse(), "needs FUSE")
    folder = tmp_path_factory.mktemp("disk")
    write(folder / "d")
    disk = FaultyDisk(folder, tmp_path_factory.mktemp("mount") / "m")
    try:
        yield disk
    finally:
        disk.close()


@pytest.fixture
def disk(mounted: FaultyDisk) -> Iterator[FaultyDisk]:
    """The same, without rules before and after each test."""
    mounted.rules()
    yield mounted
    mounted.rules()


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever failed: no descriptor, thread or temporary file stays behind."""
    torch.zeros(3).sum()  # torch's own threads come with its first use.
    with leaves_nothing(tmp_path):
        yield
