"""Whether a run was what it claims: the judgement on counters that are given, and the parsing of the kernel's."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.bench.device_counters import DiskCounters, judge, parse_disk_counters
from headrace.bench.file_system import FileSystem

DISK = FileSystem(path="/", type="ext4", kind="device", device="sda", logical_block_bytes=512, model="")


def on(kind: str, type_name: str = "x") -> FileSystem:
    return FileSystem(path="/", type=type_name, kind=kind, device="", logical_block_bytes=None, model="")


def verdict(**changes: Any) -> Any:
    facts = {
        "state": "cold",
        "bytes_read": 1000,
        "process_bytes": 1000,
        "disk_bytes": 1000,
        "file_system": DISK,
        "resident_before": 0.0,
    }
    return judge(**{**facts, **changes})


def test_a_cold_run_that_the_device_fed_is_proven():
    answer = verdict(process_bytes=1010)
    assert (answer.proof, answer.reason, answer.device_bytes, answer.device_share) == ("proven", "", 1010, 1.01)


@pytest.mark.parametrize("process_bytes", [0, 500, 949])
def test_a_cold_run_from_memory_is_tainted(process_bytes):
    answer = verdict(process_bytes=process_bytes, resident_before=0.25)
    assert answer.proof == "tainted"
    assert f"only {process_bytes / 10:.3g} % of the bytes came from the device" in answer.reason
    assert "25 % of the file stayed in memory when it was to be dropped" in answer.reason
    assert "never written" in verdict(process_bytes=process_bytes).reason


def test_a_few_pages_do_not_taint():
    assert verdict(process_bytes=951).proof == "proven"


def test_the_device_contradicts_the_process():
    answer = verdict(process_bytes=1000, disk_bytes=100)
    assert answer.proof == "tainted"
    assert "sda itself read only 10 % of these bytes" in answer.reason


def test_a_device_that_does_not_count_is_no_witness():
    assert verdict(disk_bytes=0).proof == "proven"
    assert verdict(disk_bytes=None).proof == "proven"


def test_the_devices_count_serves_where_the_process_has_none():
    assert verdict(process_bytes=None).proof == "proven"
    assert verdict(process_bytes=None, disk_bytes=10).proof == "tainted"
    nothing = verdict(process_bytes=None, disk_bytes=None)
    assert (nothing.proof, nothing.device_share) == ("unproven", None)


@pytest.mark.parametrize("kind", ["overlay", "network", "fuse", "other"])
def test_counters_that_say_nothing_are_not_misjudged(kind):
    answer = verdict(process_bytes=0, disk_bytes=None, file_system=on(kind))
    assert answer.proof == "unproven"
    assert answer.reason == on(kind).remark != ""
    assert verdict(process_bytes=1000, disk_bytes=None, file_system=on(kind)).proof == "proven"


def test_a_compressing_file_system_may_read_less():
    packed = on("compressing", "btrfs")
    assert verdict(process_bytes=400, file_system=packed).proof == "unproven"
    assert "btrfs may have compressed" in verdict(process_bytes=400, file_system=packed).reason
    assert verdict(process_bytes=400, file_system=packed, resident_before=0.9).proof == "tainted"
    assert verdict(process_bytes=0, file_system=packed).proof == "tainted"


def test_a_warm_run_must_leave_the_device_alone():
    assert verdict(state="warm", process_bytes=0, disk_bytes=5000).proof == "proven"  # what others read is not ours
    answer = verdict(state="warm", process_bytes=300)
    assert answer.proof == "tainted"
    assert "30 % of the bytes came from the device" in answer.reason
    assert verdict(state="warm", process_bytes=0, file_system=on("memory", "tmpfs")).proof == "proven"
    assert verdict(state="warm", process_bytes=0, file_system=on("network", "nfs4")).proof == "unproven"


def test_a_run_that_read_nothing_is_tainted():
    answer = verdict(bytes_read=0, process_bytes=0)
    assert answer.proof == "tainted"
    assert "nothing was read" in answer.reason


DISKSTATS = """\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 88944 14517 7244410 98167 64039 73817 6118848 20687 0 13088 120623 9968 45 934536 1276 14875 492
 254       1 vda1 10 0 80 5 0 0 0 0 0 4 5
"""


def test_diskstats_are_parsed():
    disk = parse_disk_counters(DISKSTATS, "vda")
    assert disk == DiskCounters(reads=88944, read_bytes=7244410 * 512, read_seconds=98.167, busy_seconds=13.088)
    part = parse_disk_counters(DISKSTATS, "vda1")
    assert part == DiskCounters(reads=10, read_bytes=40960, read_seconds=0.005, busy_seconds=0.004)
    assert parse_disk_counters(DISKSTATS, "sdz") is None
    assert (disk - disk).read_bytes == 0
    assert (part + part).reads == 20
