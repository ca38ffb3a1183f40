"""Tensors that torch moves under a loader's feet: found again at the next pass, an error in the pass that is under way, never freed memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
import torch
import torch.utils.data as data

import headrace as hr

MOVES: dict[str, Callable[[torch.Tensor], Any]] = {
    "share_memory_": lambda tensor: tensor.share_memory_(),
    "given to another process": lambda tensor: ForkingPickler.dumps(tensor),
    "another storage": lambda tensor: tensor.set_(torch.clone(tensor)),  # type: ignore[call-overload]
}
KINDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "TensorDataset": data.TensorDataset,
    "from_arrays": lambda tensor: hr.from_arrays([tensor]),
    "Subset": lambda tensor: data.Subset(data.TensorDataset(tensor), range(tensor.shape[0])),
    "Subset of from_arrays": lambda tensor: data.Subset(hr.from_arrays([tensor]), range(tensor.shape[0])),  # type: ignore[arg-type]
    "a view": lambda tensor: hr.from_arrays([tensor]).cast({"0": "float64"}),
}


def large() -> torch.Tensor:
    """20 MB: freed memory of that size leaves the process, so that reading it is a crash."""
    return torch.arange(20_000 * 256, dtype=torch.float32).reshape(20_000, 256)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("move", MOVES)
def test_a_pass_after_the_move_reads_the_new_place(move: str, kind: str, workers: int) -> None:
    tensor = large()
    dataset = KINDS[kind](tensor)
    loader = hr.DataLoader(dataset, 5000, num_workers=workers, parallel="native")
    assert len(list(loader)) == 4
    MOVES[move](tensor)
    tensor[7] = 3.0  # Read from where it is now.
    assert torch.equal(torch.cat([batch[0] for batch in loader]), tensor)
    if isinstance(dataset, hr.ArrayDataset):
        assert dataset[7][0].tolist() == [3.0] * 256


def rest(loader: hr.DataLoader) -> None:
    """Wait until nothing is read ahead: what torch frees in a move is gone at once, and whoever reads it then crashes."""
    while (stats := loader.stats())["batches_in_flight"] != stats["batches_ready"]:
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_move_within_a_pass_ends_it_with_an_error(kind: str, workers: int) -> None:
    tensor = large()
    loader = hr.DataLoader(KINDS[kind](tensor), 1000, num_workers=workers, parallel="native")
    first, second = iter(loader), iter(loader)
    next(first)
    next(second)
    if workers > 0:
        rest(loader)
    tensor.share_memory_()
    with pytest.raises(hr.ChangedError, match="moved while this pass read it"):
        next(first)
    assert list(first) == []
    assert len(list(loader)) == 20  # The table is made anew here: the other pass still has the old one.
    with pytest.raises(hr.ChangedError, match="moved"):
        next(second)


def test_a_worker_of_another_loader_over_the_same_dataset(tmp_path: Any) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(
        textwrap.dedent("""
            import torch, torch.utils.data as data, headrace as hr
            if __name__ == "__main__":
                dataset = data.TensorDataset(torch.randn(200_000, 8), torch.arange(200_000))
                train = hr.DataLoader(dataset, 1024, True, num_workers=2)
                list(train)
                next(iter(data.DataLoader(dataset, 1024, num_workers=1, multiprocessing_context="spawn")))
                print(sum(len(y) for _, y in train), int(sum(y.sum() for _, y in train)))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200000", str(200_000 * 199_999 // 2)]
