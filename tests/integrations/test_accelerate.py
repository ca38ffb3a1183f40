"""headrace.DataLoader inside Hugging Face Accelerate."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.state import AcceleratorState, GradientState, PartialState
from integrations.launch import lines_of, torchrun

import headrace as hr

OPTIONS: dict[str, Any] = {
    "seed": 7,
    "order": "window",
    "window": 2,
    "on_error": "skip",
    "max_errors": 3,
    "prefetch_bytes": 1 << 20,
    "num_workers": 2,
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Accelerate keeps its state for a whole process."""
    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def ids(batches: Any) -> list[list[int]]:
    return [batch["id"].tolist() for batch in batches]


def test_prepare_keeps_the_loader_and_its_options(dataset: hr.Dataset) -> None:
    expected = ids(hr.DataLoader(dataset, 4, shuffle=True, **OPTIONS))
    accelerator = Accelerator(cpu=True)
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, **OPTIONS)
    model = torch.nn.Linear(4, 3)
    prepared, model, optimizer = accelerator.prepare(loader, model, torch.optim.SGD(model.parameters(), 0.1))
    assert prepared is loader
    assert {name: getattr(prepared, name) for name in OPTIONS} == OPTIONS
    seen = []
    for batch in prepared:
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        seen.append(batch["id"].tolist())
    assert seen == expected
    assert prepared.stats()["batches"] == len(expected) == 11  # All of them came from the engine.
    assert accelerator.prepare(prepared) is loader


def test_without_an_accelerator_the_loader_promises_nothing(dataset: hr.Dataset) -> None:
    loader = hr.DataLoader(dataset, 4)
    assert not loader._is_accelerate_prepared
    assert not loader.use_stateful_dataloader
    assert type(iter(loader)).__name__ == "NativeIterator"


@pytest.mark.parametrize(
    "options", [{}, {"drop_last": True}, {"shuffle": True, "num_workers": 1}, {"rank": 0, "world_size": 4, "uneven": "drop"}]
)
def test_gradients_accumulate_to_the_end_of_each_epoch(dataset: hr.Dataset, options: dict[str, Any]) -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    loader, model = accelerator.prepare(hr.DataLoader(dataset, 4, **options), torch.nn.Linear(4, 3))
    steps = len(loader)
    for _ in range(2):
        synced = []
        for _batch in loader:
            with accelerator.accumulate(model):
                synced.append(accelerator.sync_gradients)
        # The last batch ends an accumulation, and the next epoch begins a new one: as with Accelerate's own loader.
        assert synced == [(step + 1) % 4 == 0 or step == steps - 1 for step in range(steps)]
    assert not GradientState().in_dataloader


def test_a_pass_that_is_left_does_not_hide_the_one_around_it(dataset: hr.Dataset) -> None:
    accelerator = Accelerator(cpu=True)
    outer, inner = accelerator.prepare(hr.DataLoader(dataset, 21), hr.DataLoader(dataset, 4))
    ends = []
    for _ in outer:
        for _ in inner:
            break
        ends.append(accelerator.gradient_state.end_of_dataloader)
    assert ends == [False, True]


def test_metrics_count_each_sample_once(dataset: hr.Dataset) -> None:
    accelerator = Accelerator(cpu=True)
    loader = accelerator.prepare(hr.DataLoader(dataset, 4))
    gathered = [i for batch in loader for i in accelerator.gather_for_metrics(batch["id"]).tolist()]
    assert gathered == list(range(42))


def test_save_state_and_load_state_continue_within_an_epoch(dataset: hr.Dataset, tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    loader = accelerator.prepare(hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5))
    whole = [ids(loader), ids(loader)]
    batches = iter(loader)
    third = [next(batches)["id"].tolist() for _ in range(3)]
    accelerator.save_state(str(tmp_path / "checkpoint"))
    third += ids(batches)
    assert len({str(epoch) for epoch in [*whole, third]}) == 3
    _again = Accelerator(cpu=True)
    again = _again.prepare(hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5))
    _again.load_state(str(tmp_path / "checkpoint"))
    assert ids(again) == third[3:]
    assert again.stats()["batches"] == 8


