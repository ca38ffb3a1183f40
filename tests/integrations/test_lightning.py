"""headrace.DataLoader inside Lightning's Trainer and Fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from integrations.launch import lines_of, python
from lightning.pytorch.callbacks import ModelCheckpoint

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


class Model(L.LightningModule):
    """Notes the ids of each batch, as (stage, epoch, ids)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.seen: list[tuple[str, int, list[int]]] = []

    def note(self, stage: str, batch: dict[str, Any]) -> torch.Tensor:
        self.seen.append((stage, self.current_epoch, batch["id"].tolist()))
        return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["labels"])

    def training_step(self, batch: dict[str, Any], _step: int) -> torch.Tensor:
        return self.note("fit", batch)

    def validation_step(self, batch: dict[str, Any], _step: int) -> None:
        self.note("validate", batch)

    def predict_step(self, batch: dict[str, Any], _step: int) -> list[int]:
        return batch["id"].tolist()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def ids(self, stage: str) -> list[list[int]]:
        return [ids for noted, _, ids in self.seen if noted == stage]


def trainer(root: Path, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    return L.Trainer(default_root_dir=root, **{**quiet, "enable_checkpointing": False, "num_sanity_val_steps": 0, **options})


def epochs(dataset: hr.Dataset, count: int, **options: Any) -> list[list[int]]:
    loader = hr.DataLoader(dataset, batch_size=4, **options)
    return [batch["id"].tolist() for _ in range(count) for batch in loader]


def test_fit_reads_from_the_engine_with_all_options(dataset: hr.Dataset, tmp_path: Path) -> None:
    model = Model()
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, **OPTIONS)
    validation = hr.DataLoader(dataset, batch_size=8)
    t = trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1)
    t.fit(model, loader, validation)
    assert t.train_dataloader is loader
    assert {name: getattr(loader, name) for name in OPTIONS} == OPTIONS
    assert model.ids("fit") == epochs(dataset, 2, shuffle=True, **OPTIONS)
    assert model.ids("validate") == [list(range(8))] + 2 * [list(range(b, min(b + 8, 42))) for b in range(0, 42, 8)]
    assert loader.stats()["batches"] == 22
    assert validation.stats()["batches"] == 13


@pytest.mark.parametrize("step", [4, 11, 15])
def test_a_checkpoint_within_an_epoch_is_resumed_at_the_next_batch(dataset: hr.Dataset, tmp_path: Path, step: int) -> None:
    whole = epochs(dataset, 2, shuffle=True, seed=5)
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="at", every_n_train_steps=step)
    first = Model()
    trainer(tmp_path, max_steps=step, enable_checkpointing=True, callbacks=[checkpoint]).fit(
        first, hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5)
    )
    model, loader = Model(), hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5, num_workers=2)
    trainer(tmp_path, max_epochs=2).fit(model, loader, ckpt_path=tmp_path / "at.ckpt")
    assert first.ids("fit") == whole[:step]
    assert model.ids("fit") == whole[step:]
    assert loader.stats()["batches"] == 22 - step


def test_loaders_of_a_data_module_serve_fit_validate_test_and_predict(dataset: hr.Dataset, tmp_path: Path) -> None:
    made: dict[str, hr.DataLoader] = {}

    class Data(L.LightningDataModule):
        def train_dataloader(self) -> hr.DataLoader:
            return made.setdefault("fit", hr.DataLoader(dataset, batch_size=4, shuffle=True, **OPTIONS))

        def val_dataloader(self) -> list[hr.DataLoader]:
            return [made.setdefault("validate", hr.DataLoader(dataset, batch_size=8))]

        def predict_dataloader(self) -> hr.DataLoader:
            return made.setdefault("predict", hr.DataLoader(dataset, batch_size=8, num_workers=2, prefetch_bytes=1 << 20))

    model = Model()
    t = trainer(tmp_path, max_epochs=1)
    t.fit(model, datamodule=Data())
    assert model.ids("fit") == epochs(dataset, 1, shuffle=True, **OPTIONS)
    assert made["fit"].stats()["batches"] == 11
    assert t.predict(model, datamodule=Data()) == [list(range(b, min(b + 8, 42))) for b in range(0, 42, 8)]
    # To know the indices of predictions, Lightning makes the loader again around its batch sampler: of the same class, with the same options.
    rebuilt = t.predict_dataloaders
    assert type(rebuilt) is hr.DataLoader
    assert (rebuilt.prefetch_bytes, rebuilt.num_workers, rebuilt.stats()["batches"]) == (1 << 20, 2, 6)


def test_overfit_batches_takes_the_same_batches_in_the_stored_order(dataset: hr.Dataset, tmp_path: Path) -> None:
    model = Model()
    trainer(tmp_path, max_epochs=2, overfit_batches=3).fit(model, hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=3))
    assert model.ids("fit") == 2 * [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    sequential = hr.DataLoader(dataset, batch_size=4)
    t = trainer(tmp_path, max_epochs=1, overfit_batches=3)
    t.fit(Model(), sequential)
    assert t.train_dataloader is sequential  # Nothing to undo.


@pytest.mark.parametrize("kind", ["trainer", "fabric"])
def test_two_processes_read_a_share_each(path: Path, dataset: hr.Dataset, tmp_path: Path, kind: str) -> None:
    python(f"lightning_{kind}_job.py", path, tmp_path)
    for rank in range(2):
        *steps, end = lines_of(tmp_path, rank)
        assert steps == epochs(dataset, 2, shuffle=True, rank=rank, world_size=2, **OPTIONS)
        assert end == {"batches": 12, "world": 2, "options": OPTIONS}


def test_two_processes_resume_from_the_checkpoint_of_one(path: Path, dataset: hr.Dataset, tmp_path: Path) -> None:
    python("lightning_trainer_job.py", path, tmp_path, 8)
    first = [lines_of(tmp_path, rank)[:-1] for rank in range(2)]
    for rank in range(2):
        (tmp_path / f"rank{rank}.jsonl").unlink()
    python("lightning_trainer_job.py", path, tmp_path)
    for rank in range(2):
        *steps, end = lines_of(tmp_path, rank)
        assert first[rank] + steps == epochs(dataset, 2, shuffle=True, rank=rank, world_size=2, **OPTIONS)
        assert (len(steps), end["batches"]) == (4, 4)


def test_fabric_resumes_within_an_epoch_though_it_counts_from_0_again(dataset: hr.Dataset, tmp_path: Path) -> None:
    fabric = L.Fabric(accelerator="cpu", devices=1)
    whole = epochs(dataset, 4, shuffle=True, seed=5)
    loader = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5)
    batches = fabric.setup_dataloaders(loader)
    seen = []
    for _ in range(2):
        for batch in batches:
            seen.append(batch["id"].tolist())
            if len(seen) == 14:
                break
    fabric.save(tmp_path / "at", {"loader": loader.state_dict()})
    again = hr.DataLoader(dataset, batch_size=4, shuffle=True, seed=5)
    again.load_state_dict(fabric.load(tmp_path / "at")["loader"])
    batches = fabric.setup_dataloaders(again)
    for _ in range(3):
        seen += [batch["id"].tolist() for batch in batches]
    assert seen == whole
    assert again.stats()["batches"] == 30
