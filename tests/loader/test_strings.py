"""Strings, bytes and images as lists of objects, or as bytes and offsets over the batch's memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headrace as hr
from tests.loader.samples import ROWS, STORAGES, assert_same, torch_batch, write_all_kinds

NAMES = ["blob", "maybe_text", "int32", "text", "picture"]


@pytest.fixture(scope="module", params=STORAGES)
def kinds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    path = tmp_path_factory.mktemp("strings") / request.param
    write_all_kinds(path, request.param)
    return hr.open(path)


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_offsets_hold_the_bytes_of_every_sample(kinds: hr.Dataset, ragged: str, workers: int) -> None:
    loader = hr.DataLoader(kinds, 50, True, seed=2, num_workers=workers, ragged=ragged, strings="offsets")
    order = [int(i) for i in loader.sampler]
    for step, batch in enumerate(loader):
        assert_same(batch, torch_batch(order[step * 50 : step * 50 + 50], ragged, strings="offsets"))


def test_the_two_forms_say_the_same(kinds: hr.Dataset) -> None:
    dataset = kinds.as_tuple(*NAMES)
    lists = hr.DataLoader(dataset, 32, True, seed=4, num_workers=2)
    offsets = hr.DataLoader(dataset, 32, True, seed=4, num_workers=2, strings="offsets")
    for (blobs, maybe, number, texts, pictures), (blob, (some, valid), same, text, picture) in zip(lists, offsets, strict=True):
        assert torch.equal(number, same)
        assert cut(blob) == blobs
        assert cut(picture) == pictures
        assert [one.decode() for one in cut(text)] == texts
        assert [one.decode() if ok else None for one, ok in zip(cut(some), valid.tolist(), strict=True)] == maybe


def cut(pair: Any) -> list[bytes]:
    values, offsets = pair
    return [values[begin:end].numpy().tobytes() for begin, end in itertools.pairwise(offsets.tolist())]


def test_the_bytes_are_the_batchs_own_memory_and_outlive_it(kinds: hr.Dataset) -> None:
    loader = hr.DataLoader(kinds.select(["text"]), 40, num_workers=2, strings="offsets")
    batches = iter(loader)
    values, offsets = next(batches)["text"]
    assert values.dtype == torch.uint8
    assert (offsets.dtype, offsets.shape) == (torch.int64, (41,))
    assert abs(values.data_ptr() - offsets.data_ptr()) < 1 << 20  # one slab
    for _ in batches:
        pass
    assert_same((values, offsets), torch_batch(range(40), names=["text"], strings="offsets")["text"])


def test_single_fields_empty_batches_and_replay(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", ["", "a", "é" * 40, "plain " * 50])
    dataset = hr.open(tmp_path / "d")
    loader = hr.DataLoader(dataset, 3, strings="offsets")
    assert [cut(batch) for batch in loader] == [[b"", b"a", ("é" * 40).encode()], [b"plain " * 50]]
    assert cut(loader.replay(1)) == [b"plain " * 50]
    empty = dataset.layout.to_torch(dataset.native.fetch(np.empty(0, np.int64), [0]), "offsets")
    assert (empty[0].tolist(), empty[1].tolist()) == ([], [0])


def test_samples_for_collate_fn_stay_samples(kinds: hr.Dataset) -> None:
    loader = hr.DataLoader(kinds.select(["text"]), 10, collate_fn=lambda samples: [s["text"] for s in samples], strings="offsets")
    assert list(itertools.chain.from_iterable(loader)) == torch_batch(range(ROWS), names=["text"])["text"]


@pytest.mark.parametrize("text", ["", "a", "é", "\x7f", "\x80", "ascii " * 40, "ascii " * 40 + "ÿ", "日本語" * 30, "🙂" * 9, "\0" * 65])
def test_lists_hold_every_text_exactly(tmp_path: Path, text: str) -> None:
    hr.write(tmp_path / "d", {"text": [text, "x", text + text]})
    assert next(iter(hr.DataLoader(hr.open(tmp_path / "d"), 3)))["text"] == [text, "x", text + text]
