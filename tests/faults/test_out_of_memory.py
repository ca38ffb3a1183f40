"""An address space that is full: MemoryError, memory given back, and a loader that goes on once there is room. Through every reader.

Each single allocation in turn: tests/cpp/pipeline/out_of_memory_test.cc.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from tests.faults.faulty_disk import READERS
from tests.loader.samples import answer_of

COUNT, WIDTH = 4096, 2048  # 32 MiB of float32

LIMITED = """
import json, resource, sys
import numpy as np
import torch
import headrace as hr

path, readers, workers = sys.argv[1], sys.argv[2].split(), int(sys.argv[3])

def vm_bytes():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def limit(more):
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY if more is None else vm_bytes() + more, resource.RLIM_INFINITY))

def right(batch):
    first = batch["x"][:, 0]
    return bool(torch.equal(batch["x"][:, -1] - first, torch.full_like(first, 2047.0)))

def run(reader):
    dataset = hr.open(path, reader=reader)
    small = hr.DataLoader(dataset, 16, True, num_workers=workers)
    rows = sum(len(batch["x"]) for _, batch in zip(range(8), small))  # Libraries, threads and their stacks are there.
    large = hr.DataLoader(dataset, 4096, num_workers=workers)
    answer = {"errors": [], "small": 0}

    limit(16 << 20)
    iterator = iter(large)
    for _ in range(2):
        try:
            next(iterator)
            break
        except MemoryError as error:
            answer["errors"].append(str(error))
        except StopIteration:
            break
    answer["in_flight"] = large.stats()["bytes_in_flight"], large.stats()["batches_in_flight"]
    del iterator

    limit(512 << 20)  # A thread that is started now takes 8 MiB for its stack and 64 MiB for its malloc, of addresses.
    for batch in small:  # What fits, the cache of blocks included, goes on meanwhile.
        assert right(batch)
        answer["small"] += len(batch["x"])

    limit(None)
    batches = list(large)
    answer["large"] = [len(batch["x"]) for batch in batches], [right(batch) for batch in batches]
    return answer

print(json.dumps({reader: run(reader) for reader in readers}))
"""


@pytest.fixture(scope="module", params=["none", "zstd"])
def stored(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """4096 samples of 8 KiB, raw or compressed."""
    where = tmp_path_factory.mktemp("memory") / "d"
    x = np.arange(COUNT, dtype=np.float32)[:, None] + np.arange(WIDTH, dtype=np.float32)
    hr.write(where, {"x": x}, codec=request.param, chunk_samples=64)
    return where


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_address_space_is_a_memory_error_and_no_more(stored: Path, workers: int) -> None:
    answers = answer_of(LIMITED, stored, " ".join(READERS), workers, timeout=300)
    for reader, answer in answers.items():
        assert answer["errors"], f"{reader}: a batch of 32 MiB cannot fit 16 MiB"
        assert all("memory" in error for error in answer["errors"]), answer["errors"]
        assert answer["in_flight"] == [0, 0]
        assert answer["small"] == COUNT
        assert answer["large"] == [[COUNT], [True]]
