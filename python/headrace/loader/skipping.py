"""The rest of an epoch, as Accelerate's skip_first_batches() asks for it; by the loader's own engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.loader.loader import DataLoader
from headrace.loader.state import LoaderState

__all__ = ["RestOfEpoch", "can_be_skipped"]


def can_be_skipped(loader: Any) -> bool:
    """Whether a place after so many batches is known without reading: not where the sizes of batches change."""
    return isinstance(loader, DataLoader) and loader.is_native and loader.batch_schedule is None


class RestOfEpoch(DataLoader):
    """A loader without the first batches of each pass. It is the loader's place that moves: afterwards the loader goes on with the next epoch."""

    _of: DataLoader
    _skipped: int

    def __init__(self, loader: DataLoader, batches: int) -> None:
        """batches: steps of this rank, as `len(loader)` counts them."""
        self.__dict__.update(loader.__dict__)
        self._of, self._skipped = (loader._of, loader._skipped + batches) if isinstance(loader, RestOfEpoch) else (loader, batches)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        of = self._of
        of._look_again()
        of.hear_sampler()
        skipped = min(self._skipped, len(of))
        position = skipped if of.is_fed else min(skipped * of.partition.global_batch, of.epoch_samples)
        of.place = LoaderState(of.place.begin().epoch, position, resume=True, skipped=of.place.skipped)
        return iter(of)

    def __len__(self) -> int:
        return max(0, len(self._of) - self._skipped)

    def set_epoch(self, epoch: int) -> None:
        """Of the loader."""
        self._of.set_epoch(epoch)

    def replay(self, step: int, epoch: int | None = None) -> Any:
        """Of the loader: steps count from the epoch's start."""
        return self._of.replay(step, epoch)

    def state_dict(self) -> dict[str, Any]:
        """Of the loader."""
        return self._of.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Of the loader; a pass of this begins after the skipped batches all the same."""
        self._of.load_state_dict(state_dict)

    def stats(self) -> dict[str, Any]:
        """Of the loader."""
        return self._of.stats()

    def __repr__(self) -> str:
        return f"{self._of!r} without the first {self._skipped} batches"

    def __reduce__(self) -> tuple[Any, ...]:
        return RestOfEpoch, (self._of, self._skipped)
