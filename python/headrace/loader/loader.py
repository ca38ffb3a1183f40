"""`headrace.DataLoader`: torch's DataLoader, with headrace datasets served by the native engine."""

from __future__ import annotations

import copy
import math
import os
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout
from headrace.datasets.shards import Dataset
from headrace.errors import import_extra
from headrace.loader.automatic import Budget, find_automatic
from headrace.loader.engines import EnginePool
from headrace.loader.followers import Followers
from headrace.loader.state import VERSION, LoaderState, cuts_of, identity_of, read_state
from headrace.loader.stats import add_rates
from headrace.sampling.batch_schedule import BatchSchedule
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.options import one_of, whole_number
from headrace.sampling.partition import Partition, Share
from headrace.sampling.strata import StrataOrder
from headrace.sampling.token_batches import PlannedBatches, TokenBatches
from headrace.sampling.weighted import WeightedOrder, choose_order
from headrace.sampling.window_choice import automatic_window, window_target

import_extra("torch", "torch", "headrace.DataLoader")
import torch.utils.data  # noqa: E402

from headrace.loader.cuda import check_device  # noqa: E402
from headrace.loader.device_iterator import DeviceIterator, TorchDeviceIterator  # noqa: E402
from headrace.loader.extras import add_extras  # noqa: E402
from headrace.loader.native_iterator import NativeIterator  # noqa: E402
from headrace.loader.pinning import pin  # noqa: E402
from headrace.loader.prep_fields import fields_of  # noqa: E402
from headrace.loader.prepared import PreparedPass, can_be_kept, prepared_device  # noqa: E402
from headrace.loader.python_engine import PythonEngine  # noqa: E402
from headrace.loader.source import Source, as_arrays, warn_of_ignored  # noqa: E402
from headrace.loader.stateful_batches import PassIndices  # noqa: E402
from headrace.loader.transfer import Transfer  # noqa: E402
from headrace.loader.worker_process import SeededWorkers  # noqa: E402
from headrace.sampling.order import OrderBatchSampler, OrderSampler, SequentialOrderSampler, is_plain  # noqa: E402

__all__ = ["DataLoader"]

_NATIVE_DEFAULTS: dict[str, Any] = {
    "seed": None,
    "order": "global",
    "weights": None,
    "window": 32,
    "prefetch_bytes": None,
    "budget": None,
    "rank": None,
    "world_size": None,
    "mesh": None,
    "uneven": "pad",
    "check_ranks": True,
    "batch_by": None,
    "on_error": "raise",
    "max_errors": 100,
    "ragged": "padded",
    "strings": "lists",
    "prepare": None,
}

