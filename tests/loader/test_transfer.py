"""`device=`: the same batches in the same order and state, copied by a stream beside the consumer's; no memory is used anew too early.

Against a device that is only a model (fake_cuda.py); test_transfer_gpu.py runs on a real one.
"""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data

import headrace as hr
from headrace.loader import transfer
from tests.loader.fake_cuda import FakeCuda, FakeRuntimeLibrary, release_done
from tests.loader.samples import (
    ROWS,
    answer_of,
    assert_same,
    damage,
    ids_of,
    numbered,
    run_python,
    torch_batch,
    wait_until_ready,
    write_all_kinds,
)

N = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """100 numbered samples."""
    return numbered(tmp_path_factory.mktemp("transfer") / "d", N, codec="zstd", chunk_samples=8)


late = pytest.mark.parametrize("device", ["late"], indirect=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ragged", ["padded", "offsets"])
def test_every_kind_of_field_arrives(tmp_path: Path, device: FakeCuda, pieces: int, ragged: str, workers: int) -> None:
    for container in ("dict", "tuple"):
        write_all_kinds(tmp_path / container, "lz4", container)
        options = {"num_workers": workers, "ragged": ragged}
        got = list(hr.DataLoader(hr.open(tmp_path / container), 64, device="cuda", **options))
        device.run()
        assert_same(got, list(hr.DataLoader(hr.open(tmp_path / container), 64, **options)))
        if container == "dict":
            assert_same(got, [torch_batch(range(i, min(ROWS, i + 64)), ragged) for i in range(0, ROWS, 64)])
    copies = len(device.named("copy")) / (2 * -(-ROWS // 64))
    assert copies == 2 if pieces == 1 else copies > 20  # Apart from the piece: a field whose values have no bytes.


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_memory_that_a_copy_has_not_read_is_not_used_again(dataset: hr.Dataset, device: FakeCuda, workers: int) -> None:
    chance = random.Random(workers)
    loader = hr.DataLoader(dataset, 7, True, num_workers=workers, prefetch_factor=2, device="cuda")
    plain = hr.DataLoader(dataset, 7, True)
    for _ in range(20):
        got = []
        for batch in loader:
            got.append(batch)
            if chance.random() < 0.3:
                device.run()
            if chance.random() < 0.1:
                break
        device.run()
        want = list(plain)[: len(got)]
        assert_same(got, want)
    assert device.named("pin") == []


@late
def test_a_slab_is_leased_until_its_copy_is_done(dataset: hr.Dataset, device: FakeCuda) -> None:
    loader = hr.DataLoader(dataset, 10, device="cuda", prefetch_factor=1)
    iterator = iter(loader)
    first = next(iterator)
    del first, iterator
    gc.collect()
    read = set(device.sources)
    for _ in range(2):
        device.sources.clear()
        next(iter(loader))
        assert read.isdisjoint(device.sources)  # Not while the first copies are under way,
        read |= set(device.sources)
    device.run()
    device.sources.clear()
    for _ in range(3):
        next(iter(loader))
        device.run()
    assert set(device.sources) <= read  # and at once when they are done.


@late
@pytest.mark.usefixtures("apart")
def test_the_streams_wait_for_each_other_and_the_host_for_none(
    dataset: hr.Dataset, device: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "RUN_AHEAD_BYTES", 16 * 400)  # What is done with a batch of 400 bytes is noted alone.
    loader = hr.DataLoader(dataset.select(["id"]), 50, device="cuda:1")
    batches = list(loader)
    copies, consumer = "copies 1", "consumer 1"
    kinds = [note[:2] for note in device.log]
    one = [("copy", copies), ("record", copies), ("wait", consumer), ("record_stream", consumer)]
    between = [("record", consumer)]  # The consumer's work on the batch before.
    assert kinds == one + one[:2] + between + one[2:] + between
    recorded = [note[2] for note in device.named("record") if note[1] == copies]
    assert [note[2] for note in device.named("wait")] == recorded
    assert [note[2] for note in device.named("record_stream")] == [400, 400]
    assert (batches[0]["id"] == 1).all()  # Nothing is done yet.
    device.consumers[1].run()  # Waits for the copies, and so brings them about.
    assert torch.cat([batch["id"] for batch in batches]).tolist() == list(range(N))


def test_the_next_batch_is_copied_ahead_and_not_counted(dataset: hr.Dataset, device: FakeCuda, pieces: int) -> None:
    loader = hr.DataLoader(dataset, 10, num_workers=2, prefetch_factor=2, device="cuda")
    plain = hr.DataLoader(dataset, 10)
    iterator, reference = iter(loader), iter(plain)
    for step in range(10):
        wait_until_ready(loader, min(2, 10 - step - (step > 0)))
        batch = next(iterator)
        want = next(reference)
        ahead = len(device.named("copy")) // pieces - (step + 1)
        assert ahead == (1 if step < 9 else 0)
        device.run()
        assert_same(batch, want)
        state = loader.state_dict()
        assert state == plain.state_dict()
        again = hr.DataLoader(dataset, 10)
        again.load_state_dict(state)
        assert ids_of(again) == ids_of(hr.DataLoader(dataset, 10))[step + 1 :]
    assert device.named("synchronize") == []
    assert loader.state_dict()["finished"] is False
    with pytest.raises(StopIteration):
        next(iterator)
    assert loader.state_dict()["finished"] is True
    with pytest.raises(StopIteration):
        next(iterator)


def test_without_threads_nothing_is_taken_ahead(dataset: hr.Dataset, device: FakeCuda, pieces: int) -> None:
    iterator = iter(hr.DataLoader(dataset, 10, device="cuda"))
    for step in range(3):
        next(iterator)
        assert len(device.named("copy")) == pieces * (step + 1)


def trace(loader: hr.DataLoader, run: Callable[[], None] = lambda: None) -> list[Any]:
    """What a consumer sees that goes on after errors: each batch or error, and the state after it."""
    seen: list[Any] = []
    iterator = iter(loader)
    while True:
        try:
            seen.append(next(iterator)["id"])
            run()
            seen[-1] = seen[-1].tolist()
        except StopIteration:
            return [*seen, "end", loader.state_dict()]
        except Exception as error:
            seen.append((type(error).__name__, str(error)))
        seen.append(loader.state_dict())


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
@pytest.mark.parametrize("policy", [{}, {"on_error": "skip"}, {"on_error": "skip", "max_errors": 2}, {"on_error": "replace"}])
def test_errors_come_in_their_turn(tmp_path: Path, device: FakeCuda, policy: dict[str, Any], workers: int) -> None:
    numbered(tmp_path / "d", N, chunk_samples=4)
    damage(tmp_path / "d", 1, [20, 40, 41, 72, 99])
    dataset = hr.open(tmp_path / "d")
    want = trace(hr.DataLoader(dataset, 4, num_workers=workers, **policy))
    if policy.get("on_error") != "replace":
        assert any(isinstance(one, tuple) for one in want) == ("max_errors" in policy or not policy)
    assert trace(hr.DataLoader(dataset, 4, num_workers=workers, device="cuda", **policy), device.run) == want


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_collate_fn_and_sampler_come_in_their_turn(dataset: hr.Dataset, device: FakeCuda, workers: int) -> None:
    def collate(samples: list[Any]) -> Any:
        if samples[0]["id"] % 30 == 0:
            raise KeyError(int(samples[0]["id"]))
        return data.default_collate(samples)

    def indices() -> Iterator[int]:
        yield from range(33)
        raise OSError("no more")

    class Sampler(data.Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            return indices()

    for options in ({"collate_fn": collate}, {"sampler": Sampler()}):
        want = trace_some(hr.DataLoader(dataset, 10, num_workers=workers, **options))
        assert trace_some(hr.DataLoader(dataset, 10, num_workers=workers, device="cuda", **options), device.run) == want


def trace_some(loader: hr.DataLoader, run: Callable[[], None] = lambda: None) -> list[Any]:
    """Batches and errors, up to the first error after which nothing comes."""
    seen: list[Any] = []
    try:
        iterator = iter(loader)
    except OSError:  # With threads, the first indices are drawn here, as torch does.
        return ["OSError"]
    while "OSError" not in seen:
        try:
            seen.append(next(iterator)["id"])
            run()
            seen[-1] = seen[-1].tolist()
        except StopIteration:
            break
        except (KeyError, OSError) as error:
            seen.append(type(error).__name__)
    return seen


def test_an_error_that_was_raised_holds_no_memory(tmp_path: Path, device: FakeCuda) -> None:
    dataset = numbered(tmp_path / "d", N)
    loader = hr.DataLoader(dataset, 10, collate_fn=lambda samples: 1 / 0, device="cuda")
    failed = 0
    gc.disable()
    try:
        for _ in range(30):
            iterator = iter(loader)
            try:
                next(iterator)
            except ZeroDivisionError:
                failed += 1
            del iterator
        assert failed == 30
        assert loader.stats()["slabs_made"] <= 8  # A ring of error and batch would take one each.
    finally:
        gc.enable()


def test_no_room_on_the_device_loses_no_batch(dataset: hr.Dataset, device: FakeCuda, pieces: int) -> None:
    loader = hr.DataLoader(dataset, 10, num_workers=2, prefetch_factor=2, device="cuda")
    iterator = iter(loader)
    wait_until_ready(loader, 3)
    device.copy_errors = [None] * (2 * pieces - 1) + ["full"]  # The last copy of the batch ahead.
    got = [next(iterator)]
    device.copy_errors = ["full"]
    with pytest.raises(torch.cuda.OutOfMemoryError, match="full"):  # In its turn there is still none:
        next(iterator)
    assert loader.state_dict()["position"] == 10
    got += iterator
    device.run()
    assert_same(got, list(hr.DataLoader(dataset, 10)))


@late
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("most", [0, 2 * 200, 5 * 200])
def test_more_copies_than_the_link_needs_wait_for_the_oldest(
    dataset: hr.Dataset, device: FakeCuda, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(transfer, "COPY_AHEAD_BYTES", most)
    iterator = iter(hr.DataLoader(dataset, 10, device="cuda"))
    got = [next(iterator) for _ in range(max(2, most // 200 + 1))]  # Within the bytes, and one that passes them; two in any case.
    assert device.named("synchronize") == []
    got.append(next(iterator))
    copied = [note[2] for note in device.named("record") if note[1] == "copies 0"]
    assert device.named("synchronize") == [("synchronize", "copies 0", copied[0])]
    assert got[0]["id"].tolist() == list(range(10))
    device.run()
    assert_same(got, list(hr.DataLoader(dataset, 10))[: len(got)])


@late
@pytest.mark.usefixtures("apart")
def test_a_consumer_far_behind_is_waited_for(dataset: hr.Dataset, device: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 10 * (8 + 12)
    monkeypatch.setattr(transfer, "RUN_AHEAD_BYTES", 3 * size)
    iterator = iter(hr.DataLoader(dataset, 10, device="cuda"))
    for step in range(9):
        next(iterator)
        device.streams[-1].run()  # The copies are done; the consumer has done nothing.
        waited = [note for note in device.named("synchronize") if note[1] == "consumer 0"]
        # Finished with: none. At hand: this batch, and up to three others within the bytes.
        assert len(waited) == max(0, step - 4), step
        device.streams[-1].run()


@late
@pytest.mark.usefixtures("apart")
def test_what_is_done_with_small_batches_is_noted_together(dataset: hr.Dataset, device: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RUN_AHEAD_BYTES", 16 * 4 * 200)
    notes = []
    for _ in hr.DataLoader(dataset, 10, device="cuda"):
        device.streams[-1].run()
        notes.append(len([note for note in device.named("record") if note[1] == "consumer 0"]))
    assert notes == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert len([note for note in device.named("record") if note[1] == "consumer 0"]) == 3  # The rest as the pass ends.


@late
def test_a_failed_device_gives_nothing_back(dataset: hr.Dataset, device: FakeCuda, library: FakeRuntimeLibrary) -> None:
    iterator = iter(hr.DataLoader(dataset, 10, device="cuda"))
    next(iterator)
    device.run()
    device.failed = True
    del iterator
    gc.collect()
    release_done()
    assert all(library.is_locked(source) for source in device.sources)


CHANGES: dict[str, Any] = {"str": "cuda", "index": "cuda:1", "device": torch.device("cuda", 1), "host": "cpu", "none": None}


@pytest.mark.parametrize("name", CHANGES)
def test_the_device_is_an_attribute_as_it_was_given(dataset: hr.Dataset, device: FakeCuda, name: str) -> None:
    given = CHANGES[name]
    device.device = 1
    loader = hr.DataLoader(dataset, 10, device=given)
    assert loader.device == given
    again = hr.DataLoader(loader.dataset, device=loader.device)
    for other in (loader, again, copy.copy(loader), pickle.loads(pickle.dumps(loader))):
        assert other.device == given
        device.log.clear()
        batch = next(iter(other))
        device.run()
        assert batch["id"][0] == 0
        # Without an index: the device that is current where the pass begins.
        assert {note[1] for note in device.named("copy")} == (set() if given in (None, "cpu") else {"consumer 1"})


def test_replay_break_epochs_and_several_passes(dataset: hr.Dataset, device: FakeCuda) -> None:
    loader = hr.DataLoader(dataset, 10, True, num_workers=2, device="cuda")
    plain = hr.DataLoader(dataset, 10, True)
    for epoch in (3, 0):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        for step, _batch in enumerate(loader):
            if step == 4:
                break
        assert loader.state_dict()["position"] == 50
        replayed = loader.replay(7)
        device.run()
        assert_same(replayed, plain.replay(7))
    loader.set_epoch(5)
    plain.set_epoch(5)
    got = [*zip(iter(loader), iter(loader), strict=True)]
    device.run()
    assert_same([one for one, _ in got], list(plain))
    plain.set_epoch(5)
    assert_same([other for _, other in got], list(plain))


def test_torchs_samplers_and_recognised_datasets(device: FakeCuda) -> None:
    tensors = data.TensorDataset(torch.arange(50), torch.rand(50, 3))
    for options in ({}, {"shuffle": True}, {"sampler": range(49, -1, -2)}):
        torch.manual_seed(1)
        got = list(hr.DataLoader(tensors, 8, num_workers=2, device="cuda", **options))
        device.run()
        torch.manual_seed(1)
        assert_same(got, list(data.DataLoader(tensors, 8, **options)))


class Rows(data.Dataset[Any]):
    """A dataset that only torch can run."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> Any:
        return {"x": torch.full((3,), float(i)), "name": f"n{i}", "pair": (np.int64(i), [i, str(i)])}


class Stream(data.IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(torch.arange(20))


@pytest.mark.parametrize("workers", [0, 1])
def test_other_datasets_run_as_torch_runs_them(device: FakeCuda, workers: int) -> None:
    for source in (Rows(), Stream()):
        want = list(data.DataLoader(source, 6))
        loader = hr.DataLoader(source, 6, num_workers=workers, device="cuda")
        assert not loader.is_native
        iterator = iter(loader)
        assert iter(iterator) is iterator
        if isinstance(source, Rows):
            assert len(iterator) == len(want)  # type: ignore[arg-type]
        got = list(iterator)
        device.run()
        assert_same(got, want)
        assert len(device.named("pin")) == len(device.named("copy")) > 0
        device.log.clear()


Point = namedtuple("Point", ["x", "y"])


class Words(dict[str, Any]):
    """A mapping with more to it than its items, as tokenizers return."""

    origin = "nowhere"


class Graph:
    """An object that moves by its own `.to()`."""

    def to(self, device: Any) -> Graph:
        return self


def test_structures_keep_their_types(dataset: hr.Dataset, device: FakeCuda) -> None:
    graph = Graph()
    packed = torch.nn.utils.rnn.pack_sequence([torch.arange(3.0), torch.arange(2.0)])
    words = Words(ids=torch.arange(4), text=["a", None])
    words.origin = "here"

    def collate(samples: list[Any]) -> Any:
        ids = torch.tensor([int(sample["id"]) for sample in samples])
        point = Point(ids, {"deep": [(ids * 2, "kept", b"too", None, 3)]})
        return OrderedDict(
            point=point, words=words, graph=graph, packed=packed, none=None, names=[s["name"] for s in samples], sparse=ids.to_sparse()
        )

    got = list(hr.DataLoader(dataset, 10, collate_fn=collate, num_workers=2, device="cuda"))
    device.run()
    want = list(hr.DataLoader(dataset, 10, collate_fn=collate))
    for ours, theirs in zip(got, want, strict=True):
        assert type(ours) is OrderedDict
        assert type(ours["point"]) is Point
        assert_same(tuple(ours["point"]), tuple(theirs["point"]))
        assert (type(ours["words"]), ours["words"].origin) == (Words, "here")
        assert_same(dict(ours["words"]), dict(words))
        assert ours["words"]["ids"] is not words["ids"]
        assert ours["names"] == theirs["names"]
        assert ours["graph"] is graph
        assert ours["packed"] is packed
    # What is no plain tensor of the host moves by itself, when it is handed over.
    assert [note[1] for note in device.named("move")] == ["Graph", "PackedSequence", "Tensor"] * len(want)


EXIT = """
import sys
import headrace as hr
from headrace.loader import cuda
from tests.loader.fake_cuda import FakeCuda
cuda.runtime = FakeCuda(eager=False)
loader = hr.DataLoader(hr.open(sys.argv[1]), 10, True, num_workers=2, device="cuda")
iterator = iter(loader)
batch = next(iterator)
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(3)", 3), ("del iterator, loader", 0)])
def test_exit_with_copies_under_way_says_nothing(dataset: hr.Dataset, end: str, code: int) -> None:
    done = run_python(EXIT + end, dataset.path)
    assert (done.returncode, done.stderr) == (code, "")


FORK = """
import json, os, sys
import headrace as hr
from headrace.loader import cuda
from tests.loader.fake_cuda import FakeCuda
cuda.runtime = FakeCuda(eager=False)
loader = hr.DataLoader(hr.open(sys.argv[1]), 10, num_workers=2, device="cuda")
iterator = iter(loader)
batch = next(iterator)
child = os.fork()
if child == 0:
    try:
        next(iterator)
    except hr.ForkError:
        del iterator
        os._exit(7)
    os._exit(1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
rest = list(iterator)
cuda.runtime.run()
print(json.dumps([status, batch["id"].tolist(), [r["id"].tolist() for r in rest]]))
"""


def test_a_forked_child_leaves_the_copies_to_its_parent(dataset: hr.Dataset) -> None:
    status, first, rest = json.loads(json.dumps(answer_of(FORK, dataset.path)))
    assert status == 7
    assert [first, *rest] == [list(range(i, i + 10)) for i in range(0, N, 10)]
