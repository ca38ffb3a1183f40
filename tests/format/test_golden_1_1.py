"""The dataset that the first writer of format 1.1 wrote reads as the values written out in golden_1_1.py, with both readers."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from reference_reader import Shard, read_dataset
from reference_writer import encode_rows

from headrace import _native as hr
from tests.format.golden_1_1 import CHUNK_SAMPLES, COLUMNS, SAMPLES, SCHEMA, stored_columns
from tests.format.native import fetch_rows, native_field, write_native

GOLDEN = Path(__file__).parent.parent / "data" / "format-1.1"


def test_cpp_reads_the_golden_values() -> None:
    dataset = hr.Dataset(str(GOLDEN))
    assert dataset.schema.fields == [native_field(spec) for spec in SCHEMA.fields]
    assert fetch_rows(dataset, SCHEMA, range(SAMPLES)) == stored_columns()
    assert hr.Verification(str(GOLDEN), decode=True).run()["damages"] == []
    assert not dataset.newer_minor


def test_reference_reads_the_golden_values() -> None:
    dataset = read_dataset(GOLDEN)
    assert dataset.schema == SCHEMA
    for spec in SCHEMA.fields:
        found = [dataset.sample(index)[spec.name] for index in range(SAMPLES)]
        assert encode_rows(spec, found) == encode_rows(spec, COLUMNS[spec.name]), spec.name


def test_golden_blocks_are_frames_of_the_dictionary() -> None:
    """Else the test above would hold without any dictionary."""
    (path,) = GOLDEN.glob("*.hrs")
    shard = Shard(path.read_bytes(), path.name)
    assert shard.dictionaries.keys() == {0}
    assert shard.chunks[0].pages[0].values_bytes > 2 * shard.chunks[0].pages[0].size
    assert shard.data[8:12] == struct.pack("<HH", 1, 1)
    shard.dictionaries.clear()
    with pytest.raises(ValueError, match="Zstandard"):
        shard.read_page(0, 0)


def test_writing_again_gives_the_same_pages(tmp_path: Path) -> None:
    """Training and encoding depend on the data alone, whatever the number of threads."""
    sizes = set()
    for threads in (1, 2, 8):
        path = tmp_path / str(threads)
        write_native(path, SCHEMA, [stored_columns()], chunk_samples=CHUNK_SAMPLES, threads=threads)
        (shard,) = path.glob("*.hrs")
        parsed = Shard(shard.read_bytes(), shard.name)
        sizes.add((parsed.dictionaries[0], tuple(page.size for chunk in parsed.chunks for page in chunk.pages)))
    assert len(sizes) == 1


def test_minor_version_is_as_low_as_can_be(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    write_native(plain, type(SCHEMA)((SCHEMA.fields[1].__class__("x", dtype=5, itemsize=4),)), [[[b"\0\0\0\0"]]])
    for path in [*plain.glob("*.hrs"), *plain.glob("*.hrm")]:
        assert path.read_bytes()[8:12] == struct.pack("<HH", 1, 0)
    copy = tmp_path / "copy"
    shutil.copytree(GOLDEN, copy)
    for path in [*copy.glob("*.hrs"), *copy.glob("*.hrm")]:
        assert path.read_bytes()[8:12] == struct.pack("<HH", 1, 1)
