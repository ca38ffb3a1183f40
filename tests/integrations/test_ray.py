"""headrace.DataLoader inside Ray Train: two workers of a TorchTrainer on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train.torch
import torch

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


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=True)
    yield
    ray.shutdown()


def train(config: dict[str, Any]) -> None:
    """What each worker does."""
    loader = hr.DataLoader(hr.open(config["data"]), batch_size=4, shuffle=True, **config["options"])
    batches = ray.train.torch.prepare_data_loader(loader)
    model = ray.train.torch.prepare_model(torch.nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = []
    for epoch in range(2):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.append(batch["id"].tolist())
    rank = ray.train.get_context().get_world_rank()
    result = {
        "seen": seen,
        "batches": loader.stats()["batches"],
        "options": {name: getattr(batches, name) for name in config["options"]},
    }
    Path(config["out"], f"rank{rank}.json").write_text(json.dumps(result))
    ray.train.report({"batches": len(seen)})


def test_two_workers_read_a_share_each(cluster: None, path: Path, dataset: hr.Dataset, tmp_path: Path) -> None:
    trainer = ray.train.torch.TorchTrainer(
        train,
        train_loop_config={"data": str(path), "out": str(tmp_path), "options": OPTIONS},
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(tmp_path / "ray"), name="job"),
    )
    trainer.fit()
    for rank in range(2):
        loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, rank=rank, world_size=2, **OPTIONS)
        result = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert result["seen"] == [batch["id"].tolist() for _ in range(2) for batch in loader]
        assert result["batches"] == 12
        assert result["options"] == OPTIONS
