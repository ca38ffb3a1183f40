"""Accelerate with two processes: torchrun ... accelerate_job.py DATA OUT."""

from __future__ import annotations

import os
import sys
import warnings

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
rest = accelerator.skip_first_batches(prepared, 4)
record(out, rank, [batch["id"].tolist() for batch in rest])
# A sampler of torch's is cut by Accelerate, which makes a loader of its own for that.
fed = hr.DataLoader(hr.open(data), batch_size=4, sampler=range(42))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    rebuilt = accelerator.prepare(fed)
followed = [batch["id"].tolist() for batch in rebuilt]
reasons = [str(warning.message) for warning in said if warning.category is hr.HeadraceWarning]
record(out, rank, {"type": type(rebuilt).__name__, "followed": followed, "says why": ["seed=0" in reason for reason in reasons]})
gathered = [i for batch in validation for i in accelerator.gather_for_metrics(batch["id"]).tolist()]
record(out, rank, {"gathered": gathered, "batches": loader.stats()["batches"], "world": loader.partition.world_size})
accelerator.end_training()
# Not by way of the interpreter's end: a thread of gloo's that still holds a gathered tensor wants Python's lock to drop it, and aborts the process if
# there is no interpreter any more (pytorch issue 190489; one run in six on a busy machine).
os._exit(0)
