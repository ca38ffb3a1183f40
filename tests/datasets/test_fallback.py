"""A reader that the system refuses: another serves, one line of the log says which and why, and stats() agrees."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from tests.loader.samples import answer_of, ids_of, numbered

# Runs with one call refused; prints what the log got, which reader serves, and what was read.
REFUSED = """
import errno, json, logging, sys
import headrace as hr
from tests.loader.samples import ids_of
from tests.system_calls import O_DIRECT, OPENAT, URING_SETUP, refuse_call

path, reader, use = sys.argv[1:]
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append([record.name, record.levelname, record.getMessage()])
logging.getLogger("headrace").addHandler(Keep())
logging.getLogger("headrace").setLevel(logging.INFO)
import torch
if reader == "uring":
    refuse_call(URING_SETUP, errno.EPERM)
else:
    refuse_call(OPENAT, errno.EINVAL, argument=2, bits=O_DIRECT)
dataset = hr.open(path, reader=reader)
if use == "loader":
    loader = hr.DataLoader(dataset, 50, num_workers=2)
    ids = [ids_of(loader), ids_of(loader), ids_of(hr.DataLoader(hr.open(path, reader=reader), 50))]
    used = loader.stats()["reader"]
elif use == "samples":
    ids = [[[int(dataset[i]["id"]) for i in range(100)], dataset[100:]["id"].tolist()]]
    used = dataset.native.reader
else:
    ids = [ids_of(dataset.iterable(50)), ids_of(dataset.select(["id"]).iterable(50))]
    used = dataset.native.reader
print(json.dumps({"lines": lines, "used": used, "whole": all(sum(batches, []) == list(range(200)) for batches in ids)}))
"""

WHY = {
    "uring": "the system refuses io_uring: Operation not permitted",
    "direct": "the file system refuses to open files with O_DIRECT (EINVAL)",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 numbered samples."""
    where = tmp_path_factory.mktemp("fallback") / "d"
    numbered(where, 200, chunk_samples=16)
    return where


@pytest.mark.parametrize(("reader", "use"), [("uring", "loader"), ("direct", "samples"), ("direct", "iterable")])
def test_a_refused_reader_is_replaced_and_noted_once(path: Path, reader: str, use: str) -> None:
    answer = answer_of(REFUSED, path, reader, use)
    line = f"{path}: reader {reader!r} was asked for, 'pread' is used: {WHY[reader]}"
    assert answer == {"lines": [["headrace", "INFO", line]], "used": "pread", "whole": True}


@pytest.mark.parametrize("reader", ["auto", "mmap", "pread"])
def test_a_reader_that_serves_is_not_news(path: Path, reader: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="headrace"):
        loader: Any = hr.DataLoader(hr.open(path, reader=reader), 50)
        ids_of(loader)
    assert caplog.records == []
    assert hr.open(path, reader=reader).native.reader_fallback == ""
    if reader != "auto":
        assert loader.stats()["reader"] == reader


def test_an_unknown_reader_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="reader is 'floppy'; expected 'auto', 'mmap', 'pread', 'direct' or 'uring'"):
        hr.open(path, reader="floppy")
