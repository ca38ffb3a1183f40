"""A search that is killed at any point leaves the last good profile: whole, and never a worse one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.loader.profiles import load_profile
from tests.cli.command_line import headrace_command

_KILLS = 20
# A search a line of input, in a process of its own; what is measured gets better by far, so that profiles are written all the time.
_SEARCHES = """
import os, sys
import headrace as hr
from headrace.tune import search
import optuna

def rate(options):
    return 1 + options["num_workers"] * 10 + options["prefetch_factor"] + (options["reader"] == "pread")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            search(sys.argv[1], objective=rate, sampler="random", seed=int(line), trials=50, most_workers=200, readers=("mmap", "pread"))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("over", flush=True)
"""


def identity_of(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    hr.write(tmp_path / "d", {"x": np.arange(1000)})
    return tmp_path / "d"


@pytest.fixture
def searches(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _SEARCHES, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def test_kills_leave_the_last_good_profile(path: Path, searches: subprocess.Popen[str], tmp_path: Path) -> None:
    native, draw, best = hr.open(path).native, random.Random(0), 0.0
    file = hr.tune.profile_path(f"{native.fingerprint:016x}")
    assert searches.stdin is not None
    assert searches.stdout is not None
    for number in range(_KILLS):
        before = identity_of(file)
        searches.stdin.write(f"{number}\n")
        searches.stdin.flush()
        child = int(searches.stdout.readline())
        while identity_of(file) == before:  # Until it writes; then it goes on to.
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        assert searches.stdout.readline() == "over\n"
        profile = load_profile(native)
        assert profile is not None
        assert profile.ratio >= best  # Nothing that is measured varies.
        assert profile.ratio == 1 + profile.num_workers * 10 + (profile.prefetch_factor or 0) + (profile.reader == "pread")
        best = profile.ratio
        assert hr.DataLoader(hr.open(path), 10, num_workers="auto").num_workers == profile.num_workers
    names = [one.name for one in (tmp_path / "cache" / "profiles").iterdir()]
    assert [name for name in names if not name.startswith(".profile-")] == [file.name]


def test_ctrl_c_at_the_terminal_keeps_the_earlier_profile_and_says_so(path: Path) -> None:
    assert headrace_command("tune", str(path), "--trials", "1", "--seconds", "0.01", "--readers", "mmap").code == 0
    earlier = load_profile(hr.open(path).native)
    command = [sys.executable, "-m", "headrace", "tune", str(path), "--trials", "1000", "--seconds", "600", "--readers", "mmap"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not any("headrace" in (task / "comm").read_text() for task in Path(f"/proc/{process.pid}/task").iterdir()):
                time.sleep(0.01)  # Until an engine runs: a trial is under way.
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "(interrupted)" in out
    assert "the earlier profile stays" in " ".join(out.split())
    assert load_profile(hr.open(path).native) == earlier
