"""One line an epoch, for whoever asks: `logging.getLogger("headrace.epochs").setLevel(logging.INFO)`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["EpochSummary"]

_LOGGER = logging.getLogger("headrace.epochs")
if _LOGGER.level == logging.NOTSET:
    _LOGGER.setLevel(logging.WARNING)  # Else it would speak wherever a program shows what its libraries say.


class EpochSummary:
    """What a loader did in a pass: begins with it, and says so at its end."""

    def __init__(self, loader: DataLoader, before: dict[str, Any]) -> None:
        self._loader, self._before = loader, before

    @staticmethod
    def begin(loader: DataLoader) -> EpochSummary | None:
        """None where nobody asked: it costs two stats() a pass."""
        return EpochSummary(loader, loader.stats()) if _LOGGER.isEnabledFor(logging.INFO) else None

    def end(self, epoch: int) -> None:
        """Log the line. Figures are of all of the loader's passes that ran meanwhile."""
        now, before = self._loader.stats(), self._before
        did = {key: now[key] - before[key] for key in ("batches", "samples", "bytes_delivered", "seconds", "stall_seconds", "errors")}
        seconds = max(did["seconds"], 1e-9)
        _LOGGER.info(
            "epoch %d: %s samples in %s batches, %.2f s, %s samples/s, %.3g MB/s; waited %.1f %%, first batch after %.0f ms; %d threads, %d batches ahead, "
            "reader %s%s",
            epoch, f"{did['samples']:,}", f"{did['batches']:,}", seconds, f"{did['samples'] / seconds:,.0f}", did["bytes_delivered"] / seconds / 1e6,
            min(100.0, 100 * did["stall_seconds"] / seconds), 1e3 * now["time_to_first_batch_seconds"], now["num_threads"],
            now["prefetch_batches"], now["reader"], f"; {did['errors']} samples failed" if did["errors"] else "",
        )  # fmt: skip
