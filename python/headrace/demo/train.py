"""A small model that says whether a flight arrives late, its training loop, and its score. The loop times its own waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

__all__ = ["LateFlight", "TrainingRun", "area_under_curve", "one_torch_thread", "score", "train"]

Batches = Iterable[dict[str, torch.Tensor]]


class LateFlight(nn.Module):
    """Embeddings of the codes beside the numbers, then two hidden layers; forward gives logits of shape (batch,)."""

    def __init__(self, num_numbers: int, cardinalities: Sequence[int]) -> None:
        super().__init__()
        widths = [min(16, (count + 3) // 2) for count in cardinalities]
        self.embeddings = nn.ModuleList(nn.Embedding(count, width) for count, width in zip(cardinalities, widths, strict=True))
        self.layers = nn.Sequential(
            nn.Linear(num_numbers + sum(widths), 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Logits of shape (batch,) for numbers float32 (batch, k) and codes int64 (batch, c)."""
        embedded = [embedding(codes[:, column]) for column, embedding in enumerate(self.embeddings)]
        logits: torch.Tensor = self.layers(torch.cat([numbers, *embedded], dim=1)).squeeze(1)
        return logits


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a training loop saw. The share of `seconds` spent waiting for batches is the loader's stall share."""

    samples: int
    seconds: float
    wait_seconds: float
    losses: list[float]  # one a step: equal lists mean equal batches in equal order
    model: LateFlight

    @property
    def samples_per_second(self) -> float:
        """Throughput of the whole loop."""
        return self.samples / self.seconds

    @property
    def stall_share(self) -> float:
        """Waiting / wall time, in [0, 1]; lower is better."""
        return self.wait_seconds / self.seconds


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on one thread inside the block.

    Its threads spin while they wait for each other: on a busy machine both its gathers and its training become several times slower, and
    ratios mean nothing. On one thread a loader's own threads have the other cores, and the result is the same on every machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(
    epoch_batches: Callable[[int], Batches], *, num_numbers: int, cardinalities: Sequence[int], epochs: int, seed: int
) -> TrainingRun:
    """Train a new model; the weights and the dropout depend on `seed` alone. epoch_batches(e) gives the batches of epoch e."""
    torch.manual_seed(seed)
    model = LateFlight(num_numbers, cardinalities)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    loss_of = nn.BCEWithLogitsLoss()
    losses: list[torch.Tensor] = []
    samples, wait_seconds = 0, 0.0
    begin = time.perf_counter()
    for epoch in range(epochs):
        asked = time.perf_counter()
        for batch in epoch_batches(epoch):
            wait_seconds += time.perf_counter() - asked
            loss = loss_of(model(batch["numbers"], batch["codes"]), batch["late"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            samples += len(batch["late"])
            asked = time.perf_counter()
        wait_seconds += time.perf_counter() - asked
    seconds = time.perf_counter() - begin
    return TrainingRun(samples=samples, seconds=seconds, wait_seconds=wait_seconds, losses=torch.stack(losses).tolist(), model=model)


def score(model: LateFlight, batches: Batches) -> float:
    """Area under the ROC curve over `batches`."""
    model.eval()
    logits, late = [], []
    with torch.inference_mode():
        for batch in batches:
            logits.append(model(batch["numbers"], batch["codes"]))
            late.append(batch["late"].clone())
    return area_under_curve(torch.cat(late).numpy(), torch.cat(logits).numpy())


def area_under_curve(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """The exact area under the ROC curve, from ranks; ties count half. Raises ValueError unless both classes are there."""
    positive = np.asarray(labels) > 0.5
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        raise ValueError(f"the area needs both classes, found {positives} late and {negatives} other flights")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(sizes) - (sizes - 1) / 2  # ranks from 1; a tie shares the mean of its ranks
    rank_sum = float(mean_ranks[group][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
