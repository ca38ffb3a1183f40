"""What a loader's statistics cost: readings of the clock a batch, counted, times what a reading costs, as a share of the batch's own time.

All readings of the process count, also the interpreter's own (one for each `with lock:` up to CPython 3.12) and those of threads that go to sleep. The
counters themselves are a dozen atomic additions a batch, without which nobody could bound what is under way.
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
calls = (lambda: (ctypes.CDLL(None).clock_calls(), ctypes.CDLL(None).coarse_calls())) if counted else lambda: (0, 0)
before, begin, batches = calls(), time.perf_counter(), 0
while time.perf_counter() - begin < 1:
    for _ in loader: batches += 1
spent, after = time.perf_counter() - begin, calls()
print(json.dumps({"batch_ns": 1e9 * spent / batches, "reads": [(b - a) / batches for a, b in zip(before, after)]}))
"""


def run(arguments: list[str], preload: Path | None) -> dict[str, Any]:
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    command = [sys.executable, "-c", _CHILD, *arguments, "1" if preload else "0"]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout))


def clock_ns(clock: str) -> float:
    """Of one reading, in C: of the quickest of 50 bare loops of them, which nobody interrupted."""
    code = (
        "#include <time.h>\n#include <stdio.h>\nint main(void) { struct timespec a, b, t; double best = 1e9;"
        "for (int loop = 0; loop < 50; ++loop) { clock_gettime(CLOCK_MONOTONIC, &a);"
        f"for (int i = 0; i < 100000; ++i) clock_gettime({clock}, &t); clock_gettime(CLOCK_MONOTONIC, &b);"
        "double ns = ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / 1e5; if (ns < best) best = ns; }"
        'printf("%f", best); }'
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
    (reads, coarse), batch_ns = run(arguments, library)["reads"], run(arguments, None)["batch_ns"]
    cost, coarse_cost = clock_ns("CLOCK_MONOTONIC"), clock_ns("CLOCK_MONOTONIC_COARSE")
    assert reads > 0.5  # Else something else than the engine's clock was counted: one batch in eight is timed.
    report(
        f"share of reading the clock, {name}, {workers} workers", 100 * (reads * cost + coarse * coarse_cost) / batch_ns, unit="%", at_most=1.0,
        workload="statistics", reads_a_batch=reads, coarse_reads_a_batch=coarse, nanoseconds_a_reading=cost, nanoseconds_a_coarse_reading=coarse_cost,
        microseconds_a_batch=batch_ns / 1e3,
    )  # fmt: skip
