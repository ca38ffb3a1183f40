"""Accelerate with two processes: torchrun ... accelerate_job.py DATA OUT."""

from __future__ import annotations

import sys

import torch
from accelerate import Accelerator
from recording import record

import headrace as hr

data, out = sys.argv[1:]
loader = hr.DataLoader(hr.open(data), batch_size=4, shuffle=True, seed=3)  # Before there is a process group, as many a script has it.
validation = hr.DataLoader(hr.open(data), batch_size=4)
accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
prepared, validation, model, optimizer = accelerator.prepare(loader, validation, model, optimizer)
assert prepared is loader
rank = accelerator.process_index
for _ in range(2):
    for batch in prepared:
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        record(out, rank, batch["id"].tolist())
gathered = [i for batch in validation for i in accelerator.gather_for_metrics(batch["id"]).tolist()]
record(out, rank, {"gathered": gathered, "batches": loader.stats()["batches"], "world": loader.partition.world_size})
accelerator.end_training()
