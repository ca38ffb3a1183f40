"""A generator that the user gives is drawn from when torch draws from it: others that draw meanwhile, and passes that are left, change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.utils.data as data

import headrace as hr

ROWS = 24


def dataset(kind: str) -> Any:
    return data.TensorDataset(torch.arange(ROWS)) if kind == "tensors" else list(range(ROWS))


def numbers(batch: Any) -> list[int]:
    return (batch[0] if isinstance(batch, list) else batch).tolist()  # type: ignore[no-any-return]


def both(run: Any) -> None:
    assert run(hr.DataLoader) == run(data.DataLoader)


KINDS = pytest.mark.parametrize("kind", ["tensors", "python"])
SIZES = pytest.mark.parametrize(("size", "drop_last"), [(4, False), (5, False), (5, True), (24, False), (30, False), (30, True)])


@KINDS
@SIZES
def test_a_pass_inside_another_over_one_generator(kind: str, size: int, drop_last: bool) -> None:
    def run(make: Any) -> Any:
        loader = make(dataset(kind), size, shuffle=True, drop_last=drop_last, generator=torch.Generator().manual_seed(3))
        return [(numbers(batch), [numbers(inner) for inner in loader]) for batch in loader]

    both(run)


@KINDS
@SIZES
@pytest.mark.parametrize("stop", [1, 3, 5, 6])
def test_passes_that_are_left(kind: str, size: int, drop_last: bool, stop: int) -> None:
    def run(make: Any) -> Any:
        generator = torch.Generator().manual_seed(3)
        loader = make(dataset(kind), size, shuffle=True, drop_last=drop_last, generator=generator)
        out: list[Any] = []
        for _ in range(3):
            for step, batch in enumerate(loader, 1):
                out.append((numbers(batch), int(torch.randint(1000, (), generator=generator))))  # As a training step may do.
                if step == stop:
                    break
        return out, generator.get_state().tolist()

    both(run)


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("workers", [1, 2])
def test_with_workers_the_sampler_is_as_far_ahead_as_torchs(workers: int, stop: int) -> None:
    def run(make: Any) -> Any:
        generator = torch.Generator().manual_seed(3)
        loader = make(dataset("tensors"), 4, shuffle=True, generator=generator, num_workers=workers)
        out = []
        for _ in range(2):
            for step, batch in enumerate(loader, 1):
                out.append((numbers(batch), generator.get_state().sum().item()))
                if step == stop:
                    break
        return out

    both(run)


@KINDS
def test_a_place_is_resumed_and_the_next_pass_is_the_same(kind: str) -> None:
    def make(generator: torch.Generator) -> hr.DataLoader:
        return hr.DataLoader(dataset(kind), 4, shuffle=True, generator=generator)

    loader = make(torch.Generator().manual_seed(3))
    iterator = iter(loader)
    head = [numbers(next(iterator)) for _ in range(2)]
    state = loader.state_dict()
    rest = [numbers(batch) for batch in iterator] + [numbers(batch) for batch in loader]
    again = make(torch.Generator().manual_seed(99))
    again.load_state_dict(state)
    assert [numbers(batch) for _ in range(2) for batch in again] == rest
    assert len(head) + len(rest) == 2 * 6
