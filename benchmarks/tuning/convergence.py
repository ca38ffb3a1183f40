"""One scenario, in a process of its own: num_workers="auto" against every fixed setting. Prints one JSON object.

    python -m benchmarks.tuning.convergence '{"binds": "gather", "folder": "...", ...}'

The automatic loader runs first, for `converge` seconds. Then all fixed settings and it in turns, each a new pass whose first batches do not count, so that
nobody is served what it had prepared during the others' turns. The best setting so found runs once more against it: a setting that was lucky in the first
rounds must be good again.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_CORES = len(os.sched_getaffinity(0))
WORKERS = (0, *(1 << power for power in range(_CORES.bit_length())))  # to all cores, by factors of two
FACTORS = (1, 2, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """binds: "gather", "tiny", "decode", "storage" or "consumer". loaders: that run at once. cores: affinity, None for all."""

    name: str
    binds: str
    path: str
    batch_size: int
    order: str = "global"
    window: int = 32
    reader: str = "auto"
    step_ms: float = 0.0
    loaders: int = 1
    cores: int | None = None
    quota_folder: str | None = None  # a cgroup's, whose tasks this process joins
    prefetch_bytes: int | None = None
    cache_bytes: int | None = None  # of blocks, for all sides; None: what their loaders bring
    converge: float = 6.0
    turn: float = 0.25
    rounds: int = 5
    final_rounds: int = 15


class Side:
    """Loaders of one setting over the one dataset of all, whose cache of decoded blocks stays as large as one of them makes it."""

    def __init__(self, scenario: Scenario, dataset: Any, step: Callable[[], None], **options: Any) -> None:
        import headrace

        self._scenario = scenario
        self._step = step
        self.loaders = [
            headrace.DataLoader(
                dataset,
                scenario.batch_size,
                shuffle=True,
                order=scenario.order,
                window=scenario.window,
                seed=seed,
                prefetch_bytes=scenario.prefetch_bytes,
                **options,
            )
            for seed in range(scenario.loaders)
        ]

    def turn(self, seconds: float) -> float:
        """Samples a second of all loaders together."""
        if len(self.loaders) == 1:
            return self._drive(self.loaders[0], seconds)
        rates = [0.0] * len(self.loaders)

        def run(number: int) -> None:
            rates[number] = self._drive(self.loaders[number], seconds)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(rates))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(rates)

    def _drive(self, loader: Any, seconds: float) -> float:
        batches = iter(loader)
        stats = loader.stats()
        for _ in range(2 * stats["prefetch_batches"] if stats["prefetch_batches"] < 32 else stats["prefetch_batches"]):
            next(batches, None)
            self._step()
        done = 0
        begin = time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                continue
            self._step()
            done += self._scenario.batch_size
        return done / spent


def _step(milliseconds: float) -> Callable[[], None]:
    """What a consumer does with a batch. One for all sides: its length is measured, so two would differ."""
    if milliseconds == 0:
        return lambda: None
    a = np.random.default_rng(1).random((96, 96))
    out = np.empty_like(a)
    begin, times = time.thread_time(), 0
    while time.thread_time() - begin < 0.1:
        np.matmul(a, a, out=out)
        times += 1
    times = max(1, round(times * milliseconds / 100))

    def compute() -> None:
        for _ in range(times):
            np.matmul(a, a, out=out)

    return compute


def run(scenario: Scenario) -> dict[str, Any]:
    """The figures of a scenario; ratios are auto / fixed, the medians over rounds."""
    import headrace

    if scenario.quota_folder:
        with open(f"{scenario.quota_folder}/tasks", "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    if scenario.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: scenario.cores])
    step = _step(scenario.step_ms)
    headrace.set_cache_bytes(scenario.cache_bytes)
    dataset = headrace.open(scenario.path, reader=scenario.reader)
    auto = Side(scenario, dataset, step, num_workers="auto")
    begin = time.monotonic()
    settled, changes = 0.0, -1
    while time.monotonic() - begin < scenario.converge:
        auto.turn(min(0.5, scenario.converge))
        made = sum(loader.stats()["setting_changes"] for loader in auto.loaders)
        if made != changes:
            settled, changes = time.monotonic() - begin, made
    settings = [(workers, factor) for workers in WORKERS for factor in FACTORS if workers > 0 or factor == 1]
    fixed = {
        (workers, factor): Side(scenario, dataset, step, num_workers=workers, prefetch_factor=factor if workers else None)
        for workers, factor in settings
    }
    rates: dict[Any, list[float]] = {setting: [] for setting in settings}
    for number in range(scenario.rounds):
        for setting in settings if number % 2 == 0 else settings[::-1]:
            rates[setting].append(fixed[setting].turn(scenario.turn))
    best = max(settings, key=lambda setting: statistics.median(rates[setting]))
    ratios, best_rates = [], []
    for number in range(scenario.final_rounds):
        if number % 2 == 0:
            ours, theirs = auto.turn(scenario.turn), fixed[best].turn(scenario.turn)
        else:
            theirs, ours = fixed[best].turn(scenario.turn), auto.turn(scenario.turn)
        ratios.append(ours / theirs)
        best_rates.append(theirs)
    low, _, high = statistics.quantiles(ratios, n=4)
    stats = auto.loaders[0].stats()
    return {
        "scenario": asdict(scenario),
        "best": best,
        "best_samples_per_second": statistics.median(best_rates),
        "worst_over_best": min(statistics.median(rates[s]) for s in settings) / max(statistics.median(rates[s]) for s in settings),
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "chosen": [stats["num_threads"], stats["prefetch_batches"]],
        "changes": changes,
        "latest_change_seconds": settled,
        "fixed": {f"{w} workers, prefetch_factor {f}": statistics.median(rates[w, f]) for w, f in settings},
    }


if __name__ == "__main__":
    print(json.dumps(run(Scenario(**json.loads(sys.argv[1])))))
