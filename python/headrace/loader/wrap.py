"""`headrace.wrap`: a loader that exists already, as one of headrace's."""

from __future__ import annotations

from typing import Any

from headrace.errors import import_extra

import_extra("torch", "torch", "headrace.wrap")
import torch.utils.data as data  # noqa: E402

from headrace.loader.loader import DataLoader  # noqa: E402

__all__ = ["wrap"]

_SETTINGS = (
    "num_workers",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "generator",
    "prefetch_factor",
    "persistent_workers",
    "pin_memory_device",
    "in_order",
    "snapshot_every_n_steps",
)
_OWN_ORDER = {
    "seed",
    "order",
    "weights",
    "rank",
    "world_size",
    "mesh",
    "uneven",
    "shuffle",
    "sampler",
    "batch_sampler",
    "batch_size",
    "drop_last",
}
_ITERATION = ("__iter__", "_get_iterator", "__len__")


def wrap(loader: data.DataLoader[Any], **options: Any) -> DataLoader:
    """Return a headrace.DataLoader with the options of a torch DataLoader (or subclass): the same batches, in the same order, from the same draws.

    options: of headrace.DataLoader, in place of the loader's or beside them; those that choose another order (seed, rank, ...) replace torch's samplers,
    not samplers of the user's own. Dataset, samplers and generator are shared with the loader, not copied; of a pass under way nothing is known.
    A headrace.DataLoader without options is returned as it is. Raises TypeError for what is no DataLoader, and for a subclass that iterates in a way of its
    own, whose batches nobody could promise.
    """
    if not isinstance(loader, data.DataLoader):
        raise TypeError(f"wrap: expected a torch.utils.data.DataLoader, got {type(loader).__name__}")
    if isinstance(loader, DataLoader):
        if options:
            raise TypeError("wrap: this is a headrace.DataLoader already; make a new one to change its options")
        return loader
    _refuse_own_iteration(type(loader))
    settings = {name: getattr(loader, name) for name in _SETTINGS if hasattr(loader, name)}
    if loader.num_workers == 0:
        settings["prefetch_factor"] = None
    defaults = (data.default_collate, data.default_convert)
    settings["collate_fn"] = None if loader.collate_fn in defaults else loader.collate_fn
    return DataLoader(loader.dataset, **{**settings, **_batches_of(loader, bool(_OWN_ORDER & options.keys())), **options})


def _refuse_own_iteration(kind: type) -> None:
    for one in kind.__mro__[: kind.__mro__.index(data.DataLoader)]:
        if one.__module__.partition(".")[0] in ("torch", "torchdata"):
            continue
        own = [name for name in _ITERATION if name in vars(one)]
        if own:
            raise TypeError(
                f"wrap: {one.__qualname__} has its own {own[0]}(), which would be lost; make a headrace.DataLoader, and change that one's batches"
            )


def _batches_of(loader: data.DataLoader[Any], replaces_order: bool) -> dict[str, Any]:
    """What decides which samples are in which batch."""
    if isinstance(loader.dataset, data.IterableDataset):
        return {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    batch_sampler: Any = loader.batch_sampler
    is_plain = batch_sampler is None or (type(batch_sampler).__name__ == "BatchSampler" and batch_sampler.sampler is loader.sampler)
    if not is_plain or (loader.batch_size is None and batch_sampler is not None):
        return {"batch_sampler": batch_sampler}
    sampler: Any = loader.sampler
    out: dict[str, Any] = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    if type(sampler) is data.SequentialSampler:
        return {**out, "shuffle": False}
    if (
        replaces_order
        and type(sampler) is data.RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    ):
        return {**out, "shuffle": True, "generator": None}
    return {**out, "sampler": sampler}
