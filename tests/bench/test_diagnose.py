"""Of an injected bottleneck of each kind, diagnose() names the right one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data
from PIL import Image

import headrace

ROWS = 20_000
SECONDS = 0.15


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnose") / "plain"
    headrace.write(path, {"x": np.random.default_rng(0).normal(size=(ROWS, 64)).astype(np.float32)}, codec="none")
    return path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes that take long to decode: words of a small language."""
    path = tmp_path_factory.mktemp("diagnose") / "packed"
    rng = np.random.default_rng(0)
    words = [bytes(rng.integers(97, 123, rng.integers(2, 9)).astype(np.uint8)) for _ in range(2000)]
    often = 1 / np.arange(1, 2001)
    text = b" ".join(words[i] for i in rng.choice(2000, 1_500_000, p=often / often.sum()))
    values = np.frombuffer(text, np.uint8)[: ROWS * 256].reshape(ROWS, 256)
    headrace.write(path, {"x": values}, codec={"x": {"codec": "zstd", "level": 9, "block_bytes": 65536}}, chunk_samples=1024)
    return path


def stage(found: headrace.Diagnosis, name: str) -> Any:
    return next(one for one in found.stages if one.name == name)


def test_a_slow_consumer(plain: Path) -> None:
    loader = headrace.DataLoader(headrace.open(plain), 100, shuffle=True, num_workers=1)
    found = headrace.diagnose(loader, lambda batch: time.sleep(0.02), seconds=SECONDS)
    assert found.bound_by == "consumer"
    assert stage(found, "consumer").samples_per_second <= 100 / 0.02
    assert found.delivered <= 100 / 0.02
    rest = [one.samples_per_second for one in found.stages if one.name != "consumer"]
    assert found.at_most == max(1, min([found.loader, *rest]) / found.delivered)
    assert "the loader is not the problem" in found.verdict


def test_decoding(packed: Path) -> None:
    headrace.set_cache_bytes(0)
    try:
        found = headrace.diagnose(headrace.DataLoader(headrace.open(packed), 2000, num_workers=1), seconds=SECONDS)
    finally:
        headrace.set_cache_bytes(None)
    assert found.bound_by == "decode"
    assert found.at_most > 1
    assert "fixing it yields at most" in found.verdict
    assert str(found) == found.verdict


def test_what_is_kept_decoded_does_not_bind(packed: Path) -> None:
    loader = headrace.DataLoader(headrace.open(packed), 2000, num_workers=1)
    list(loader)  # All of it: on a busy machine diagnose()'s own first pass may be over before.
    assert headrace.diagnose(loader, seconds=SECONDS).bound_by == "assembly"


def test_assembly(plain: Path) -> None:
    loader = headrace.DataLoader(headrace.from_arrays({"x": np.zeros((ROWS, 64), np.float32)}), 100, shuffle=True)
    for one in (loader, headrace.DataLoader(headrace.open(plain), 100, shuffle=True)):
        found = headrace.diagnose(one, lambda batch: None, seconds=SECONDS)
        assert found.bound_by == "assembly"
        assert [part.name for part in found.stages if part.name != "consumer"] == ["assembly"]  # mapped, in memory, not compressed


def test_preparation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    for number in range(32):
        Image.fromarray(pixels).save(tmp_path / "a" / f"{number}.jpg")
    folder = headrace.ImageFolder(tmp_path, headrace.images.Compose([headrace.images.Resize(64), headrace.images.CenterCrop(64)]))
    found = headrace.diagnose(headrace.DataLoader(folder, 8, shuffle=True, num_workers=1), seconds=SECONDS)
    assert found.bound_by == "preparation"


def test_preparation_of_fields() -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 12)).astype(np.float32)
    dataset = headrace.from_arrays({"x": values})
    steps = [headrace.prep.Power(), headrace.prep.Concat("x"), headrace.prep.Polynomial(3)]
    loader = headrace.DataLoader(dataset, 256, shuffle=True, num_workers=1, prepare=headrace.prep.Pipeline(steps).fit(dataset))
    found = headrace.diagnose(loader, seconds=SECONDS)
    assert found.bound_by == "preparation"
    assert stage(found, "preparation").samples_per_second < 0.5 * stage(found, "assembly").samples_per_second


def test_datasets_read_as_one(plain: Path, packed: Path) -> None:
    mixed = headrace.mix([headrace.open(plain), headrace.open(plain)], weights=[0.5, 0.5])
    found = headrace.diagnose(headrace.DataLoader(mixed, 100, shuffle=True, num_workers=1), seconds=SECONDS)
    assert found.bound_by == "assembly"
    assert headrace.diagnose(headrace.DataLoader(headrace.open(packed).subset(range(500)), 100), seconds=SECONDS).delivered > 0


def test_collate(plain: Path) -> None:
    def collate(samples: list[Any]) -> Any:
        time.sleep(0.02)
        return torch.utils.data.default_collate(samples)

    loader = headrace.DataLoader(headrace.open(plain), 100, num_workers=1, collate_fn=collate)
    found = headrace.diagnose(loader, lambda batch: None, seconds=SECONDS)
    assert found.bound_by == "collate"
    assert stage(found, "collate").samples_per_second <= 100 / 0.02


def test_transfer(plain: Path) -> None:
    class Slow(headrace.DataLoader):
        def convert(self, batch: Any) -> Any:
            time.sleep(0.02)
            return self.to_host(batch)

    found = headrace.diagnose(Slow(headrace.open(plain), 100, num_workers=1, pin_memory=True), lambda batch: None, seconds=SECONDS)
    assert found.bound_by == "transfer"


def test_the_loader_stays_where_it_was(plain: Path) -> None:
    loader = headrace.DataLoader(headrace.open(plain), 100, shuffle=True, seed=5, num_workers=1)
    iterator = iter(loader)
    next(iterator)
    before = loader.state_dict()
    headrace.diagnose(loader, seconds=0.02)
    assert loader.state_dict() == before
    assert torch.equal(next(iterator)["x"], loader.replay(1)["x"])


def test_a_sampler_is_not_drawn_from(plain: Path) -> None:
    dataset = headrace.open(plain)
    generator = torch.Generator().manual_seed(3)
    loader = headrace.DataLoader(dataset, 100, sampler=torch.utils.data.RandomSampler(dataset, generator=generator))
    before = generator.get_state()
    found = headrace.diagnose(loader, seconds=0.02)
    assert torch.equal(generator.get_state(), before)
    assert found.bound_by == "assembly"


def test_what_cannot_be_diagnosed(plain: Path) -> None:
    with pytest.raises(TypeError, match="native engine"):
        headrace.diagnose(headrace.DataLoader([1, 2, 3]))
    with pytest.raises(ValueError, match="seconds must be above 0"):
        headrace.diagnose(headrace.DataLoader(headrace.open(plain), 100), seconds=0)
    with pytest.raises(ValueError, match="no batch"):
        headrace.diagnose(headrace.DataLoader(headrace.open(plain), ROWS + 1, drop_last=True))
