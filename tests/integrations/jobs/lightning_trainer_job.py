"""Lightning's Trainer with two processes, which it starts itself: python lightning_trainer_job.py DATA OUT."""

from __future__ import annotations

import sys

import lightning as L
import torch
from recording import record

import headrace as hr

OPTIONS = {"seed": 7, "order": "window", "window": 2, "on_error": "skip", "max_errors": 3, "prefetch_bytes": 1 << 20, "num_workers": 2}
data, out = sys.argv[1:]


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
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_progress_bar=False, enable_checkpointing=False
)
trainer.fit(Model(), loader, validation)
assert trainer.train_dataloader is loader
assert trainer.val_dataloaders is validation
options = {name: getattr(loader, name) for name in OPTIONS}
record(out, trainer.global_rank, {"batches": loader.stats()["batches"], "world": loader.partition.world_size, "options": options})
