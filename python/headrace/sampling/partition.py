"""How positions of an epoch become batches of one rank: the Python side of cpp/headrace/pipeline/partition.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.sampling.mesh import find_share
from headrace.sampling.options import one_of

__all__ = ["Partition", "Share"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Cuts an epoch into global batches of batch_size * world_size positions, and each of them among ranks.

    Where the last global batch is not whole and its samples cannot be shared alike, every rank takes as many: with uneven="pad" and "exact" some are
    repeated ("exact": and known, by `valid`), with "drop" left out, fewer than world_size of them.
    """

    batch_size: int  # samples of one rank's batch, >= 1
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False  # of the global batch at the epoch's end, if it is not whole
    uneven: str = "pad"  # "pad", "drop" or "exact"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be in [0, {self.world_size}), got {self.rank}")
        one_of("uneven", self.uneven, ("pad", "drop", "exact"))

    @property
    def global_batch(self) -> int:
        """Positions that all ranks together take in one step."""
        return self.batch_size * self.world_size

    def num_batches(self, num_samples: int, position: int = 0) -> int:
        """Steps from `position` to the end of an epoch; the same on every rank."""
        whole, rest = divmod(max(0, num_samples - position), self.global_batch)
        least = self.global_batch if self.drop_last else self.world_size if self.uneven == "drop" else 1
        return whole + (rest >= least)

    def share(self, num_samples: int, step: int) -> tuple[int, int]:
        """Return (first position, count) of this rank in a step; positions at or past num_samples wrap around to the epoch's start."""
        begin = step * self.global_batch
        left = num_samples - begin
        rest = left // self.world_size if self.uneven == "drop" else -(-left // self.world_size)
        count = self.batch_size if left >= self.global_batch else rest
        return begin + self.rank * count, count

    def valid(self, num_samples: int, step: int) -> int:
        """Return how many samples of this rank's share, the first ones, are in the epoch; the others repeat samples of its beginning."""
        begin, count = self.share(num_samples, step)
        return max(0, min(count, num_samples - begin))


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a rank's partition follows from: options as they were given. The process group may be made later than whoever holds this."""

    batch_size: int = 1
    drop_last: bool = False
    rank: int | None = None
    world_size: int | None = None
    mesh: Any = None
    uneven: str = "pad"

    def find(self) -> Partition:
        """The partition of this process as of now. Raises ValueError and TypeError as find_share() does."""
        rank, world_size = find_share(self.rank, self.world_size, self.mesh)
        return Partition(batch_size=self.batch_size, rank=rank, world_size=world_size, drop_last=self.drop_last, uneven=self.uneven)
