"""How positions of an epoch become batches of one rank: the Python side of cpp/headrace/pipeline/partition.h."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.sampling.world import find_world

__all__ = ["Partition", "Share"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Cuts an epoch into global batches of batch_size * world_size positions, and each of them among ranks."""

    batch_size: int  # samples of one rank's batch, >= 1
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False  # of the global batch at the epoch's end, if it is not whole

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be in [0, {self.world_size}), got {self.rank}")

    @property
    def global_batch(self) -> int:
        """Positions that all ranks together take in one step."""
        return self.batch_size * self.world_size

    def num_batches(self, num_samples: int, position: int = 0) -> int:
        """Steps from `position` to the end of an epoch; the same on every rank."""
        left = max(0, num_samples - position)
        return left // self.global_batch if self.drop_last else -(-left // self.global_batch)

    def share(self, num_samples: int, step: int) -> tuple[int, int]:
        """Return (first position, count) of this rank in a step; positions at or past num_samples wrap around to the epoch's start."""
        begin = step * self.global_batch
        left = num_samples - begin
        count = self.batch_size if left >= self.global_batch else -(-left // self.world_size)
        return begin + self.rank * count, count


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a rank's partition follows from: options as they were given. The process group may be made later than whoever holds this."""

    batch_size: int = 1
    drop_last: bool = False
    rank: int | None = None
    world_size: int | None = None

    def find(self) -> Partition:
        """The partition of this process as of now. Raises ValueError as find_world() does."""
        rank, world_size = find_world(self.rank, self.world_size)
        return Partition(batch_size=self.batch_size, rank=rank, world_size=world_size, drop_last=self.drop_last)
