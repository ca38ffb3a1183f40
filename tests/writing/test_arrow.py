"""Arrow sources through the C interface: every layout, slices, nulls, and damaged arrays."""

from __future__ import annotations

import ctypes
import datetime
import decimal
import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import CorruptDataError
from headrace.writing import write
from headrace.writing.arrow import ArrowBatches
from headrace.writing.arrow_abi import ArrayView, ArrowArray
from headrace.writing.arrow_decode import gather
from headrace.writing.writer import Writer
from tests.writing.readback import fields_of, ragged, read, size, valid

PRIMITIVES = [
    (pa.int8(), "int8", [1, -2, 3]),
    (pa.uint8(), "uint8", [1, 2, 255]),
    (pa.int16(), "int16", [1, -2, 3]),
    (pa.uint16(), "uint16", [1, 2, 3]),
    (pa.int32(), "int32", [1, -2, 3]),
    (pa.uint32(), "uint32", [1, 2, 3]),
    (pa.int64(), "int64", [1, -2, 3]),
    (pa.uint64(), "uint64", [1, 2**64 - 1, 3]),
    (pa.float16(), "float16", [np.float16(0.5)] * 3),
    (pa.float32(), "float32", [0.5, -1.5, 3.0]),
    (pa.float64(), "float64", [0.5, -1.5, 3.0]),
    (pa.bool_(), "bool", [True, False, True]),
    (pa.date32(), "datetime64[D]", [datetime.date(2013, 1, 1), datetime.date(1960, 1, 1), datetime.date(1970, 1, 1)]),
    (pa.date64(), "datetime64[ms]", [datetime.date(2013, 1, 1), datetime.date(1960, 1, 1), datetime.date(1970, 1, 1)]),
    (pa.timestamp("s"), "datetime64[s]", [1, -2, 3]),
    (pa.timestamp("ms"), "datetime64[ms]", [1, -2, 3]),
    (pa.timestamp("us"), "datetime64[us]", [1, -2, 3]),
    (pa.timestamp("ns"), "datetime64[ns]", [1, -2, 3]),
    (pa.time32("s"), "timedelta64[s]", [datetime.time(0, 0, 1), datetime.time(1), datetime.time(2)]),
    (pa.time32("ms"), "timedelta64[ms]", [datetime.time(0, 0, 1), datetime.time(1), datetime.time(2)]),
    (pa.time64("us"), "timedelta64[us]", [datetime.time(0, 0, 1), datetime.time(1), datetime.time(2)]),
    (pa.duration("ms"), "timedelta64[ms]", [1, -2, 3]),
]


def expected_of(column: pa.Array, dtype: str) -> np.ndarray[Any, Any]:
    """The values as pyarrow sees them, nulls zero."""
    if dtype.startswith(("datetime", "timedelta")):
        bits = pa.int32() if pa.types.is_date32(column.type) or pa.types.is_time32(column.type) else pa.int64()
        raw = column.cast(bits).fill_null(0).to_numpy(zero_copy_only=False)
        return raw.astype("i8").view(dtype)
    if dtype == "float16":  # which pyarrow 16 cannot fill
        column = column.cast(pa.float32())
    return column.fill_null(column.type.to_pandas_dtype()(0)).to_numpy(zero_copy_only=False).astype(dtype)


@pytest.mark.parametrize(("kind", "dtype", "values"), PRIMITIVES, ids=lambda value: str(value) if isinstance(value, pa.DataType) else "")
def test_primitives_with_nulls_and_slices(tmp_path: Path, kind: pa.DataType, dtype: str, values: list[Any]) -> None:
    column = pa.array([*values, None, *values, values[0]] * 3, kind)
    for name, part in (("whole", column), ("slice", column.slice(5, 11)), ("dense", pa.array(values, kind))):
        write(tmp_path / name, pa.table({"x": part}))
        field = fields_of(tmp_path / name)["x"]
        assert (field.kind, field.dtype, field.nullable) == ("tensor", dtype, part.null_count > 0)
        np.testing.assert_array_equal(read(tmp_path / name, "x"), expected_of(part, dtype))
        if field.nullable:
            assert valid(tmp_path / name, "x") == part.is_valid().to_pylist()


TEXT = ["a", "", None, "a longer text than twelve bytes", "grüße", "x" * 13, "123456789012"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_text_layouts(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array(TEXT * 4, kind)
    write(tmp_path / "a", pa.table({"s": column}))
    assert read(tmp_path / "a", "s") == TEXT * 4
    write(tmp_path / "b", pa.table({"s": column.slice(3, 10)}))
    assert read(tmp_path / "b", "s") == (TEXT * 4)[3:13]
    assert fields_of(tmp_path / "a")["s"].kind == "string"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)], ids=str)
