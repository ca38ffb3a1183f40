"""A device that answers EIO, through every reader: once is tried again and counted; for good is an error of what lies there, and of nothing else."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, READERS, ROWS, FaultyDisk, deliver, place_of_row, rows_of

BAD_ROW = 1000
BAD_CHUNK = set(range(BAD_ROW // CHUNK * CHUNK, (BAD_ROW // CHUNK + 1) * CHUNK))


def bad_sector(disk: FaultyDisk, **more: int) -> dict[str, object]:
    """A rule: reads of the byte where BAD_ROW begins fail."""
    shard = next((disk.folder / "d").glob("*.hrs"))
    return {"suffix": ".hrs", "offset": place_of_row(shard, BAD_ROW), "length": 1, "errno": errno.EIO, **more}


@pytest.mark.parametrize("reader", READERS)
def test_a_read_that_fails_once_is_tried_once_more_and_counted(disk: FaultyDisk, reader: str) -> None:
    """The kernel itself asks a failing disk more than once before it gives up: so the disk fails once, twice, ... until we give up, too."""
    outcomes = []
    for failures in range(1, 20):
        loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK // 2, num_workers=2)
        disk.rules(bad_sector(disk, count=failures))
        rows, errors = deliver(loader)
        retries = loader.stats()["read_retries"]
        outcomes.append((len(errors), retries))
        assert all(isinstance(error, hr.StorageError) and error.errno == errno.EIO for error in errors), errors
        if errors:
            break
        assert rows == list(range(ROWS))
    assert (0, 1) in outcomes, f"(errors, retries) by failures of the disk: {outcomes}"
    assert outcomes[-1][0] > 0
    assert outcomes[-1][1] >= 1
    assert outcomes == sorted(outcomes), outcomes


@pytest.mark.parametrize("workers", [0, 8])
@pytest.mark.parametrize("reader", READERS)
def test_a_bad_sector_is_an_error_of_its_samples_alone(disk: FaultyDisk, reader: str, workers: int) -> None:
    dataset = hr.open(disk.mount / "d", reader=reader)
    loader = hr.DataLoader(dataset, CHUNK // 2, num_workers=workers)
    disk.rules(bad_sector(disk))
    rows, errors = deliver(loader)
    assert set(rows) >= set(range(ROWS)) - BAD_CHUNK
    assert BAD_ROW not in rows
    assert len(rows) == ROWS - CHUNK // 2 * len(errors)
    for error in errors:
        assert isinstance(error, hr.StorageError)
        assert error.errno == errno.EIO
        assert re.search(r"step 7: sample \d+", str(error)), error
        assert "chunk 3" in str(error)
        assert "'x'" in str(error)
        assert re.search(r"\.hrs.*(offset \d+, expected \d+ bytes|bytes \[\d+, \d+\))", str(error)), error
    assert loader.stats()["read_retries"] >= 1
    with pytest.raises(hr.StorageError, match="chunk 3"):
        dataset[BAD_ROW]
    disk.rules()  # The sector reads again: nothing has to be opened anew.
    assert deliver(loader) == (list(range(ROWS)), [])
    assert int(dataset[BAD_ROW]["y"]) == 3 * BAD_ROW


@pytest.mark.parametrize("reader", READERS)
def test_samples_on_a_bad_sector_are_skipped_if_asked_for(disk: FaultyDisk, reader: str) -> None:
    loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), 100, True, num_workers=2, on_error="skip", max_errors=CHUNK)
    disk.rules(bad_sector(disk))
    rows = [row for batch in loader for row in rows_of(batch)]
    skipped = loader.state_dict()["skipped"]
    assert sorted(rows + skipped) == list(range(ROWS))
    assert BAD_ROW in skipped
    assert set(skipped) <= BAD_CHUNK


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".hrs", ".hrm"])
def test_a_dataset_whose_index_cannot_be_read_does_not_open(disk: FaultyDisk, reader: str, suffix: str, tmp_path: Path) -> None:
    disk.rules({"suffix": suffix, "errno": errno.EIO})
    with pytest.raises(hr.StorageError, match=rf"{suffix}.*(offset \d+, expected \d+ bytes)") as caught:
        hr.open(disk.mount / "d", reader=reader)
    assert caught.value.errno == errno.EIO
    disk.rules()
    assert len(hr.open(disk.mount / "d", reader=reader)) == ROWS
