"""headrace.DataLoader inside the Hugging Face Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import headrace as hr

OPTIONS: dict[str, Any] = {"order": "window", "window": 2, "on_error": "skip", "max_errors": 3, "prefetch_bytes": 1 << 20, "num_workers": 2}


class Model(torch.nn.Module):
    """Notes the ids of each batch that it is given while training, and while not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.seen: dict[bool, list[list[int]]] = {True: [], False: []}

    def forward(self, x: torch.Tensor, labels: torch.Tensor, id: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen[self.training].append(id.tolist())
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Trainer(transformers.Trainer):
    """As the README has it."""

    def get_train_dataloader(self) -> hr.DataLoader:
        loader = hr.DataLoader(self.train_dataset, self.args.train_batch_size, shuffle=True, seed=self.args.seed, **OPTIONS)
        return self.accelerator.prepare(loader)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> hr.DataLoader:
        return self.accelerator.prepare(hr.DataLoader(eval_dataset or self.eval_dataset, self.args.eval_batch_size))


def arguments(out: Path, **options: Any) -> transformers.TrainingArguments:
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 4, "num_train_epochs": 3, "seed": 11}
    return transformers.TrainingArguments(output_dir=str(out), **{**quiet, "save_strategy": "no", **options})


def epochs(dataset: hr.Dataset, count: int) -> list[list[int]]:
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=11, **OPTIONS)
    return [batch["id"].tolist() for _ in range(count) for batch in loader]


def test_train_and_evaluate_read_from_the_engine_with_all_options(dataset: hr.Dataset, tmp_path: Path) -> None:
    model = Model()
    trainer = Trainer(model, arguments(tmp_path, gradient_accumulation_steps=2), train_dataset=dataset, eval_dataset=dataset)
    trainer.train()
    loader = trainer.callback_handler.train_dataloader
    assert type(loader) is hr.DataLoader
    assert {name: getattr(loader, name) for name in OPTIONS} == OPTIONS
    assert model.seen[True] == epochs(dataset, 3)
    assert loader.stats()["batches"] == 33
    assert trainer.state.global_step == 3 * 6
    scores = trainer.evaluate()
    assert [i for ids in model.seen[False] for i in ids] == list(range(42))
    assert trainer.callback_handler.eval_dataloader.stats()["batches"] == 6
    assert scores["eval_loss"] > 0


@pytest.mark.parametrize("step", [4, 11, 15, 22])
def test_a_checkpoint_is_resumed_at_the_next_batch(dataset: hr.Dataset, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = epochs(dataset, 3)
    first = Model()
    saving = {"save_strategy": "steps", "save_steps": step}
    Trainer(first, arguments(tmp_path, max_steps=step, **saving), train_dataset=dataset).train()
    assert first.seen[True] == whole[:step]
    monkeypatch.delattr(hr.Dataset, "__getitem__")  # Nothing is read sample by sample.
    model = Model()
    trainer = Trainer(model, arguments(tmp_path), train_dataset=dataset)
    trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert model.seen[True] == whole[step:]
    assert trainer.callback_handler.train_dataloader.stats()["batches"] == 33 - step  # Also what is left of an epoch comes from the engine.
