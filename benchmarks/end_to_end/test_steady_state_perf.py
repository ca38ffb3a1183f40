"""What a batch costs once a loader is warm, beyond its bytes: slabs, page faults, allocations, waits, system calls. Counted, not timed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headrace
from benchmarks.workloads.images import IMAGES_BATCH, Images
from benchmarks.workloads.tabular import BATCH_SIZE, Tabular
from benchmarks.workloads.text import TEXT_BATCH, Texts
from benchmarks.workloads.tokens import TOKENS_BATCH, WINDOW, Tokens

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux counts")

_SOURCE = Path(__file__).resolve().parent.parent / "count_malloc.c"
_EPOCHS = 8
_WARM = 2  # epochs before counting: slabs are made and files mapped in the first

# Runs in a process of its own: what is counted is a process's.
_CHILD = """
import ctypes, gc, itertools, json, resource, sys
import headrace
path, options = sys.argv[1], json.loads(sys.argv[2])
epochs, warm, batches, window = options.pop("epochs"), options.pop("warm"), options.pop("batches"), options.pop("window")
dataset = headrace.open(path)
if window:
    dataset = dataset.sequences(window).cast({"tokens": "int64"})
loader = headrace.DataLoader(dataset, shuffle=True, num_workers=2, seed=1, **options)
calls = getattr(ctypes.CDLL(None), "malloc_calls", lambda: 0)

def counts():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"slabs": loader.stats()["slabs_made"], "faults": used.ru_minflt, "waits": used.ru_nvcsw, "preempted": used.ru_nivcsw, "allocations": calls()}

gc.disable()
taken = 0
for epoch in range(epochs):
    if epoch == warm:
        before, taken = counts(), 0
    loader.set_epoch(epoch)
    for batch in itertools.islice(loader, batches):
        taken += 1
after = counts()
print(json.dumps({"batches": taken} | {name: after[name] - before[name] for name in after}))
"""


def run(path: str, options: dict[str, Any], *, before: list[str] | None = None, environment: dict[str, str] | None = None) -> Any:
    command = [*(before or []), sys.executable, "-c", _CHILD, path, json.dumps(options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    return json.loads(done.stdout)


def futex_calls(path: str, options: dict[str, Any], summary: Path) -> int:
    """Calls in the whole life of a process; strace counts them."""
    run(path, options, before=["strace", "-f", "-c", "-e", "trace=futex", "-o", str(summary)])
    found = re.search(r"^\s*\S+\s+\S+\s+\S+\s+(\d+)(?:\s+\d+)?\s+futex$", summary.read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts allocations."""
    built = tmp_path_factory.mktemp("counter") / "count_malloc.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(built), str(_SOURCE)], check=True)
    return built


def prepared(shape: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The dataset of a shape and the loader's options; `batches` of an epoch are taken."""
    options: dict[str, Any] = {"batches": None, "window": 0, "epochs": _EPOCHS, "warm": _WARM}
    if shape == "tabular":
        return Tabular.prepare(folder, 200_000).path, options | {"batch_size": BATCH_SIZE}
    if shape == "tokens":
        return Tokens.prepare(folder, 4 << 20).path, options | {"batch_size": TOKENS_BATCH, "batches": 1000, "window": WINDOW}
    if shape == "raw images":
        return Images.prepare(folder, 10_000).path, options | {"batch_size": IMAGES_BATCH}
    return Texts.prepare(folder, 50_000).path, options | {"batch_size": TEXT_BATCH, "strings": "offsets", "prefetch_bytes": 16 << 20}


@pytest.mark.gate
@pytest.mark.parametrize("shape", ["tabular", "tokens", "raw images", "text"])
def test_a_warm_loader_makes_nothing_anew(shape: str, folder: Path, counter: Path, report: Any, tmp_path: Path) -> None:
    path, options = prepared(shape, folder)
    assert len(headrace.open(path)) > 0
    counted = run(path, options)
    batches = counted["batches"]
    allocations = run(path, options, environment={"LD_PRELOAD": str(counter)})["allocations"]
    numbers = {
        "slabs made": counted["slabs"],
        "waits a batch": counted["waits"] / batches,
        "preempted a batch": counted["preempted"] / batches,
    }
    if shutil.which("strace"):
        warm = futex_calls(path, options | {"epochs": _WARM + 1}, tmp_path / "short")
        more = futex_calls(path, options, tmp_path / "long") - warm
        numbers["futex calls a batch"] = more / (batches / (_EPOCHS - _WARM) * (_EPOCHS - _WARM - 1))
    # Batches of text differ in size: now and then one is the largest so far.
    assert counted["slabs"] <= (batches / 200 if shape == "text" else 0), "a warm loader made slabs"
    report("page faults a batch", counted["faults"] / batches, workload=shape, unit="faults", at_most=0.25, **numbers)
    report("allocations a batch", allocations / batches, workload=shape, unit="calls", batches=batches)
