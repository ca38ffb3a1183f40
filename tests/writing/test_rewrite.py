"""rewrite(): the same values, bit for bit, stored otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace.writing.rewrite import rewrite
from tests.loader.samples import write_all_kinds


def assert_same_samples(one: Any, other: Any, rows: Any = None) -> None:
    rows = range(len(one)) if rows is None else rows
    assert len(other) == len(rows)
    for place, row in enumerate(rows):
        for name, value in one[int(row)].items():
            np.testing.assert_equal(np.asarray(other[place][name]), np.asarray(value), err_msg=f"{name} of {row}")


@pytest.mark.parametrize("codec", [None, "auto", "none", "lz4", "zstd:5"])
def test_every_kind_of_field_stays_what_it_is(tmp_path: Path, codec: str | None) -> None:
    write_all_kinds(tmp_path / "a", "zstd", "dict")
    before = hr.open(tmp_path / "a")
    assert rewrite(before, tmp_path / "b", codec=codec, chunk_samples=50) == 1
    after = hr.open(tmp_path / "b")
    assert_same_samples(before, after)
    assert after.native.chunk_layout[0][1] == 50
    stored = [(field.name, field.kind, field.dtype, field.shape, field.nullable) for field in after.schema.fields]
    assert stored == [(field.name, field.kind, field.dtype, field.shape, field.nullable) for field in before.schema.fields]
    if codec is None:
        assert after.schema == before.schema
    if codec == "zstd:5":
        assert {field.codec for field in after.schema.fields} == {"zstd"}


def test_some_rows_in_an_order_of_ones_own_with_progress(tmp_path: Path) -> None:
    write_all_kinds(tmp_path / "a", "lz4", "dict")
    before, seen = hr.open(tmp_path / "a"), []
    rows = np.array([5, 3, 200, 3])
    rewrite(before, tmp_path / "b", rows=rows, progress=lambda *done: seen.append(done))
    assert_same_samples(before, hr.open(tmp_path / "b"), rows)
    assert seen[-1] == (4, 4, "samples")


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    hr.write(tmp_path / "a", {"x": np.arange(100), "s": [f"text {i}" for i in range(100)]})
    with pytest.raises(ValueError, match="'s'"):
        rewrite(hr.open(tmp_path / "a"), tmp_path / "b", codec={"s": {"codec": "zstd", "filter": "delta"}})
    assert not (tmp_path / "b").exists()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite(hr.open(tmp_path / "a"), tmp_path / "b", progress=stop)
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())
    with pytest.raises(hr.ExistsError):
        rewrite(hr.open(tmp_path / "a"), tmp_path / "a")
