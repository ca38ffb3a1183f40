"""Other loaders on photos of 500x375, each in its own process and environment at the best of its settings, beside ours: rate, processor time and memory.

HEADRACE_BENCH_PHOTOS=N       photos (default 2000)
HEADRACE_BENCH_PEERS=a,b      only these (names of files in rivals/photo_peers)
"""

from __future__ import annotations

import contextlib
import os
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rivals.peer_process import PeerError, PeerProcess, rivals_python
from benchmarks.workloads.photos import Photos

_OURS = "headrace_photos"
_PEERS = ("spdl_photos", "tensorflow_photos", "dali_photos", "ffcv_photos", "ffcv_photos:Raw")
_PROBE_SECONDS = 1.0
_ROUND_SECONDS = 2.0
_ROUNDS = int(os.environ.get("HEADRACE_BENCH_ROUNDS", "5"))


@pytest.mark.informational
@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize("peer", _PEERS)
def test_photos_against_a_peer(kind: str, peer: str, folder: Path, tmp_path: Path, report: Any) -> None:
    python = rivals_python()
    if python is None:
        pytest.skip("the other loaders are not installed: make bench-rivals")
    if peer not in os.environ.get("HEADRACE_BENCH_PEERS", peer).split(","):
        pytest.skip("not among HEADRACE_BENCH_PEERS")
    photos = Photos.prepare(folder, int(os.environ.get("HEADRACE_BENCH_PHOTOS", "2000")))
    stored = "Raw" if peer.endswith(":Raw") else "Repacked"
    names = {"ours": (None, _OURS), stored.lower(): (None, f"{_OURS}:{stored}"), "theirs": (python, peer)}
    with contextlib.ExitStack() as stack:
        loaders = {
            name: stack.enter_context(PeerProcess(who, module, kind, photos.root, photos.samples, tmp_path / f"{name}.log", "photo_worker"))
            for name, (who, module) in names.items()
        }
        try:
            chosen = {name: loaders[name].open_best(_PROBE_SECONDS) for name in ("theirs", "ours", stored.lower())}
        except PeerError as error:
            pytest.skip(f"{error}")
        for loader in loaders.values():
            loader.ask("check")
        photos.page_in()
        rounds = [{name: loaders[name].rate(_ROUND_SECONDS) for name in list(loaders)[:: 1 if i % 2 == 0 else -1]} for i in range(_ROUNDS)]
        described = loaders["theirs"].ask("settings")
    numbers = {
        f"{name}_{what}": statistics.median(value(found[name]) for found in rounds)
        for name in loaders
        for what, value in {
            "samples_per_second": lambda found: found["rate"],
            "cpu_seconds_per_1000": lambda found: found["cpu_seconds"] / found["samples"] * 1000,
            "mebibytes_above_imports": lambda found: found["bytes"] / 2**20,
        }.items()
    }
    report(
        f"photos, {kind}: headrace / {described['name']}",
        statistics.median(found["ours"]["rate"] / found["theirs"]["rate"] for found in rounds),
        workload="photos",
        peer=described["name"],
        **{stored.lower(): statistics.median(found[stored.lower()]["rate"] / found["theirs"]["rate"] for found in rounds)},
        our_samples_per_second=numbers.pop("ours_samples_per_second"),
        their_samples_per_second=numbers.pop("theirs_samples_per_second"),
        our_settings=chosen["ours"],
        their_settings=chosen["theirs"],
        **numbers,
    )
