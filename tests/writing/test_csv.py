"""CSV files: types and nulls from the whole file, dialects, encodings, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from headrace.errors import CorruptDataError, LimitExceededError
from headrace.writing import convert
from tests.writing.readback import fields_of, read

# CSV

CSV = """i,f,s,b,d,m,e
1,0.5,a,true,2013-01-01,,
2,1,"x, y",false,2013-01-02,7,
3,,,true,2013-01-03,NA,
"""


def test_csv_types_and_nulls(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    convert(tmp_path / "a.csv", tmp_path / "d")
    assert {
        name: (field.kind if field.kind != "tensor" else field.dtype, field.nullable) for name, field in fields_of(tmp_path / "d").items()
    } == {
        "i": ("int64", False),
        "f": ("float64", True),
        "s": ("string", False),
        "b": ("bool", False),
        "d": ("datetime64[D]", False),
        "m": ("int64", True),
        "e": ("string", False),
    }
    assert read(tmp_path / "d", "f").tolist() == [0.5, 1.0, 0.0]
    assert read(tmp_path / "d", "s") == ["a", "x, y", ""]
    assert read(tmp_path / "d", "m").tolist() == [0, 7, 0]


def test_csv_types_come_from_all_of_the_file(tmp_path: Path) -> None:
    lines = [f"{n},{n},{n},2013-01-0{n % 9 + 1}" for n in range(500)] + ["1.5,word,,2013-01-01 10:00:00"]
    (tmp_path / "a.csv").write_text("a,b,c,d\n" + "\n".join(lines))
    convert(tmp_path / "a.csv", tmp_path / "d", block_bytes=256)
    assert {name: field.dtype if field.kind == "tensor" else field.kind for name, field in fields_of(tmp_path / "d").items()} == {
        "a": "float64",
        "b": "string",
        "c": "int64",
        "d": "datetime64[s]",
    }
    assert read(tmp_path / "d", "a").tolist() == [*map(float, range(500)), 1.5]
    assert read(tmp_path / "d", "b") == [*map(str, range(500)), "word"]
    assert fields_of(tmp_path / "d")["c"].nullable
    assert read(tmp_path / "d", "d")[-1] == np.datetime64("2013-01-01T10:00:00")


def test_csv_dialects_and_options(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n1\tx\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa;b\r\n1;-\r\n-;y\r\n"))
    (tmp_path / "c.csv").write_text("1,2\n3,4")
    convert(tmp_path / "a.tsv", tmp_path / "a")
    assert read(tmp_path / "a", "b") == ["x"]
    convert(tmp_path / "b.csv.gz", tmp_path / "b", delimiter=";", null_values=["-"], strings_can_be_null=True)
    assert read(tmp_path / "b", "a").tolist() == [1, 0]
    assert read(tmp_path / "b", "b") == [None, "y"]
    convert(tmp_path / "c.csv", tmp_path / "c", column_names=["x", "y"], column_types={"y": pa.float32()}, fields=["y", "x"])
    assert list(fields_of(tmp_path / "c")) == ["y", "x"]
    assert read(tmp_path / "c", "y").dtype == np.float32
    assert read(tmp_path / "c", "x").tolist() == [1, 3]


def test_csv_files_follow_each_other(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"a,b\n{number},x{number}\n")
    calls: list[Any] = []
    convert(str(tmp_path / "*.csv"), tmp_path / "d", progress=lambda *call: calls.append(call))
    assert read(tmp_path / "d", "a").tolist() == [0, 1, 2]
    scanned = [(9 * number, 27, "bytes scanned") for number in (1, 2, 3)]
    assert calls == [*scanned, (1, 3, "samples"), (2, 3, "samples"), (3, 3, "samples")]
    (tmp_path / "9.csv").write_text("a,c\n1,2\n")
    with pytest.raises(ValueError, match=r"9.csv has the columns \['a', 'c'\], but .*0.csv has \['a', 'b'\]"):
        convert(str(tmp_path / "*.csv"), tmp_path / "e")


def test_bad_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(CorruptDataError, match=r"cannot read .*a.csv: .*Expected 2 columns, got 3"):
        convert(tmp_path / "a.csv", tmp_path / "d")
    (tmp_path / "b.csv").write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="two columns are named 'a'"):
        convert(tmp_path / "b.csv", tmp_path / "d")
    (tmp_path / "c.csv").write_text("")
    with pytest.raises(CorruptDataError, match=r"c.csv is empty"):
        convert(tmp_path / "c.csv", tmp_path / "d")
    (tmp_path / "c.csv").write_text("\na,b\n")
    with pytest.raises(CorruptDataError, match="starts with an empty line"):
        convert(tmp_path / "c.csv", tmp_path / "d")
    (tmp_path / "f.csv").write_text(",a\n0,1\n")  # as pandas writes its index
    with pytest.raises(ValueError, match=r"f.csv: column 1 has no name; choose the others with fields="):
        convert(tmp_path / "f.csv", tmp_path / "d")
    for delimiter in ("", "ab", "é", "\n", '"'):
        with pytest.raises(ValueError, match="expected one ASCII character"):
            convert(tmp_path / "a.csv", tmp_path / "d", delimiter=delimiter)
    (tmp_path / "e.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="no lines of values"):
        convert(tmp_path / "e.csv", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_csv_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,café\n".encode("latin-1"))
    (tmp_path / "b.csv").write_bytes("a,b\n1,café\n".encode("utf-16"))
    with pytest.raises(CorruptDataError, match=r"a.csv: column 'b' is not UTF-8; say encoding="):
        convert(tmp_path / "a.csv", tmp_path / "d")
    with pytest.raises(CorruptDataError, match=r"b.csv is UTF-16 text; say encoding='utf-16'"):
        convert(tmp_path / "b.csv", tmp_path / "d")
    with pytest.raises(CorruptDataError, match=r"a.csv is not ascii text"):
        convert(tmp_path / "a.csv", tmp_path / "d", encoding="ascii")
    with pytest.raises(ValueError, match="encoding is 'klingon', which Python does not know"):
        convert(tmp_path / "a.csv", tmp_path / "d", encoding="klingon")
    assert not (tmp_path / "d").exists()
    for name, encoding in (("a", "latin-1"), ("b", "utf-16")):
        convert(tmp_path / f"{name}.csv", tmp_path / name, encoding=encoding)
        assert read(tmp_path / name, "b") == ["café"]
    convert(tmp_path / "a.csv", tmp_path / "e", column_types={"b": pa.binary()})
    assert read(tmp_path / "e", "b") == ["café".encode("latin-1")]


def test_too_many_columns_are_refused_unread(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(5000)]
    (tmp_path / "a.csv").write_text(",".join(names) + "\nnot,as,many\n")
    with pytest.raises(LimitExceededError, match=r"there are 5000 fields; the limit is 4096: choose some with fields="):
        convert(tmp_path / "a.csv", tmp_path / "d")
    with pytest.raises(ValueError, match=r"fields names 'q', which is none of the 5000: 'c0', "):
        convert(tmp_path / "a.csv", tmp_path / "d", fields=["q"])
    with pytest.raises(TypeError, match="expected a list of names"):
        convert(tmp_path / "a.csv", tmp_path / "d", fields="c1")
