"""Other loaders, each in its own process and environment at the best of its documented settings, beside ours on the same samples.

HEADRACE_BENCH_PEERS=a,b      only these (names of files in rivals/peers)
HEADRACE_BENCH_PEER_SCALE=F   a share of the samples that each shape has, 1 by default
"""

from __future__ import annotations

import contextlib
import os
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rivals.peer_process import PeerError, PeerProcess, rivals_python
from benchmarks.workloads.shapes import SHAPES, prepare

_OURS = "headrace_loader"
_PEERS = (
    "torch_map_style",
    "torch_getitems",
    "litdata_streaming",
    "webdataset_tar",
    "spdl_pipeline",
    "tensorflow_data",
    "lance_take",
    "hf_datasets",
    "grain_dataset",
    "ffcv_loader",
)
_PROBE_SECONDS = 0.5
_ROUND_SECONDS = 1.0
_ROUNDS = 3


@pytest.mark.informational
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("peer", _PEERS)
def test_against_a_peer(shape: str, peer: str, folder: Path, tmp_path: Path, report: Any) -> None:
    python = rivals_python()
    if python is None:
        pytest.skip("the other loaders are not installed: make bench-rivals")
    if peer not in os.environ.get("HEADRACE_BENCH_PEERS", peer).split(","):
        pytest.skip("not among HEADRACE_BENCH_PEERS")
    samples = int(SHAPES[shape].samples * float(os.environ.get("HEADRACE_BENCH_PEER_SCALE", "1")))
    prepare(shape, folder, samples)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(PeerProcess(None, _OURS, shape, folder, samples, tmp_path / "ours.log"))
        theirs = stack.enter_context(PeerProcess(python, peer, shape, folder, samples, tmp_path / "theirs.log"))
        ours.ask("convert")
        try:
            theirs.ask("convert")
            chosen = {peer: theirs.open_best(_PROBE_SECONDS), _OURS: ours.open_best(_PROBE_SECONDS)}
        except PeerError as error:
            pytest.skip(f"{error}")
        for process in (ours, theirs):
            assert process.ask("check")["samples"] == samples
        rounds = [measure(ours, theirs, backwards=number % 2 == 1) for number in range(_ROUNDS)]
        described = theirs.ask("settings")
    report(
        f"headrace / {described['name']}",
        statistics.median(a["rate"] / b["rate"] for a, b in rounds),
        workload=shape,
        peer=described["name"],
        our_samples_per_second=statistics.median(a["rate"] for a, _ in rounds),
        their_samples_per_second=statistics.median(b["rate"] for _, b in rounds),
        our_settings=chosen[_OURS],
        their_settings=chosen[peer],
        their_order=described["order"],
        samples=samples,
        our_first_batch_seconds=statistics.median(a["first_batch_seconds"] for a, _ in rounds),
        their_first_batch_seconds=statistics.median(b["first_batch_seconds"] for _, b in rounds),
    )


def measure(ours: PeerProcess, theirs: PeerProcess, *, backwards: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """One round, (ours, theirs); every other one goes backwards."""
    if backwards:
        second = theirs.rate(_ROUND_SECONDS)
        return ours.rate(_ROUND_SECONDS), second
    return ours.rate(_ROUND_SECONDS), theirs.rate(_ROUND_SECONDS)
