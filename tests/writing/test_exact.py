"""What is written is what was given: nothing is rounded, wrapped, cut or overwritten on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headrace._native import Field, Schema
from headrace.writing import write
from tests.writing.readback import ragged, read, valid


class Matrix:
    """Something of another library that numpy understands, and that is filled again and again."""

    def __init__(self) -> None:
        self.values = np.zeros(2, np.int64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


def test_whatever_a_generator_fills_again_is_taken_as_it_was(tmp_path: Path) -> None:
    def samples() -> Iterator[dict[str, Any]]:
        nested, picture, matrix = [[0, 0], [0, 0]], Image.new("L", (2, 1)), Matrix()
        inner = [0]
        for i in range(5):
            nested[1][0] = i
            inner[0] = i
            picture.putpixel((1, 0), i)
            matrix.values[:] = i
            yield {"nested": nested, "pair": (inner, inner), "picture": picture, "matrix": matrix}

    write(tmp_path / "d", samples())
    assert read(tmp_path / "d", "nested").tolist() == [[[0, 0], [i, 0]] for i in range(5)]
    assert read(tmp_path / "d", "pair").tolist() == [[[i], [i]] for i in range(5)]
    assert read(tmp_path / "d", "picture").tolist() == [[[0, i]] for i in range(5)]
    assert read(tmp_path / "d", "matrix").tolist() == [[i, i] for i in range(5)]


def test_a_masked_sample_is_null_and_a_partly_masked_one_refused(tmp_path: Path) -> None:
    whole, none = np.ma.masked_array([1, 2]), np.ma.masked_array([3, 4], mask=True)
    write(tmp_path / "d", [{"x": whole}, {"x": none}, {"x": np.ma.masked_array([5, 6], mask=False)}])
    assert read(tmp_path / "d", "x").tolist() == [[1, 2], [0, 0], [5, 6]]
    assert valid(tmp_path / "d", "x") == [True, False, True]
    write(tmp_path / "r", {"x": [np.ma.masked_array([1]), none, np.ma.masked_array(np.empty(0, np.int64))]})
    assert ragged(tmp_path / "r", "x") == [[1], [], []]
    assert valid(tmp_path / "r", "x") == [True, False, True]
    with pytest.raises(ValueError, match=r"sample 1, field 'x': 1 of 2 values are masked; only whole samples can be null"):
        write(tmp_path / "e", [{"x": whole}, {"x": np.ma.masked_array([7, 8], mask=[False, True])}])


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("float32", 1e300, r"1e\+300"),
        ("float16", 70000.0, r"70000\.0"),
        ("float16", -70000.0, r"-70000\.0"),
        ("bfloat16", 3.4e38, r"3\.4e\+38"),
        ("complex64", 1e300, r"1e\+300"),
    ],
)
def test_a_number_that_would_become_infinite_is_refused(tmp_path: Path, dtype: str, value: float, text: str) -> None:
    schema = Schema([Field("x", "tensor", dtype)])
    with pytest.raises(ValueError, match=rf"field 'x': {text} is beyond what {dtype} holds, at \(1,\)"):
        write(tmp_path / "d", {"x": [0.5, value]}, schema=schema)
    assert not (tmp_path / "d").exists()


def test_infinity_itself_and_rounding_are_fine(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": [0.1, float("inf"), -float("inf")]}, schema=Schema([Field("x", "tensor", "float32")]))
    assert read(tmp_path / "d", "x").tolist() == [float(np.float32(0.1)), float("inf"), -float("inf")]
    write(tmp_path / "b", {"x": [1.0, float("inf")]}, schema=Schema([Field("x", "tensor", "bfloat16")]))


@pytest.mark.parametrize("numbers", [[2**53 + 1, 0.5], [[0.5, 1.0], [2**53 + 1, 2.0]], [2**63, -1], [np.uint64(2**63 + 1), np.int64(-1)]])
def test_integers_among_floats_are_not_rounded_in_lists_either(tmp_path: Path, numbers: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"sample 0, field 'x': the integer \d+ is not exact as float64"):
        write(tmp_path / "d", {"x": [numbers]})


def test_wide_integers_and_floats_apart_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": [[2**53 + 1, 3]], "y": [[2.0**60, 3]], "z": [[2**63 + 1, 3]]})
    assert read(tmp_path / "d", "x").tolist() == [[2**53 + 1, 3]]
    assert read(tmp_path / "d", "y").tolist() == [[2.0**60, 3.0]]
    assert read(tmp_path / "d", "z").tolist() == [[2**63 + 1, 3]]
