"""Resuming as a restarted job does it: in a fresh process, on other ranks and threads, of 100 million samples; or not at all, with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from tests.loader.samples import answer_of, damage, ids_of, numbered

# 100 million different samples in 160 kB: the same ten thousand low digits, beside ten thousand high ones that are each one number.
LARGE = """
import json, sys
import numpy as np
import headrace as hr
from headrace.datasets.arrays import ArrayDataset

low = np.arange(10_000)
dataset = ArrayDataset({"low": [low] * 10_000, "high": [np.broadcast_to(np.int64(i), 10_000) for i in range(10_000)]}, "dict")
state, steps, threads = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
loader = hr.DataLoader(dataset, 32, True, num_workers=threads, seed=11)
if state is not None:
    loader.load_state_dict(state)
before = loader.stats()
iterator = iter(loader)
first = loader.stats()
batches = [(batch["high"] * 10_000 + batch["low"]).tolist() for _, batch in zip(range(steps), iterator)]
print(json.dumps({"len": len(loader), "state": loader.state_dict(), "before": [before["samples"], before["batches"]],
                  "batches": batches, "samples": loader.stats()["samples"], "begun": first["samples"]}))
"""


def test_100_million_samples_resume_after_a_million_batches_reading_nothing_before_them() -> None:
    begun = answer_of(LARGE, "null", 3, 0)
    assert begun["len"] == 3_125_000
    # What a loader says after 10^6 batches differs from what it says after 3 in one number, as the next test shows by running through them all.
    assert begun["state"]["position"] == 3 * 32
    place = {**begun["state"], "epoch": 2, "position": (10**6 - 4) * 32}
    through = answer_of(LARGE, json.dumps(place), 8, 2)  # runs on through the million
    at = {**through["state"], "position": 10**6 * 32}
    assert at["position"] == through["state"]["position"] - 4 * 32
    for threads in (0, 1, 2, 8):
        resumed = answer_of(LARGE, json.dumps(at), 4, threads)
        assert resumed["batches"] == through["batches"][4:]
        assert resumed["before"] == [0, 0]
        assert resumed["begun"] == 0
        assert resumed["samples"] == 4 * 32
        assert resumed["state"] == through["state"]


def test_a_resumed_run_is_the_uninterrupted_one_at_any_of_ten_thousand_batches() -> None:
    dataset = hr.from_arrays({"id": np.arange(100_000)})
    loader = hr.DataLoader(dataset, 10, True, seed=11, num_workers=2)
    places, batches = [], []
    for batch in loader:
        places.append(loader.state_dict()["position"])
        batches.append(batch["id"].tolist())
    assert places == list(range(10, 100_001, 10))
    state = loader.state_dict()
    for step in (0, 1, 4_999, 9_998, 9_999):
        again = hr.DataLoader(dataset, 10, True, seed=11, num_workers=2)
        again.load_state_dict({**state, "position": places[step], "finished": False})
        assert ids_of(again) == batches[step + 1 :]


def flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


@pytest.mark.parametrize("options", [{"order": "global"}, {"order": "window", "window": 2}])
def test_2_ranks_of_2_threads_go_on_as_4_of_8_and_as_1_of_none(tmp_path: Path, options: dict[str, Any]) -> None:
    dataset = numbered(tmp_path / "d", 960, chunk_samples=32)
    saved = [hr.DataLoader(dataset, 16, True, rank=rank, world_size=2, num_workers=2, **options) for rank in range(2)]
    iterators = [iter(loader) for loader in saved]
    seen = [i for iterator in iterators for _ in range(3) for i in next(iterator)["id"].tolist()]
    state = saved[0].state_dict()
    assert saved[1].state_dict() == state
    for world, threads in ((4, 8), (1, 0)):
        rest = []
        for rank in range(world):
            loader = hr.DataLoader(
                hr.open(tmp_path / "d"), 16, True, rank=rank, world_size=world, num_workers=threads, uneven="exact", **options
            )
            loader.load_state_dict(json.loads(json.dumps(state)))
            rest += [i for batch in loader for i in batch["id"][batch["valid"]].tolist()]
        assert sorted(seen + rest) == list(range(960))  # all of the epoch, nothing twice
        assert len(seen) == 96


def mixture_of(folder: Path) -> Any:
    """600 positions over three sources, one of them in memory; `id` is different in all."""
    stored = [numbered(folder / f"s{k}", count, chunk_samples=32) for k, count in enumerate((300, 200))]
    columns = [{"id": np.asarray(one[:]["id"]) + 1000 * k} for k, one in enumerate(stored)]
    return hr.mix([hr.from_arrays(one) for one in columns], weights=[1, 3], num_samples=600)


@pytest.mark.parametrize("kind", ["mixture", "weights", "skip"])
def test_other_orders_of_2_ranks_go_on_as_4_of_8_threads_and_as_1_of_none(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"seed": 6}
    left_out: set[int] = set()
    if kind == "mixture":
        dataset = mixture_of(tmp_path)
    else:
        dataset = numbered(tmp_path / "d", 640, chunk_samples=8)
        if kind == "weights":
            options["weights"] = np.arange(640) % 5 + 1.0
        else:
            damage(tmp_path / "d", 0, [40, 160, 600])
            left_out = {*range(40, 48), *range(160, 168), *range(600, 608)}
            options |= {"shuffle": True, "on_error": "skip"}
            dataset = hr.open(tmp_path / "d")
    reference = flat(ids_of(hr.DataLoader(dataset, 16, rank=0, world_size=1, **options)))
    saved = [hr.DataLoader(dataset, 16, rank=rank, world_size=2, num_workers=2, **options) for rank in range(2)]
    iterators = [iter(loader) for loader in saved]
    seen = [i for iterator in iterators for _ in range(3) for i in next(iterator)["id"].tolist()]
    states = [loader.state_dict() for loader in saved]
    assert all({**state, "skipped": None} == {**states[0], "skipped": None} for state in states)  # What failed is each rank's own.
    for world, threads in ((4, 8), (1, 0)):
        rest = []
        for rank in range(world):
            loader = hr.DataLoader(dataset, 16, rank=rank, world_size=world, num_workers=threads, uneven="exact", **options)
            loader.load_state_dict(json.loads(json.dumps(states[rank % 2])))
            rest += [i for batch in loader for i in batch["id"][batch["valid"]].tolist()]
            assert {*loader.state_dict().get("skipped", ())} <= left_out
        assert sorted(seen + rest) == sorted(reference)
        assert not left_out & {*seen, *rest}
        if kind == "skip":
            assert len(reference) == 640 - len(left_out)


def test_after_an_append_the_old_version_resumes_and_the_new_one_refuses(tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "d", 100)
    loader = hr.DataLoader(dataset, 10, True)
    iterator = iter(loader)
    seen = [next(iterator)["id"].tolist() for _ in range(3)]
    state = loader.state_dict()
    ids = np.arange(100, 150)
    more = {"id": ids, "x": np.zeros((50, 3), np.float32), "name": [f"n{i}" for i in ids]}
    hr.write(tmp_path / "d", more, append=True)
    grown = hr.DataLoader(hr.open(tmp_path / "d"), 10, True)
    with pytest.raises(hr.ChangedError, match=r"num_samples: saved 100, now 150.*resume with the same dataset version"):
        grown.load_state_dict(state)
    old = hr.DataLoader(hr.open(tmp_path / "d", version=1), 10, True)
    old.load_state_dict(state)
    assert sorted(flat(seen + ids_of(old))) == list(range(100))


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_and_left_out_samples_are_resumed(tmp_path: Path, workers: int) -> None:
    numbered(tmp_path / "d", 240, chunk_samples=8)
    damage(tmp_path / "d", 0, [40, 160])
    for options in ({"weights": np.arange(240) + 1.0}, {}):
        loader = hr.DataLoader(hr.open(tmp_path / "d"), 16, None if options else True, on_error="skip", num_workers=workers, **options)
        iterator = iter(loader)
        batches, states = [], []
        for batch in iterator:
            batches.append(batch["id"].tolist())
            states.append(json.loads(json.dumps(loader.state_dict())))
        assert set(states[-1]["skipped"]) <= {*range(40, 48), *range(160, 168)}
        assert states[-1]["skipped"]
        for step in (0, 6, 13):
            again = hr.DataLoader(hr.open(tmp_path / "d"), 16, None if options else True, on_error="skip", num_workers=workers, **options)
            again.load_state_dict(states[step])
            assert ids_of(again) == batches[step + 1 :]
            assert again.state_dict()["skipped"] == states[-1]["skipped"]
