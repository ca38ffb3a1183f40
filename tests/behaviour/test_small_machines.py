"""Containers and limits: a /dev/shm of 1 MiB, 256 open files, a hundred loaders, batches that are kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.behaviour.jobs import KINDS, job


def small_shm() -> tuple[str, ...]:
    """The words before a command that give it a /dev/shm of 1 MiB."""
    words = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" "$@"')
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a mount: a /dev/shm of one's own takes root and unshare")
    return words


LARGE = """
import sys
from prelude import *

class Large(Squares):
    def __len__(self):
        return 24
    def __getitem__(self, index):
        return torch.full((2_000_000,), float(index)), index

def main(kind):
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    free = os.statvfs("/dev/shm")
    assert free.f_blocks * free.f_frsize <= 1 << 20, "the mount did not take"
    if kind == "native":
        rows = torch.arange(24)
        loader = hr.DataLoader(data.TensorDataset(rows[:, None].float().expand(-1, 2_000_000).contiguous(), rows), 6, num_workers=2)
    else:
        loader = hr.DataLoader(Large(), 6, num_workers=2, parallel=kind)
    for _ in range(2):
        seen = []
        for x, y in loader:  # 48 MB each
            assert torch.equal(x[:, -1], y.float())
            seen += y.tolist()
        assert seen == list(range(24))
    say("all")

import resource
if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_large_batches_with_little_shared_memory(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, LARGE, kind, wrapper=small_shm()) as running:
        assert running.end() == ("all\n", "")


KEPT = """
import resource, sys
from prelude import *

class One(Squares):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        return torch.full((4,), float(index))

def main(kind):
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    if kind == "native":
        loader = hr.DataLoader(data.TensorDataset(torch.arange(1000.0)[:, None].expand(-1, 4).contiguous()), 1, num_workers=2)
        kept = [batch[0] for batch in loader]
    else:
        kept = list(hr.DataLoader(One(), 1, num_workers=2, parallel=kind))
    assert [float(x[0, 3]) for x in kept] == list(range(1000))
    say("all", len(os.listdir("/proc/self/fd")) < 64)

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_batches_that_are_kept_hold_no_descriptors(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, KEPT, kind) as running:
        assert running.end() == ("all True\n", "")


HUNDRED = """
import resource, sys
from prelude import *

def main(kind):
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    loaders = [loader_of(kind, shuffle=True, num_workers=32 if kind == "native" else 1) for _ in range(100)]
    assert threading.active_count() == 1
    if kind == "process":
        # As many at once as the descriptors allow; a hundred one after the other.
        for loader in loaders:
            assert len(indices([next(iter(loader))])) == 20
    else:
        iterators = [iter(loader) for loader in loaders]
        for iterator in iterators:
            assert len(indices([next(iterator)])) == 20
        if kind == "native":
            tasks = len(os.listdir("/proc/self/task"))
            assert tasks <= len(os.sched_getaffinity(0)) + 8 + outside, tasks
        del iterator
        iterators.clear()
    end = time.monotonic() + 60
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert threading.active_count() == 1, threading.enumerate()
    say("all", len(os.listdir("/proc/self/fd")) < 64)

outside = len(os.listdir("/proc/self/task"))  # torch's own and numpy's
if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_loaders_with_256_descriptors(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, HUNDRED, kind) as running:
        assert running.end() == ("all True\n", "")
