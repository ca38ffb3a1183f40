"""Storage that answers late is what diagnose() names."""

from __future__ import annotations

import pytest

import headrace as hr
from tests.faults.faulty_disk import CHUNK, FaultyDisk


@pytest.mark.parametrize("reader", ["pread", "direct"])
def test_slow_storage_binds(disk: FaultyDisk, reader: str) -> None:
    loader = hr.DataLoader(hr.open(disk.mount / "d", reader=reader), CHUNK, num_workers=2)
    disk.rules({"suffix": ".hrs", "delay": 0.05})
    found = hr.diagnose(loader, lambda batch: None, seconds=0.5)
    assert found.bound_by == "storage"
    assert found.stall_share > 0.5
    assert "faster storage" in found.verdict
