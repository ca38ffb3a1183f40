"""Decoded blocks shared between real processes: found instead of decoded, and nothing left or broken when any of them is killed."""

from __future__ import annotations

import array
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sealed memory files")

SAMPLES = 96
ROW = 16 << 10  # int32 values of a sample: 64 KiB, one block

READER = """
import sys, time
import headrace as hr
hr.set_cache_bytes(256 << 20)
loader = hr.DataLoader(hr.open(sys.argv[1], cache="node"), 4, shuffle=True, seed=int(sys.argv[2]), num_workers=2)
for line in sys.stdin:
    if line.strip() == "read":
        before = loader.stats()["bytes_decoded"]
        total = sum(int(batch["x"].sum()) for batch in loader)
        print(total, loader.stats()["bytes_decoded"] - before, flush=True)
    else:
        node = loader.source.native.node_stats
        print(node["blocks"], node["peers"], int(node["listens"]), node["rejected"], flush=True)
"""


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> str:
    name = uuid.uuid4().hex
    monkeypatch.setenv("HEADRACE_NODE_GROUP", name)
    return name


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "dataset"
    rows = np.random.default_rng(2).integers(0, 9, (SAMPLES, ROW), dtype=np.int32)
    hr.write(path, {"x": rows}, codec={"x": {"codec": "zstd", "filter": "shuffle", "block_bytes": 4 * ROW}}, chunk_samples=16)
    return path


@pytest.fixture(scope="module")
def total(written: Path) -> int:
    return sum(int(batch["x"].sum()) for batch in hr.DataLoader(hr.open(written), 8))


class Reader:
    """A process that reads the dataset when it is told to."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER, str(path), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def answer(self) -> list[int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr is not None else ""
        return [int(word) for word in line.split()]

    def read(self) -> list[int]:
        """[sum of all values, bytes decoded]."""
        self.tell("read")
        return self.answer()

    def node(self) -> list[int]:
        """[blocks known, peers, listens, rejected]."""
        self.tell("node")
        return self.answer()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(written: Path, group: str) -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def begin(seed: int = 0) -> Reader:
        readers.append(Reader(written, seed))
        return readers[-1]

    yield begin
    for reader in readers:
        reader.kill()
        for stream in (reader.process.stdin, reader.process.stdout, reader.process.stderr):
            assert stream is not None
            stream.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it holds. A hang is for the run's own limit."""
    while not condition():
        time.sleep(0.02)


def names(group: str) -> list[str]:
    """What of the group the system can name: abstract sockets, shared memory files."""
    sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if group in line]
    return sockets + [entry for entry in os.listdir("/dev/shm") if "headrace" in entry]


def test_the_second_process_decodes_nothing(start: Callable[..., Reader], total: int) -> None:
    first = start(0)
    assert first.read() == [total, SAMPLES * 4 * ROW]
    wait_until(lambda: first.node()[0] == SAMPLES)
    second = start(1)
    wait_until(lambda: second.node()[0] == SAMPLES)
    assert second.read() == [total, 0]
    assert first.read() == [total, 0]
    first.kill()  # What it shared stays while anyone holds it.
    assert second.read() == [total, 0]
    third = start(2)
    wait_until(lambda: third.node()[0] == SAMPLES)
    assert third.read() == [total, 0]


def test_killed_anywhere_it_leaves_nothing_and_the_others_go_on(start: Callable[..., Reader], group: str, total: int) -> None:
    random = np.random.default_rng(1)
    survivor = start(0)
    for turn in range(20):
        victim = start(turn)
        victim.tell("read")
        survivor.tell("read")
        time.sleep(float(random.uniform(0.0, 0.3)) if turn % 2 else 0.0)
        if turn % 5 == 4:  # The one that listens, as a rule.
            survivor, victim = victim, survivor
        victim.kill()
        assert survivor.answer()[0] == total
    wait_until(lambda: survivor.node()[0] == SAMPLES)
    wait_until(lambda: survivor.node()[2] == 1)
    survivor.kill()
    assert names(group) == []


def shares_all(native: Any) -> bool:
    return bool((native.node_stats or {})["blocks"] == SAMPLES)


