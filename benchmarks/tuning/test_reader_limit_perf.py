"""reader="auto" against each reader by name where a control group's memory holds all, a part or little of the files. Takes root.

Each round is a process in the group: it drops the files, reads them once from end to end, so that the page cache holds what it can, and counts
the batches a second of a loader of each reader in turn, for 2.5 s, and for the 2.5 s that follow, when the automatic one has compared.
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
_PREFETCH_BYTES = 24 << 20
_GROUPS = Path("/sys/fs/cgroup/memory")  # version 1; 2 would move the whole process tree
_CHILD = """
import json, os, sys, time
group, path, order, batch, seed, limit, readers = *sys.argv[1:6], int(sys.argv[6]), sys.argv[7].split(",")
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
import headrace, torch
from pathlib import Path
from headrace.bench.page_cache import drop_files
headrace.DataLoader  # With torch, some 130 MiB that are not the loader's: counted before the limit is set.
def rate(loader, seconds):
    begin, batches = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in loader:
            batches += 1
            if batches % 16 == 0 and time.perf_counter() - begin >= seconds: break
    return batches / (time.perf_counter() - begin)
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
                                 prefetch_bytes=PREFETCH_BYTES)
    for _ in loader: break
    at_once = rate(loader, 2.5)
    later = rate(loader, 2.5)  # The page cache holds less of what comes next than after a read from end to end, so of each of them.
    stats = loader.stats()
    out[reader] = {"at_once": at_once, "later": later, "reader": stats["reader"], "peak_bytes": stats["peak_bytes"]}
    del loader
print(json.dumps(out))
""".replace("PREFETCH_BYTES", str(_PREFETCH_BYTES))


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


@pytest.mark.gate
@pytest.mark.parametrize("held", _SHARES)
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("order", ["global", "window"])
def test_the_automatic_reader_under_a_limit(report: Any, tmp_path: Path, group: Path, shape: str, order: str, held: str) -> None:
    width, batch = _SHAPES[shape]
    samples = np.random.default_rng(0).integers(0, 256, (_BYTES // width, width), dtype=np.uint8)
    headrace.write(tmp_path / "d", {"x": samples}, codec="none")
    rounds: list[dict[str, Any]] = []
    for number in range(_ROUNDS):
        readers = _READERS if number % 2 == 0 else _READERS[::-1]
        limit = int(_SHARES[held] * _BYTES)
        (group / "memory.limit_in_bytes").write_text("-1")
        arguments = [str(group), str(tmp_path / "d"), order, str(batch), str(number), str(limit), ",".join(readers)]
        done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=True, capture_output=True, text=True)
        rounds.append(json.loads(done.stdout))
    # In pairs of one round; of the reader that it chose too: following the machine and comparing readers cost something.
    others = [reader for reader in _READERS if reader != "auto"]

    def over(reader: str, when: str) -> list[float]:
        return [one["auto"][when] / one[reader][when] for one in rounds]

    ratios = {reader: statistics.median(over(reader, "later")) for reader in others}
    best = min(ratios, key=lambda reader: ratios[reader])
    assert all(reader["peak_bytes"] <= _PREFETCH_BYTES for one in rounds for reader in one.values())
    report(
        f"reader='auto' / the best by name, {shape} samples, {order} order, memory for {held} of the files", ratios[best], at_least=0.95,
        workload="tuning", chosen=rounds[-1]["auto"]["reader"], best=best, first_seconds=statistics.median(over(best, "at_once")),
        spread=[round(ratio, 2) for ratio in sorted(over(best, "later"))],
        batches_per_second={reader: round(statistics.median(one[reader]["later"] for one in rounds), 1) for reader in _READERS},
        **{f"rate_over_{reader}": ratio for reader, ratio in ratios.items()},
    )  # fmt: skip
