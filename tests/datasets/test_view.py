"""Sequences and casts equal numpy's slicing and astype, whatever the storage, the readers and the threads."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr

INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]
READERS = ["mmap", "pread", "direct", "uring"]


def numpy_allows(source: str, target: str) -> bool:
    """Integers to wider ones as numpy's "safe", anything to floats as its "same_kind"."""
    if np.dtype(target).kind == "f":
        return np.can_cast(source, target, "same_kind") or source == "bool"
    return np.can_cast(source, target, "safe")


def values_of(dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    """Values of all magnitudes, the extremes and the specials among them; shape (n, 3), n not a multiple of any vector."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(0, 2, (61, 3)).astype(bool)
    if kind.kind in "iu":
        bits = rng.integers(0, 1 << 63, (61, 3), dtype=np.uint64) * 2 + rng.integers(0, 2, (61, 3), dtype=np.uint64)
        bits >>= rng.integers(0, 64, (61, 3), dtype=np.uint64)
        values = bits.astype(kind)
        values[0] = [0, np.iinfo(kind).min, np.iinfo(kind).max]
        return values
    unsigned = np.dtype(f"u{kind.itemsize}")
    bits = rng.integers(0, np.iinfo(unsigned).max, (400, 3), dtype=unsigned).view(kind)
    with np.errstate(all="ignore"):
        around_one = (rng.standard_normal((400, 3)) * 2.0 ** rng.integers(-30, 20, (400, 3))).astype(kind)
        ties = (1 + rng.integers(0, 1 << 13, (400, 3)) / 4096).astype(kind)
        halves = (np.arange(1200).reshape(400, 3) * 2.0**-25).astype(kind)
        special = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 1.0], [65504, 65519.99, 65520]]).astype(kind)
    return np.concatenate([bits, around_one, ties, halves, special])


def same(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> bool:
    """Equal bits, but for NaNs' payloads."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if ours.dtype.kind != "f":
        return np.array_equal(ours, theirs)
    unsigned = np.dtype(f"u{ours.dtype.itemsize}")
    nan = np.isnan(theirs)
    return np.array_equal(np.isnan(ours), nan) and np.array_equal(ours.view(unsigned)[~nan], theirs.view(unsigned)[~nan])


@pytest.mark.parametrize("source", INTEGERS + FLOATS)
@pytest.mark.parametrize("target", INTEGERS + FLOATS)
@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_every_cast_is_numpys_or_refused(tmp_path: Path, source: str, target: str, codec: str) -> None:
    values = values_of(source)
    hr.write(tmp_path / "d", {"x": values}, codec=codec)
    dataset = hr.open(tmp_path / "d")
    if source != target and not numpy_allows(source, target):
        with pytest.raises(ValueError, match=f"field 'x'.*{source} to {target}"):
            dataset.cast({"x": target})
        return
    with np.errstate(all="ignore"):
        expected = values.astype(target)
    assert same(dataset.cast({"x": target})[:]["x"], expected)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_casts_to_and_from_bfloat16_are_torchs(dtype: str) -> None:
    values = values_of(dtype)
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(values.astype(np.float32)).to(torch.bfloat16)
    dataset = hr.from_arrays({"x": values}).cast({"x": torch.bfloat16})
    joined = torch.cat([batch["x"] for batch in hr.DataLoader(dataset, batch_size=7)])
    assert joined.dtype == torch.bfloat16
    nan = expected.isnan()
    assert torch.equal(joined.isnan(), nan)
    assert torch.equal(joined.view(torch.int16)[~nan], expected.view(torch.int16)[~nan])
    back = hr.from_arrays({"x": joined}).cast({"x": "float32"})[:]["x"]
    assert same(back, joined.to(torch.float32).numpy())


def test_flushed_denormals_change_nothing() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 4)
    dataset = hr.from_arrays({"x": halves}).cast({"x": "float32"})
    there = hr.from_arrays({"x": halves.astype(np.float32)}).cast({"x": "float16"})
    torch.set_flush_denormal(True)
    try:
        (batch,) = hr.DataLoader(dataset, batch_size=len(halves))
        (again,) = hr.DataLoader(there, batch_size=len(halves))
    finally:
        torch.set_flush_denormal(False)
    assert same(batch["x"].numpy(), halves.astype(np.float32))
    assert same(again["x"].numpy(), halves)


