"""hr.monitor.Publish and `headrace top`: the latest readings, for the user's own processes, and nothing left however one ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.monitor.publish import published, publishers
from tests.cli.command_line import headrace_command

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract names of sockets are Linux's")

CHILD = """
import sys, time
import headrace as hr
loader = hr.DataLoader(hr.open(sys.argv[1]), 10, shuffle=True, num_workers="auto")
with hr.monitor.watch({"train": loader}, every=60, to=[hr.monitor.Publish()]) as watch:
    for _ in loader:
        pass
    watch.look()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def loader(tmp_path: Path) -> hr.DataLoader:
    hr.write(tmp_path / "d", {"x": np.arange(1000)})
    return hr.DataLoader(hr.open(tmp_path / "d"), 10, shuffle=True, num_workers=1)


def test_the_latest_readings_are_answered(loader: hr.DataLoader) -> None:
    assert published(os.getpid()) is None
    with hr.monitor.watch({"a": loader, "b": loader}, every=60, to=[hr.monitor.Publish()]) as watch:
        assert os.getpid() in publishers()
        assert published(os.getpid()) == []
        list(loader)
        looked = watch.look()
        found = published(os.getpid())
        assert found is not None
        assert [one["loader"] for one in found] == ["a", "b"]
        assert [one["totals"]["samples"] for one in found] == [1000, 1000]
        assert found[0]["samples_per_second"] == looked["a"].samples_per_second
        with pytest.raises(OSError, match="in use"):
            hr.monitor.Publish()
    assert published(os.getpid()) is None
    assert os.getpid() not in publishers()


def test_a_forked_child_does_not_keep_the_name(loader: hr.DataLoader) -> None:
    publish = hr.monitor.Publish()
    (read, write), (forked, ready) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.write(ready, b"1")  # What happens after a fork has happened.
        os.read(read, 1)  # Until the parent is done.
        os._exit(0)
    os.close(read)
    try:
        os.read(forked, 1)
        assert published(os.getpid()) == []
        publish.close()
        assert os.getpid() not in publishers()
        hr.monitor.Publish().close()
    finally:
        for one in (write, forked, ready):
            os.close(one)
        os.waitpid(child, 0)


def test_top_shows_another_process_and_kill_leaves_nothing(loader: hr.DataLoader) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD, loader.source.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        done = headrace_command("top", str(process.pid), "--json")
        assert done.code == 0, done.err
        assert [(one["pid"], one["loader"], one["totals"]["samples"]) for one in done.json] == [(process.pid, "train", 1000)]
        assert done.json[0]["totals"]["tuning"] in ("searching", "settled")
        done = headrace_command("top", "--once", COLUMNS="200")
        assert done.code == 0, done.err
        assert "train" in done.out
        assert str(process.pid) in done.out
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert process.pid not in publishers()
    done = headrace_command("top", str(process.pid))
    assert done.code == 1
    assert "does not publish" in done.err


def test_a_peer_that_says_nothing_or_goes_away_stops_nobody(loader: hr.DataLoader) -> None:
    publish = hr.monitor.Publish()
    try:
        for _ in range(20):
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            peer.connect(f"\0headrace-top-{os.getuid()}-{os.getpid()}")
            peer.close()
        assert published(os.getpid()) == []
    finally:
        publish.close()


class Odd:
    """A process of its own that answers with what it is told, and then waits or dies."""

    CODE = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listening.bind(f"\\0headrace-top-{os.getuid()}-{os.getpid()}")
listening.listen(8)
print("ready", flush=True)
while True:
    peer, _ = listening.accept()
    peer.sendall(sys.argv[1].encode())
    if sys.argv[2] == "dies":
        os._exit(1)
    if sys.argv[2] == "closes":
        peer.close()
    else:
        kept = peer
"""

    def __init__(self, answer: str, then: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, answer, then], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def __enter__(self) -> Odd:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize(
    "answer", ["[]", "{}", '{"readings": 3}', '{"readings": [{}]}', '{"readings": [{"loader": "x"}]}', "}", "[" * 10_000 + "}"]
)
def test_what_is_no_reading_is_said_and_costs_the_others_nothing(loader: hr.DataLoader, answer: str) -> None:
    with Odd(answer, "closes") as odd, hr.monitor.watch({"mine": loader}, every=60, to=[hr.monitor.Publish()]) as watching:
        watching.look()
        done = headrace_command("top", "--once", COLUMNS="200")
        assert done.code == 0, done.err
        assert "mine" in done.out
        done = headrace_command("top", str(odd.pid))
        assert "no reading" in done.err or "ended" in done.err  # "[]" does not end as an answer does.
        assert done.code == 1


@pytest.mark.parametrize("then", ["dies", "waits"])
def test_a_process_that_dies_or_stops_in_its_answer_is_none_that_publishes(then: str) -> None:
    with Odd('{"pid": 1, "readings": [{"loader', then) as odd:
        assert published(odd.pid) is None


def test_top_of_a_process_ends_with_it(loader: hr.DataLoader) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD, loader.source.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    terminal, ours = os.openpty()
    top = subprocess.Popen([sys.executable, "-m", "headrace", "top", str(process.pid), "--every", "0.05"], stdout=ours)
    os.close(ours)
    shown = b""
    while b"train" not in shown:
        shown += os.read(terminal, 4096)
    process.kill()
    process.communicate()
    with contextlib.suppress(OSError):  # EIO: the other side is closed.
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert top.wait() == 0
    assert f"process {process.pid} does not publish to this user, or ended".encode() in shown
