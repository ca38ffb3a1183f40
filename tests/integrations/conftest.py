"""The tests of this folder run the real trainers, which `make test-integrations` installs beside torch. Elsewhere nothing here is collected."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import headrace as hr

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("lightning") is None else []

SAMPLES = 42  # with 2 ranks and batches of 4: 5 whole global batches, and 2 samples


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The trainers' own warnings are theirs; one of headrace fails a test that does not expect it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error::headrace.HeadraceWarning"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dataset of 42 samples: "x" float32[4], "labels" int64, "id" int64, which is the sample's number."""
    numbers = np.arange(SAMPLES)
    x = np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype("float32")
    hr.write(str(tmp_path / "data.hr"), {"x": x, "labels": numbers % 3, "id": numbers})
    return tmp_path / "data.hr"


@pytest.fixture
def dataset(path: Path) -> hr.Dataset:
    """The same, open."""
    return hr.open(path)


@pytest.fixture(autouse=True)
def _warn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once a process is said once a test here."""
    from headrace.loader import prepared
    from headrace.sampling.order import OrderBatchSampler

    monkeypatch.setattr(OrderBatchSampler, "has_warned", False)
    monkeypatch.setattr(prepared, "_warned", set())
