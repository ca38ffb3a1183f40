"""Which engine serves a dataset."""

from __future__ import annotations

from typing import Any

from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.recognise import recognise
from headrace.datasets.shards import Dataset

__all__ = ["find_source"]


def find_source(dataset: Any, parallel: str, *, whole: bool, plain: bool) -> Dataset | ArrayDataset | None:
    """What the native engine reads for this dataset, or None: then torch runs it. Raises TypeError if parallel="native" cannot be had."""
    if parallel == "process":
        return None
    ours = isinstance(dataset, Dataset | ArrayDataset)
    # Torch's own datasets are served natively only where nobody can tell the difference.
    source = recognise(dataset) if whole and (ours or plain) else None
    if source is None and parallel == "native":
        reason = (
            "it is none that is recognised"
            if plain and whole
            else "batch_size=None, collate_fn and worker_init_fn need Python for each sample"
        )
        raise TypeError(f"parallel='native': the native engine cannot serve {type(dataset).__name__}: {reason}")
    return source
