"""What a loader's statistics cost: readings of the clock a batch, counted, times what a reading costs, as a share of the batch's own time.

The counters themselves are a few dozen atomic additions a batch, most of them by threads that nobody waits for; a reading costs several of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace

_SOURCE = Path(__file__).resolve().parent.parent / "count_clock.c"
_CHILD = """
import ctypes, json, sys, time
import headrace
path, batch, workers, counted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
loader = headrace.DataLoader(headrace.open(path), batch, shuffle=True, num_workers=workers)
for _ in range(2):
    for _ in loader: pass
calls = ctypes.CDLL(None).clock_calls if counted else lambda: 0
before, begin, batches = calls(), time.perf_counter(), 0
while time.perf_counter() - begin < 1:
    for _ in loader: batches += 1
spent, read = time.perf_counter() - begin, calls() - before
print(json.dumps({"batch_ns": 1e9 * spent / batches, "reads": read / batches}))
"""


def run(arguments: list[str], preload: Path | None) -> dict[str, Any]:
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    command = [sys.executable, "-c", _CHILD, *arguments, "1" if preload else "0"]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout))


def clock_ns() -> float:
    """Of one reading, in C: of a bare loop of them."""
    code = (
        "#include <time.h>\n#include <stdio.h>\nint main(void) { struct timespec a, b, t; clock_gettime(CLOCK_MONOTONIC, &a);"
        "for (int i = 0; i < 5000000; ++i) clock_gettime(CLOCK_MONOTONIC, &t); clock_gettime(CLOCK_MONOTONIC, &b);"
        'printf("%f", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / 5e6); }'
    )
    built = Path(os.environ.get("TMPDIR", "/tmp")) / f"headrace-clock-{os.getpid()}"
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-x", "c", "-o", str(built), "-"], input=code, check=True, text=True)
        return float(subprocess.run([str(built)], check=True, capture_output=True, text=True).stdout)
    finally:
        built.unlink(missing_ok=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads a library")
@pytest.mark.parametrize(
    ("name", "columns", "batch"),
    [("2 KiB samples, batch 256", 512, 256), ("32 B samples, batch 1024", 8, 1024), ("32 B samples, batch 64", 8, 64)],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_reading_the_clock(report: Any, tmp_path: Path, name: str, columns: int, batch: int, workers: int) -> None:
    library = tmp_path / "count_clock.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    headrace.write(tmp_path / "d", {"x": np.zeros((30_000, columns), np.float32)}, codec="none")
    arguments = [str(tmp_path / "d"), str(batch), str(workers)]
    reads, batch_ns, cost = run(arguments, library)["reads"], run(arguments, None)["batch_ns"], clock_ns()
    assert reads >= 2  # Else something else than the engine's clock was counted.
    report(
        f"share of reading the clock, {name}, {workers} workers", 100 * reads * cost / batch_ns, unit="%", at_most=1.0, workload="statistics",
        reads_a_batch=reads, nanoseconds_a_reading=cost, microseconds_a_batch=batch_ns / 1e3,
    )  # fmt: skip
