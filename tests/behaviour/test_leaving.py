"""Leaving a pass: by break, del, an error in the loop, a signal to the job or to the process alone, or the end of the script. Nothing stays, nothing waits."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.behaviour.jobs import KINDS, job, wait_for

ROUNDS = """
import sys
from prelude import *

def main(kind):
    loader = loader_of(kind, shuffle=True)
    for _ in range(3):
        for number, batch in enumerate(loader):
            if number == 2:
                break
        iterator = iter(loader)
        next(iterator)
        del iterator
        try:
            for batch in loader:
                raise KeyError("of the loop")
        except KeyError as error:
            assert error.args == ("of the loop",)
        iterator = None
    assert sorted(indices(loader)) == list(range(SAMPLES))
    say("whole")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_break_del_and_errors_of_the_loop(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, ROUNDS, kind) as running:
        assert running.end() == ("whole\n", "")


# A sample that sleeps a thousand seconds is under way when the pass is left.
STUCK = """
import sys
from prelude import *

def main(kind, how):
    loader = loader_of(kind, Squares(stuck=50))
    iterator = iter(loader)
    next(iterator)
    time.sleep(0.5)
    say("leaving")
    if how == "del":
        del iterator
        say("left")
    elif how == "exit":
        sys.exit(3)
    elif how == "error":
        raise KeyError("mine")
    elif how == "_exit":
        os._exit(4)
    say("still there")
    if how == "del":
        assert indices([next(iter(loader))]) == list(range(20))
    say("end")

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize("how", ["del", "end", "exit", "error", "_exit"])
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_sample_under_way_holds_nobody_up(tmp_path: Path, kind: str, how: str) -> None:
    with job(tmp_path, STUCK, kind, how) as running:
        assert running.line() == "leaving"
        out, err = running.end({"exit": 3, "error": 1, "_exit": 4}.get(how, 0))
        assert out == {"del": "left\nstill there\nend\n", "end": "still there\nend\n"}.get(how, "")
        assert err == "" or (how == "error" and err.endswith("KeyError: 'mine'\n"))


SIGNALLED = """
import sys
from prelude import *

def main(kind, context):
    loader = loader_of(kind, shuffle=True, multiprocessing_context=None if context == "none" else context)
    flag = []
    signal.signal(signal.SIGTERM, lambda number, frame: flag.append(number))
    seen = []
    for number, batch in enumerate(loader):
        seen += batch[1].tolist()
        if number == 1:
            say("ready")
            while not flag:
                time.sleep(0.01)
    assert sorted(seen) == list(range(SAMPLES)), len(seen)
    say("checkpoint written")
    sys.exit(7)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("kind", "context"), [("native", "none"), ("thread", "none"), ("process", "none"), ("process", "spawn"), ("process", "forkserver")]
)
def test_a_job_that_is_told_to_end_gets_its_batches_until_it_does(tmp_path: Path, kind: str, context: str) -> None:
    with job(tmp_path, SIGNALLED, kind, context) as running:
        assert running.line() == "ready"
        assert len(running.members()) >= (3 if kind == "process" else 1)
        os.killpg(running.pid, signal.SIGTERM)
        assert running.end(7) == ("checkpoint written\n", "")


FOREVER = """
import sys
from prelude import *

def main(kind, context):
    stuck = Squares(stuck=50) if context != "none" else Squares()
    loader = loader_of(kind, stuck, multiprocessing_context=None if context in ("none", "stuck") else context)
    iterator = iter(loader)
    next(iterator)
    say("ready")
    while True:
        time.sleep(0.01)
        if context == "none":
            next(iterator, None)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("kind", "context"),
    [("native", "none"), ("thread", "stuck"), ("process", "none"), ("process", "stuck"), ("process", "spawn"), ("process", "forkserver")],
)
@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, True), (signal.SIGHUP, False), (signal.SIGKILL, False)])
def test_a_job_that_is_ended_leaves_nothing(tmp_path: Path, kind: str, context: str, number: int, to_all: bool) -> None:
    """Under torch, workers that are in a sample live on for as long as that takes."""
    with job(tmp_path, FOREVER, kind, context) as running:
        assert running.line() == "ready"
        running.members()
        if to_all:
            os.killpg(running.pid, number)
        else:
            os.kill(running.pid, number)
        running.end(-number)


INTERRUPTED = """
import sys
from prelude import *

def main(kind):
    loader = loader_of(kind, Squares(stuck=50))
    iterator = iter(loader)
    next(iterator)
    try:
        say("ready")
        for _ in iterator:
            pass
    except KeyboardInterrupt:
        say("interrupted")
    del iterator
    assert indices([next(iter(loader))]) == list(range(20))
    say("goes on")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_ctrl_c_ends_the_wait_for_a_sample(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, INTERRUPTED, kind) as running:
        assert running.line() == "ready"
        running.members()
        os.killpg(running.pid, signal.SIGINT)
        assert running.line() == "interrupted"
        assert running.end()[0] == "goes on\n"


def test_a_pass_in_a_thread_of_the_users_ends_with_the_process(tmp_path: Path) -> None:
    """The kernel would end a worker with the thread that forked it: here that one ends first, and the workers serve on."""
    script = """
from prelude import *

def main():
    loader = loader_of("process", shuffle=True, persistent_workers=True)
    made = []
    thread = threading.Thread(target=lambda: made.append(iter(loader)))
    thread.start()
    thread.join()
    time.sleep(0.5)
    assert sorted(indices(made[0])) == list(range(SAMPLES))
    say("ready")
    time.sleep(1000)

if __name__ == "__main__":
    main()
"""
    with job(tmp_path, script) as running:
        assert running.line() == "ready"
        assert wait_for(lambda: len(running.members()) == 3)
        os.kill(running.pid, signal.SIGKILL)
        running.end(-signal.SIGKILL)
