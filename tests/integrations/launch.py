"""Runs a script of jobs/ as a user would: in processes of its own, and reads what each rank wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

JOBS = Path(__file__).parent / "jobs"


def run(command: list[Any], **environment: str) -> None:
    """Run to the end. Raises AssertionError with everything that was printed if it fails."""
    # One thread for torch's kernels a process: the ranks share few cores.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(JOBS), **environment}
    # torchrun shares its store with the ranks, and after a restart gloo meets the addresses of those that are dead (pytorch issue 135712).
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        env.pop(name, None)
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"


def python(job: str, *arguments: Any) -> None:
    """`python job.py ...`."""
    run([sys.executable, JOBS / job, *arguments])


def torchrun(job: str, *arguments: Any, processes: int = 2, restarts: int = 0) -> None:
    """`torchrun --standalone --nproc-per-node=2 job.py ...`; with `restarts`, all ranks begin again when one dies, at most so often."""
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.2"]
    run([sys.executable, "-m", "torch.distributed.run", *options, JOBS / job, *arguments])


def lines_of(out: Path, rank: int) -> list[Any]:
    """What `record` wrote for a rank, in order."""
    return [json.loads(line) for line in (out / f"rank{rank}.jsonl").read_text().splitlines()]
