"""Each format that `convert` reads."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from headrace._native import Dataset
from headrace.errors import CorruptDataError, LimitExceededError, NotFoundError, TruncatedError, UnsafeDataError
from headrace.writing import convert
from tests.writing.readback import fields_of, ragged, read, size


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


# Images


def test_images_keep_torchvisions_order_and_classes(tmp_path: Path) -> None:
    files = ["dog/b.PNG", "dog/a.jpg", "cat/z/1.jpeg", "cat/a.webp", "cat/notes.txt", "ant/x.bmp", "dog/sub/c.jpg", "dog/B.jpg"]
    for index, name in enumerate(files):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(bytes([index]) * (index + 1))
    calls: list[Any] = []
    convert(tmp_path / "in", tmp_path / "d", progress=lambda *call: calls.append(call))
    order = ["ant/x.bmp", "cat/a.webp", "cat/z/1.jpeg", "dog/B.jpg", "dog/a.jpg", "dog/b.PNG", "dog/sub/c.jpg"]
    assert read(tmp_path / "d", "image") == [(tmp_path / "in" / name).read_bytes() for name in order]
    assert read(tmp_path / "d", "label").tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert fields_of(tmp_path / "d")["image"].kind == "image"
    assert json.loads(Dataset(str(tmp_path / "d")).schema.metadata)["classes"] == ["ant", "cat", "dog"]
    assert calls == [(7, 7, "samples")]


def test_images_in_many_groups_stay_in_order(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(700):
        (tmp_path / "in" / "a" / f"{number:04}.jpg").write_bytes(f"{number}".encode())
    convert(tmp_path / "in", tmp_path / "d", threads=4)
    assert read(tmp_path / "d", "image") == [f"{number}".encode() for number in range(700)]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "dog").mkdir()
    (tmp_path / "in" / "dog" / "a.jpg").write_bytes(b"x")
    with pytest.raises(NotFoundError, match=r"no image in the classes cat; supported are \.jpg"):
        convert(tmp_path / "in", tmp_path / "d")
    (tmp_path / "in" / "cat" / "a.jpg").write_bytes(b"")
    with pytest.raises(CorruptDataError, match=r"a.jpg is empty, expected an image"):
        convert(tmp_path / "in", tmp_path / "d")
    (tmp_path / "flat").mkdir()
    with pytest.raises(NotFoundError, match="has no class folders"):
        convert(tmp_path / "flat", tmp_path / "d", format="images")
    assert not (tmp_path / "d").exists()


def test_pipes_and_loops_among_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "cat" / "a.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "in" / "cat" / "b.jpg")  # opened, it would be waited for without end
    with pytest.raises(ValueError, match=r"b.jpg is no file"):
        convert(tmp_path / "in", tmp_path / "d")
    (tmp_path / "in" / "cat" / "b.jpg").unlink()
    (tmp_path / "in" / "cat" / "up").symlink_to("..")
    with pytest.raises(ValueError, match=r"cat/up is a link to a folder that it is in"):
        convert(tmp_path / "in", tmp_path / "d")
    (tmp_path / "in" / "cat" / "up").unlink()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.jpg").write_bytes(b"yz")
    (tmp_path / "in" / "cat" / "more").symlink_to(tmp_path / "more")
    convert(tmp_path / "in", tmp_path / "d")
    assert read(tmp_path / "d", "image") == [b"x", b"yz"]


# NumPy


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, order: Any) -> None:
    values = np.asarray(np.random.default_rng(0).random((100, 3, 2)), order=order)
    np.save(tmp_path / "a.npy", values)
    convert(tmp_path / "a.npy", tmp_path / "d")
    np.testing.assert_array_equal(read(tmp_path / "d", "value"), values)
    assert Dataset(str(tmp_path / "d")).schema.container == "single"


def test_structured_npy_with_odd_names_and_empty_npy(tmp_path: Path) -> None:
    values = np.array([(1, 2.5), (3, 4.5)], [("größe", "i4"), ("日", "f4")])
    with pytest.warns(UserWarning, match="Stored array in format 3.0"):
        np.save(tmp_path / "a.npy", values)
    convert(tmp_path / "a.npy", tmp_path / "d")
    assert read(tmp_path / "d", "größe").tolist() == [1, 3]
    assert read(tmp_path / "d", "日").tolist() == [2.5, 4.5]
    np.save(tmp_path / "b.npy", np.zeros((0, 4), "f4"))
    convert(tmp_path / "b.npy", tmp_path / "e")
    assert size(tmp_path / "e") == 0


def test_npy_files_need_the_same_fields(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    np.save(tmp_path / "b.npy", np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"b.npy holds .*\(4,\).*, but .*a.npy holds .*\(3,\)"):
        convert([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "d")


def test_pickled_numpy_files_are_refused_unread(tmp_path: Path) -> None:
    canary = np.array([Canary(str(tmp_path / "ran"))], dtype=object)
    np.save(tmp_path / "a.npy", canary, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.zeros(1), y=canary)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(UnsafeDataError, match=rf"{name}.* holds pickled Python objects.*allow_unsafe_types=True"):
            convert(tmp_path / name, tmp_path / "d")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "d").exists()


def test_pickled_text_is_read_if_the_caller_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["a", None], dtype=object), allow_pickle=True)
    convert(tmp_path / "a.npy", tmp_path / "d", allow_unsafe_types=True)
    assert read(tmp_path / "d", "value") == ["a", None]


def test_damaged_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(100))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(whole[:-1])
    with pytest.raises(TruncatedError, match=r"b.npy has 927 bytes, expected 928; it is not whole"):
        convert(tmp_path / "b.npy", tmp_path / "d")
    for junk in (b"", whole[:9], b"junk" + whole):
        (tmp_path / "c.npy").write_bytes(junk)
        with pytest.raises(CorruptDataError, match=r"c.npy is no .npy data"):
            convert(tmp_path / "c.npy", tmp_path / "d")


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1099511627776, 1099511627776), }",
        "[" * 3000,
        "{'descr': (",
    ],
)
def test_npy_headers_that_lie_name_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.npy").write_bytes(npy_header(text) + bytes(8))
    with pytest.raises(CorruptDataError, match=r"a.npy"):
        convert(tmp_path / "a.npy", tmp_path / "d")


def test_npz_members_that_are_no_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("folder/", "")
    with pytest.raises(CorruptDataError, match=r"readme.txt is no .npy data"):
        convert(tmp_path / "a.npz", tmp_path / "d")
    convert(tmp_path / "a.npz", tmp_path / "d", fields=["x"])
    assert read(tmp_path / "d", "x").tolist() == [0, 1, 2]
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("x", "another")
    with pytest.raises(ValueError, match="two arrays have one name"):
        convert(tmp_path / "a.npz", tmp_path / "e", fields=["x"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.writing.formats.npz.SLICE_BYTES", 1000)
    x, y = np.random.default_rng(0).random((500, 4)).astype(">f4"), np.arange(500)
    save(tmp_path / "a.npz", x=x, y=y, b=np.arange(500) % 2 == 0)
    calls: list[Any] = []
    convert(tmp_path / "a.npz", tmp_path / "d", progress=lambda *call: calls.append(call))
    assert list(fields_of(tmp_path / "d")) == ["x", "y", "b"]
    np.testing.assert_array_equal(read(tmp_path / "d", "x"), x)
    np.testing.assert_array_equal(read(tmp_path / "d", "y"), y)
    assert len(calls) > 10
    assert calls[-1] == (500, 500, "samples")
    convert(tmp_path / "a.npz", tmp_path / "e", fields=["y"])
    assert list(fields_of(tmp_path / "e")) == ["y"]


def test_npz_of_fortran_and_structured_arrays(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(12).reshape(4, 3))
    s = np.zeros(4, [("a", "i4")])
    np.savez(tmp_path / "a.npz", x=x)
    convert(tmp_path / "a.npz", tmp_path / "d")
    np.testing.assert_array_equal(read(tmp_path / "d", "x"), x)
    np.savez(tmp_path / "b.npz", s=s)
    with pytest.raises(TypeError, match="field 's': structured elements cannot be stored in one field"):
        convert(tmp_path / "b.npz", tmp_path / "e")


def test_npz_of_different_lengths_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros(4), z=np.float64(1))
    with pytest.raises(ValueError, match=r"same first dimension \(samples\), found x \(3, 2\), y \(4,\), z \(\); choose some with fields="):
        convert(tmp_path / "a.npz", tmp_path / "d")


def test_damaged_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random(5000))
    whole = (tmp_path / "a.npz").read_bytes()
    for junk in (whole[: len(whole) // 2], b"", whole[:2000] + bytes(200) + whole[2200:]):
        (tmp_path / "b.npz").write_bytes(junk)
        with pytest.raises(CorruptDataError, match=r"cannot read .*b\.npz"):
            convert(tmp_path / "b.npz", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_npz_that_declares_too_much_is_refused_before_allocation(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": True, "shape": (2**40, 4)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    with pytest.raises(CorruptDataError, match="the archive says 128 bytes, the header 35184372088960"):
        convert(tmp_path / "a.npz", tmp_path / "d")
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    declared = (2**31).to_bytes(4, "little")
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = declared
    (tmp_path / "b.npz").write_bytes(raw)
    with pytest.raises((CorruptDataError, LimitExceededError)):
        convert(tmp_path / "b.npz", tmp_path / "d")


# Arrow's formats

TABLE = pa.table(
    {
        "i": pa.array(range(1000)),
        "f": pa.array([None if n % 7 == 0 else n / 2 for n in range(1000)], pa.float32()),
        "s": pa.array([f"text {n}" for n in range(1000)]),
        "c": pa.array([["a", "b"][n % 2] for n in range(1000)]).dictionary_encode(),
        "l": pa.array([list(range(n % 4)) for n in range(1000)], pa.list_(pa.int64())),
        "st": pa.array([{"x": n, "y": None if n == 3 else "y"} for n in range(1000)]),
        "t": pa.array(range(1000), pa.timestamp("us", tz="UTC")),
    }
)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=300)


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def write_feather(table: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, path, compression="zstd", chunksize=300)


WRITERS = [(write_parquet, "a.parquet"), (write_arrow, "a.arrow"), (write_stream, "a.arrow"), (write_feather, "a.feather")]


@pytest.mark.parametrize(("save", "name"), WRITERS, ids=lambda value: getattr(value, "__name__", ""))
def test_columns_need_a_name_of_their_own(tmp_path: Path, save: Any, name: str) -> None:
    column = pa.array([1, 2])
    save(pa.table([column, column, column], names=["a", "b", "a"]), tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: two columns are named 'a'; choose the others"):
        convert(tmp_path / name, tmp_path / "d")
    convert(tmp_path / name, tmp_path / "d", fields=["b"])
    assert read(tmp_path / "d", "b").tolist() == [1, 2]
    save(pa.table([column, column], names=["a", ""]), tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: column 2 has no name"):
        convert(tmp_path / name, tmp_path / "e")


@pytest.mark.parametrize(("save", "name"), WRITERS, ids=lambda value: getattr(value, "__name__", ""))
def test_tables_come_back(tmp_path: Path, save: Any, name: str) -> None:
    save(TABLE, tmp_path / name)
    calls: list[Any] = []
    convert(tmp_path / name, tmp_path / "d", progress=lambda *call: calls.append(call))
    fields = fields_of(tmp_path / "d")
    assert list(fields) == ["i", "f", "s", "c", "l", "st.x", "st.y", "t"]
    nullable = [field for field in fields if fields[field].nullable]
    assert [field for field in nullable if field != "l"] == ["f", "st.y"]
    assert read(tmp_path / "d", "i").tolist() == list(range(1000))
    assert read(tmp_path / "d", "f").tolist() == [value or 0.0 for value in TABLE["f"].to_pylist()]
    for text in "sc":
        assert read(tmp_path / "d", text) == TABLE[text].to_pylist()
    assert ragged(tmp_path / "d", "l") == TABLE["l"].to_pylist()
    assert read(tmp_path / "d", "st.y")[2:5] == ["y", None, "y"]
    assert read(tmp_path / "d", "t").astype("i8").tolist() == list(range(1000))
    assert calls[-1] == (1000, 1000, "samples")


def test_orc(tmp_path: Path) -> None:
    table = TABLE.select(["i", "f", "s", "l"])
    pyarrow.orc.write_table(table, tmp_path / "a.orc", stripe_size=1024)
    convert(tmp_path / "a.orc", tmp_path / "d", fields=["s", "l", "f"])
    fields = fields_of(tmp_path / "d")
    assert [(name, field.nullable) for name, field in fields.items()] == [("s", False), ("l", False), ("f", True)]
    assert read(tmp_path / "d", "s") == table["s"].to_pylist()
    assert ragged(tmp_path / "d", "l") == table["l"].to_pylist()
    assert read(tmp_path / "d", "f").tolist() == [value or 0.0 for value in table["f"].to_pylist()]


@pytest.mark.parametrize(("save", "name"), WRITERS[:2], ids=lambda value: getattr(value, "__name__", ""))
def test_fields_are_chosen_and_several_files_need_one_schema(tmp_path: Path, save: Any, name: str) -> None:
    paths = [tmp_path / f"{number}{name}" for number in range(3)]
    save(TABLE.slice(0, 10), paths[0])
    save(TABLE.slice(10, 10), paths[1])
    save(TABLE.set_column(0, "i", pa.array(range(1000), pa.int32())), paths[2])
    convert(paths[:2], tmp_path / "d", fields=["s", "i"])
    assert list(fields_of(tmp_path / "d")) == ["s", "i"]
    assert read(tmp_path / "d", "i").tolist() == list(range(20))
    with pytest.raises(ValueError, match="column 'i' is int32, but int64 in"):
        convert(paths, tmp_path / "e")
    with pytest.raises(ValueError, match=r"fields names 'zz', which is none of \['i', 'f'"):
        convert(paths[:1], tmp_path / "e", fields=["zz"])
    save(TABLE.drop_columns(["i"]), paths[2])
    with pytest.raises(ValueError, match=r"has the columns \['f', .*but .* has \['i', 'f'"):
        convert(paths, tmp_path / "e")


@pytest.mark.parametrize(("save", "name"), WRITERS, ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_tables_name_the_file(tmp_path: Path, save: Any, name: str) -> None:
    save(TABLE, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for junk in (whole[: len(whole) // 2], whole[:10], b"junk" * 10):
        (tmp_path / name).write_bytes(junk)
        with pytest.raises(CorruptDataError, match=f"cannot read .*{name}"):
            convert(tmp_path / name, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_parquet_without_statistics_goes_by_its_types(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64())])
    pq.write_table(pa.table({"a": [1], "b": [2]}, schema=schema), tmp_path / "a.parquet", write_statistics=False)
    convert(tmp_path / "a.parquet", tmp_path / "d")
    assert [field.nullable for field in fields_of(tmp_path / "d").values()] == [False, True]


def test_parquet_batches_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.writing.formats.tables.SLICE_BYTES", 1 << 16)
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(50_000)}), tmp_path / "a.parquet")
    sizes: list[int] = []
    done = 0

    def progress(samples: int, total: int | None, unit: str) -> None:
        nonlocal done
        sizes.append(samples - done)
        done = samples

    convert(tmp_path / "a.parquet", tmp_path / "d", progress=progress)
    assert done == 50_000
    assert max(sizes) * 8 <= 1 << 16


def test_feather_1_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.feather").write_bytes(b"FEA1" + bytes(20))
    with pytest.raises(CorruptDataError, match="Feather version 1, which is no longer read"):
        convert(tmp_path / "a.feather", tmp_path / "d")
    assert not os.path.exists(tmp_path / "d")
