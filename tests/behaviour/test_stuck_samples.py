"""A sample that takes for ever: `timeout` says which, where its code is and for whom it waits; the pass goes on when the sample does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour.jobs import job

STUCK = """
import sys
from prelude import *

def main(kind, context, workers):
    loader = loader_of(kind, Squares(stuck=27, seconds=6), timeout=2, num_workers=int(workers), multiprocessing_context=None if context == "none" else context)
    iterator = iter(loader)
    seen, late = [], []
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            break
        except TimeoutError as error:
            assert isinstance(error, RuntimeError) and isinstance(error, hr.LoaderTimeoutError)
            late.append(str(error))
            continue
        seen += batch[1].tolist()
    assert seen == list(range(SAMPLES)), len(seen)
    for text in late:
        if "index 27" in text:
            break
    assert "time.sleep(self.seconds)" in text or ("prelude.py" in text and "in __getitem__" in text), late
    assert "within 2" in text or "timed out after 2" in text, late
    say("all")

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("kind", "context", "workers"),
    [
        ("thread", "none", 0),
        ("thread", "none", 1),
        ("thread", "none", 8),
        ("process", "none", 1),
        ("process", "none", 2),
        ("process", "forkserver", 2),
    ],
)
def test_a_stuck_sample_is_named_with_its_stack_and_the_pass_goes_on(tmp_path: Path, kind: str, context: str, workers: int) -> None:
    with job(tmp_path, STUCK, kind, context, str(workers)) as running:
        assert running.end() == ("all\n", "")


HOLDING = """
import sys
from prelude import *

class Holding(data.IterableDataset):
    def __iter__(self):
        yield 1
        while data.get_worker_info().id == 1:  # The interpreter is never idle.
            pass
        yield 2

def main():
    iterator = iter(hr.DataLoader(Holding(), 1, num_workers=2, timeout=2))
    try:
        for _ in iterator:
            pass
    except hr.LoaderTimeoutError as error:
        assert f"worker process 1 (pid {iterator._workers[1].pid})" in str(error), error
        assert "line 8 in __iter__" in str(error) or "line 9 in __iter__" in str(error), error
        say("named")

if __name__ == "__main__":
    main()
"""


def test_a_stream_that_never_rests_is_shown_too(tmp_path: Path) -> None:
    with job(tmp_path, HOLDING) as running:
        assert running.end() == ("named\n", "")
