"""The samplers and the dataset that follow a loader's epoch."""

from __future__ import annotations

from typing import Any

__all__ = ["Followers"]


class Followers:
    """Those of some objects that have a set_epoch(), as DistributedSampler; each is told once."""

    def __init__(self, *objects: Any) -> None:
        self._targets = [one for one in {id(one): one for one in objects}.values() if hasattr(one, "set_epoch")]
        self._told: int | None = None

    def tell(self, epoch: int) -> None:
        """Pass an epoch on."""
        self._told = epoch
        for target in self._targets:
            target.set_epoch(epoch)

    def epoch(self) -> int | None:
        """Where they are now: what one of them says (`epoch`), whoever told it; else what was told here. None if nobody knows, or nobody follows."""
        if not self._targets:
            return None
        said = (getattr(target, "epoch", None) for target in self._targets)
        return next((epoch for epoch in said if type(epoch) is int and 0 <= epoch < 1 << 63), self._told)