# What a loader of torch's around the same dataset does not do, and what means that nothing is asked for.
_ENGINE_ALONE: dict[str, Any] = {
    "batch_schedule": None,
    "prepare": None,
    "on_error": "raise",
    "ragged": "padded",
    "strings": "lists",
    "device": None,
}


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Batches of a dataset, as torch's DataLoader gives them: a subclass with its positional arguments and defaults.

    A `headrace.Dataset` is read, decoded, shuffled and assembled by native threads, straight into the memory of the tensors; `headrace.from_arrays`
    likewise. Torch's own TensorDataset, Subset, ConcatDataset and StackDataset of such are read in place by the same threads, in torch's order, bit for bit
    (unless collate_fn or worker_init_fn ask for Python); tensors or indices that they are given later count from the next pass on.
    Hugging Face datasets are read through their Arrow buffers. Any other dataset runs as torch runs it, with a place; on torchdata's StatefulDataLoader where
    dataset or sampler have a state of their own, and for streams. Its errors, and a timeout, say which sample, epoch and batch. parallel="thread": each
    sample's torch, numpy and random generators are keyed by (seed, epoch, index), whatever num_workers is; handles that threads must not share are opened
    again for each. on_error works with num_workers=0 and in threads. HEADRACE_DISABLE=1 in the environment makes every loader plain torch.

    Native options (keyword-only; each is an attribute of the same name, as it was given):
        seed: of headrace's own order; the same on every rank. The order of an epoch is a function of (seed, epoch) alone. None: 0 for headrace's own
            datasets, torch's order for torch's; any number, 0 too, asks for headrace's order, which is cut by rank and world_size.
        order: "global" (any sample may follow any other) or "window" (chunks are permuted, samples mixed among `window` chunks; reads each
            chunk once). Used if shuffle=True.
            "weighted", or an order from headrace.sampling: each position draws a sample by its weight, with replacement; or classes have their shares
            (stratified_batches, undersample, oversample).
        weights: for order="weighted", one number a sample (headrace.sampling.weighted says more); afterwards `order` holds them and this is None.
        window: chunks mixed at a time under order="window". "auto": the fewest (1, 2, 4, ...) whose order is within a distance of 0.1 of a uniform permutation
            ("auto:0.05": of that), as `headrace.evaluate.order` measures it; the attribute holds the number, which is a function of chunks and seed.
        batch_size: also a headrace.BatchSchedule, whose sizes change at steps or when told; the attribute holds the size of the batches to come.
        budget: a headrace.Budget of cores, memory and pinned memory that nothing automatic goes beyond.
        prefetch_bytes: bound of batches under way and of decoded blocks; default a tenth of the memory, at most 2 GiB.
        rank, world_size: share of each global batch; default from torch.distributed once initialised, else from the launcher's environment (torchrun,
            Open MPI, Horovod, Slurm, in this order), else 0 and 1. Looked for as each pass begins; `partition` has what was found.
        mesh: a torch DeviceMesh (or a slice, mesh["dp"]) instead: ranks that differ in its data dimensions ("dp", "fsdp", "dp_shard", ...) read different
            data, those that differ in others ("tp", "cp", "pp", ...) the same. `partition` has the share.
        uneven: of the last global batch, if its samples cannot be shared alike; every rank takes as many steps, and as many samples in each. "pad":
            samples of the epoch's beginning fill it up. "drop": fewer than world_size samples are left out. "exact": as "pad", and every batch brings
            a bool tensor that is True for what no filling added: batch["valid"] in a dict, the last item of a tuple or list, else (batch, valid).
        check_ranks: at the start of each pass compare dataset, order, place and batch size across the ranks of torch.distributed, if there are several
            that share this loader's data (one small all_gather, which each of them must take part in): RanksDifferError naming who differs in what.
        batch_by: headrace.tokens(...) or headrace.pack(...) in place of batch_size: batches by what their samples hold. They are planned once an epoch.
        on_error: "raise", "skip" (leave a damaged sample out) or "replace" (draw another); at most `max_errors` different samples of a loader.
        parallel: "auto"; "native" (TypeError if the engine cannot serve the dataset, see fallback_reason); "process" (torch's own machinery, whatever the
            dataset); "thread" (Python threads build the batches of a Python dataset, in torch's order; nothing is pickled or forked).
        ragged: "padded" (with `<name>.length`) or "offsets" ((values, offsets)).
        strings: strings, bytes and images as "lists" of str and bytes, an object a sample; or as "offsets", without any: the pair (values uint8, offsets
            int64 of shape (batch + 1,)) over the batch's memory, sample i being values[offsets[i]:offsets[i + 1]]; with `<name>.valid` if nullable.
        snapshot_every_n_steps: as torchdata's StatefulDataLoader; of no effect but where that serves.
        prepare: a headrace.images.Compose, run natively on the field of encoded images, or a dict of them by field name; default what the dataset asks for
            (ImageFolder's transform). Draws depend on (seed, epoch, sample) alone. Or a fitted headrace.prep.Pipeline, whose fields batches then have.
        device: "cuda", "cuda:N" or a torch.device: tensors arrive there, also those in tuples, dicts, lists and what collate_fn makes; for any dataset.
            Copies run on a stream of their own, one batch ahead of the consumer; its current stream waits for them, the host does not. pin_memory is
            not needed then. None or "cpu": batches stay on the host. ValueError without such a device.
    With a headrace dataset, num_workers counts native threads (0: everything on the caller's thread), prefetch_factor batches a thread. "auto": chosen while
    it runs, from what the consumer waits for, and again when machine or consumer change; batches stay what they are. num_workers="auto" begins with what
    `headrace tune` found best for this dataset on this machine, else with the usable cores (the attribute holds this number), and chooses how many batches
    to have ahead as well; follows the affinity and quota of the thread that iterates. stats() says what is in force.
    persistent_workers, multiprocessing_context, worker_init_fn and in_order have nothing to act on; timeout works for any num_workers.
    A sampler, batch_sampler or generator of torch's is followed exactly, in its own order; collate_fn gets lists of samples.

    Tensors own their memory for as long as they live; it is reused after that, never before.
    Raises ValueError for conflicting arguments, LoaderTimeoutError after `timeout` seconds, and the errors of the data with sample, shard, chunk and field.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | BatchSchedule | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int | str = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | str | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        order: str | WeightedOrder | MixedOrder | StrataOrder = "global",
        weights: Any = None,
        window: int | str = 32,
        prefetch_bytes: int | None = None,
        budget: Budget | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        mesh: Any = None,
        uneven: str = "pad",
        check_ranks: bool = True,
        batch_by: TokenBatches | None = None,
        on_error: str = "raise",
        max_errors: int = 100,
        ragged: str = "padded",
        strings: str = "lists",
        prepare: Any = None,
        parallel: str = "auto",
        device: str | torch.device | None = None,
        snapshot_every_n_steps: int = 1,
    ) -> None:
        options = {name: value for name, value in locals().items() if name in _NATIVE_DEFAULTS}
        self.parallel = one_of("parallel", parallel, ("auto", "native", "process", "thread"))
        self.batch_schedule: BatchSchedule | None = None
        if isinstance(batch_size, BatchSchedule):
            self.batch_schedule, batch_size = batch_size, batch_size.batch_size
        plain = worker_init_fn is None and (collate_fn is None or collate_fn is torch.utils.data.default_collate)
        self.snapshot_every_n_steps = snapshot_every_n_steps
        self.is_disabled = os.environ.get("HEADRACE_DISABLE", "") not in ("", "0")
        if type(dataset) is dict and sampler is None and batch_sampler is None and not self.is_disabled:
            dataset = as_arrays(dataset)
        self._source = Source(
            dataset, "disabled" if self.is_disabled else parallel, whole=batch_size is not None or batch_sampler is not None, plain=plain
        )
        self.seed = seed
        self.order_seed = 0 if seed is None else whole_number("seed", seed, 0, 1 << 64)
        self.order, self.weights = order, weights
        target = window_target(window) if isinstance(window, str) else None
        self.window = 32 if isinstance(window, str) else whole_number("window", window, 1, 1 << 32)
        self.prefetch_bytes = None if prefetch_bytes is None else whole_number("prefetch_bytes", prefetch_bytes, 1, 1 << 63)
        if budget is not None and not isinstance(budget, Budget):
            raise TypeError(f"budget must be a headrace.Budget, got {type(budget).__name__}")
        self.budget = budget
        self.on_error = one_of("on_error", on_error, ("raise", "skip", "replace"))
        self.max_errors = whole_number("max_errors", max_errors, 0, 1 << 63)
        self.ragged = one_of("ragged", ragged, ("padded", "offsets"))
        self.strings = one_of("strings", strings, ("lists", "offsets"))
        self.prepare = prepare
        self.rank, self.world_size, self.mesh = rank, world_size, mesh
        self.uneven = one_of("uneven", uneven, ("pad", "drop", "exact"))
        self.check_ranks, self.batch_by = check_ranks, batch_by
        self.shuffle = bool(shuffle)
        check_device(device)
        self.device = device
        self.place = LoaderState()
        self._engines = EnginePool()
        self._latest: weakref.ref[NativeIterator] | None = None
        self._own: OrderSampler | None = None  # where the order is headrace's: what trainers find as `sampler`
        self.planned: PlannedBatches | None = None
        self._is_prepared = False  # by Accelerate
        self._epoch_shift = 0  # between this loader's epochs and those that a trainer counts
        self._was_loaded = False  # a state, and nothing iterated since
        self._workers_seed: int | None = None  # drawn at the latest pass
        self._pass_indices: PassIndices | None = None  # while torch makes the iterator of a pass
        if not self.is_native:
            if isinstance(num_workers, str) or isinstance(prefetch_factor, str):
                raise ValueError(
                    f"num_workers={num_workers!r}, prefetch_factor={prefetch_factor!r}: only the native engine sets them by itself; give the number of "
                    "worker processes"
                )
            given = [
                name for name, value in options.items() if value is not None and (name == "weights" or value != _NATIVE_DEFAULTS[name])
            ]
            given += ["sampler (an order of headrace.sampling)"] if isinstance(sampler, WeightedOrder | StrataOrder) else []
            if self.is_disabled:
                warn_of_ignored(given)
                given = []
            if parallel == "thread" or num_workers == 0:
                given = [name for name in given if name not in ("on_error", "max_errors", *(("seed",) if parallel == "thread" else ()))]
            given += ["batch_size (a BatchSchedule)"] if self.batch_schedule is not None else []
            if given:
                raise ValueError(
                    f"{', '.join(given)}: only for datasets that the native engine reads, in batches; got {type(dataset).__name__} with "
                    f"batch_size={batch_size}, parallel={parallel!r}"
                )
            self._python = PythonEngine(self)
            # Threads have a timeout at any num_workers, and nothing to start that a context would start.
            is_threaded = parallel == "thread" and not self.is_disabled
            waits = 0 if is_threaded else timeout
            context = None if is_threaded else multiprocessing_context
            common = (num_workers, collate_fn, pin_memory, drop_last, waits, worker_init_fn, context, generator)
            super().__init__(
                dataset,
                batch_size,
                shuffle,
                sampler,
                batch_sampler,
                *common,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory_device=pin_memory_device,
                in_order=in_order,
            )
            if is_threaded:
                self.timeout, self.multiprocessing_context = timeout, multiprocessing_context
            self.followers = Followers(self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None), dataset)
            return
        self._prepared_fields = fields_of(prepare)
        self._prepared_fields.layout(self.source)  # What does not fit is said here.
        num_workers, prefetch_factor, self.automatic = find_automatic(self.source.native, num_workers, prefetch_factor, budget or Budget())
        if not 0 <= timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds, 0 to wait for ever, got {timeout}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers needs num_workers > 0")
        own = _own_sampler(dataset, sampler, batch_sampler)
        if own is not None:  # Made again from its attributes, as trainers do.
            order, shuffle, sampler, batch_sampler = (own.kind if own.shuffle else "global"), own.shuffle, None, None
            batch_size, drop_last, rank, world_size = own.share.batch_size, own.share.drop_last, own.share.rank, own.share.world_size
            mesh, uneven = own.share.mesh, own.share.uneven
        elif getattr(batch_sampler, "is_shared_out", False):  # Around such a sampler's batches, as Lightning does for predictions.
            rank, world_size, mesh, uneven = None, None, None, "pad"
        self.planned = batch_sampler if isinstance(batch_sampler, PlannedBatches) else None
        if batch_by is not None and self.planned is None:
            others = [one is not None for one in (sampler, batch_sampler, weights, generator)]
            if any(others) or batch_size != 1 or drop_last or order != "global" or uneven == "exact" or hasattr(self.source, "mixed"):
                raise ValueError(
                    "batch_by makes the batches of an order of its own; leave batch_size, sampler, batch_sampler, generator, drop_last, order, weights and "
                    "uneven='exact' out"
                )
            if batch_by.is_packed and ragged != "offsets":
                raise ValueError("headrace.pack() lays samples side by side: give ragged='offsets'")
            share = Share(rank=rank, world_size=world_size, mesh=mesh, uneven=uneven)
            self.planned = PlannedBatches(batch_by, self.source, seed=self.order_seed, shuffle=bool(shuffle), share=share)
        if self.planned is not None:  # Also of a loader that is made again from its attributes.
            batch_size, batch_sampler, shuffle, rank, world_size, mesh, uneven = 1, self.planned, None, None, None, None, "pad"
        order, sampler, shuffle = choose_order(
            order, weights, sampler, shuffle, len(self.source), batch_size or 1, getattr(self.source, "mixed", None)
        )
        if not isinstance(order, WeightedOrder | MixedOrder | StrataOrder):
            one_of("order", order, ("global", "window"))
        self.order, self.weights, self.shuffle = order, None, bool(shuffle)
        if target is not None and shuffle and order == "window":
            self.window = automatic_window(target, self.source.native.chunk_layout, self.order_seed)
        placed = rank is not None or world_size is not None or mesh is not None or uneven != "pad"
        ordered = placed or seed is not None or order != "global"
        self.is_fed = (
            sampler is not None
            or batch_sampler is not None
            or (generator is not None and bool(shuffle))
            or not (isinstance(dataset, Dataset | ArrayDataset) or ordered)
        )
        if self.is_fed and not isinstance(order, str):
            raise ValueError("weights and mixtures have an order of their own; leave sampler, batch_sampler and generator out")
        if self.is_fed and self.batch_schedule is not None:
            raise ValueError("a BatchSchedule cuts headrace's own order; leave sampler, batch_sampler, generator and batch_by out")
        if self.is_fed and placed:
            raise ValueError(
                "rank, world_size, mesh and uneven cut headrace's own order; a sampler, batch_sampler or generator must do its own share (DistributedSampler)"
            )
        if not self.is_fed:
            # Of a dataset of torch's the order is asked where it is looked at again, so that it follows, and travels with its arrays only once.
            rows = self.source if self._source.is_ours else self._source
            share = Share(batch_size=batch_size or 1, drop_last=drop_last, rank=rank, world_size=world_size, mesh=mesh, uneven=uneven)
            kind, make = (order, OrderSampler) if shuffle else ("sequential", SequentialOrderSampler)
            self._own = make(rows, seed=self.order_seed, kind=kind, window=self.window, share=share, of=dataset)
            sampler, shuffle = self._own, None
        # num_workers=0: torch must not ask for what processes need; the attributes are set afterwards.
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            sampler,
            batch_sampler,
            0,
            collate_fn,
            pin_memory,
            drop_last,
            generator=generator,
            pin_memory_device=pin_memory_device,
        )
        self.followers = Followers(self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None), dataset)
        # A loader that is made again from its own attributes, as trainers do, names torch's default: what collates here by itself.
        self._custom_collate = None if collate_fn is torch.utils.data.default_collate else collate_fn
        self.num_workers = num_workers
        self.multiprocessing_context = multiprocessing_context
        self.__dict__["persistent_workers"] = persistent_workers  # torch refuses to set it from outside.
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.prefetch_factor = prefetch_factor
        self.in_order = in_order
        if is_plain(self.batch_sampler):  # The user's own, or what torch made of batch_size and drop_last.
            batch_size, drop_last = self.batch_sampler.batch_size, self.batch_sampler.drop_last
        if self.planned is not None:
            self.partition = self.planned.share.find()
        elif self._own is None:
            self.partition = Partition(batch_size=batch_size or 1, drop_last=drop_last, uneven=uneven)
        else:
            self.find_partition()
            batches = OrderBatchSampler(self._own, self.partition.batch_size, drop_last)
            batches.lost = tuple(name for name, usual in _ENGINE_ALONE.items() if getattr(self, name) != usual)
            self.__dict__["batch_sampler"] = batches  # Torch refuses to have this set, too.

    def __class_getitem__(cls, item: Any) -> types.GenericAlias:
        # DataLoader[Tensor] in annotations, as of torch's, which is generic.
        return types.GenericAlias(cls, item)

    # -- iteration ---------------------------------------------------------------------------------------------------------------

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

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        device = check_device(self.device)
        if not self.is_native:
            batches = super().__iter__() if self.is_disabled else self._python.iterate()
            return batches if device is None else TorchDeviceIterator(batches, Transfer(device))
        self._look_again()
        self.hear_sampler()
        if self._is_prepared and self.device is None:
            device = prepared_device()
        iterator = NativeIterator(self) if device is None else DeviceIterator(self, Transfer(device))
        self._latest = weakref.ref(iterator)
        return PreparedPass(iterator) if self._is_prepared else iterator

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

    def draw_seed(self) -> int:
        """The number that torch draws for its workers as a pass begins, from the same generator; persistent ones keep the first."""
        if self._workers_seed is None or not (self.persistent_workers and self.num_workers > 0):
            self._workers_seed = int(torch.empty((), dtype=torch.int64).random_(generator=self.generator).item())
        return self._workers_seed

    def iterate_as_torch(
        self, worker_init_fn: Callable[[int], None] | None, indices: PassIndices | None = None, workers_seed: int | None = None
    ) -> Any:
        """torch's own iterator over this loader, with another worker_init_fn; with indices and the workers' seed that were drawn before."""
        users, generator = self.worker_init_fn, self.generator
        self.worker_init_fn, self._pass_indices = worker_init_fn, indices
        if indices is not None:
            # The iterator draws a seed of its own, and is given another: it must not be the user's generator that it draws from.
            self.generator, self._pass_seed = torch.Generator(), workers_seed
            if self.persistent_workers and self._iterator is not None:
                self._iterator._index_sampler = indices
        try:
            return super().__iter__()
        finally:
            self.worker_init_fn, self.generator, self._pass_indices = users, generator, None

    @property
    def _index_sampler(self) -> Any:
        return super()._index_sampler if self._pass_indices is None else self._pass_indices

    def _get_iterator(self) -> Any:
        if self._pass_indices is None or self.num_workers == 0:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return SeededWorkers(self, self._pass_seed)

    def check_worker_number_rationality(self) -> None:
        """Torch's warning of more worker processes than cores; threads are none."""
        if self.parallel != "thread" or self.is_disabled:
            super().check_worker_number_rationality()

    def forget_workers(self, seed: int | None) -> None:
        """A place was loaded: persistent workers are started again, with the seed that they had then."""
        self._iterator, self._workers_seed = None, seed

    def __len__(self) -> int:
        """Batches of a whole pass on this rank."""
        if not self.is_native or (self.is_fed and self.planned is None):
            return super().__len__()
        if self.planned is not None:
            cuts = () if self.place.finished else self.place.cuts_for(self.planned.share.find().world_size)[0]
            return self.planned.num_batches(self.place.epoch + self.place.finished, cuts)
        self._look_again()
        if self.batch_schedule is not None:
            return self.batch_schedule.num_batches(self.epoch_samples, self.partition, is_over=self.place.finished)
        return self.partition.num_batches(self.epoch_samples)

    @property
    def epoch_samples(self) -> int:
        """Positions of an epoch on all ranks together: the samples, or what the order says."""
        return self.order.num_samples if isinstance(self.order, WeightedOrder | MixedOrder | StrataOrder) else len(self.source)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass. Without a call, each pass that delivered something is followed by the next epoch."""
        if self.is_native or self.parallel == "thread":
            epoch = whole_number("epoch", epoch, 0, 1 << 63)
        if type(epoch) is int:
            self.place = self.place.at_epoch(epoch)
        self._tell(epoch)

    def _tell(self, epoch: int) -> None:
        """Let samplers and dataset follow this loader's epoch."""
        self._epoch_shift = 0
        self.followers.tell(epoch)
        if self._own is not None:
            self._own.follow(epoch)

    def replay(self, step: int, epoch: int | None = None) -> Any:
        """Build the batch of any step again (of the current epoch unless one is named), without disturbing the pass under way.

        Raises ValueError for a step that the epoch does not have, TypeError for a user's sampler, whose order is not a function.
        """
        self._require_native("replay")
        if self.is_fed:
            raise TypeError("replay() needs headrace's own order; this loader follows a sampler, batch_sampler or generator")
        step = whole_number("step", step, 0, max(len(self), 1) if self.batch_schedule is None else 1 << 63)
        epoch = self.place.epoch if epoch is None else whole_number("epoch", epoch, 0, 1 << 63)
        position, partition = step * self.partition.global_batch, self.partition
        if self.batch_schedule is not None:
            if epoch != self.place.epoch:
                raise ValueError(
                    f"with a BatchSchedule, replay() knows the steps of the epoch under way, {self.place.epoch}, not of epoch {epoch}"
                )
            position, partition = self.batch_schedule.place_of(step, self.epoch_samples, self.partition)
        native = self.source.native
        pipeline = self.take_pipeline(native, partition)
        try:
            self.tell_shares(pipeline, epoch)
            batch = pipeline.replay_at(epoch, position)
        finally:
            self.give_pipeline(native, partition, pipeline)
        device = check_device(self.device)
        return self.convert(batch) if device is None else Transfer(device).copy(self.to_host(batch), self.slab_of(batch))

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: plain values, the same on every rank, counting delivered batches. Legal at any moment.

        Only `skipped`, there once on_error left out or replaced something, is each rank's own: the samples that failed here, each once. A place that
        is loaded on all ranks may come from any of them; each then counts on from that rank's errors.
        """
        if not self.is_native:
            return self._python.state_dict()
        state = self.place
        out = {"version": VERSION, **identity_of(self), "epoch": state.epoch, "position": state.position, "finished": state.finished}
        if self.batch_schedule is not None:
            out["schedule"] = self.batch_schedule.state_dict()
        if state.skipped:
            out["skipped"] = list(state.skipped)
        if self.planned is not None and not state.finished:
            out["ranks"], out["cuts"] = state.ranks or self.planned.share.find().world_size, [list(cut) for cut in state.cuts]
        drawn = {} if state.finished else dict(state.drawn)
        if self.is_fed and (epoch := self.followers.epoch()) is not None:
            drawn.setdefault("epoch", epoch)  # Of the pass under way, or of the next.
        if drawn:
            out["drawn"] = drawn
        return out

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved place: the next iterator delivers what the saved one would have delivered next. Reads no data.

        A sampler's epoch is set to what it was (set_epoch()). Raises ChangedError naming each difference in dataset, seed or order; ValueError for
        what is not a state.
        """
        if not self.is_native:
            self._python.load_state_dict(state_dict)
            return
        self._source.refresh()
        place = read_state(state_dict, identity_of(self, state_dict), self._last_position(state_dict))
        if self.batch_schedule is not None:
            self.batch_schedule.load_state_dict(state_dict.get("schedule"))
        self.place = place
        self._was_loaded = True
        if self._own is not None:
            self._tell(self.place.epoch)
        elif "epoch" in self.place.drawn:
            self.followers.tell(self.place.drawn["epoch"])

    def _last_position(self, state_dict: Any) -> int:
        if not self.is_fed:
            return self.epoch_samples
        if self.planned is not None:
            epoch = state_dict.get("epoch") if isinstance(state_dict, Mapping) else None
            cuts, ranks = cuts_of(state_dict) if isinstance(state_dict, Mapping) else ((), 0)
            return self.planned.num_batches(epoch, cuts, ranks or None) if type(epoch) is int and 0 <= epoch < 1 << 63 else 0
        try:
            return len(self)
        except TypeError:  # A sampler without a length, as torch allows.
            return (1 << 63) - 1

    # -- reports -------------------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What the loader did since it was made, in this process. Seconds, bytes, counts; over all of its passes, also those that run side by side.

        batches, samples, bytes_delivered: handed to the consumer. seconds: passes under way. stall_seconds: spent inside next(); stall_share: of seconds.
        wait_seconds: what next() waited for a batch: p50, p90, p99 (to a sixteenth of their value) and max.
        padding_share: with batch_by, of the tokens of this rank's batches in the epoch.
        cache_hits, cache_misses: decoded blocks found and not found. cache_bytes, cache_capacity_bytes, cache_evictions: of the cache that all
        loaders of the process share (headrace.set_cache_bytes()).
        time_to_first_batch_seconds: of the latest pass. stages: thread seconds in plan, read, verify, decode, assemble (which includes the read,
        verify and decode that it meets), images, and fields (what a prep.Pipeline makes). read_retries: reads that the device failed (EIO) and that were
        tried once more. bytes_in_flight, peak_bytes: batches under way, now and at most. reader: what reads, after any fallback. num_threads,
        prefetch_batches: what is in force, which "auto" changes: tuning is then "searching" or "settled" (else "off"), setting_changes how often another
        setting was found better.
        """
        if not self.is_native:
            return self._python.stats()
        iterator = self._latest() if self._latest is not None else None
        pipeline = iterator.pipeline if iterator is not None and iterator.is_mine() else None
        if pipeline is None:
            native = self.source.native
            pipeline = self.take_pipeline(native)
            self.give_pipeline(native, self.partition, pipeline)
        stats = pipeline.stats()
        self._engines.add_others(stats, pipeline)
        add_rates(stats)
        stats["skipped"] = len(self.place.skipped)
        if self.planned is not None:
            stats["padding_share"] = self.planned.plan(self.place.epoch, self.place.cuts).padding_share
        stats["epoch"], stats["position"] = self.place.epoch, self.place.position
        return stats

    def __repr__(self) -> str:
        if not self.is_native:
            return super().__repr__()
        share = self.partition
        order = f"shuffle={self.shuffle}"
        if self.is_fed:
            known = self.batch_sampler if self.planned is not None or not is_plain(self.batch_sampler) else self.sampler
            order = f"{'sampler' if known is self.sampler else 'batch_sampler'}={type(known).__name__}"
        return (
            f"DataLoader(dataset={self.source.path!r}[{len(self.source)}], batch_size={self.batch_size}, {order}, "
            f"num_workers={self.num_workers}, rank {share.rank}/{share.world_size}, epoch {self.place.epoch}, position {self.place.position}, "
            f"seed {self.order_seed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # The copy goes on from here by itself.
        return {
            **self.__dict__,
            "_latest": None,
            "_python": None,
            "_workers_seed": None,
            "_iterator": None,
            "place": copy.deepcopy(self.place),
            "batch_schedule": copy.deepcopy(self.batch_schedule),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self.is_native:
            self._python = PythonEngine(self)

    # -- trainers ------------------------------------------------------------------------------------------------------------------

    @property
    def _is_accelerate_prepared(self) -> bool:
        """Asked by Accelerate's prepare(), which keeps a loader that says True: this one cuts by rank and copies to the device itself."""
        self._is_prepared = self._is_prepared or can_be_kept(self)
        return self._is_prepared

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, prepared: bool) -> None:
        self._is_prepared = prepared and self.is_native  # prepare() says so of whatever it returns.

    @property
    def use_stateful_dataloader(self) -> bool:
        """Asked by Accelerate's save_state() and load_state(): whether state_dict() and load_state_dict() are to be called."""
        return self._is_prepared

    # -- engines -------------------------------------------------------------------------------------------------------------------

    def _require_native(self, what: str) -> None:
        if not self.is_native:
            raise TypeError(
                f"{what}() needs a headrace dataset read in batches; this loader runs {type(self.dataset).__name__} as torch does"
            )

    def take_pipeline(self, native: _native.Dataset, partition: Partition | None = None) -> _native.Pipeline:
        """An engine that no iterator uses, over this table and for this share (by default the loader's); one made before a fork is left to its parent."""
        partition = partition or self.partition
        pipeline = self._engines.take(native, partition)
        if pipeline is not None:
            return pipeline
        ahead = self.prefetch_factor * max(1, self.num_workers) if self.prefetch_factor is not None else 0
        weights = self.order if isinstance(self.order, WeightedOrder) else None
        mixed = self.order if isinstance(self.order, MixedOrder) else None
        budget = self.budget or Budget()
        pipeline = _native.Pipeline(
            native,
            fields=self.source.field_numbers,
            batch_size=partition.batch_size,
            drop_last=partition.drop_last,
            drop_uneven=self.uneven == "drop",
            rank=partition.rank,
            world_size=partition.world_size,
            order="sequential" if self.is_fed or not self.shuffle else self.order if isinstance(self.order, str) else self.order.name,
            weights=None if weights is None else weights.table,
            mixture=None if mixed is None else mixed.native(self.place.epoch),
            strata=self.order.table if isinstance(self.order, StrataOrder) else None,
            epoch_samples=0 if weights is None and mixed is None else self.epoch_samples,
            window=self.window,
            seed=self.order_seed,
            # A timeout needs a thread to wait for.
            num_threads=max(self.num_workers, 1) if self.timeout > 0 else self.num_workers,
            prefetch_batches=ahead,
            prefetch_bytes=budget.prefetch_bytes(self.prefetch_bytes, is_pinned=self.device is not None) or 0,
            # Samples are cut out again: padding would be for nothing.
            ragged=self.ragged if self._custom_collate is None else "offsets",
            on_error=self.on_error,
            images=self._prepared_fields.plans(self.source),
            mix=self._prepared_fields.mix(self.source),
            field_plan=self._prepared_fields.field_plan(self.source),
        )
        # A copy to a device begins as soon as the batch is there: it must not wait for its consumer to make it.
        self.automatic.tune(pipeline, workers=self.num_workers, budget=budget, needs_thread=self.timeout > 0 or self.device is not None)
        self._engines.add(pipeline)
        return pipeline

    def tell_shares(self, pipeline: _native.Pipeline, epoch: int) -> str | None:
        """Before an engine begins with an epoch: a mixture's shares may differ between them. Returns these, in words."""
        if not isinstance(self.order, MixedOrder):
            return None
        pipeline.set_mixture(self.order.native(epoch))
        return self.order.describe(epoch)

    def give_pipeline(self, native: _native.Dataset, partition: Partition, pipeline: _native.Pipeline) -> None:
        """Keep an engine for the next pass over this table and for this rank."""
        self._engines.give(native, partition, pipeline)

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


def _own_sampler(dataset: Any, sampler: Any, batch_sampler: Any) -> OrderSampler | None:
    """The sampler that an earlier loader made for this dataset, if it is what was given."""
    given = batch_sampler.sampler if isinstance(batch_sampler, OrderBatchSampler) else sampler
    return given if isinstance(given, OrderSampler) and given.of is dataset else None