def test_bytes_layouts(tmp_path: Path, kind: pa.DataType) -> None:
    values = [b"abc", None, b"\0\0\0", b"xyz"] * 5
    write(tmp_path / "d", pa.table({"b": pa.array(values, kind).slice(1)}))
    assert fields_of(tmp_path / "d")["b"].kind == "bytes"
    assert read(tmp_path / "d", "b") == values[1:]


@given(
    values=st.lists(st.none() | st.text(max_size=20), max_size=40),
    begin=st.integers(0, 10),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]),
    step=st.integers(1, 9),
)
def test_any_text_column_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None], begin: int, kind: Any, step: int
) -> None:
    path = tmp_path_factory.mktemp("arrow") / "d"
    write(path, pa.table({"s": pa.array(values, kind).slice(begin)}), batch_rows=step)
    assert read(path, "s") == values[begin:]


def test_lists_are_ragged_and_fixed_lists_tensors(tmp_path: Path) -> None:
    lists = [[1, 2], None, [], [3], [4, 5, 6]]
    pairs = [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0], [7.0, 8.0]]
    table = pa.table(
        {
            "l": pa.array(lists, pa.list_(pa.int32())),
            "L": pa.array(lists, pa.large_list(pa.int64())),
            "w": pa.array(pairs, pa.list_(pa.float32(), 2)),
            "b": pa.array([[True, False]] * 5, pa.list_(pa.bool_(), 2)),
            "n": pa.array([[[1, 2], [3, 4]]] * 5, pa.list_(pa.list_(pa.uint8(), 2), 2)),
            "lw": pa.array([[[1, 2]], [], [[3, 4], [5, 6]], None, []], pa.list_(pa.list_(pa.int16(), 2))),
            "ld": pa.array([[datetime.date(2013, 1, 1)], [], [], [], []], pa.list_(pa.date32())),
        }
    )
    for name, part, rows in (("a", table, slice(None)), ("b", table.slice(1, 3), slice(1, 4))):
        path = tmp_path / name
        write(path, part)
        fields = fields_of(path)
        assert [(f.kind, f.dtype, tuple(f.shape)) for f in fields.values()] == [
            ("ragged", "int32", ()),
            ("ragged", "int64", ()),
            ("tensor", "float32", (2,)),
            ("tensor", "bool", (2,)),
            ("tensor", "uint8", (2, 2)),
            ("ragged", "int16", (2,)),
            ("ragged", "datetime64[D]", ()),
        ]
        assert ragged(path, "l") == ragged(path, "L") == [values or [] for values in lists[rows]]
        assert valid(path, "l") == [values is not None for values in lists[rows]]
        assert read(path, "w").tolist() == [pair or [0.0, 0.0] for pair in pairs[rows]]
        assert read(path, "b").tolist() == [[True, False]] * len(lists[rows])
        assert read(path, "n").tolist() == [[[1, 2], [3, 4]]] * len(lists[rows])
        assert ragged(path, "lw") == [[[1, 2]], [], [[3, 4], [5, 6]], [], []][rows]
        assert ragged(path, "ld") == [[datetime.date(2013, 1, 1)], [], [], [], []][rows]


def test_a_null_list_that_spans_values_leaves_them_out(tmp_path: Path) -> None:
    column = pa.ListArray.from_arrays(pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, None, 4, 5]), mask=pa.array([False, True, False]))
    texts = pa.Array.from_buffers(
        pa.string(), 3, [pa.py_buffer(bytes([0b101])), pa.py_buffer(np.array([0, 1, 3, 4], "i4")), pa.py_buffer(b"axxb")]
    )
    write(tmp_path / "d", pa.table({"l": column, "s": texts}))
    assert ragged(tmp_path / "d", "l") == [[1, 2], [], [5]]
    assert read(tmp_path / "d", "s") == ["a", None, "b"]


def test_nulls_inside_lists_are_refused(tmp_path: Path) -> None:
    for kind in (pa.list_(pa.int64()), pa.list_(pa.int64(), 2)):
        with pytest.raises(ValueError, match="field 'l': 1 nulls inside lists; only whole samples can be null"):
            write(tmp_path / "d", pa.table({"l": pa.array([[1, 2], [3, None]], kind)}))
    assert not (tmp_path / "d").exists()


