"""Lightning's Fabric with two processes, which it starts itself: python lightning_fabric_job.py DATA OUT."""

from __future__ import annotations

import sys

import lightning as L
import torch
from recording import record

import headrace as hr

OPTIONS = {"seed": 7, "order": "window", "window": 2, "on_error": "skip", "max_errors": 3, "prefetch_bytes": 1 << 20, "num_workers": 2}
data, out = sys.argv[1:]

fabric = L.Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
model = torch.nn.Linear(4, 3)
model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), 0.1))
loader = hr.DataLoader(hr.open(data), batch_size=4, shuffle=True, **OPTIONS)
batches = fabric.setup_dataloaders(loader)
for _ in range(2):
    for batch in batches:
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        record(out, fabric.global_rank, batch["id"].tolist())
options = {name: getattr(loader, name) for name in OPTIONS}
record(out, fabric.global_rank, {"batches": loader.stats()["batches"], "world": loader.partition.world_size, "options": options})
