"""A profile's memory does not grow with the rows."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import numpy as np, headrace as hr
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
rows = {rows}
values = np.memmap({path!r}, np.float32, "w+", shape=(rows, 2))
for begin in range(0, rows, 1 << 20):
    part = values[begin : begin + (1 << 20)]
    part[:] = np.random.default_rng(begin).normal(size=part.shape)
dataset = hr.from_arrays({{"a": values[:, 0], "v": values}})
peaks = []
hr.profile(dataset, progress=lambda done, total: peaks.append(anonymous()))
half = len(peaks) // 2
print(max(peaks[:half]), max(peaks[half:]))
"""


def test_memory_stays_where_it_is(tmp_path):
    path = tmp_path / "values"
    done = subprocess.run([sys.executable, "-c", CODE.format(rows=1_200_000, path=str(path))], check=False, capture_output=True, text=True)
    path.unlink()
    assert done.returncode == 0, done.stderr
    first, second = map(float, done.stdout.split())
    assert second - first < 24  # MiB
    assert second < 500
