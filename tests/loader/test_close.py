"""close() from any thread, at any moment: the pass ends, nobody hangs, the engine serves the next pass."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import headrace as hr


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """3,000 compressed samples."""
    where = tmp_path_factory.mktemp("close") / "d"
    hr.write(where, {"y": np.arange(3000)}, codec="zstd", chunk_samples=64)
    return hr.open(where)


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_close_while_threads_iterate(dataset: hr.Dataset, workers: int) -> None:
    loader = hr.DataLoader(dataset, 10, True, num_workers=workers)
    for _ in range(50):
        loader.set_epoch(0)
        iterator = iter(loader)
        seen: list[list[Any]] = [[], [], []]
        threads = [threading.Thread(target=batches.extend, args=(iterator,)) for batches in seen]
        next(iterator)
        for thread in threads:
            thread.start()
        iterator.close()  # type: ignore[attr-defined]
        for thread in threads:
            thread.join()
        assert next(iterator, None) is None
        assert iterator.pipeline is None  # type: ignore[attr-defined]
        rows = [int(y) for batches in seen for batch in batches for y in batch["y"]]
        assert len(set(rows)) == len(rows)
    loader.set_epoch(0)
    assert sorted(int(y) for batch in loader for y in batch["y"]) == list(range(3000))


def test_a_closed_pass_goes_on_where_it_was(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 10, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    iterator.close()  # type: ignore[attr-defined]
    state = loader.state_dict()
    assert (state["position"], state["finished"]) == (10, False)


def test_the_thread_inside_ends_the_pass(dataset: hr.Dataset) -> None:
    inside, closed = threading.Event(), threading.Event()

    def collate(samples: list[Any]) -> list[Any]:
        inside.set()
        closed.wait()
        return samples

    loader = hr.DataLoader(dataset, 10, collate_fn=collate)
    iterator: Any = iter(loader)
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.extend(iterator))
    thread.start()
    inside.wait()
    iterator.close()
    assert iterator.pipeline is not None  # In use by the thread.
    closed.set()
    thread.join()
    assert iterator.pipeline is None
    assert len(taken) == 1
