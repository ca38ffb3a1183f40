"""Two epochs under torchrun, with DDP or FSDP; one rank is killed in the second, and all go on from the last checkpoint.

torchrun ... torchrun_job.py DATA OUT (ddp | fsdp) STEP_TO_DIE
"""

from __future__ import annotations

import os
import signal
import sys

import torch
import torch.distributed as dist
from recording import record
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import headrace as hr

data, out, kind, step_to_die = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))
if kind == "ddp":
    model = DistributedDataParallel(model)
else:
    fully_shard(model, mesh=dist.device_mesh.init_device_mesh("cpu", (2,)))
optimizer = torch.optim.SGD(model.parameters(), 0.1)

loader = hr.DataLoader(hr.open(data), batch_size=4, shuffle=True, seed=3, num_workers=2)
checkpoint = os.path.join(out, "checkpoint.pt")
first = 0
if os.path.exists(checkpoint):
    saved = torch.load(checkpoint)
    loader.load_state_dict(saved["loader"])
    first = saved["epoch"]

step = len(loader) * first
for epoch in range(first, 2):
    loader.set_epoch(epoch)
    for batch in loader:
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state = {"epoch": epoch, "loader": loader.state_dict()}
        if rank == 0:
            torch.save(state, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)
        dist.barrier()
        record(out, rank, [epoch, batch["id"].tolist(), loss.item() > 0])
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and rank == 1 and state["loader"]["position"] == step_to_die * 8 and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
assert loader.partition.world_size == 2
record(out, rank, {"batches": loader.stats()["batches"], "restarts": int(os.environ["TORCHELASTIC_RESTART_COUNT"])})
dist.destroy_process_group()
