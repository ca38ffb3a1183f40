"""Measuring on the user's own machine: a loader on a dataset, the ceilings of the machine beside it, and what the machine is.

| file | measures |
|---|---|
| `loader` | throughput, time to first batch, stall share, memory and CPU time of a DataLoader, after a check that every sample comes once |
| `contenders` | the loaders that it runs: ours, torch's, a hand-written loop |
| `ceilings` | memory copy, read of cached files, read and hash: what the loader's numbers are held against, in the same run |
| `limits` | of these, and of the codec's decode rate, the one that binds |
| `accelerator` | utilisation of a simulated accelerator, as MLPerf Storage defines it |
| `private_memory` | memory of a process and its workers beyond the page cache |
| `environment` | cores, memory, kernel, versions: what a result means nothing without |

Returns dataclasses and dicts, prints nothing.
"""

from __future__ import annotations

from headrace.bench.ceilings import Ceilings, measure_ceilings
from headrace.bench.environment import environment
from headrace.bench.loader import LoaderBenchmark, LoaderResult, bench_loader

__all__ = ["Ceilings", "LoaderBenchmark", "LoaderResult", "bench_loader", "environment", "measure_ceilings"]
