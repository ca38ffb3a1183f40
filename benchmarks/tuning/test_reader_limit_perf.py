"""reader="auto" against each reader by name where a control group's memory holds all, a part or little of the files. Takes root.

Each round is a process in the group: it drops the files, reads them once from end to end, so that the page cache holds what it can, and counts
the samples a second of a loader of each reader in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace

_READERS = ("auto", "mmap", "pread", "direct", "uring")
_ROUNDS = 3
_BYTES = 384 << 20
_SHAPES = {"2 KiB": (2048, 256), "128 KiB": (131_072, 8)}  # bytes of a sample, batch
_SHARES = {"twice": 2.0, "five quarters": 1.25, "half": 0.5, "a quarter": 0.25}  # of the files, which the page cache can hold
_GROUPS = Path("/sys/fs/cgroup/memory")  # version 1; 2 would move the whole process tree
_CHILD = """
import json, os, sys, time
group, path, order, batch, seed, limit, readers = *sys.argv[1:6], int(sys.argv[6]), sys.argv[7].split(",")
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
import headrace
from pathlib import Path
from headrace.bench.page_cache import drop_files
files = sorted(Path(path).glob("*.hrs"))
headrace.set_cache_bytes(1 << 20)
drop_files(files)
used = int(open(group + "/memory.usage_in_bytes").read())
open(group + "/memory.limit_in_bytes", "w").write(str(limit + used + (64 << 20)))  # and what a loader takes
out = {}
for reader in readers:
    drop_files(files)
    for file in files:
        with open(file, "rb", buffering=0) as opened:
            while opened.read(1 << 20): pass
    loader = headrace.DataLoader(headrace.open(path, reader=reader), int(batch), shuffle=True, order=order, num_workers=2, seed=int(seed),
                                 prefetch_bytes=24 << 20)
    for _ in loader: break
    begin, batches = time.perf_counter(), 0
    while time.perf_counter() - begin < 2.5:
        for _ in loader:
            batches += 1
            if batches % 16 == 0 and time.perf_counter() - begin >= 2.5: break
    out[reader] = (batches / (time.perf_counter() - begin), loader.stats()["reader"])
    del loader
print(json.dumps(out))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose limit its process sets."""
    folder = _GROUPS / f"headrace-bench-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"a memory limit needs a writable cgroup of version 1: {error}")
    yield folder
    folder.rmdir()


# Without a quarter for 2 KiB: the process meets its limit of 160 MiB above the imports and is killed; by what was not found.
@pytest.mark.gate
@pytest.mark.parametrize(
    ("shape", "held"), [(shape, held) for shape in _SHAPES for held in _SHARES if (shape, held) != ("2 KiB", "a quarter")]
)
@pytest.mark.parametrize("order", ["global", "window"])
def test_the_automatic_reader_under_a_limit(report: Any, tmp_path: Path, group: Path, shape: str, order: str, held: str) -> None:
    width, batch = _SHAPES[shape]
    samples = np.random.default_rng(0).integers(0, 256, (_BYTES // width, width), dtype=np.uint8)
    headrace.write(tmp_path / "d", {"x": samples}, codec="none")
    rates: dict[str, list[float]] = {reader: [] for reader in _READERS}
    chosen = ""
    for number in range(_ROUNDS):
        readers = _READERS if number % 2 == 0 else _READERS[::-1]
        limit = int(_SHARES[held] * _BYTES)
        (group / "memory.limit_in_bytes").write_text("-1")
        arguments = [str(group), str(tmp_path / "d"), order, str(batch), str(number), str(limit), ",".join(readers)]
        done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=True, capture_output=True, text=True)
        for reader, (rate, who) in json.loads(done.stdout).items():
            rates[reader].append(rate)
            chosen = who if reader == "auto" else chosen
    # In pairs of one round; of the reader that it chose too: following the machine and comparing readers cost something.
    ratios = {
        reader: statistics.median(auto / other for other, auto in zip(rates[reader], rates["auto"], strict=True))
        for reader in _READERS
        if reader != "auto"
    }
    best = min(ratios, key=lambda reader: ratios[reader])
    report(
        f"reader='auto' / the best by name, {shape} samples, {order} order, memory for {held} of the files", ratios[best], at_least=0.95,
        workload="tuning", chosen=chosen, best=best, **{f"rate_over_{reader}": ratio for reader, ratio in ratios.items()},
    )  # fmt: skip
