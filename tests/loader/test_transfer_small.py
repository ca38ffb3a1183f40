"""`device=`: batches that travel as one piece, on the consumer's own stream."""

from __future__ import annotations

from collections import deque

import pytest
import torch

import headrace as hr
from headrace.loader import cuda, transfer
from tests.loader.fake_cuda import FakeCuda, FakeStream
from tests.loader.samples import assert_same, numbered, wait_until_ready

late = pytest.mark.parametrize("device", ["late"], indirect=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples."""
    return numbered(tmp_path_factory.mktemp("transfer") / "d", 100, codec="zstd", chunk_samples=8)


def test_a_small_batch_travels_as_one_piece(dataset: hr.Dataset, device: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = 128 + 128  # id, up to where x begins, and x to a multiple of 16; names stay on the host.
    for most, copies in ((piece, [piece]), (piece - 1, [80, 120])):
        monkeypatch.setattr(transfer, "ONE_COPY_BYTES", most)
        device.log.clear()
        batch = next(iter(hr.DataLoader(dataset, 10, device="cuda")))
        device.run()
        assert_same(batch, next(iter(hr.DataLoader(dataset, 10))))
        assert [note[2] for note in device.named("copy")] == copies
        # On the consumer's own stream nothing has to be waited for.
        assert [note[1] for note in device.named("wait", "record_stream")] == ["consumer 0"] * (0 if len(copies) == 1 else 3)
        assert {note[1] for note in device.named("copy")} == {"consumer 0" if len(copies) == 1 else "copies 0"}
        assert (batch["id"].untyped_storage().data_ptr() == batch["x"].untyped_storage().data_ptr()) == (len(copies) == 1)


def test_fields_of_one_piece_are_apart_to_autograd(dataset: hr.Dataset, device: FakeCuda) -> None:
    batch = next(iter(hr.DataLoader(dataset, 10, device="cuda")))
    device.run()
    weight = torch.ones(3, requires_grad=True)
    loss = (batch["x"] * weight).sum()  # Keeps x for the gradient.
    batch["id"].add_(1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(weight.grad, batch["x"].sum(0))
    for value in (batch["id"], batch["x"]):
        assert (value._is_view(), value.is_leaf, value._version) == (False, True, int(value is batch["id"]))
    batch["x"].requires_grad_().mul(2).sum().backward()


def test_what_lies_elsewhere_is_copied_beside_the_piece(dataset: hr.Dataset, device: FakeCuda) -> None:
    """Which dataset a sample is of is no field: numpy made it."""
    mixed = hr.mix([dataset, dataset], source="source")
    got = list(hr.DataLoader(mixed, 30, seed=1, device="cuda"))
    device.run()
    assert_same(got, list(hr.DataLoader(mixed, 30, seed=1)))
    assert len(device.named("copy")) == 2 * len(got)


@late
def test_a_small_batch_follows_a_consumer_to_another_stream(dataset: hr.Dataset, device: FakeCuda) -> None:
    loader = hr.DataLoader(dataset, 10, num_workers=2, prefetch_factor=2, device="cuda")
    iterator = iter(loader)
    wait_until_ready(loader, 2)
    got = [next(iterator)]
    assert len(device.named("copy")) == 2  # The second is on its way, on the first stream.
    before, device.consumers[0] = device.consumers[0], FakeStream(device, "another", 0)
    got.append(next(iterator))
    assert device.named("wait") == [("wait", "another", device.named("record")[1][2])]
    assert device.named("record_stream") == [("record_stream", "another", 256)]
    device.consumers[0].run()  # Brings the copy on the first stream about.
    assert before.queue == deque() or got[1]["id"].tolist() == list(range(10, 20))
    before.run()
    assert_same(got, list(hr.DataLoader(dataset, 10))[:2])


@late
def test_small_copies_behind_a_busy_consumer_hold_so_much_memory(dataset: hr.Dataset, device: FakeCuda) -> None:
    """Page-locked memory of the budget: 1000 bytes, and the batch that passes it."""
    iterator = iter(hr.DataLoader(dataset, 10, device="cuda", budget=hr.Budget(pinned_bytes=1000)))
    for step in range(9):
        next(iterator)
        assert len(transfer._lanes[cuda.runtime, 0]) == min(step + 1, 4)
    assert len(device.named("synchronize")) == 5
