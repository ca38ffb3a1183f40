"""Tensors are found wherever they stand in a batch; whole batches on a device: test_transfer.py."""

from __future__ import annotations

import torch

from headrace.loader.leaves import map_leaves


def test_lists_of_strings_are_not_walked() -> None:
    names = [f"n{i}" for i in range(5)] + [None]
    assert map_leaves({"names": names}, lambda leaf: leaf)["names"] is names
    mixed = ["a", torch.zeros(1)]
    assert map_leaves(mixed, lambda leaf: leaf + 1)[1] == 1
    assert map_leaves(range(3), lambda leaf: leaf) == [0, 1, 2]  # As torch makes of what cannot be made anew.
    assert map_leaves(bytearray(b"ab"), lambda leaf: leaf) == b"ab"