@pytest.mark.parametrize("ragged", ["padded", "offsets"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_ragged_values_are_cast(tmp_path: Path, ragged: str, codec: str) -> None:
    rows = [np.arange(n * 2, dtype=np.uint16).reshape(n, 2) + n for n in (3, 0, 7, 1, 5000, 2)]
    hr.write(tmp_path / "d", {"x": rows}, codec=codec)
    dataset = hr.open(tmp_path / "d").cast({"x": "int64"})
    for ours, theirs in zip(dataset, rows, strict=True):
        assert np.array_equal(ours["x"], theirs)
        assert ours["x"].dtype == np.int64
    for number, batch in enumerate(hr.DataLoader(dataset, batch_size=3, num_workers=2, ragged=ragged)):
        expected = rows[number * 3 : number * 3 + 3]
        if ragged == "offsets":
            assert np.array_equal(batch["x"][0].numpy(), np.concatenate(expected))
        else:
            for i, one in enumerate(expected):
                assert np.array_equal(batch["x"][i, : len(one)].numpy(), one)
                assert not batch["x"][i, len(one) :].any()


def test_what_cannot_be_cast_is_said(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"x": np.arange(4), "text": ["a", "b", "c", "d"]})
    dataset = hr.open(tmp_path / "d")
    with pytest.raises(KeyError, match="no field 'y'"):
        dataset.cast({"y": "int64"})
    with pytest.raises(ValueError, match=r"field 'text'.*string"):
        dataset.cast({"text": "float32"})
    with pytest.raises(TypeError, match=r"'x'.*names no dtype"):
        dataset.cast({"x": "no such thing"})
    with pytest.raises(ValueError, match="int64 to datetime64"):
        dataset.cast({"x": "datetime64[s]"})


def test_a_cast_to_itself_and_a_second_cast_start_from_what_is_stored(tmp_path: Path) -> None:
    hr.write(tmp_path / "d", {"x": np.arange(4, dtype=np.int16)})
    dataset = hr.open(tmp_path / "d")
    assert dataset.cast({"x": np.int16})[0]["x"].dtype == np.int16
    assert dataset.cast({"x": "float64"}).cast({"x": torch.int64})[3]["x"] == 3


@st.composite
def stored(draw: st.DrawFn) -> dict[str, Any]:
    rows = draw(st.integers(1, 400))
    return {
        "rows": rows,
        "length": draw(st.integers(1, rows)),
        "stride": draw(st.integers(1, 50)),
        "chunk_samples": draw(st.integers(1, 100)),
        "shard_bytes": draw(st.sampled_from([1, 2000, 1 << 30])),
        "block_bytes": draw(st.sampled_from([1, 3, 64, 1000, 1 << 16])),
        "codec": draw(st.sampled_from(["none", "lz4", "zstd"])),
        "shape": draw(st.sampled_from([(), (3,), (2, 2)])),
        "cast": draw(st.booleans()),
        "reader": draw(st.sampled_from(READERS)),
        "threads": draw(st.sampled_from([0, 1, 2, 8])),
        "batch_size": draw(st.integers(1, 9)),
    }


@settings(max_examples=60, deadline=None)
@given(case=stored())
def test_sequences_are_numpys_slices(tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("sequences") / "d"
    rng = np.random.default_rng(case["rows"])
    values = rng.integers(0, 1 << 16, (case["rows"], *case["shape"])).astype(np.uint16)
    flags = rng.integers(0, 2, case["rows"]).astype(np.uint8)
    fields = [
        hr.Field("x", dtype="uint16", shape=case["shape"], codec=case["codec"], block_bytes=case["block_bytes"]),
        hr.Field("flag", dtype="uint8"),
    ]
    with hr.Writer(path, hr.Schema(fields), chunk_samples=case["chunk_samples"], shard_bytes=case["shard_bytes"]) as writer:
        writer.extend({"x": values, "flag": flags})
    length, stride = case["length"], case["stride"]
    starts = range(0, case["rows"] - length + 1, stride)
    whole = np.stack([values[s : s + length] for s in starts])
    if case["cast"]:
        whole = whole.astype(np.int64)
    view = hr.open(path, reader=case["reader"]).sequences(length, stride)
    view = view.cast({"x": "int64"}) if case["cast"] else view
    assert len(view) == len(whole)
    assert view.schema.fields[0].shape == (length, *case["shape"])
    loader = hr.DataLoader(view, batch_size=case["batch_size"], shuffle=True, num_workers=case["threads"], seed=5)
    seen = np.concatenate([batch["x"].numpy() for batch in loader])
    assert seen.dtype == whole.dtype
    order = list(loader.sampler)  # of the epoch that follows
    loader.sampler.set_epoch(0)
    order = list(loader.sampler)
    assert sorted(order) == list(range(len(whole)))
    assert np.array_equal(seen, whole[order])
    assert np.array_equal(view[:]["x"], whole)
    assert np.array_equal(view[len(view) - 1]["flag"], flags[starts[-1] : starts[-1] + length])


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[hr.Dataset, npt.NDArray[np.uint16]]:
    """10,000 tokens in chunks of 777, and a text beside them that sequences cannot have."""
    values = np.random.default_rng(3).integers(0, 1 << 16, 10_000).astype(np.uint16)
    fields = [hr.Field("tokens", dtype="uint16"), hr.Field("text", "string")]
    with hr.Writer(tmp_path / "d", hr.Schema(fields), chunk_samples=777) as writer:
        writer.extend({"tokens": values, "text": ["t"] * len(values)})
    return hr.open(tmp_path / "d"), values


def test_sequences_refuse_what_has_no_fixed_shape_or_nulls(tokens: tuple[hr.Dataset, Any], tmp_path: Path) -> None:
    dataset, _ = tokens
    with pytest.raises(ValueError, match=r"field 'text'.*string"):
        dataset.sequences(5)
    view = dataset.select(["tokens"]).sequences(5)
    with pytest.raises(ValueError, match=r"field 'text'.*string"):
        view.select(["text"])
    with pytest.raises(ValueError, match="already"):
        view.sequences(2)
    for length, stride in ((0, 1), (5, 0), (-1, 1), (10_001, 1), (1 << 60, 1)):
        with pytest.raises(ValueError, match=r"length|stride"):
            dataset.select(["tokens"]).sequences(length, stride)
    fields = [hr.Field("x", dtype="int32", nullable=True)]
    with hr.Writer(tmp_path / "n", hr.Schema(fields)) as writer:
        writer.extend({"x": [1, None, 3]})
    with pytest.raises(ValueError, match=r"field 'x'.*null"):
        hr.open(tmp_path / "n").sequences(2)


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
@pytest.mark.parametrize("order", ["global", "window"])
def test_a_view_goes_through_every_door(tokens: tuple[hr.Dataset, Any], threads: int, order: str) -> None:
    dataset, values = tokens
    view = dataset.select(["tokens"]).sequences(65, 3).cast({"tokens": "int64"}).as_tuple()
    whole = np.lib.stride_tricks.sliding_window_view(values, 65)[::3].astype(np.int64)
    assert np.array_equal(np.stack([sample[0] for sample in view]), whole)
    assert np.array_equal(np.stack([sample[0] for sample in view.__getitems__([0, -1, 5])]), whole[[0, -1, 5]])
    again = pickle.loads(pickle.dumps(view))
    assert again.fingerprint == view.fingerprint
    assert np.array_equal(again[7][0], whole[7])

    def make() -> hr.DataLoader:
        return hr.DataLoader(view, batch_size=16, shuffle=True, num_workers=threads, seed=9, order=order, window=2)

    loader = make()
    whole_order = list(loader.sampler)
    batches = [batch[0].numpy() for batch in loader]
    assert np.array_equal(np.concatenate(batches), whole[whole_order])
    assert np.array_equal(loader.replay(4, epoch=0)[0].numpy(), batches[4])
    first, resumed = make(), make()
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    resumed.load_state_dict(first.state_dict())
    assert np.array_equal(np.concatenate([b[0].numpy() for b in resumed]), np.concatenate(batches[3:]))
    ranks = [
        hr.DataLoader(view, batch_size=8, shuffle=True, seed=9, order=order, window=2, rank=r, world_size=2, drop_last=True) for r in (0, 1)
    ]
    for batch, (a, b) in zip(batches, zip(*ranks, strict=True), strict=False):
        assert np.array_equal(batch, np.concatenate([a[0].numpy(), b[0].numpy()]))
    iterable = view.iterable(16, shuffle=True, seed=9, order=order, window=2, num_threads=max(1, threads))
    assert np.array_equal(np.concatenate([b[0].numpy() for b in iterable]), np.concatenate(batches))


def test_fingerprints_tell_sequences_apart_and_not_casts(tokens: tuple[hr.Dataset, Any]) -> None:
    dataset = tokens[0].select(["tokens"])
    prints = {dataset.fingerprint, dataset.sequences(5).fingerprint, dataset.sequences(6).fingerprint, dataset.sequences(5, 2).fingerprint}
    assert len(prints) == 4
    assert dataset.cast({"tokens": "int64"}).fingerprint == dataset.fingerprint
    saved = hr.DataLoader(dataset.sequences(5), batch_size=4).state_dict()
    with pytest.raises(hr.ChangedError, match="fingerprint"):
        hr.DataLoader(dataset.sequences(6), batch_size=4).load_state_dict(saved)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("step", [1, 2, -1])
def test_arrays_in_memory_have_the_same_views(threads: int, step: int) -> None:
    values = np.random.default_rng(1).integers(0, 1 << 16, 1000).astype(np.uint16)[::step]
    dataset = hr.from_arrays({"t": values}).sequences(33, 5).cast({"t": "int32"})
    whole = np.lib.stride_tricks.sliding_window_view(values, 33)[::5].astype(np.int32)
    joined = torch.cat([b["t"] for b in hr.DataLoader(dataset, batch_size=7, num_workers=threads)])
    assert np.array_equal(joined.numpy(), whole)
    rows = np.random.default_rng(2).permutation(len(values))
    chosen = hr.from_arrays({"t": values}, rows).sequences(4)
    assert np.array_equal(chosen[:]["t"], np.lib.stride_tricks.sliding_window_view(values[rows], 4))
    assert np.array_equal(pickle.loads(pickle.dumps(chosen))[3]["t"], values[rows][3:7])
    part = torch.utils.data.Subset(dataset, [3, 1])
    assert np.array_equal(torch.cat([b["t"] for b in hr.DataLoader(part, batch_size=2)]).numpy(), whole[[3, 1]])


def test_damage_in_a_sequence_names_the_sample(tmp_path: Path) -> None:
    values = np.arange(40_000, dtype=np.uint16)
    hr.write(tmp_path / "d", {"x": values}, codec="none")
    (shard,) = (tmp_path / "d").glob("*.hrs")
    content = bytearray(shard.read_bytes())
    at = content.find(values[20_000:20_010].tobytes())
    content[at] ^= 1
    shard.write_bytes(content)
    view = hr.open(tmp_path / "d").sequences(100, 100)
    loader = hr.DataLoader(view, batch_size=10, on_error="skip", num_workers=2)
    delivered = [int(row[0]) for batch in loader for row in batch["x"]]
    bad = loader.state_dict()["skipped"]
    assert 200 in bad
    assert delivered == [i * 100 for i in range(400) if i not in bad]
