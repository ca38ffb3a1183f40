"""Which engine serves a dataset."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from headrace import _native
from headrace.datasets.arrays import ArrayDataset, from_arrays, is_tensor
from headrace.datasets.recognise import find_native, is_stored, stamp
from headrace.datasets.shards import Dataset
from headrace.errors import ChangedError, HeadraceWarning

__all__ = ["Source", "as_arrays", "warn_of_ignored"]


def as_arrays(dataset: dict[Any, Any]) -> Any:
    """A dict of arrays and tensors as a dataset of their rows; other dicts, which are datasets of their values to torch, as they are."""
    values = dataset.values()
    if (
        not dataset
        or not all(isinstance(value, np.ndarray) or is_tensor(value) for value in values)
        or any(value.ndim == 0 for value in values)
    ):
        return dataset
    return from_arrays(dataset) if all(isinstance(key, str) for key in dataset) else dataset


def warn_of_ignored(options: list[str]) -> None:
    """Say which options HEADRACE_DISABLE takes the meaning of."""
    if options:
        warnings.warn(
            f"HEADRACE_DISABLE is set: torch's own loader serves, without {', '.join(options)}; unset it to have them",
            HeadraceWarning,
            stacklevel=3,
        )


class Source:
    """What the native engine reads for a dataset, in `found`; None where torch runs it. Looked for again when the user changed torch's dataset.

    Raises TypeError if parallel="native" cannot be had. Copies and pickles look for themselves: the arrays travel once, with the dataset.
    """

    def __init__(self, dataset: Any, parallel: str, *, whole: bool, plain: bool) -> None:
        self._dataset = dataset
        self.found: Dataset | ArrayDataset | None = None
        self._stamp: Any = None
        self.reason = f"parallel={parallel!r}"  # why nothing was found
        if parallel == "disabled":
            self.reason = "HEADRACE_DISABLE is set"
        if parallel in ("process", "thread", "disabled"):
            return
        # Torch's own datasets are served natively only where nobody can tell the difference.
        is_found = whole and (plain or self.is_headraces) and self._look()
        if not is_found and not (whole and plain):
            self.reason = "batch_size=None, collate_fn and worker_init_fn need Python for each sample"
        if not is_found and parallel == "native":
            raise TypeError(f"parallel='native': the native engine cannot serve {type(dataset).__name__}: {self.reason}")

    @property
    def is_ours(self) -> bool:
        """Whether it is a dataset of headrace's own, which is what is read."""
        return isinstance(self._dataset, Dataset | ArrayDataset)

    @property
    def is_headraces(self) -> bool:
        """Whether its samples are those of a dataset of headrace's own, or of parts of some."""
        return self.is_ours or is_stored(self._dataset)

    def _look(self) -> bool:
        self.found, self.reason = find_native(self._dataset)
        if self.found is not None and not self.is_ours:
            self._stamp = stamp(self._dataset)
        return self.found is not None

    @property
    def native(self) -> _native.Dataset:
        """The native form of what was found."""
        assert self.found is not None
        return self.found.native

    def __len__(self) -> int:
        assert self.found is not None
        return len(self.found)

    def refresh(self) -> None:
        """Follow a dataset of torch's that has other tensors, indices or parts by now. Raises ChangedError if it cannot be read so."""
        if self.found is None or self.is_ours or stamp(self._dataset) == self._stamp:
            return
        if not self._look():
            raise ChangedError(
                f"the {type(self._dataset).__name__} was changed since this loader was made, and the native engine cannot read what it is "
                "now (indices outside of it, tensors that need gradients or lie on another device); make a new loader for it"
            )

    def give_up(self, reason: str) -> None:
        """Leave the dataset to torch from now on."""
        self.found, self.reason = None, reason

    def __getstate__(self) -> dict[str, Any]:
        return {"_dataset": self._dataset, "is_native": self.found is not None, "reason": self.reason}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._dataset, self.found, self._stamp, self.reason = state["_dataset"], None, None, state["reason"]
        if state["is_native"]:
            self._look()
