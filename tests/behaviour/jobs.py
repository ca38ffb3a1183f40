"""Training scripts in processes and sessions of their own, looked at from outside: what they say, which processes they have, what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KINDS = ["native", "process", "thread"]
PATIENCE = float(
    os.environ.get("HEADRACE_PATIENCE", "60")
)  # seconds until a test says that something does not happen; nothing asserts a speed

# What every script begins with. A file of its own, so that workers which are not forked find its classes.
PRELUDE = '''
import os, signal, sys, threading, time
import numpy as np
import torch
from torch.utils import data
import headrace as hr

SAMPLES = 3000

class Squares(data.Dataset):
    """(64 floats, index). Sample `stuck` sleeps, `broken` raises."""
    def __init__(self, stuck=None, broken=None, seconds=1000.0):
        self.stuck, self.broken, self.seconds = stuck, broken, seconds
    def __len__(self):
        return SAMPLES
    def __getitem__(self, index):
        if index == self.stuck:
            time.sleep(self.seconds)
        if index == self.broken:
            raise KeyError(f"no {index}")
        return torch.full((64,), float(index)), index

def loader_of(kind, dataset=None, **options):
    """A loader of batches whose last part are the indices: of a native dataset, or of Python's in processes or threads."""
    options = {"batch_size": 20, "num_workers": 2, **options}
    if kind == "native":
        rows = torch.arange(SAMPLES)
        return hr.DataLoader(data.TensorDataset(rows[:, None].float().expand(-1, 64).contiguous(), rows), **options)
    return hr.DataLoader(Squares() if dataset is None else dataset, parallel=kind, **options)

def indices(batches):
    return [i for batch in batches for i in batch[1].tolist()]

def say(*words):
    print(*words, flush=True)
'''


class Job:
    """A script that runs. `kind` is its first argument; `session` its own, with all processes that it starts."""

    def __init__(
        self, folder: Path, script: str, *arguments: str, stdin: bool = False, wrapper: tuple[str, ...] = (), **options: Any
    ) -> None:
        (folder / "prelude.py").write_text(PRELUDE)
        file = folder / f"job{len(list(folder.glob('job*')))}.py"
        file.write_text(script)
        self.before = set(os.listdir("/dev/shm"))
        self.complaints = file.with_suffix(".err").open("w+")
        with file.open() if stdin else open(os.devnull) as source:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-" if stdin else str(file), *arguments],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=self.complaints,
                text=True,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
                **options,
            )
        self.seen: set[int] = set()

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the job said no more: {self.end(self.process.wait(PATIENCE))}")
        return line.strip()

    def members(self) -> list[int]:
        """Processes of its session that run."""
        found = [pid for pid, session, state in _processes() if session == self.pid and state not in "ZX"]
        self.seen |= set(found)
        return found

    def end(self, status: int = 0) -> tuple[str, str]:
        """Wait for its end, which has this status; nothing is left then. Returns what else it said, and what it complained of."""
        said: list[str] = []
        assert self.process.stdout is not None
        reader = threading.Thread(target=lambda: said.append(self.process.stdout.read()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(PATIENCE)
        if not said:
            os.killpg(self.pid, signal.SIGABRT)
        self.process.wait()
        self.complaints.seek(0)
        err = self.complaints.read()
        assert said, f"the job does not end: {err}"
        assert self.process.returncode == status, err
        self.leaves_nothing()
        return said[0], err

    def leaves_nothing(self) -> None:
        """No process of its session, and no shared memory of theirs."""
        assert wait_for(lambda: not self.members()), f"left behind: {self.members()}"
        names = set(os.listdir("/dev/shm")) - self.before
        assert not [name for name in names if any(str(pid) in name for pid in (self.pid, *self.seen))]


@contextmanager
def job(folder: Path, script: str, *arguments: str, **options: Any) -> Iterator[Job]:
    """A job that is gone afterwards, whatever happened."""
    running = Job(folder, script, *arguments, **options)
    try:
        yield running
    finally:
        for pid in running.members():
            os.kill(pid, signal.SIGKILL)
        running.process.kill()
        running.process.wait()
        running.complaints.close()
        assert running.process.stdout is not None
        running.process.stdout.close()


def wait_for(condition: Any) -> bool:
    """Whether it comes true."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)


def _processes() -> Iterator[tuple[int, int, str]]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry), int(fields[3]), fields[0]
