"""Compressed fields through the loader: where blocks and rows meet in every way, each batch equals the source, at any thread count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace._native import Dataset, decode_rate

SAMPLES = 203


def geometry() -> list[tuple[str, tuple[int, ...], int]]:
    """(name, shape of an int32 sample, block bytes): rows in blocks, blocks in rows, and neither a multiple of the other."""
    return [
        ("rows fill blocks", (4,), 64),
        ("a block is a row", (16,), 64),
        ("a row is four blocks", (64,), 64),
        ("rows straddle blocks", (5,), 64),
        ("blocks straddle rows", (25,), 64),
        ("scalars", (), 4096),
        ("one block a chunk", (3,), 1 << 20),
    ]


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    made: dict[str, Any] = {name: rng.integers(0, 9, (SAMPLES, *shape), dtype=np.int32) for name, shape, _ in geometry()}
    made["text"] = ["" if i % 5 == 0 else f"sample {i} " * (i % 60) for i in range(SAMPLES)]
    return made


@pytest.fixture(scope="module", params=["zstd", "lz4"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks") / "dataset"
    codec = {name: {"codec": request.param, "filter": "shuffle", "block_bytes": size} for name, _, size in geometry()}
    hr.write(path, columns(), codec=codec | {"text": {"codec": request.param, "block_bytes": 256}}, chunk_samples=32, shard_bytes=60_000)
    return path


@pytest.mark.parametrize("num_workers", [0, 1, 2, 8])
@pytest.mark.parametrize("prefetch_bytes", [1, 64 << 20], ids=["no room to keep blocks", "room"])
@pytest.mark.parametrize("order", ["global", "window", "fed, with repeats"])
def test_batches_equal_the_source(written: Path, num_workers: int, prefetch_bytes: int, order: str) -> None:
    source = columns()
    dataset = hr.open(written)
    options: dict[str, Any] = {"num_workers": num_workers, "prefetch_bytes": prefetch_bytes}
    if order == "fed, with repeats":
        options["sampler"] = np.random.default_rng(1).integers(0, SAMPLES, 3 * SAMPLES).tolist()
    else:
        options |= {"shuffle": True, "order": order, "window": 2, "seed": 3}
    loader = hr.DataLoader(dataset, 19, **options)
    for _ in range(2):  # The second pass finds blocks that the first one kept.
        seen: list[int] = []
        for batch in loader:
            found = samples_of(source, batch)
            for name, _, _ in geometry():
                np.testing.assert_array_equal(batch[name].numpy(), source[name][found])
            assert list(batch["text"]) == [source["text"][sample] for sample in found]
            seen.extend(found)
        assert sorted(seen) == sorted(options.get("sampler", range(SAMPLES)))


def samples_of(source: dict[str, Any], batch: dict[str, Any]) -> list[int]:
    """Which samples the rows of a batch are, told by one field; all others must then be theirs as well."""
    name = "a row is four blocks"
    same = (batch[name].numpy()[:, None] == source[name][None]).all(axis=2)
    assert (same.sum(axis=1) == 1).all()
    return [int(sample) for sample in same.argmax(axis=1)]


@pytest.mark.parametrize("with_filters", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_decode_rate_decodes_each_block_once_a_batch(written: Path, with_filters: bool, threads: int) -> None:
    dataset = Dataset(str(written))
    names = dataset.schema.names
    everything = np.arange(SAMPLES)
    wide = decode_rate(dataset, names.index("a row is four blocks"), everything[::-1], 7, threads, with_filters)
    assert wide["decoded_bytes"] == SAMPLES * 256
    assert wide["blocks"] == SAMPLES * 4
    assert 0 < wide["stored_bytes"] <= wide["decoded_bytes"]
    assert wide["seconds"] > 0
    one_batch = decode_rate(dataset, names.index("one block a chunk"), np.r_[everything, everything], 2 * SAMPLES, threads, with_filters)
    assert one_batch["decoded_bytes"] == SAMPLES * 12
    text = decode_rate(dataset, names.index("text"), everything, SAMPLES, threads, with_filters)
    assert text["decoded_bytes"] == sum(map(len, columns()["text"]))


def test_decode_rate_refuses_what_it_cannot_measure(written: Path) -> None:
    dataset = Dataset(str(written))
    with pytest.raises(IndexError):
        decode_rate(dataset, 0, [SAMPLES], 1)
    for field, batch_size, threads in [(99, 1, 1), (0, 0, 1), (0, 1, 0)]:
        with pytest.raises(ValueError, match=r"field|batch_size"):
            decode_rate(dataset, field, [0], batch_size, threads)
    with pytest.raises(ValueError, match="mapped"):
        decode_rate(Dataset(str(written), reader="pread"), 0, [0], 1)
