"""Lightning's Trainer with two processes, which it starts itself: python lightning_trainer_job.py DATA OUT [STOP].

With STOP it saves OUT/at.ckpt after so many steps and ends; a run that finds that file continues from it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from recording import record

import headrace as hr

OPTIONS = {"seed": 7, "order": "window", "window": 2, "on_error": "skip", "max_errors": 3, "prefetch_bytes": 1 << 20, "num_workers": 2}
data, out, *stop = sys.argv[1:]


class Model(L.LightningModule):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def training_step(self, batch, _step):
        record(out, self.global_rank, batch["id"].tolist())
        return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["labels"])

    def validation_step(self, batch, _step):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


loader = hr.DataLoader(hr.open(data), batch_size=4, shuffle=True, **OPTIONS)
validation = hr.DataLoader(hr.open(data), batch_size=4)
steps = int(stop[0]) if stop else -1
checkpoint = Path(out, "at.ckpt")
save = ModelCheckpoint(dirpath=out, filename="at", every_n_train_steps=max(steps, 1), save_top_k=1 if stop else 0)
quiet = {"logger": False, "enable_progress_bar": False}
trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, max_steps=steps, callbacks=[save], **quiet)
trainer.fit(Model(), loader, validation, ckpt_path=checkpoint if checkpoint.exists() else None)
assert trainer.train_dataloader is loader
assert trainer.val_dataloaders is validation
options = {name: getattr(loader, name) for name in OPTIONS}
record(out, trainer.global_rank, {"batches": loader.stats()["batches"], "world": loader.partition.world_size, "options": options})