def test_a_process_that_ends_its_datasets_lets_go_of_all(written: Path, group: str, total: int) -> None:
    def descriptors() -> list[str]:
        found = []
        for entry in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{entry}"))
            except OSError:
                continue
        return [name for name in found if "memfd:headrace" in name]

    before = descriptors()
    dataset = hr.open(written, cache="node")
    loader = hr.DataLoader(dataset, 8)
    assert sum(int(batch["x"].sum()) for batch in loader) == total
    node = dataset.native.node_stats
    assert node is not None
    wait_until(functools.partial(shares_all, dataset.native))
    assert len(descriptors()) > len(before)
    del loader, dataset
    assert descriptors() == before
    assert names(group) == []


def memory_file(content: bytes, *, sealed: bool) -> int:
    descriptor = os.memfd_create("garbled", os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    if sealed:
        import fcntl

        fcntl.fcntl(descriptor, 1033, 1 | 2 | 4 | 8)  # F_ADD_SEALS: seal, shrink, grow, write
    return descriptor


def send(peer: socket.socket, message: bytes, *descriptors: int) -> None:
    ancillary: list[Any] = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    peer.sendmsg([message], ancillary)


def test_garbled_messages_are_turned_away(written: Path, group: str, total: int) -> None:
    dataset = hr.open(written, cache="node")
    wait_until(lambda: bool((dataset.native.node_stats or {})["listens"]))
    address = f"\0headrace-node-1-{os.geteuid()}-{group}"
    magic = struct.pack("<Q", 0x31656E6F4E5248)

    def header(size: int) -> bytes:
        return magic + struct.pack("<Q", size)

    random = np.random.default_rng(3).bytes(8192)
    # An index that promises more entries than there are bytes, and one whose hash is wrong.
    promises = random + struct.pack("<QQQ", 0, 1 << 60, 0x31784465646F4E52)
    lies = random + struct.pack("<QQQ", 0, 3, 0x31784465646F4E52)
    cases: list[tuple[bytes, list[tuple[bytes, bool]]]] = [
        (b"", []),
        (b"x" * 16, []),
        (b"x" * 5000, []),
        (header(10), []),
        (header(8192), [(random, False)]),
        (header(8192), [(random, True)]),
        (header(8191), [(random, True)]),
        (header(1 << 63), [(random, True)]),
        (header(len(promises)), [(promises, True)]),
        (header(len(lies)), [(lies, True)]),
        (header(8192), [(random, True)] * 3),
        (header(0), [(b"", True)]),
        (b"y" * 16, [(random, True)] * 20),
    ]
    for message, files in cases:
        rejected = (dataset.native.node_stats or {})["rejected"]
        descriptors = [memory_file(content, sealed=sealed) for content, sealed in files]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.connect(address)
            send(peer, message, *descriptors)
            if message:
                wait_until(lambda seen=rejected: (dataset.native.node_stats or {})["rejected"] > seen)  # type: ignore[misc]
        for descriptor in descriptors:
            os.close(descriptor)
    assert (dataset.native.node_stats or {})["blocks"] == 0
    assert sum(int(batch["x"].sum()) for batch in hr.DataLoader(dataset, 8)) == total
    open_files = [
        os.readlink(f"/proc/self/fd/{entry}") for entry in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{entry}")
    ]
    assert not [name for name in open_files if "garbled" in name]


def test_a_child_of_fork_shares_anew(written: Path, group: str, total: int) -> None:
    # numpy sums: torch's own threads do not survive a fork.
    code = """
import os, sys
import headrace as hr
dataset = hr.open(sys.argv[1], cache="node")
loader = hr.DataLoader(dataset, 8, num_workers=2)
assert sum(int(batch["x"].numpy().sum()) for batch in loader) == int(sys.argv[2])
child = os.fork()
if child == 0:
    assert sum(int(batch["x"].numpy().sum()) for batch in hr.DataLoader(dataset, 8, num_workers=2)) == int(sys.argv[2])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert sum(int(batch["x"].numpy().sum()) for batch in loader) == int(sys.argv[2])
print("well")
"""
    done = subprocess.run([sys.executable, "-c", code, str(written), str(total)], capture_output=True, text=True, check=False)
    assert done.stdout == "well\n", done.stderr
    assert names(group) == []


def test_a_cache_that_is_none_is_refused(written: Path) -> None:
    with pytest.raises(ValueError, match="cache is 'disk'; expected 'process' or 'node'"):
        hr.open(written, cache="disk")
