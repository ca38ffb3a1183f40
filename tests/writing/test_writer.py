"""The Writer's life: append, extend, commit, abort, and what is left behind."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace._native import Dataset, DatasetWriter, Field, Schema
from headrace.errors import ClosedError, ExistsError, NotFoundError
from headrace.writing import Writer, write
from tests.writing.readback import fields_of, ragged, read, size


def test_append_and_extend_may_be_mixed(tmp_path: Path) -> None:
    with Writer(tmp_path / "d") as writer:
        assert writer.schema is None
        writer.append({"x": 0, "s": "a"})
        writer.append({"x": 1, "s": "b"})
        assert writer.num_samples == 2
        writer.extend({"s": ["c", "d"], "x": np.array([2, 3])})
        assert writer.num_samples == 4
        assert writer.schema is not None
        writer.append({"x": 4, "s": "e"})
        assert repr(writer) == f"Writer({str(tmp_path / 'd')!r}, open, num_samples=5)"
    assert writer.version == 1
    assert read(tmp_path / "d", "x").tolist() == [0, 1, 2, 3, 4]
    assert read(tmp_path / "d", "s") == list("abcde")


def test_extend_first_then_append_tuples_and_singles(tmp_path: Path) -> None:
    with Writer(tmp_path / "t") as writer:
        writer.extend((np.arange(3), ["a", "b", "c"]))
        writer.append((3, "d"))
    assert read(tmp_path / "t", "0").tolist() == [0, 1, 2, 3]
    with Writer(tmp_path / "s") as single:
        single.extend(np.arange(3.0))
        single.append(3.0)
        single.extend([4.0])
    assert read(tmp_path / "s", "value").tolist() == [0, 1, 2, 3, 4]


def test_a_given_schema_decides(tmp_path: Path) -> None:
    schema = Schema([Field("x", "ragged", "float32"), Field("y", dtype="int16", nullable=True)], "tuple", '{"a": 1}')
    with Writer(tmp_path / "d", schema) as writer:
        writer.append(([1, 2], None))
        writer.append((np.zeros(0, "f4"), 5))
        writer.extend(([[3.5], [4, 5]], [None, None]))
    stored = Dataset(str(tmp_path / "d")).schema
    assert (stored.names, stored.container, stored.metadata) == (["x", "y"], "tuple", '{"a": 1}')
    assert ragged(tmp_path / "d", "x") == [[1, 2], [], [3.5], [4, 5]]
    assert read(tmp_path / "d", "y").tolist() == [0, 5, 0, 0]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with Writer(tmp_path / "d", shard_bytes=4096, chunk_samples=16) as writer:
            for _ in range(20):
                writer.extend({"x": np.random.default_rng(0).random((1000, 10))})
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_abort_leaves_what_was_there_before(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": np.arange(10)})
    before = sorted(os.listdir(tmp_path / "d"))
    writer = Writer(tmp_path / "d", append=True)
    writer.extend({"x": np.arange(5)})
    writer.abort()
    writer.abort()
    assert sorted(os.listdir(tmp_path / "d")) == before
    (tmp_path / "mine").mkdir()
    with pytest.raises(TypeError, match="sample 1"):
        write(tmp_path / "mine", iter([1, "a"]))
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_use_after_the_end_is_refused(tmp_path: Path, end: str) -> None:
    writer = Writer(tmp_path / "d")
    writer.append(1)
    getattr(writer, end)()
    done = {"commit": "committed", "abort": "aborted"}[end]
    for call in (lambda: writer.append(1), lambda: writer.extend([1]), writer.commit, writer.__enter__):
        with pytest.raises(ClosedError, match=f"was {done}; make a new one"):
            call()
    assert (tmp_path / "d").exists() == (end == "commit")


def test_commit_inside_the_block_is_enough(tmp_path: Path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.append(1)
        assert writer.commit() == 1
    assert size(tmp_path / "d") == 1


def test_a_taken_place_is_refused_before_any_work(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": [1]})
    (tmp_path / "file").write_text("x")

    def never() -> Any:
        raise AssertionError("the source was read")
        yield

    with pytest.raises(ExistsError, match=r"d is a dataset already \(it has manifest-0000000001.hrm\)"):
        write(tmp_path / "d", never())
    with pytest.raises(ExistsError, match="file is a file"):
        write(tmp_path / "file", never())
    with pytest.raises(NotFoundError):
        write(tmp_path / "none", never(), append=True)
    assert (tmp_path / "file").read_text() == "x"


def test_append_makes_versions_with_the_schema_that_is_there(tmp_path: Path) -> None:
    schema = Schema([Field("x", dtype="int32"), Field("r", "ragged", "int64"), Field("s", "string", nullable=True)])
    assert write(tmp_path / "d", {"x": [1], "r": [[1, 2]], "s": ["a"]}, schema=schema) == 1
    assert write(tmp_path / "d", {"s": ["b", None], "x": [2, 3], "r": [[5], [6]]}, append=True) == 2
    assert write(tmp_path / "d", [{"x": 4, "r": [], "s": None}], append=True) == 3
    assert read(tmp_path / "d", "x").tolist() == [1, 2, 3, 4]
    assert ragged(tmp_path / "d", "r") == [[1, 2], [5], [6], []]
    assert read(tmp_path / "d", "s") == ["a", "b", None, None]
    assert len(Dataset(str(tmp_path / "d"), 1)) == 1
    with pytest.raises(ValueError, match=r"missing \['r', 's'\], unexpected \[\]"):
        write(tmp_path / "d", {"x": [1]}, append=True)
    assert size(tmp_path / "d") == 4


def test_extend_that_fails_takes_nothing_and_goes_on(tmp_path: Path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.extend({"x": [1, 2], "y": ["a", "b"]})
        with pytest.raises(ValueError, match="sample 3, field 'x': expected int64, found null"):
            writer.extend({"x": [3, None], "y": ["c", "d"]})
        with pytest.raises(ValueError, match=r"expected columns \['x', 'y'\], found \['x'\]"):
            writer.extend({"x": [3]})
        with pytest.raises(ValueError, match="expected 2 columns"):
            writer.extend(([3],))
        with pytest.raises(TypeError, match="extend takes a dict or tuple of columns"):
            writer.extend(5)
        writer.extend({"x": [3], "y": ["c"]})
    assert read(tmp_path / "d", "x").tolist() == [1, 2, 3]


def test_append_that_fails_aborts(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "d")
    writer.append((1, 2))
    with pytest.raises(ValueError, match=r"sample 1: expected a tuple of 2 values \['0', '1'\], found a tuple of 3 values"):
        writer.append((1, 2, 3))
    with pytest.raises(ClosedError, match="was aborted"):
        writer.append((1, 2))


def test_nothing_to_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to write"), Writer(tmp_path / "d"):
        pass
    assert not (tmp_path / "d").exists()


def test_sizes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chunk_samples must be at least 1, and at most 16777216, got 0"):
        Writer(tmp_path / "d", chunk_samples=0)
    with pytest.raises(ValueError, match="batch_rows must be at least 1, got 0"):
        write(tmp_path / "d", [1], batch_rows=0)
    assert not (tmp_path / "d").exists()


def test_container_and_metadata_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "d", {"x": [1], "y": [2]}, container="tuple", metadata='{"k": "v"}')
    schema = Dataset(str(tmp_path / "d")).schema
    assert (schema.container, schema.metadata) == ("tuple", '{"k": "v"}')


def test_many_threads_write_the_same(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 50, (20_000, 4))
    for threads in (1, 2, 8):
        write(tmp_path / str(threads), {"x": values}, threads=threads, chunk_samples=512, shard_bytes=100_000, codec="zstd")
        np.testing.assert_array_equal(read(tmp_path / str(threads), "x"), values)
        assert len(Dataset(str(tmp_path / str(threads))).shards) > 1


def test_codecs_reach_the_file(tmp_path: Path) -> None:
    columns = {"a": np.arange(1000), "b": np.arange(1000), "c": ["text"] * 1000, "d": np.arange(1000)}
    codec = {"a": "zstd:9", "b": {"codec": "lz4hc", "filter": "delta+shuffle", "block_bytes": 4096}, "c": "none"}
    write(tmp_path / "d", columns, codec=codec)
    fields = fields_of(tmp_path / "d")
    assert [(fields[name].codec, fields[name].filter) for name in "abc"] == [("zstd", "none"), ("lz4hc", "delta+shuffle"), ("none", "none")]
    assert (fields["a"].level, fields["b"].block_bytes) == (9, 4096)
    np.testing.assert_array_equal(read(tmp_path / "d", "b"), np.arange(1000))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk_samples": 1.5}, TypeError, "chunk_samples is a float, 1.5; expected a whole number"),
        ({"chunk_samples": 1 << 33}, ValueError, "chunk_samples must be at least 1, and at most 16777216"),
        ({"threads": "2"}, TypeError, "threads is a str, '2'; expected a whole number"),
        ({"metadata": "{"}, ValueError, "metadata is no JSON text"),
        ({"metadata": {"a": 1}}, TypeError, "metadata is a dict; expected JSON text"),
        ({"schema": "x"}, TypeError, "schema is a str; expected a headrace.Schema"),
        ({"batch_rows": 0}, ValueError, "batch_rows must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        write(tmp_path / "d", {"a": np.zeros(3)}, **options)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("source", ["flights.csv", b"flights.csv", Path("flights.csv")])
def test_a_path_is_no_source_of_samples(tmp_path, source):
    with pytest.raises(TypeError, match=r"a source is samples, not a path; for files use headrace.convert\(\)"):
        write(tmp_path / "d", source)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "sample", [{"a": None, "a.valid": 1}, {"a": [1, 2], "a.length": 2}], ids=["validity of a nullable field", "lengths of a ragged field"]
)
def test_names_that_batches_give_to_something_else_are_refused(tmp_path, sample):
    other = {**sample, "a": 1 if sample["a"] is None else [1]}
    with pytest.raises(ValueError, match=r"fields 'a' and 'a\.(valid|length)': .*rename one"):
        write(tmp_path / "d", [sample, other])
    assert not (tmp_path / "d").exists()
    write(tmp_path / "d", [{"a": 1, "a.valid": 2, "a.length": 3}])  # nothing stands beside such an `a`
    assert read(tmp_path / "d", "a.valid").tolist() == [2]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_may_share_a_writer(tmp_path: Path, threads: int) -> None:
    rows, calls = 50, 20
    with Writer(tmp_path / "d", codec="none", chunk_samples=64) as writer:

        def work(thread: int) -> None:
            for call in range(calls):
                first = (thread * calls + call) * rows
                if call % 2:
                    writer.extend({"x": np.arange(first, first + rows)})
                else:
                    for value in range(first, first + rows):
                        writer.append({"x": value})
                assert writer.num_samples > 0
                assert isinstance(writer.choices, list)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    values = read(tmp_path / "d", "x")
    assert sorted(values.tolist()) == list(range(threads * calls * rows))
    for first in range(rows, threads * calls * rows, 2 * rows):  # what one call of extend took stands together
        at = int(np.flatnonzero(values == first)[0])
        assert values[at : at + rows].tolist() == list(range(first, first + rows))


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_may_share_the_native_writer(tmp_path: Path, threads: int) -> None:
    writer = DatasetWriter(str(tmp_path / "d"), Schema([Field("x", "tensor", "int64")]), auto_codec=[True], chunk_samples=128)
    values = np.arange(1000)

    def work(_: int) -> None:
        for _ in range(50):
            writer.extend([(values, None, None)], len(values))
            assert writer.progress()["samples"] > 0
            assert writer.schema.names == ["x"]
            assert len(writer.choices) <= 1

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    writer.commit()
    assert read(tmp_path / "d", "x").tolist() == values.tolist() * 50 * threads


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    writer = Writer("d", codec="none", chunk_samples=2, shard_bytes=1)
    writer.extend({"x": np.arange(3)})
    monkeypatch.chdir(tmp_path / "there")
    writer.extend({"x": np.arange(3)})
    assert writer.commit() == 1
    assert writer.path == str(tmp_path / "here" / "d")
    assert read(tmp_path / "here" / "d", "x").tolist() == [0, 1, 2, 0, 1, 2]
    assert os.listdir(tmp_path / "there") == []


def test_a_writer_that_is_dropped_leaves_neither_files_nor_folders(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a" / "b", codec="none", chunk_samples=2, shard_bytes=1)
    writer.extend({"x": np.arange(10)})
    assert (tmp_path / "a" / "b").is_dir()
    del writer
    assert os.listdir(tmp_path) == []
