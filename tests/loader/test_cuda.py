"""Which devices a loader takes, and what it says of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import headrace as hr
from headrace.loader import cuda
from tests.loader.fake_cuda import FakeCuda
from tests.loader.samples import assert_same, numbered


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    """30 numbered samples."""
    return numbered(tmp_path / "d", 30)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "index": ("cuda:2", ValueError, "device='cuda:2': torch sees 2 CUDA devices, numbered from 0"),
    "kind": ("mps", ValueError, "device='mps': batches are copied to CUDA devices only"),
    "meta": (torch.device("meta"), ValueError, "device='meta': batches are copied to CUDA devices only"),
    "word": ("gpu", ValueError, "device='gpu' is no device; expected 'cuda', 'cuda:N' or 'cpu'"),
    "number": (0, TypeError, "device must be a string, a torch.device or None, got 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_devices_are_refused_when_given(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given, kind, message = WRONG[name]
    monkeypatch.setattr(cuda, "runtime", FakeCuda(devices=2))
    for source in (dataset, list(range(9))):
        with pytest.raises(kind, match=message.replace("(", r"\(")):
            hr.DataLoader(source, device=given)


def test_cuda_without_cuda_is_refused_when_given(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for given in ("cuda", "cuda:0", torch.device("cuda")):
        with pytest.raises(ValueError, match=r"torch sees no CUDA device here \(torch.cuda.is_available\(\) is False\)"):
            hr.DataLoader(dataset, device=given)
    for given in ("cpu", torch.device("cpu"), None):
        assert_same(list(hr.DataLoader(dataset, 10, device=given)), list(hr.DataLoader(dataset, 10)))
