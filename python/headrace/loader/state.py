"""Where a loader is, as a small dict of plain values: the same on every rank (but for the samples that failed there), legal at any moment.

For native orders the place is one number, the global position in the epoch: so a run resumes on any world size, any batch size and any
number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import ChangedError
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.strata import StrataOrder
from headrace.sampling.weighted import WeightedOrder

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["LoaderState", "cuts_of", "identity_of", "read_state"]

VERSION = 1


@dataclass
class LoaderState:
    """What changes while a loader runs."""

    epoch: int = 0
    position: int = 0  # global position after the last delivered batch; for a user's sampler: batches delivered
    resume: bool = False  # whether `position` was loaded and nothing delivered since: the next pass starts there
    finished: bool = False
    shares: str | None = None  # of a mixture, that this pass began with: they may have been set anew since
    skipped: list[int] = field(default_factory=list)  # different samples that on_error left out or replaced, as this rank met them
    drawn: dict[str, Any] = field(
        default_factory=dict
    )  # what a sampler's draws of this epoch began with (loader/feeding.py), and its own epoch
    cuts: tuple[tuple[int, int], ...] = ()  # of planned batches: (ranks, steps) of those who read of this epoch before, in turn
    ranks: int = 0  # of whom `position` counts planned batches; 0 until known
    key: int | None = None  # of the random numbers of a Python dataset's samples in threads; None until drawn

    def begin(self) -> LoaderState:
        """The state of the next pass; later changes of this one do not reach it, so of several live passes only the newest is recorded.

        A pass that delivered nothing is begun again.
        """
        if self.finished or (self.position > 0 and not self.resume):
            return LoaderState(self.epoch + 1, skipped=self.skipped)
        kept, key = (self.drawn, self.key) if self.resume else ({}, None)
        begun = LoaderState(self.epoch, self.position, self.resume, skipped=self.skipped, drawn=kept, key=key)
        if self.resume:
            begun.cuts, begun.ranks = self.cuts, self.ranks
        return begun

    def for_ranks(self, ranks: int) -> None:
        """Count planned batches of so many ranks from now on: what others read is cut off, and what is left planned anew."""
        self.cuts, position = self.cuts_for(ranks)
        self.position, self.ranks = position, ranks

    def cuts_for(self, ranks: int) -> tuple[tuple[tuple[int, int], ...], int]:
        """Cuts and position if so many ranks go on from here."""
        if self.position == 0 or self.ranks in (0, ranks):
            return self.cuts, self.position
        return (*self.cuts, (self.ranks, self.position)), 0

    def deliver(self, position: int) -> None:
        """Count a batch as delivered."""
        self.position, self.resume = position, False

    def at_epoch(self, epoch: int) -> LoaderState:
        """The state before a whole pass of `epoch`; itself if a place in that same epoch was just loaded."""
        if self.resume and epoch == self.epoch:
            return self
        return LoaderState(epoch, skipped=self.skipped)


def identity_of(loader: DataLoader, at: Any = None) -> dict[str, Any]:
    """What must be equal where a state of this loader is loaded: the samples, and what decides their order.

    at: the state in question, by default the loader's own. The shares of a mixture are those of its epoch, and of no matter once that is over.
    """
    source, order = loader.source, loader.order
    same: dict[str, Any] = {"fingerprint": f"{source.fingerprint:016x}", "num_samples": len(source)}
    if loader.planned is not None:
        return {**same, "seed": loader.order_seed, "order": loader.planned.describe(), "window": 0}
    if loader.is_fed:
        return {**same, "order": "sampler", "batch_size": loader.batch_size}
    if isinstance(order, WeightedOrder | StrataOrder):
        return {**same, "seed": loader.order_seed, "order": f"{order.name} {order.fingerprint} {order.num_samples}", "window": 0}
    if isinstance(order, MixedOrder):
        now = {"epoch": loader.place.epoch, "finished": loader.place.finished} if at is None else at
        epoch, finished = (now.get("epoch"), now.get("finished")) if isinstance(now, Mapping) else (None, None)
        under_way = loader.place.shares if at is None else None
        shares = under_way or order.describe(epoch) if type(epoch) is int and epoch >= 0 and finished is False else "any"
        return {**same, "seed": loader.order_seed, "order": f"mixed {order.num_samples}", "window": 0, "shares": shares}
    return {
        **same,
        "seed": loader.order_seed,
        "order": order if loader.shuffle else "sequential",
        "window": loader.window if loader.shuffle and order == "window" else 0,
    }


def read_state(saved: Mapping[str, Any], identity: Mapping[str, Any], limit: int) -> LoaderState:
    """Check a saved state against this loader: `limit` is its last position, `identity` what must be equal (num_samples among it).

    Raises TypeError for what is no mapping, ValueError and ChangedError.
    """
    if not isinstance(saved, Mapping):
        raise TypeError(f"load_state_dict: expected the dict that state_dict() gave, got {type(saved).__name__}")
    if saved.get("version") != VERSION:
        raise ValueError(f"load_state_dict: version is {saved.get('version')!r}, this headrace reads {VERSION}")
    missing = [key for key in (*identity, "epoch", "position", "finished") if key not in saved]
    if missing:
        raise ValueError(f"load_state_dict: the state has no {', '.join(missing)}; it was not made by state_dict()")
    check_same(saved, identity)
    epoch, position, finished, skipped = saved["epoch"], saved["position"], saved["finished"], saved.get("skipped", [])
    if (
        type(epoch) is not int
        or type(position) is not int
        or type(finished) is not bool
        or not 0 <= epoch < 1 << 63
        or not 0 <= position <= limit
    ):
        raise ValueError(
            f"load_state_dict: epoch {epoch!r}, position {position!r}, finished {finished!r} is no place in an epoch of {limit}"
        )
    drawn = saved.get("drawn", {})
    if (
        not isinstance(drawn, Mapping)
        or type(drawn.get("seed", 0)) is not int
        or not isinstance(drawn.get("generator", ""), str)
        or type(drawn.get("epoch", 0)) is not int
        or not 0 <= drawn.get("epoch", 0) < 1 << 63
        or not set(drawn) <= {"seed", "generator", "epoch"}
    ):
        raise ValueError(f"load_state_dict: drawn is {str(drawn)[:100]}; expected a seed, a generator's state or a sampler's epoch")
    size = identity["num_samples"]
    if not isinstance(skipped, list) or any(type(i) is not int or not 0 <= i < size for i in skipped):
        raise ValueError(f"load_state_dict: skipped is {str(skipped)[:100]}; expected a list of sample numbers below {size}")
    cuts, ranks = cuts_of(saved)
    return LoaderState(
        epoch, position, resume=not finished, finished=finished, skipped=list(skipped), drawn=dict(drawn), cuts=cuts, ranks=ranks
    )


def cuts_of(saved: Mapping[str, Any]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Who read of the epoch before, and how many ranks the position counts batches of; nothing and 0 where batches are not planned. Raises ValueError."""
    cuts, ranks = saved.get("cuts", []), saved.get("ranks", 0)
    if (
        not isinstance(cuts, list)
        or any(not isinstance(cut, list) or len(cut) != 2 or any(type(n) is not int or not 0 < n < 1 << 31 for n in cut) for cut in cuts)
        or type(ranks) is not int
        or not 0 <= ranks < 1 << 31
    ):
        raise ValueError(
            f"load_state_dict: cuts {str(cuts)[:100]}, ranks {str(ranks)[:20]}; expected pairs of ranks and steps, and a number of ranks"
        )
    return tuple((ranks, steps) for ranks, steps in cuts), ranks


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ChangedError that lists every entry of `now` in which a saved state differs."""
    differing = [f"{key}: saved {saved.get(key)!r}, now {value!r}" for key, value in now.items() if saved.get(key) != value]
    if differing:
        raise ChangedError(
            "load_state_dict: the state belongs to another order of samples ("
            + "; ".join(differing)
            + "); resume with the same dataset version, seed and order"
        )
