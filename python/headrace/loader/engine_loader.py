"""A loader as the native engine's passes see it: what is read, in whose order and share, by which engines, and how batches look."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout
from headrace.datasets.shards import Dataset
from headrace.datasets.zipped import ZippedDataset
from headrace.loader.automatic import Automatic, Budget, find_automatic
from headrace.loader.engines import EnginePool
from headrace.loader.extras import add_extras
from headrace.loader.followers import Followers
from headrace.loader.image_fields import ImageFields
from headrace.loader.pinning import pin
from headrace.loader.prep_fields import PrepFields, fields_of
from headrace.loader.reading_order import ReadingOrder
from headrace.loader.source import Source
from headrace.loader.state import LoaderState
from headrace.loader.torch_loader import TorchLoader
from headrace.sampling.batch_schedule import BatchSchedule
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.order import OrderBatchSampler, OrderSampler, is_plain
from headrace.sampling.partition import Partition
from headrace.sampling.strata import StrataOrder
from headrace.sampling.token_batches import PlannedBatches
from headrace.sampling.weighted import WeightedOrder

__all__ = ["EngineLoader"]

# What a loader of torch's around the same dataset does not do, and what means that nothing is asked for.
_ENGINE_ALONE: dict[str, Any] = {
    "batch_schedule": None,
    "prepare": None,
    "on_error": "raise",
    "ragged": "padded",
    "strings": "lists",
    "device": None,
}


class EngineLoader(TorchLoader):
    """The half of a loader that `NativeIterator` works with. It has no constructor of its own: trainers look for that of the whole loader."""

    seed: int | None
    order_seed: int
    order: str | WeightedOrder | MixedOrder | StrataOrder
    weights: Any  # None once `order` holds them
    shuffle: bool
    window: int
    prefetch_bytes: int | None
    budget: Budget | None
    uneven: str
    on_error: str
    ragged: str
    strings: str
    device: str | torch.device | None
    prepare: Any
    place: LoaderState
    automatic: Automatic
    partition: Partition  # this process's share, as the latest pass found it
    is_fed: bool  # whether a sampler's or a generator's order is followed
    planned: PlannedBatches | None
    batch_schedule: BatchSchedule | None
    followers: Followers
    _source: Source
    _own: OrderSampler | None  # where the order is headrace's: what trainers find as `sampler`
    _engines: EnginePool
    _prepared_fields: ImageFields | PrepFields
    _custom_collate: Callable[[list[Any]], Any] | None
    _epoch_shift: int  # between this loader's epochs and those that a trainer counts
    _was_loaded: bool  # a state, and nothing iterated since

    def _begin_native(self, options: dict[str, Any], arguments: dict[str, Any]) -> None:
        """The native engine serves: find its order and settings, and tell torch's constructor what it may know."""
        if self.prepare is not None and isinstance(self.source, ZippedDataset):
            raise ValueError("prepare: the fields of a StackDataset are delivered as stored; prepare one dataset, or transform batches")
        self._prepared_fields = fields_of(self.prepare)
        self._prepared_fields.layout(self.source)  # What does not fit is said here.
        workers, factor, self.automatic = find_automatic(
            self.source.native, arguments["num_workers"], arguments["prefetch_factor"], self.budget or Budget()
        )
        timeout, persistent, collate_fn = arguments["timeout"], arguments["persistent_workers"], arguments["collate_fn"]
        if not 0 <= timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds, 0 to wait for ever, got {timeout}")
        if persistent and workers == 0:
            raise ValueError("persistent_workers needs num_workers > 0")
        if not isinstance(options["window"], str):
            options["window"] = self.window
        given = {**arguments, **options, "source": self._source, "order_seed": self.order_seed, "batch_schedule": self.batch_schedule}
        found = ReadingOrder(**{name: given[name] for name in ReadingOrder.ARGUMENTS})
        found.find()
        self.order, self.weights, self.shuffle, self.window = found.order, None, bool(found.shuffle), found.window_chunks
        self.planned, self.is_fed, self._own = found.planned, found.is_fed, found.own
        # num_workers=0: torch must not ask for what processes need; the attributes are set afterwards.
        kept = {name: arguments[name] for name in ("dataset", "collate_fn", "pin_memory", "generator", "pin_memory_device")}
        super().__init__(**kept, **found.torch_arguments(), num_workers=0)
        # A loader that is made again from its own attributes, as trainers do, names torch's default: what collates here by itself.
        self._custom_collate = None if collate_fn is torch.utils.data.default_collate else collate_fn
        self.num_workers, self.prefetch_factor, self.timeout = workers, factor, timeout
        self.__dict__["persistent_workers"] = persistent  # torch refuses to set it from outside.
        for name in ("multiprocessing_context", "worker_init_fn", "in_order"):
            setattr(self, name, arguments[name])
        self._share_out(found)

    # -- what is read ----------------------------------------------------------------------------------------------------------------

    @property
    def is_native(self) -> bool:
        """Whether the native engine serves this loader; else torch's own machinery does."""
        return self._source.found is not None

    @property
    def fallback_reason(self) -> str:
        """Why the native engine does not serve this loader; empty if it does."""
        return "" if self.is_native else self._source.reason

    @property
    def source(self) -> Dataset | ArrayDataset:
        """What the native engine reads: the dataset, or the form in which it was recognised. Raises TypeError where torch's machinery serves it."""
        found = self._source.found
        if found is None:
            raise TypeError(f"this loader runs {type(self.dataset).__name__} as torch does; the native engine does not read it")
        return found

    @property
    def epoch_samples(self) -> int:
        """Positions of an epoch on all ranks together: the samples, or what the order says."""
        return self.order.num_samples if isinstance(self.order, WeightedOrder | MixedOrder | StrataOrder) else len(self.source)

    # -- whose share, which epoch ----------------------------------------------------------------------------------------------------

    def _share_out(self, found: ReadingOrder) -> None:
        """Begin with an order that was found; torch's constructor has made its samplers."""
        batch_size, drop_last = found.batch_size, found.drop_last
        if is_plain(self.batch_sampler):  # The user's own, or what torch made of batch_size and drop_last.
            batch_size, drop_last = self.batch_sampler.batch_size, self.batch_sampler.drop_last
        if self.planned is not None:
            self.partition = self.planned.share.find()
        elif self._own is None:
            self.partition = Partition(batch_size=batch_size or 1, drop_last=drop_last, uneven=found.uneven)
        else:
            self.find_partition()
            batches = OrderBatchSampler(self._own, self.partition.batch_size, drop_last)
            batches.lost = tuple(name for name, usual in _ENGINE_ALONE.items() if getattr(self, name) != usual)
            self.__dict__["batch_sampler"] = batches  # Torch refuses to have this set, too.

    def _hear_collate(self) -> bool:
        """Follow a collate_fn that was set since. False if it needs samples as torch's dataset makes them: torch's machinery then serves from now on.

        Raises ValueError where that has not this loader's order.
        """
        given = None if self.collate_fn is torch.utils.data.default_collate else self.collate_fn
        if given is self._custom_collate:
            return True
        if self._source.is_headraces:
            self._custom_collate, self._engines = given, EnginePool()  # Engines make batches for one or the other.
            return True
        if not self.is_fed or self.planned is not None:
            raise ValueError(
                "collate_fn was set on a loader whose order is headrace's own, over a dataset of torch's; give it when the loader is made"
            )
        if self.num_workers > 0 and self.prefetch_factor is None:
            self.prefetch_factor = 2  # Torch's, of its workers.
        self._source.give_up("collate_fn was set, which needs Python for each sample")
        return False

    def _look_again(self) -> None:
        """Follow a dataset of torch's that was changed, and a process group that was made after this loader, as trainers make it."""
        self._source.refresh()
        if self.planned is not None:
            self.partition = self.planned.share.find()
        elif self._own is not None:
            self.find_partition()

    def find_partition(self) -> None:
        """Look for this process's share of headrace's own order, and for the size that a schedule says."""
        assert self._own is not None
        self.partition = self._own.share.find()
        if self.batch_schedule is not None:
            size = self.batch_schedule.batch_size
            self.partition = replace(self.partition, batch_size=size)
            self.__dict__["batch_size"] = size  # torch refuses to have it set.

    def hear_sampler(self) -> None:
        """Follow an epoch that a trainer chose at the sampler, as if it were a DistributedSampler of torch's."""
        was_loaded, self._was_loaded = self._was_loaded, False
        told = None if self._own is None else self._own.take_told()
        if told is None:
            return
        coming = self.place.epoch + self.place.finished
        if was_loaded and told < coming:
            self._epoch_shift = coming - told  # It counts from where the run was resumed, as Lightning's Fabric does.
        self.place = self.place.at_epoch(told + self._epoch_shift)

    def _tell(self, epoch: int) -> None:
        """Let samplers and dataset follow this loader's epoch."""
        self._epoch_shift = 0
        self.followers.tell(epoch)
        if self._own is not None:
            self._own.follow(epoch)

    # -- engines ---------------------------------------------------------------------------------------------------------------------

    def take_pipeline(self, native: _native.Dataset, partition: Partition | None = None) -> _native.Pipeline:
        """An engine that no iterator uses, over this table and for this share (by default the loader's); one made before a fork is left to its parent."""
        partition = partition or self.partition
        pipeline = self._engines.take(native, partition)
        if pipeline is not None:
            return pipeline
        budget = self.budget or Budget()
        pipeline = _native.Pipeline(
            native,
            batch_size=partition.batch_size,
            drop_last=partition.drop_last,
            drop_uneven=self.uneven == "drop",
            rank=partition.rank,
            world_size=partition.world_size,
            **self._order_options(),
            # A timeout needs a thread to wait for.
            num_threads=max(self.num_workers, 1) if self.timeout > 0 else self.num_workers,
            prefetch_batches=self.prefetch_factor * max(1, self.num_workers) if self.prefetch_factor is not None else 0,
            prefetch_bytes=budget.prefetch_bytes(self.prefetch_bytes, is_pinned=self.device is not None) or 0,
            **self._field_options(),
        )
        # A copy to a device begins as soon as the batch is there: it must not wait for its consumer to make it.
        self.automatic.tune(pipeline, workers=self.num_workers, budget=budget, needs_thread=self.timeout > 0 or self.device is not None)
        self._engines.add(pipeline)
        return pipeline

    def _order_options(self) -> dict[str, Any]:
        """What an engine is told of the order."""
        order = self.order
        is_plain_order = self.is_fed or not self.shuffle
        return {
            "order": "sequential" if is_plain_order else order if isinstance(order, str) else order.name,
            "weights": order.table if isinstance(order, WeightedOrder) else None,
            "mixture": order.native(self.place.epoch) if isinstance(order, MixedOrder) else None,
            "strata": order.table if isinstance(order, StrataOrder) else None,
            "epoch_samples": self.epoch_samples if isinstance(order, WeightedOrder | MixedOrder) else 0,
            "window": self.window,
            "seed": self.order_seed,
        }

    def _field_options(self) -> dict[str, Any]:
        """What an engine is told of the fields, and of samples that cannot be read."""
        fields = self._prepared_fields
        return {
            "fields": self.source.field_numbers,
            # Samples are cut out again: padding would be for nothing.
            "ragged": self.ragged if self._custom_collate is None else "offsets",
            "on_error": self.on_error,
            "images": fields.plans(self.source),
            "mix": fields.mix(self.source),
            "field_plan": fields.field_plan(self.source),
        }

    def tell_shares(self, pipeline: _native.Pipeline, epoch: int) -> str | None:
        """Before an engine begins with an epoch: a mixture's shares may differ between them. Returns these, in words."""
        if not isinstance(self.order, MixedOrder):
            return None
        pipeline.set_mixture(self.order.native(epoch))
        return self.order.describe(epoch)

    def give_pipeline(self, native: _native.Dataset, partition: Partition, pipeline: _native.Pipeline) -> None:
        """Keep an engine for the next pass over this table and for this rank."""
        self._engines.give(native, partition, pipeline)

    # -- how batches look ------------------------------------------------------------------------------------------------------------

    @property
    def _layout(self) -> BatchLayout:
        return self._prepared_fields.layout(self.source)

    @property
    def _has_extras(self) -> bool:
        return self.uneven == "exact" or getattr(self.source, "source_name", None) is not None

    def to_host(self, batch: _native.Batch) -> Any:
        """Torch tensors over a batch's memory, or what collate_fn makes of its samples."""
        if self._custom_collate is not None:
            host = self._custom_collate(self._layout.to_samples(batch))
        else:
            host = self._layout.to_torch(batch, self.strings)
        return add_extras(self, host, batch) if self._has_extras else host

    def convert(self, batch: _native.Batch) -> Any:
        """A batch as the user wants it on the host: pinned if asked for."""
        host = self.to_host(batch)
        return pin(host) if self.pin_memory else host

    def converter(self) -> Callable[[_native.Batch], Any]:
        """convert(), or what it comes to where nothing else is asked for: it runs once a batch."""
        plain = not self.pin_memory and self._custom_collate is None and self.strings == "lists" and not self._has_extras
        return self._layout.to_torch if plain else self.convert

    def slab_of(self, batch: _native.Batch) -> _native.Batch | None:
        """The batch whose memory holds all that to_host() makes of it; None if collate_fn made its own."""
        return batch if self._custom_collate is None else None
