"""Measuring on the user's own machine: a loader on a dataset, storage, the ceilings of the machine beside both, and what the machine is.

| file | measures |
|---|---|
| `loader` | throughput, time to first batch, stall share, memory and CPU time of a DataLoader, after a check that every sample comes once |
| `diagnose` | what a loop over a loader waits for: each stage alone, the whole, and what binds |
| `baseline` | a run beside an earlier one: what is slower by more than the noise |
| `contenders` | the loaders that it runs: ours, torch's, a hand-written loop |
| `ceilings` | memory copy, read of cached files, read and hash: what the loader's numbers are held against, in the same run |
| `limits` | of these, and of the codec's decode rate, the one that binds |
| `accelerator` | utilisation of a simulated accelerator, as MLPerf Storage defines it |
| `mlperf` | the same on data in the shapes of MLPerf Storage's workloads, cold, and counted only if it was |
| `private_memory` | memory of a process and its workers beyond the page cache |
| `storage` | reads of a file, a dataset or a test file: sequential, random, cold or warm |
| `storage_plan`, `storage_point`, `storage_results` | its options and points, the measuring of one, what it answers |
| `storage_limits` | what binds a point: device, depth, CPU, memory copy |
| `page_cache` | how much of a file is in memory; dropping and filling |
| `device_counters` | what the kernel says was read from devices, and whether a run was what it claims |
| `file_system` | where a file lives, and whether reads from there are counted |
| `scratch_file` | a test file of incompressible bytes |
| `fio` | the equivalent command line of fio, and its figure |
| `environment` | cores, memory, kernel, versions: what a result means nothing without |

Returns dataclasses and dicts, prints nothing.
"""

from __future__ import annotations

from headrace.bench.ceilings import Ceilings, measure_ceilings
from headrace.bench.environment import environment
from headrace.bench.loader import LoaderBenchmark, LoaderResult, bench_loader
from headrace.bench.mlperf import MlperfResult, bench_mlperf
from headrace.bench.storage import bench_storage
from headrace.bench.storage_plan import StorageOptions
from headrace.bench.storage_results import StorageBenchmark, StorageResult

__all__ = [
    "Ceilings",
    "LoaderBenchmark",
    "LoaderResult",
    "MlperfResult",
    "StorageBenchmark",
    "StorageOptions",
    "StorageResult",
    "bench_loader",
    "bench_mlperf",
    "bench_storage",
    "environment",
    "measure_ceilings",
]