def test_dictionaries_are_decoded(tmp_path: Path) -> None:
    codes = pa.array([0, 2, None, 1, 0, 3], pa.uint8())
    table = pa.table(
        {
            "s": pa.DictionaryArray.from_arrays(codes, pa.array(["zero", "a longer one than twelve", "two", None])),
            "n": pa.DictionaryArray.from_arrays(codes, pa.array([1.5, 2.5, 3.5, 4.5])),
            "all_null": pa.DictionaryArray.from_arrays(pa.array([None] * 6, pa.int8()), pa.array([], pa.string())),
        }
    )
    write(tmp_path / "a", table)
    write(tmp_path / "b", table.slice(1, 4), batch_rows=3)
    texts = ["zero", "two", None, "a longer one than twelve", "zero", None]
    assert read(tmp_path / "a", "s") == texts
    assert read(tmp_path / "a", "n").tolist() == [1.5, 3.5, 0.0, 2.5, 1.5, 4.5]
    assert valid(tmp_path / "a", "n") == [True, True, False, True, True, True]
    assert read(tmp_path / "a", "all_null") == [None] * 6
    assert read(tmp_path / "b", "s") == texts[1:5]


def test_structs_are_flattened_with_their_nulls(tmp_path: Path) -> None:
    inner = pa.struct([("b", pa.int32()), ("c", pa.struct([("d", pa.string())]))])
    rows = [{"b": 1, "c": {"d": "x"}}, None, {"b": 3, "c": None}, {"b": None, "c": {"d": None}}, {"b": 5, "c": {"d": "z"}}]
    table = pa.table({"a": pa.array(rows, inner), "n": pa.array([{"v": 1}] * 5)})
    write(tmp_path / "a", table)
    assert list(fields_of(tmp_path / "a")) == ["a.b", "a.c.d", "n.v"]
    assert [field.nullable for field in fields_of(tmp_path / "a").values()] == [True, True, False]
    assert read(tmp_path / "a", "a.c.d") == ["x", None, None, None, "z"]
    assert valid(tmp_path / "a", "a.b") == [True, False, True, False, True]
    write(tmp_path / "b", table.slice(2), fields=["a.b"])
    assert read(tmp_path / "b", "a.b").tolist() == [3, 0, 5]


def test_time_zones_are_kept_as_metadata(tmp_path: Path) -> None:
    write(tmp_path / "d", pa.table({"t": pa.array([0, 3600], pa.timestamp("s", tz="America/New_York"))}))
    field = fields_of(tmp_path / "d")["t"]
    assert field.dtype == "datetime64[s]"
    assert json.loads(field.metadata) == {"timezone": "America/New_York"}
    assert read(tmp_path / "d", "t").astype("i8").tolist() == [0, 3600]


def test_fixed_shape_tensors_keep_their_shape(tmp_path: Path) -> None:
    values = np.arange(24, dtype="f4").reshape(2, 3, 4)
    write(tmp_path / "d", pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(values)}))
    np.testing.assert_array_equal(read(tmp_path / "d", "x"), values)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([decimal.Decimal("1.5")]), r"field 'x': the Arrow type decimal cannot be stored; cast it to float64"),
        (pa.nulls(3), "field 'x': the Arrow type null cannot be stored; all its values are null"),
        (pa.array([["a"]]), "field 'x': lists can hold numbers, dates"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "the Arrow type map cannot be stored"),
        (pa.array([[1]], pa.list_view(pa.int64())), "the Arrow type list view cannot be stored; cast it to a list"),
        (pa.RunEndEncodedArray.from_arrays([2], [1]), "the Arrow type run-end-encoded cannot be stored; decode it first"),
    ],
)
def test_types_that_cannot_be_stored_say_what_to_do(tmp_path: Path, column: pa.Array, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        write(tmp_path / "d", pa.table({"x": column}))
    write(tmp_path / "e", pa.table({"x": column, "y": list(range(len(column)))}).select(["y"]))
    assert size(tmp_path / "e") == len(column)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two columns are named 'a'; rename one"):
        write(tmp_path / "d", pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_streams_go_by_the_types_nullability_and_many_batches(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string())])
    batches = [pa.record_batch([pa.array(range(i, i + 3)), pa.array([str(i), None, ""])], schema=schema) for i in range(0, 30, 3)]
    calls: list[Any] = []
    reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
    write(tmp_path / "d", reader, progress=lambda *call: calls.append(call))
    assert [field.nullable for field in fields_of(tmp_path / "d").values()] == [False, True]
    assert read(tmp_path / "d", "a").tolist() == list(range(30))
    assert read(tmp_path / "d", "b")[-3:] == ["27", None, ""]
    assert calls[-1] == (30, None, "samples")


