"""A device that is only a model, for the tests of what travels to one."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from headrace.loader import cuda, pinning, transfer
from tests.loader.fake_cuda import FakeCuda, FakeRuntimeLibrary, fake_library, release_done


@pytest.fixture
def library() -> FakeRuntimeLibrary:
    """The stand-in for libcudart, loaded."""
    return fake_library()


@pytest.fixture(params=["at once", "late"])
def device(request: pytest.FixtureRequest, library: FakeRuntimeLibrary, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A fake device that does its work at once, or only when it must: when the host waits, or run() is called."""
    fake = FakeCuda(eager=request.param == "at once", locks_pages=True)
    monkeypatch.setattr(cuda, "runtime", fake)
    monkeypatch.setattr(pinning, "_warned", False)
    assert library.hand_over()
    yield fake
    library.take_back()
    fake.failed = False
    fake.run()
    release_done()
    gc.collect()
    assert library.counts()["locked"] == library.counts()["wrong"] == 0


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch is small: each tensor is copied alone, on the stream beside the consumer's."""
    monkeypatch.setattr(transfer, "ONE_COPY_BYTES", 0)


@pytest.fixture(params=["one piece", "apart"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Copies that a batch of `dataset` takes: its two tensors in one piece, as small ones go, or each alone."""
    if request.param == "one piece":
        return 1
    monkeypatch.setattr(transfer, "ONE_COPY_BYTES", 0)
    return 2