@pytest.mark.parametrize(
    "options", [{"shuffle": True, "seed": 5}, {"sampler": range(41, -1, -1)}, {"shuffle": True, "num_workers": 2, "drop_last": True}]
)
def test_skip_first_batches_gives_the_rest_of_the_epoch_from_the_engine(dataset: hr.Dataset, options: dict[str, Any]) -> None:
    accelerator = Accelerator(cpu=True)
    expected = ids(hr.DataLoader(dataset, batch_size=4, **options)), ids(hr.DataLoader(dataset, batch_size=4, **options))
    loader = accelerator.prepare(hr.DataLoader(dataset, batch_size=4, **options))
    rest = accelerator.skip_first_batches(loader, 6)
    assert isinstance(rest, torch.utils.data.DataLoader)
    assert len(rest) == len(loader) - 6
    assert ids(rest) == expected[0][6:]
    assert loader.stats()["batches"] == len(rest)  # All of them came from the loader's own engine.
    assert loader.state_dict()["finished"]
    whole = hr.DataLoader(dataset, batch_size=4, **options)
    assert ids(whole) + ids(whole) == expected[0] + ids(loader)  # The loader goes on with the next epoch.


def test_the_function_that_a_trainer_imported_by_name_skips_natively(dataset: hr.Dataset) -> None:
    accelerator = Accelerator(cpu=True)
    loader = accelerator.prepare(hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5))
    loader.set_epoch(3)
    expected = ids(loader)
    rest = skip_first_batches(skip_first_batches(loader, 2), num_batches=4)
    rest.set_epoch(3)
    ends = [(batch["id"].tolist(), accelerator.gradient_state.end_of_dataloader) for batch in rest]
    assert ends == [(batch, i == 4) for i, batch in enumerate(expected[6:])]
    rest.set_epoch(3)
    iterator = iter(rest)
    next(iterator)
    again = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5)
    again.load_state_dict(loader.state_dict())  # What save_state() writes.
    assert ids(again) == expected[7:]
    assert ids(skip_first_batches(loader, 11)) == []
    copied = pickle.loads(pickle.dumps(skip_first_batches(hr.DataLoader(dataset, 4), 9)))
    assert ids(copied) == [[36, 37, 38, 39], [40, 41]]


def test_other_loaders_are_skipped_as_they_were(dataset: hr.Dataset) -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(hr.DataLoader(dataset, 4))
    rest = skip_first_batches(torch.utils.data.DataLoader(range(10), 3), 2)  # type: ignore[arg-type]
    assert type(rest.batch_sampler).__name__ == "SkipBatchSampler"
    assert [batch.tolist() for batch in rest] == [[6, 7, 8], [9]]
    python = hr.DataLoader(list(range(10)), 3)  # type: ignore[arg-type]
    assert [batch.tolist() for batch in skip_first_batches(python, 2)] == [[6, 7, 8], [9]]


def test_a_loader_that_follows_a_sampler_stays_native_in_one_process(dataset: hr.Dataset) -> None:
    accelerator = Accelerator(cpu=True)
    loader = hr.DataLoader(dataset, 4, sampler=range(41, -1, -1))
    assert accelerator.prepare(loader) is loader
    assert [i for batch in ids(loader) for i in batch] == list(range(41, -1, -1))
    assert loader.stats()["batches"] == 11


def test_torchs_own_datasets_of_python_are_left_to_accelerate() -> None:
    accelerator = Accelerator(cpu=True)
    loader = accelerator.prepare(hr.DataLoader([1, 2, 3], 2))  # type: ignore[arg-type]
    assert type(loader).__name__ == "DataLoaderShard"
    assert [batch.tolist() for batch in loader] == [[1, 2], [3]]


def test_two_processes_read_a_share_each_and_gather_each_sample_once(path: Path, tmp_path: Path) -> None:
    torchrun("accelerate_job.py", path, tmp_path)
    for rank in range(2):
        loader = hr.DataLoader(hr.open(path), batch_size=4, shuffle=True, seed=3, rank=rank, world_size=2)
        *steps, rest, fed, end = lines_of(tmp_path, rank)
        assert steps == ids(loader) + ids(loader)
        assert rest == ids(loader)[4:]
        filled = [*range(42), *range(6)]  # Accelerate's way.
        followed = [filled[b : b + 4] for b in range(4 * rank, 48, 8)]
        assert fed == {"type": "DataLoaderShard", "followed": followed, "says why": [True]}
        assert end == {"gathered": list(range(42)), "batches": 14, "world": 2}
