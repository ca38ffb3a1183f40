"""Wrong options are met where they are given, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.sampling.options import one_of, whole_number


@pytest.mark.parametrize("value", [3, True, np.int64(3), np.uint8(3)])
def test_integers_of_any_kind_become_plain_ones(value: Any) -> None:
    number = whole_number("seed", value, 0, 4)
    assert type(number) is int
    assert number == int(value)


@pytest.mark.parametrize("value", [1.0, "1", None, [1]])
def test_what_is_no_integer_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="seed must be an integer, got "):
        whole_number("seed", value, 0, 4)


@pytest.mark.parametrize("value", [-1, 4, 2**70])
def test_what_is_out_of_range_is_a_value_error(value: int) -> None:
    with pytest.raises(ValueError, match=rf"seed must be in \[0, 4\), got {value}"):
        whole_number("seed", value, 0, 4)


@pytest.mark.parametrize("value", ["b", None, 0, ["a"]])
def test_what_is_no_choice_is_refused_with_the_choices(value: Any) -> None:
    assert one_of("order", "a", ("a", "c", "d")) == "a"
    with pytest.raises(ValueError, match="order must be 'a', 'c' or 'd', got "):
        one_of("order", value, ("a", "c", "d"))
