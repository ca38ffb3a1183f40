"""Which files are converted, and how: formats, folders, options, progress."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import ExistsError, MissingExtraError, NotFoundError
from headrace.writing import convert
from headrace.writing.formats.images import ImageFolderSource
from tests.writing.readback import read, size


def save(path: Path, *values: int) -> None:
    np.save(path, np.array(values))


def test_files_of_a_folder_and_a_glob_follow_their_names(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in (3, 1, 2):
        save(source / f"part-{number}.npy", number, number * 10)
    (source / ".hidden.npy").write_bytes(b"junk")
    (source / "README.txt").write_text("not data")
    for name, src in {"folder": source, "glob": str(source / "part-*.npy")}.items():
        assert convert(src, tmp_path / name) == 1
        assert read(tmp_path / name, "value").tolist() == [1, 10, 2, 20, 3, 30]
    convert([source / "part-2.npy", str(source / "part-1.npy")], tmp_path / "list")
    assert read(tmp_path / "list", "value").tolist() == [2, 20, 1, 10]


def test_what_is_not_there_or_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"there is no .*none\.npy"):
        convert(tmp_path / "none.npy", tmp_path / "d")
    with pytest.raises(NotFoundError, match="no file matches"):
        convert(str(tmp_path / "*.npy"), tmp_path / "d")
    with pytest.raises(NotFoundError, match="neither class folders of images nor files of a known format"):
        convert(tmp_path / "empty", tmp_path / "d")
    with pytest.raises(NotFoundError, match="the list is empty"):
        convert([], tmp_path / "d")
    with pytest.raises(ValueError, match=r"cannot tell the format of .*x.bin; say format="):
        convert(tmp_path / "x.bin", tmp_path / "d")
    with pytest.raises(ValueError, match="unknown format 'excel'; known are images, npy"):
        convert(tmp_path / "x.bin", tmp_path / "d", format="excel")
    assert not (tmp_path / "d").exists()


def test_mixed_formats_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    save(source / "a.npy", 1)
    pq.write_table(pa.table({"a": [1]}), source / "b.parquet")
    with pytest.raises(ValueError, match="several formats, npy, parquet"):
        convert(source, tmp_path / "d")
    convert(source, tmp_path / "d", format="parquet")
    assert read(tmp_path / "d", "a").tolist() == [1]
    (source / "folder").mkdir()
    with pytest.raises(ValueError, match=r"has both folders \(folder, ...\) and files \(a.npy, ...\)"):
        convert(source, tmp_path / "e")


def test_an_existing_destination_is_refused_before_any_work(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", 1)
    convert(tmp_path / "a.npy", tmp_path / "d")
    with pytest.raises(ExistsError, match="is a dataset already"):
        convert(tmp_path / "no such file.npy", tmp_path / "d")
    assert convert(tmp_path / "a.npy", tmp_path / "d", append=True) == 2
    assert read(tmp_path / "d", "value").tolist() == [1, 1]


def test_unknown_options_are_refused_and_known_ones_listed(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", 1)
    with pytest.raises(TypeError, match="unknown option 'delimiter' for npy; known are fields, allow_unsafe_types, append, chunk_samples"):
        convert(tmp_path / "a.npy", tmp_path / "d", delimiter=";")


def test_a_missing_extra_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.csv", None)
    with pytest.raises(MissingExtraError, match=r"converting CSV files needs pyarrow; install it with: pip install 'headrace\[arrow\]'"):
        convert(tmp_path / "a.csv", tmp_path / "d")


def test_an_interrupt_leaves_nothing_and_no_thread(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(600):
            (tmp_path / "in" / label / f"{number:04}.jpg").write_bytes(bytes(100))
    calls: list[Any] = []

    def interrupt(*call: Any) -> None:
        calls.append(call)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "in", tmp_path / "d", progress=interrupt)
    assert not (tmp_path / "d").exists()
    assert calls == [(256, 1200, "samples")]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("headrace-convert")]


def test_reading_ahead_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(40):
        (tmp_path / "in" / "a" / f"{number:02}.png").write_bytes(bytes(10))
    monkeypatch.setattr("headrace.writing.formats.images._GROUP_FILES", 1)
    opened: list[str] = []
    real = open

    def counting(path: Any, *args: Any) -> Any:
        opened.append(path)
        return real(path, *args)

    monkeypatch.setattr("headrace.writing.formats.images.open", counting, raising=False)
    batches = ImageFolderSource(str(tmp_path / "in"), 2, (".png",)).batches()
    next(batches)
    assert len(opened) <= 3
    assert sum(1 for _ in batches) == 39


def test_codec_and_sizes_are_passed_on(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1000, 4)))
    convert(tmp_path / "a.npy", tmp_path / "d", codec="zstd:5", chunk_samples=100, threads=1)
    assert size(tmp_path / "d") == 1000
    from headrace._native import Dataset

    dataset = Dataset(str(tmp_path / "d"))
    assert dataset.shards[0]["chunk_samples"] == 100
    assert (dataset.schema.fields[0].codec, dataset.schema.fields[0].level) == ("zstd", 5)
