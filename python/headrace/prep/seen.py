"""Which rows a pipeline was fitted on, so that it can say when rows are prepared that it must not have seen."""

from __future__ import annotations

import base64
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.shards import Dataset
from headrace.errors import HeadraceWarning

__all__ = ["Seen", "seen_by"]

_MOST_ROWS = 1 << 24  # of a dataset whose chosen rows are kept


@dataclass
class Seen:
    """fingerprint: of the whole dataset. rows: a mask over its rows; None: all of them, or more than are kept (then `chosen` < `total`)."""

    fingerprint: int
    total: int
    chosen: int
    rows: npt.NDArray[np.bool_] | None = None

    def state(self) -> dict[str, Any]:
        """Plain values."""
        packed = None if self.rows is None else base64.b64encode(zlib.compress(np.packbits(self.rows).tobytes())).decode()
        return {"fingerprint": str(self.fingerprint), "total": self.total, "chosen": self.chosen, "rows": packed}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Seen:
        """What state() gave."""
        rows = None
        if state["rows"] is not None:
            total = int(state["total"])
            if not 0 <= total <= _MOST_ROWS:
                raise ValueError(f"rows of a dataset of {total} samples; at most {_MOST_ROWS} are kept")
            bits = zlib.decompressobj().decompress(base64.b64decode(state["rows"]), (total + 7) // 8)
            rows = np.unpackbits(np.frombuffer(bits, np.uint8), count=total).astype(np.bool_)
        return cls(int(state["fingerprint"]), int(state["total"]), int(state["chosen"]), rows)

    def warn_if_leaking(self, other: Seen) -> None:
        """Warn if samples about to be prepared were fitted on, and others were that are not among them: a split of what the pipeline knows."""
        if self.fingerprint != other.fingerprint or self.chosen == 0 or other.chosen == 0:
            return
        if self.chosen == self.total:
            common = other.chosen
        elif other.chosen == other.total:
            common = self.chosen
        elif self.rows is None or other.rows is None:
            return
        else:
            common = int(np.count_nonzero(self.rows & other.rows))
        if common and common < self.chosen:
            warnings.warn(
                f"{common} of these {other.chosen} samples were among the {self.chosen} that the pipeline was fitted on: an evaluation on them is too "
                "good; fit on the training split alone: pipe.fit(splits['train'])",
                HeadraceWarning,
                stacklevel=4,
            )


def seen_by(data: Any) -> Seen | None:
    """Which rows of which dataset these are; None for arrays and frames, which nobody can tell."""
    if not isinstance(data, Dataset | ArrayDataset):
        return None
    fingerprint, rows, total = data.origin
    if rows is None:
        return Seen(fingerprint, total, total)
    if total > _MOST_ROWS:
        return Seen(fingerprint, total, len(rows))
    mask = np.zeros(total, np.bool_)
    mask[rows] = True
    return Seen(fingerprint, total, int(mask.sum()), mask)
