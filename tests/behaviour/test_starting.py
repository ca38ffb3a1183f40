"""Where a script may come from, and what it may do before and while it reads: no guard, no file, a lambda, any start method, a fork, a held lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour.jobs import KINDS, job

# As it is typed: classes, a lambda and the loop at the top level, no guard.
TYPED = """
import sys
import torch
from torch.utils import data
import headrace as hr

class Squares(data.Dataset):
    def __len__(self):
        return 100
    def __getitem__(self, index):
        return index * index

def local():
    class Inner(Squares):
        pass
    return Inner()

kind, context = sys.argv[1:]
options = dict(num_workers=2, multiprocessing_context=None if context == "none" else context)
if kind == "native":
    loaders = [hr.DataLoader(data.TensorDataset(torch.arange(100) ** 2), 10, **options)]
    assert loaders[0].is_native
    found = [[x for batch, in loaders[0] for x in batch.tolist()]]
else:
    loaders = [hr.DataLoader(dataset, 10, collate_fn=lambda samples: list(samples), parallel=kind, **options) for dataset in (Squares(), local())]
    found = [[x for batch in loader for x in batch] for loader in loaders]
assert all(one == [i * i for i in range(100)] for one in found), found
print("all", flush=True)
"""


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scripts_without_a_guard_or_a_file(tmp_path: Path, kind: str, stdin: bool) -> None:
    with job(tmp_path, TYPED, kind, "none", stdin=stdin) as running:
        assert running.end() == ("all\n", "")


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["native", "thread"])
def test_no_start_method_matters_where_nothing_is_started(tmp_path: Path, kind: str, context: str, stdin: bool) -> None:
    with job(tmp_path, TYPED, kind, context, stdin=stdin) as running:
        assert running.end() == ("all\n", "")


# A notebook: __main__ has no file, cells are compiled from text, and a loop of events runs.
NOTEBOOK = """
import asyncio, sys, types
cells = [
    "import torch, headrace as hr\\nfrom torch.utils import data",
    "class Squares(data.Dataset):\\n    def __len__(self): return 50\\n    def __getitem__(self, i): return i * i",
    "loader = hr.DataLoader(Squares(), 5, num_workers=2, parallel=sys.argv[1], collate_fn=lambda x: x)",
    "for batch in loader: break",
    "Squares.__getitem__ = lambda self, i: -i",
    "found = [x for batch in loader for x in batch]",
    "native = [x for batch in hr.DataLoader({'y': torch.arange(50)}, 5, num_workers=2) for x in batch['y'].tolist()]",
]
main = sys.modules["__main__"]
del main.__file__

async def kernel():
    for number, cell in enumerate(cells):
        exec(compile(cell, f"<cell {number}>", "exec"), main.__dict__)
        await asyncio.sleep(0)
asyncio.run(kernel())
assert found == [-i for i in range(50)], found
assert native == list(range(50))
print("all", flush=True)
"""


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_cells_of_a_notebook(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, NOTEBOOK, kind) as running:
        assert running.end() == ("all\n", "")


GUARDED = """
import sys
from prelude import *

def start(worker):
    assert data.get_worker_info().id == worker

def main(context):
    loader = loader_of("process", shuffle=True, multiprocessing_context=context, worker_init_fn=start, generator=torch.Generator().manual_seed(3))
    plain = data.DataLoader(Squares(), 20, shuffle=True, generator=torch.Generator().manual_seed(3))
    expected = indices(plain)
    assert indices(loader) == expected
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest = indices(iterator)
    again = loader_of("process", shuffle=True, multiprocessing_context=context, worker_init_fn=start)  # The place knows the generator's state.
    again.load_state_dict(state)
    assert indices(again) == rest
    say("all")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_every_start_method_gives_the_same_batches(tmp_path: Path, context: str) -> None:
    with job(tmp_path, GUARDED, context) as running:
        assert running.end() == ("all\n", "")


FORKED = """
import sys
from prelude import *

def main(kind):
    loader = loader_of(kind, shuffle=True)
    for _ in range(5):
        iterator = iter(loader)
        seen = indices([next(iterator)])
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            # The pass is the parent's; a new one is the child's own.
            status = int(sorted(indices(loader)) != list(range(SAMPLES)))
            if kind != "process":  # torch's own iterators share their queues with the parent after a fork: the child takes the parent's batches.
                try:
                    next(iterator)
                    status += 2
                except hr.ForkError:
                    pass
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        seen += indices(iterator)
        assert sorted(seen) == list(range(SAMPLES))
    say("all")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_in_the_middle_of_a_pass(tmp_path: Path, kind: str) -> None:
    with job(tmp_path, FORKED, kind) as running:
        assert running.end()[0] == "all\n"


LOCKED = """
import sys
from prelude import *

lock = threading.Lock()

class Locked(Squares):
    def __getitem__(self, index):
        with lock:
            return super().__getitem__(index)

def main(kind):
    def hold():
        while True:
            with lock:
                time.sleep(0.001)
            time.sleep(0.0001)
    threading.Thread(target=hold, daemon=True).start()
    loader = loader_of(kind, Locked() if kind == "thread" else None)
    for _ in range(2):
        assert indices(loader) == list(range(SAMPLES))
    say("all")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", ["native", "thread"])
def test_locks_that_others_hold_are_no_trap(tmp_path: Path, kind: str) -> None:
    """A forked worker inherits the lock as it was held, for ever: torch's loaders hang here."""
    with job(tmp_path, LOCKED, kind) as running:
        assert running.end()[0] == "all\n"
