"""Worker processes that are killed: an error that says which, how, and at which sample; the next pass is whole. Torch's own suite skips this case."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.behaviour.jobs import job

# Rounds by hand: HEADRACE_KILLS=100. The sample sleeps, so that a worker is in one when it is killed; or none does, so that it is killed anywhere.
ROUNDS = int(os.environ.get("HEADRACE_KILLS", "6"))

KILLED = """
import random, sys
from prelude import *

class Telling(Squares):
    def __getitem__(self, index):
        if index == self.stuck:
            open(f"stuck-{os.getpid()}", "w").close()
        return super().__getitem__(index)

class Kept(Telling):
    def state_dict(self):
        return {}
    def load_state_dict(self, state):
        pass

def main(engine, where, rounds, context):
    kind = Telling if engine == "torch" else Kept
    dataset = kind(stuck=27) if where == "in a sample" else kind()
    context = None if context == "none" else context
    loader = loader_of("process", dataset, multiprocessing_context=context)
    assert loader.stats()["engine"] == engine
    random.seed(where)
    for number in range(rounds):
        iterator = iter(loader)
        workers = iterator._workers
        try:
            next(iterator)
            if where == "in a sample":
                while not os.path.exists(f"stuck-{workers[1].pid}"):
                    time.sleep(0.01)
            else:
                for _ in range(random.randrange(40)):
                    next(iterator)
                time.sleep(random.random() / 100)
            os.kill(workers[1].pid, signal.SIGKILL)
            for batch in iterator:
                pass
            # Nothing of it was wanted any more.
            assert where == "anywhere", where
        except RuntimeError as error:
            text = "\\n".join([str(error), *getattr(error, "__notes__", ())])
            assert str(workers[1].pid) in text, text
            assert ("is killed by signal: Killed" in text) or ("exited unexpectedly" in text) or ("ended unexpectedly" in text), text
            if where == "in a sample":
                assert f"worker process 1 (pid {workers[1].pid}), at dataset index 27, ended: SIGKILL (out of memory, perhaps" in text, text
        del iterator
    if where == "in a sample":
        loader = loader_of("process", kind(), multiprocessing_context=context)
    assert sorted(indices(loader)) == list(range(SAMPLES))
    say("all", rounds)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
"""


@pytest.mark.parametrize("where", ["in a sample", "anywhere"])
@pytest.mark.parametrize(("engine", "context"), [("torch", "none"), ("torchdata", "none"), ("torch", "forkserver")])
def test_a_killed_worker_is_an_error_and_no_more(tmp_path: Path, engine: str, where: str, context: str) -> None:
    rounds = (
        ROUNDS if context == "none" else (ROUNDS + 2) // 3
    )  # Its workers take seconds to start, and their death is not told but looked for.
    with job(tmp_path, KILLED, engine, where, str(rounds), context, cwd=tmp_path) as running:
        assert running.end()[0] == f"all {rounds}\n"
