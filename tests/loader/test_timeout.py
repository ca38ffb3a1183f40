"""`timeout` fires at any number of threads, says what is stuck, and costs nothing but the wait.

What is stuck is a read that the kernel holds: tests/system_calls.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from tests.loader.samples import answer_of, ids_of, numbered


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 numbered samples."""
    where = tmp_path_factory.mktemp("timeout") / "d"
    numbered(where, 200, chunk_samples=16)
    return where


STUCK = """
import json, sys, time
import headrace as hr
import torch
from tests.loader.samples import ids_of
from tests.system_calls import POSITIONAL_READS, HeldCalls

path, workers, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
order = {"shuffle": True, "seed": 3} if kind == "shuffle" else {"sampler": range(199, -1, -1)}
torch.zeros(3)
list(hr.DataLoader(hr.open(path), 10, **order))  # What is imported late is imported now: a held call would hold it too.

dataset, mapped = hr.open(path, reader="pread"), hr.open(path)  # Opening reads too.
loader = hr.DataLoader(dataset, 10, num_workers=workers, timeout=0.2, **order)
hr.set_num_threads(max(1, workers))
held = HeldCalls(POSITIONAL_READS)
iterator = iter(loader)
messages, waits = [], []
for _ in range(2):
    begin = time.monotonic()
    try:
        next(iterator)
    except hr.LoaderTimeoutError as error:
        messages.append(str(error))
    waits.append(time.monotonic() - begin)
state = loader.state_dict()
other = hr.DataLoader(mapped, 10, num_workers=1, timeout=30)  # Mapped, on the same pool: a stuck read holds none of its threads.
messages.append(next(iter(other))["id"].tolist())
held.release()
loader.timeout = 30
rest = ids_of(iterator)
again = ids_of(hr.DataLoader(dataset, 10, num_workers=workers, timeout=30, **order))
print(json.dumps({"messages": messages, "waits": waits, "position": state["position"], "rest": rest, "again": again, "next": ids_of(loader),
                  "other": ids_of(other)}))
"""


@pytest.mark.parametrize(("workers", "kind"), [(0, "shuffle"), (1, "sampler"), (2, "shuffle")])
def test_a_stuck_read_is_named_and_the_pass_goes_on(path: Path, workers: int, kind: str) -> None:
    answer = answer_of(STUCK, path, workers, kind)
    order = {"shuffle": True, "seed": 3} if kind == "shuffle" else {"sampler": range(199, -1, -1)}
    loader = hr.DataLoader(hr.open(path), 10, **order)
    expected = ids_of(loader)
    first = " ".join(map(str, expected[0][:4]))
    for message in answer["messages"][:2]:
        assert message.startswith(f"no batch within 0.2 s: step 0 (samples {first} and 6 more) is "), message
        assert "reading" in message
        assert str(path) in message
        assert "a read has not come back" in message
    assert answer["messages"][2] == list(range(10))
    assert min(answer["waits"]) >= 0.2
    assert answer["position"] == 0
    assert answer["rest"] == expected
    assert answer["again"] == expected
    assert answer["next"] == ids_of(loader)
    assert answer["other"] == np.arange(200).reshape(20, 10).tolist()


def test_a_timeout_that_is_long_enough_changes_nothing(path: Path) -> None:
    expected = ids_of(hr.DataLoader(hr.open(path), 7, True))
    for workers in (0, 2):
        loader = hr.DataLoader(hr.open(path), 7, True, num_workers=workers, timeout=60)
        assert ids_of(loader) == expected
        assert loader.num_workers == workers


def test_a_timeout_is_also_what_python_and_torch_call_one(path: Path) -> None:
    assert issubclass(hr.LoaderTimeoutError, TimeoutError)
    assert issubclass(hr.LoaderTimeoutError, RuntimeError)  # What torch raises.
    with pytest.raises(ValueError, match="timeout must be a number of seconds, 0 to wait for ever, got -1"):
        hr.DataLoader(hr.open(path), timeout=-1)
