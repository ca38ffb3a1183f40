"""Whole numbers in CSV files keep every digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.writing import convert
from tests.writing.readback import fields_of, read, valid


def converted(tmp_path: Path, lines: list[str], **options: Any) -> Path:
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *(f"{line},1" for line in lines)]) + "\n")
    convert(tmp_path / "a.csv", tmp_path / "d", **options)
    return tmp_path / "d"


@pytest.mark.parametrize("block_bytes", [24, 1 << 20], ids=["a line a block", "one block"])
@pytest.mark.parametrize(
    ("lines", "dtype", "expected"),
    [
        (["1", "9007199254740993"], "int64", [1, 9007199254740993]),
        (["18446744073709551615", "7"], "uint64", [18446744073709551615, 7]),
        (["7", "18446744073709551615", "9007199254740993"], "uint64", [7, 18446744073709551615, 9007199254740993]),
        (["9007199254740993", "0.5"], "string", ["9007199254740993", "0.5"]),
        (["0.5", "9007199254740993"], "string", ["0.5", "9007199254740993"]),
        (["-1", "18446744073709551615"], "string", ["-1", "18446744073709551615"]),
        (["9223372036854775807", "0.5"], "string", ["9223372036854775807", "0.5"]),
        (["18446744073709551616", "7"], "float64", [18446744073709551616.0, 7.0]),
        (["18446744073709551617", "7"], "string", ["18446744073709551617", "7"]),
        (["9007199254740992", "0.5"], "float64", [9007199254740992.0, 0.5]),
        (["-9007199254740992", "0.5"], "float64", [-9007199254740992.0, 0.5]),
        (["1e300", "0.5"], "float64", [1e300, 0.5]),
        (["inf", "-0.25"], "float64", [float("inf"), -0.25]),
        (["0.12345678901234567890", "3"], "float64", [0.12345678901234568, 3.0]),
    ],
)
def test_the_type_holds_every_number(tmp_path: Path, lines: list[str], dtype: str, expected: list[Any], block_bytes: int) -> None:
    path = converted(tmp_path, lines, block_bytes=block_bytes)
    field = fields_of(path)["x"]
    assert (field.dtype if field.kind == "tensor" else field.kind) == dtype
    values = read(path, "x")
    assert (values if dtype == "string" else values.tolist()) == expected


@pytest.mark.parametrize("options", [{}, {"strings_can_be_null": True}], ids=["", "null texts"])
def test_missing_values_do_not_count(tmp_path: Path, options: Any) -> None:
    path = converted(tmp_path, ["18446744073709551615", "NA", ""], **options)
    assert (fields_of(path)["x"].dtype, fields_of(path)["x"].nullable) == ("uint64", True)
    assert read(path, "x").tolist() == [18446744073709551615, 0, 0]
    assert valid(path, "x") == [True, False, False]


def test_a_type_that_is_given_is_taken(tmp_path: Path) -> None:
    path = converted(tmp_path, ["9007199254740993", "0.5"], column_types={"x": "double", "y": "uint8"})
    assert (fields_of(path)["x"].dtype, fields_of(path)["y"].dtype) == ("float64", "uint8")
    assert read(path, "x").tolist() == [9007199254740992.0, 0.5]


def test_a_type_of_no_such_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column_types gives 'x' the type 'int', which pyarrow does not know; common ones are int64"):
        converted(tmp_path, ["1"], column_types={"x": "int"})
