"""The bare loops that benchmarks compare with: they refuse what they could not read, and take longer for more work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from headrace._native import copy_limit, gather_limit, widen_limit

TOKENS = np.arange(100_000, dtype=np.uint16)
ROWS = np.zeros((1000, 64), np.float32)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_each_returns_seconds(threads: int) -> None:
    assert widen_limit(TOKENS, np.arange(0, 90_000, 7), 2049, 16, threads) > 0
    assert gather_limit([ROWS, ROWS[:, 0].copy()], np.arange(1000), 64, threads) > 0
    assert copy_limit(1 << 20, 1 << 12, 1 << 16, threads) > 0


REFUSED: dict[str, tuple[Callable[[], float], type[Exception], str]] = {
    "a window beyond the end": (lambda: widen_limit(TOKENS, np.array([100_000 - 2048]), 2049, 16, 1), IndexError, "index 97952"),
    "a window before the start": (lambda: widen_limit(TOKENS, np.array([-1]), 2049, 16, 1), IndexError, "index -1"),
    "windows longer than all": (lambda: widen_limit(TOKENS, np.array([0]), 100_001, 16, 1), ValueError, "length is 100001"),
    "empty windows": (lambda: widen_limit(TOKENS, np.array([0]), 0, 16, 1), ValueError, "length is 0"),
    "rows of rows": (lambda: widen_limit(TOKENS.reshape(10, -1), np.array([0]), 1, 16, 1), ValueError, "one C-contiguous row"),
    "every other token": (lambda: widen_limit(TOKENS[::2], np.array([0]), 1, 16, 1), ValueError, "one C-contiguous row"),
    "no batch": (lambda: widen_limit(TOKENS, np.array([0]), 1, 0, 1), ValueError, "batch_size is 0"),
    "no thread": (lambda: widen_limit(TOKENS, np.array([0]), 1, 1, 0), ValueError, "threads is 0"),
    "a row that is not there": (lambda: gather_limit([ROWS], np.array([1000]), 64, 1), IndexError, "index 1000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused(case: str) -> None:
    call, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        call()
