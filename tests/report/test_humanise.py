import math

import pytest

from headrace.report import humanise


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (34_918, "34.1 KiB"),
        (1023 * 1024, "1023 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (5 << 30, "5.00 GiB"),
        (-2048, "-2.00 KiB"),
        (1 << 64, "16.0 EiB"),
        (math.nan, "-"),
    ],
)
def test_sizes_are_in_powers_of_1024_with_three_digits(size, text):
    assert humanise.bytes_size(size) == text


def test_counts_have_thousands_separators():
    assert humanise.count(336_776) == "336,776"


@pytest.mark.parametrize(
    ("per_second", "unit", "text"),
    [(0, "", "0.00/s"), (138_000, "", "138 k/s"), (1_923_456, "samples", "1.92 M samples/s"), (999.4, "", "999/s"), (math.inf, "", "-")],
)
def test_rates_are_in_powers_of_1000(per_second, unit, text):
    assert humanise.rate(per_second, unit) == text


def test_byte_rates_are_decimal_as_in_a_data_sheet():
    assert humanise.byte_rate(6.5e9) == "6.50 GB/s"
    assert humanise.byte_rate(999) == "999 B/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (850e-6, "850 us"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.00 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3 * 3600 + 7 * 60, "3 h 07 min"),
        (-1, "-"),
        (math.nan, "-"),
    ],
)
def test_durations_take_the_unit_that_fits(seconds, text):
    assert humanise.duration(seconds) == text


def test_ratios_and_shares():
    assert humanise.ratio(4.754) == "4.75x"
    assert humanise.ratio(12_345) == "12,345x"
    assert humanise.percent(0.1234) == "12.3 %"
    assert humanise.percent(math.nan) == "-"


def test_numbers_keep_whole_ones_in_full():
    assert humanise.number(12_345_678_901) == "12345678901"
    assert humanise.number(0.1 + 0.2) == "0.3"
    assert humanise.number(None) == "-"
