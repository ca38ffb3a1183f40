"""parallel="thread": Python datasets in threads of this process give what torch gives, and each sample's random numbers are its own."""

from __future__ import annotations

import gc
import io
import pickle
import random
import sqlite3
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as data
from torch.utils.data import get_worker_info

import headrace as hr

WORKERS = [0, 1, 2, 8]


class Squares(data.Dataset[Any]):
    def __init__(self, size: int = 61) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return {"i": index, "x": np.full(3, index * index, np.float32), "name": f"n{index}"}


class Drawing(Squares):
    """Draws from everything that a dataset may draw from."""

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.0003 * (index % 3))
        info = get_worker_info()
        return torch.tensor(
            [
                index,
                torch.rand(1).item(),
                torch.empty(2).uniform_()[1].item(),
                torch.randint(0, 1000, (1,)).item(),
                torch.randn(3)[2].item(),
                torch.randperm(9)[0].item(),
                random.random(),
                random.randint(0, 10**6),
                np.random.rand(),
                np.random.randint(0, 1000),
                np.random.normal(),
                # Torch before 2.12 gives workers no generators.
                torch.rand(1, generator=info.rng.torch_generator).item() if hasattr(info, "rng") else torch.rand(1).item(),
            ],
            dtype=torch.float64,
        )


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    return torch.equal(ours, theirs) if isinstance(theirs, torch.Tensor) else ours == theirs


@pytest.fixture(autouse=True)
def no_threads_are_left() -> Iterator[None]:
    yield
    gc.collect()
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("headrace-python") for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace-python")]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"drop_last": True}, {"batch_size": None}, {"collate_fn": len}], ids=str)
def test_batches_and_draws_equal_torchs(options: dict[str, Any], workers: int) -> None:
    options = {"batch_size": 7, **options}
    torch.manual_seed(3)
    theirs = [batch for _ in range(2) for batch in data.DataLoader(Squares(), **options)]
    after = torch.get_rng_state()
    torch.manual_seed(3)
    loader = hr.DataLoader(Squares(), num_workers=workers, parallel="thread", **options)
    ours = [batch for _ in range(2) for batch in loader]
    assert len(ours) == len(theirs) == 2 * len(loader)
    assert all(same(one, other) for one, other in zip(ours, theirs, strict=True))
    assert torch.equal(torch.get_rng_state(), after)


def drawn(workers: int, **options: Any) -> torch.Tensor:
    options = {"shuffle": True, "seed": 9, **options}
    loader = hr.DataLoader(Drawing(), 5, num_workers=workers, parallel="thread", generator=torch.Generator().manual_seed(1), **options)
    rows = torch.cat([batch for _ in range(2) for batch in loader])
    return rows


def test_random_numbers_are_the_samples_own() -> None:
    random.seed(4), np.random.seed(4), torch.manual_seed(4)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
    reference = drawn(0)
    for workers in WORKERS:
        assert torch.equal(drawn(workers), reference)
        assert torch.equal(drawn(workers, in_order=False).sort(0).values, reference.sort(0).values)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before  # type: ignore[index]
    for column in range(1, 12):
        assert len(reference[:, column].unique()) > 8, column  # Neither samples nor epochs are alike.
    first, second = reference[:61], reference[61:]
    assert not torch.equal(first[first[:, 0].argsort()], second[second[:, 0].argsort()])
    sequential = drawn(2, shuffle=False)[:61]
    assert torch.equal(sequential, first[first[:, 0].argsort()])  # Whatever the order.


