"""What binds, from rates that are given: nothing is claimed that the points do not show."""

from __future__ import annotations

from typing import Any

from headrace.bench.storage_limits import BOUNDS, Rate, bound


def rate(depth: int, bytes_per_second: float, **changes: Any) -> Rate:
    facts: dict[str, Any] = {
        "pattern": "random",
        "block_bytes": 4096,
        "reader": "direct",
        "threads": 1,
        "state": "cold",
        "cpu_share": 0.2,
        "fio_bytes_per_second": None,
        "trusted": True,
    }
    return Rate(depth=depth, bytes_per_second=bytes_per_second, **{**facts, **changes})


def test_depth_binds_until_more_of_it_is_no_faster():
    rates = [rate(1, 100), rate(8, 800), rate(32, 1000), rate(64, 1010)]
    assert [bound(r, rates, None) for r in rates] == ["depth", "depth", "device", "device"]


def test_less_in_flight_being_faster_is_the_device_as_well():
    rates = [rate(1, 1300), rate(8, 1200), rate(32, 1000)]
    assert [bound(r, rates, None) for r in rates] == ["device", "device", "device"]


def test_one_depth_shows_nothing():
    alone = rate(32, 1000)
    assert bound(alone, [alone], None) == ""


def test_a_busy_thread_binds():
    rates = [rate(8, 900, cpu_share=0.97), rate(32, 1000, cpu_share=0.99)]
    assert bound(rates[1], rates, None) == "CPU"


def test_a_busy_thread_that_another_one_relieves():
    rates = [rate(32, 1000, cpu_share=0.99), rate(32, 1900, threads=2, cpu_share=0.98)]
    assert bound(rates[0], rates, None) == "CPU"
    idle = [rate(32, 1000), rate(32, 1900, threads=2)]
    assert bound(idle[0], idle, None) == "depth"


def test_a_reader_that_others_outrun_is_not_the_device():
    rates = [rate(8, 100, reader="mmap"), rate(32, 100, reader="mmap"), rate(32, 1000)]
    assert bound(rates[1], rates, None) == "reader"
    ours = [rate(8, 1000, fio_bytes_per_second=1300), rate(32, 1000, fio_bytes_per_second=1300)]
    assert bound(ours[1], ours, None) == "reader"


def test_warm_copies_are_bound_by_the_memory():
    rates = [rate(1, 900, state="warm", reader="pread"), rate(8, 900, state="warm", reader="pread")]
    assert bound(rates[0], rates, 1000) == "memory copy"
    assert bound(rates[0], rates, 5000) == "CPU"  # never the device
    mapped = rate(1, 2000, state="warm", reader="mmap")
    assert bound(mapped, [mapped], 1000) == "CPU"
    assert bound(rates[0], [*rates, mapped], 5000) == "CPU"  # a mapped file is not copied: no measure for those that are


def test_a_tainted_point_says_nothing():
    rates = [rate(8, 1000), rate(32, 1000), rate(64, 9000, trusted=False)]
    assert bound(rates[2], rates, None) == ""
    assert bound(rates[1], rates, None) == "device"


def test_each_answer_is_explained():
    assert {"device", "depth", "CPU", "reader", "memory copy", ""} == set(BOUNDS)
