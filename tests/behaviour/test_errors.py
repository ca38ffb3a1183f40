"""Errors keep their type, also those that cannot be pickled, and say index, epoch, batch, and the file where there is one; what follows can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.utils.data as data

import headrace as hr
from tests.loader.samples import damage, numbered


class Coded(Exception):
    """As many libraries have them: it does not pickle, since its arguments are not its constructor's."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} failed with {code}")


class Files(data.Dataset[Any]):
    """A file a sample; some are broken in some way."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        if index == 17:
            if self.kind == "file":
                Path(f"/nowhere/image-{index}.jpg").read_bytes()
            if self.kind == "coded":
                raise Coded(5, f"image-{index}.jpg")
            if self.kind == "stop":
                next(iter([]))
            if self.kind == "value":
                raise ValueError(f"image-{index}.jpg is truncated")
        return index


EXPECTED = {"file": (FileNotFoundError, "/nowhere/image-17.jpg"), "value": (ValueError, "image-17.jpg is truncated")}


def taken(loader: hr.DataLoader) -> tuple[list[int], BaseException]:
    """What comes before and after the error, and the error."""
    iterator, seen, caught = iter(loader), [], None
    while True:
        try:
            seen += next(iterator).tolist()
        except StopIteration:
            break
        except Exception as error:
            assert caught is None
            caught = error
    assert caught is not None
    return seen, caught


@pytest.mark.parametrize("parallel", ["process", "thread"])
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("kind", EXPECTED)
def test_the_original_type_with_its_place(parallel: str, workers: int, kind: str) -> None:
    loader = hr.DataLoader(Files(kind), 4, num_workers=workers, parallel=parallel)
    for epoch in range(2):
        seen, error = taken(loader)
        assert seen == [i for i in range(40) if i // 4 != 4]
        assert type(error) is EXPECTED[kind][0]
        assert EXPECTED[kind][1] in str(error)
        assert error.__notes__ == ["headrace: dataset index 17", f"headrace: epoch {epoch}, batch 4"]


@pytest.mark.parametrize("parallel", ["process", "thread"])
@pytest.mark.parametrize("workers", [0, 2])
def test_errors_that_do_not_pickle(parallel: str, workers: int) -> None:
    _, error = taken(hr.DataLoader(Files("coded"), 4, num_workers=workers, parallel=parallel))
    # Between processes torch sends an error as text; a type that cannot be made of that becomes a RuntimeError.
    assert type(error) is (RuntimeError if parallel == "process" and workers else Coded)
    assert "image-17.jpg failed with 5" in str(error)
    assert "headrace: dataset index 17" in error.__notes__


@pytest.mark.parametrize("parallel", ["process", "thread"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_iteration_of_a_sample_does_not_end_the_epoch_in_silence(parallel: str, workers: int) -> None:
    seen, error = taken(hr.DataLoader(Files("stop"), 4, num_workers=workers, parallel=parallel))
    assert type(error) is RuntimeError
    assert "raised StopIteration" in str(error)
    assert "headrace: dataset index 17" in error.__notes__
    assert seen == [i for i in range(40) if i // 4 != 4]


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_a_damaged_block_names_sample_shard_and_place(tmp_path: Path, workers: int) -> None:
    numbered(tmp_path / "d", 240, chunk_samples=8)
    damage(tmp_path / "d", 0, [40])
    loader = hr.DataLoader(hr.open(tmp_path / "d"), 16, num_workers=workers)
    iterator, seen = iter(loader), []
    for _ in range(2):
        seen += next(iterator)["id"].tolist()
    with pytest.raises(hr.CorruptDataError) as caught:
        next(iterator)
    assert seen == list(range(32))
    text = str(caught.value) + "\n".join(getattr(caught.value, "__notes__", ()))
    for word in (str(tmp_path / "d"), "chunk 5", "field 'id'", "sample 40"):
        assert word in text
    rest = np.concatenate([batch["id"] for batch in iterator]).tolist()
    assert rest == list(range(48, 240))