def test_without_a_seed_torchs_decides() -> None:
    def run(seed: int, workers: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat(list(hr.DataLoader(Drawing(), 5, num_workers=workers, parallel="thread")))

    assert torch.equal(run(1, 0), run(1, 8))
    assert not torch.equal(run(1, 2), run(2, 2))


def test_other_threads_draw_from_the_processs_generators() -> None:
    random.seed(6)
    expected = [Random(6).random()]
    loader = iter(hr.DataLoader(Drawing(), 5, num_workers=2, parallel="thread"))
    next(loader)
    assert [random.random()] == expected
    del loader


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_know_who_they_are(workers: int) -> None:
    seen: dict[str, list[Any]] = {}
    started: list[tuple[int, Any]] = []

    class Asking(Squares):
        def __getitem__(self, index: int) -> Any:
            info = get_worker_info()
            seen.setdefault(threading.current_thread().name, []).append((info.id, info.num_workers, info.dataset is self))
            return index

    def start(worker: int) -> None:
        started.append((worker, get_worker_info().id))

    loader = hr.DataLoader(Asking(), 2, num_workers=workers, parallel="thread", worker_init_fn=start)
    assert len(list(loader)) == 31
    assert sorted(started) == [(i, i) for i in range(workers)]
    assert all(len(set(values)) == 1 and values[0][1:] == (workers, True) for values in seen.values())
    assert get_worker_info() is None


class Failing(Squares):
    def __getitem__(self, index: int) -> Any:
        if index in (17, 40):
            raise KeyError(f"no {index}")
        return index


@pytest.mark.parametrize("workers", WORKERS)
def test_errors_keep_their_type_and_say_where(workers: int) -> None:
    loader = hr.DataLoader(Failing(), 5, num_workers=workers, parallel="thread")
    loader.set_epoch(2)
    iterator = iter(loader)
    assert [next(iterator)[0].item() for _ in range(3)] == [0, 5, 10]
    with pytest.raises(KeyError, match="no 17") as caught:
        next(iterator)
    assert caught.value.__notes__ == ["headrace: dataset index 17", "headrace: epoch 2, batch 3"]
    assert next(iterator)[0].item() == 20  # The pass goes on.
    loader.state_dict()
    assert loader.stats()["errors"] == 1


@pytest.mark.parametrize("workers", WORKERS)
def test_samples_are_left_out_or_replaced(workers: int) -> None:
    loader = hr.DataLoader(Failing(), 5, num_workers=workers, parallel="thread", on_error="skip")
    assert torch.cat(list(loader)).tolist() == [i for i in range(61) if i not in (17, 40)]
    assert sorted(loader.state_dict()["skipped"]) == [17, 40]
    replaced = hr.DataLoader(Failing(), 5, num_workers=workers, parallel="thread", on_error="replace", seed=1)
    found = torch.cat(list(replaced)).tolist()
    assert len(found) == 61
    assert [i for i, value in enumerate(found) if value != i] == [17, 40]
    assert found == torch.cat(list(hr.DataLoader(Failing(), 5, parallel="thread", on_error="replace", seed=1))).tolist()
    with pytest.raises(hr.TooManyErrorsError, match="max_errors is 1; the last: dataset index") as caught:
        list(hr.DataLoader(Failing(), 5, num_workers=workers, parallel="thread", on_error="skip", max_errors=1))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_nothing_is_left_out(workers: int) -> None:
    loader = hr.DataLoader(Failing(), 1, num_workers=workers, parallel="thread", on_error="skip")
    assert torch.cat(list(loader)).tolist() == [i for i in range(61) if i not in (17, 40)]


def test_a_stuck_sample_is_named() -> None:
    release = threading.Event()

    class Stuck(Squares):
        def __getitem__(self, index: int) -> Any:
            if index == 7:
                release.wait(60)  # here it hangs
            return index

    loader = hr.DataLoader(Stuck(), 5, num_workers=2, parallel="thread", timeout=0.2)
    iterator = iter(loader)
    assert next(iterator)[0].item() == 0
    with pytest.raises(hr.LoaderTimeoutError, match=r"(?s)dataset index 7.*here it hangs"):
        next(iterator)
    release.set()
    assert next(iterator)[0].item() == 5


def test_leaving_does_not_wait_for_a_sample() -> None:
    release = threading.Event()

    class Slow(Squares):
        def __getitem__(self, index: int) -> Any:
            release.wait(60)
            return index

    iterator = iter(hr.DataLoader(Slow(), 5, num_workers=2, parallel="thread"))
    before = time.monotonic()
    iterator.close()  # type: ignore[attr-defined]
    del iterator
    assert time.monotonic() - before < 30  # Not the sample's 60 s.
    release.set()


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": True}, {"shuffle": True, "generator": 5}, {"batch_size": None, "shuffle": True}], ids=str
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_resumes_random_numbers_too(options: dict[str, Any], workers: int) -> None:
    def make(count: int) -> hr.DataLoader:
        chosen = {"batch_size": 5, **options}
        if "generator" in chosen:
            chosen["generator"] = torch.Generator().manual_seed(5)
        return hr.DataLoader(Drawing(), num_workers=count, parallel="thread", **chosen)

    loader = make(workers)
    list(loader)
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    rest = list(iterator)
    torch.manual_seed(1234)
    resumed = make(3 - workers)
    resumed.load_state_dict(state)
    again = list(resumed)
    assert len(again) == len(rest)
    assert all(torch.equal(one, other) for one, other in zip(again, rest, strict=True))
    with pytest.raises(hr.ChangedError, match="num_samples"):
        hr.DataLoader(Drawing(60), parallel="thread", batch_size=options.get("batch_size", 5)).load_state_dict(state)


class Stream(data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        begin, step = (info.id, info.num_workers) if info else (0, 1)
        yield from range(begin, 23, step)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_stream_comes_once(workers: int) -> None:
    loader = hr.DataLoader(Stream(), 4, num_workers=workers, parallel="thread")
    assert [batch.tolist() for batch in loader] == [batch.tolist() for batch in data.DataLoader(Stream(), 4)]
    with pytest.warns(hr.HeadraceWarning, match="holds no place: .*parallel='process'"):
        loader.load_state_dict(loader.state_dict())
    with pytest.raises(TypeError, match="parallel='process'"):
        loader.load_state_dict({"epoch": 0})


def test_a_loader_is_copied_and_pickled() -> None:
    loader = pickle.loads(pickle.dumps(hr.DataLoader(Squares(), 7, num_workers=2, parallel="thread")))
    assert [batch["i"][0].item() for batch in loader] == list(range(0, 61, 7))


# -- handles that threads must not share ---------------------------------------------------------------------------------------------

RECORDS = [bytes([i % 251]) * (i % 37 + 1) for i in range(120)]


class Held(data.Dataset[Any]):
    """One handle in an attribute, as people write it."""

    def __init__(self, handle: Any, read: Any) -> None:
        self.inner = {"handle": handle}
        self.read = read

    def __len__(self) -> int:
        return len(RECORDS)

    def __getitem__(self, index: int) -> Any:
        return list(self.read(self.inner["handle"], index))


def held_file(folder: Path) -> Held:
    offsets = np.cumsum([0, *map(len, RECORDS)]).tolist()
    (folder / "raw").write_bytes(b"".join(RECORDS))

    def read(handle: Any, index: int) -> bytes:
        handle.seek(offsets[index])
        time.sleep(0)
        found: bytes = handle.read(len(RECORDS[index]))
        return found

    return Held((folder / "raw").open("rb"), read)


def held_bytes(folder: Path) -> Held:
    dataset = held_file(folder)
    dataset.inner["handle"].close()
    dataset.inner["handle"] = io.BytesIO(b"".join(RECORDS))
    return dataset


def held_zip(folder: Path) -> Held:
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        for i, record in enumerate(RECORDS):
            archive.writestr(str(i), record)
    return Held(zipfile.ZipFile(folder / "zip"), lambda handle, index: handle.read(str(index)))


def held_sqlite(folder: Path, place: str = "db") -> Held:
    connection = sqlite3.connect(folder / place if place != ":memory:" else place)
    connection.execute("create table records (i integer primary key, value blob)")
    connection.executemany("insert into records values (?, ?)", enumerate(RECORDS))
    connection.commit()
    return Held(connection, lambda handle, index: handle.execute("select value from records where i = ?", (index,)).fetchone()[0])


def held_h5py(folder: Path) -> Held:
    import h5py

    with h5py.File(folder / "h5", "w") as file:
        for i, record in enumerate(RECORDS):
            file[str(i)] = np.frombuffer(record, np.uint8)
    return Held(h5py.File(folder / "h5", "r"), lambda handle, index: handle[str(index)][:].tobytes())


def held_lmdb(folder: Path) -> Held:
    import lmdb

    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 22)
    with environment.begin(write=True) as transaction:
        for i, record in enumerate(RECORDS):
            transaction.put(str(i).encode(), record)
    return Held(environment.begin(), lambda handle, index: handle.get(str(index).encode()))


class Lazy(Held):
    """Opens at the first sample, and keeps it."""

    def __init__(self, path: Path) -> None:
        super().__init__(None, None)
        self.path, self.file = path, None
        self.offsets = np.cumsum([0, *map(len, RECORDS)]).tolist()

    def __getitem__(self, index: int) -> Any:
        if self.file is None:
            self.file: Any = self.path.open("rb")
        self.file.seek(self.offsets[index])
        time.sleep(0)
        return list(self.file.read(len(RECORDS[index])))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # The dataset never closes what it opens.
def test_what_a_sample_opens_is_the_threads(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"".join(RECORDS))
    dataset = data.Subset(Lazy(tmp_path / "raw"), range(len(RECORDS)))
    loader = hr.DataLoader(dataset, 3, num_workers=8, parallel="thread", collate_fn=list)
    for _ in range(5):
        assert [bytes(sample) for batch in loader for sample in batch] == RECORDS
    assert dataset.dataset.file is None  # type: ignore[attr-defined]


HELD = {
    "an open file": held_file,
    "a file in memory": held_bytes,
    "zipfile.ZipFile": held_zip,
    "sqlite3.Connection": held_sqlite,
    "sqlite3 in memory": lambda folder: held_sqlite(folder, ":memory:"),
    "h5py.File": held_h5py,
    "lmdb.Transaction": held_lmdb,
}


@pytest.mark.parametrize("name", HELD)
def test_handles_are_not_shared(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.loader.handles._warned", set())
    held = HELD[name](tmp_path)
    dataset = data.ConcatDataset([held, held])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loader = hr.DataLoader(dataset, 3, num_workers=8, parallel="thread", collate_fn=list)
        for _ in range(3):
            assert [bytes(sample) for batch in loader for sample in batch] == RECORDS + RECORDS
    said = [str(one.message) for one in caught if one.category is hr.HeadraceWarning]
    assert len(said) == 1
    assert ("one at a time" in said[0]) == (name == "lmdb.Transaction")
    assert bytes(held[5]) == RECORDS[5]  # The dataset's own handle is as it was.
    if hasattr(held.inner["handle"], "close"):
        held.inner["handle"].close()


def test_closing_ends_a_wait_in_another_thread() -> None:
    release = threading.Event()

    class Slow(Squares):
        def __getitem__(self, index: int) -> Any:
            release.wait(60)
            return index

    loader = hr.DataLoader(Slow(), 5, num_workers=2, parallel="thread")
    iterator: Any = iter(loader)
    ended: list[Any] = []
    waiting = threading.Thread(target=lambda: ended.extend(iterator))
    waiting.start()
    time.sleep(0.05)
    iterator.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert ended == []
    assert not loader.place.finished
    release.set()