def test_an_error_of_the_producer_arrives_and_leaves_nothing(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64())])

    def batches() -> Any:
        yield pa.record_batch([pa.array([1])], schema=schema)
        raise ValueError("the query was lost")

    with pytest.raises(OSError, match="the query was lost"):
        write(tmp_path / "d", pa.RecordBatchReader.from_batches(schema, batches()))
    assert not (tmp_path / "d").exists()


def test_everything_imported_is_released(tmp_path: Path) -> None:
    gc.collect()
    before = pa.total_allocated_bytes()
    for number in range(3):
        table = pa.table({"x": pa.array(np.arange(100_000)), "s": pa.array(["a", None] * 50_000)})
        write(tmp_path / str(number), table)
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=1000))
        with pytest.raises(ValueError, match="none of"):
            write(tmp_path / "e", reader, fields=["z"])
        del table, reader
    gc.collect()
    assert pa.total_allocated_bytes() == before


def test_writer_extend_takes_tables(tmp_path: Path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.extend(pa.table({"a": [1, 2], "b": ["x", "y"]}))
        writer.extend(pa.table({"b": ["z"], "a": [3]}))
        writer.append({"a": 4, "b": "w"})
    assert read(tmp_path / "d", "a").tolist() == [1, 2, 3, 4]
    assert read(tmp_path / "d", "b") == ["x", "y", "z", "w"]


def batch_of(column: pa.Array) -> ArrowBatches:
    batch = pa.record_batch([column], names=["x"])
    return ArrowBatches([batch], batch.schema, fields=None, nullable=None, total=None)


@pytest.mark.parametrize(
    ("kind", "good", "bad", "message"),
    [
        (pa.string(), [0, 3, 5], [0, 5, 3], "never fall; found 5 before 3"),
        (pa.string(), [0, 3, 5], [-4, 3, 5], "start at 0 or more"),
        (pa.list_(pa.uint8()), [0, 3, 5], [0, 3, 31], "has 30 elements, expected 31"),
        (pa.string_view(), [30, 0, 0, 0], [30, 0, 3, 0], r"a buffer outside \[0, 1\)"),
        (pa.string_view(), [30, 0, 0, 0], [30, 0, 0, 15], "outside its buffer of 30 bytes"),
        (pa.string_view(), [30, 0, 0, 0], [-1, 0, 0, 0], "a negative length"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(kind: pa.DataType, good: list[int], bad: list[int], message: str) -> None:
    words = np.array(good, "i4")
    text = b"\0" * 30
    if kind == pa.string_view():  # which pyarrow 16 makes of no buffers
        column = pa.array([text.decode()], kind)
        words = np.ctypeslib.as_array((ctypes.c_int32 * 4).from_address(column.buffers()[1].address))
        assert words.tolist() == good
    elif kind == pa.list_(pa.uint8()):
        column = pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(words)], children=[pa.array(list(text), pa.uint8())])
    else:
        column = pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(words), pa.py_buffer(text)])
    source = batch_of(column)
    words[:] = bad  # pyarrow checks arrays as they are made
    with pytest.raises(CorruptDataError, match=message):
        list(source.batches())


def test_dictionary_indices_outside_are_refused() -> None:
    bad = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), pa.array(["a"]), safe=False)
    with pytest.raises(CorruptDataError, match=r"index is outside \[0, 1\)"):
        list(batch_of(bad).batches())


def test_missing_buffers_and_children_are_refused() -> None:
    array = ArrowArray(length=4, null_count=0, offset=0, n_buffers=2, n_children=0)
    view = ArrayView(ctypes.pointer(array), "field 'x'")
    with pytest.raises(CorruptDataError, match="field 'x': buffer 1 of the Arrow array is missing, expected 4 elements of <i4"):
        view.buffer(1, "<i4", 0, 4)
    with pytest.raises(CorruptDataError, match="has 0 children, expected 1"):
        view.child(0, "field 'x'")
    with pytest.raises(CorruptDataError, match="the Arrow array's length is -1"):
        ArrayView(ctypes.pointer(ArrowArray(length=-1)), "field 'x'")


@given(data=st.data())
def test_gather_copies_pieces(data: st.DataObject) -> None:
    source = np.arange(50, dtype="u1")
    pieces = data.draw(
        st.lists(st.integers(0, 40).flatmap(lambda start: st.tuples(st.just(start), st.integers(0, 50 - start))), min_size=1, max_size=20)
    )
    starts, lengths = np.array(pieces, dtype=np.int64).T
    targets = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), "u1")
    gather(source, starts, lengths, out, targets)
    assert out.tolist() == [int(byte) for start, length in pieces for byte in source[start : start + length]]
