"""`headrace.DataLoader`: torch's DataLoader, with headrace datasets served by the native engine."""

from __future__ import annotations

import copy
import os
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from headrace.errors import import_extra
from headrace.loader.automatic import Budget
from headrace.loader.engines import EnginePool
from headrace.loader.followers import Followers
from headrace.loader.state import LoaderState
from headrace.sampling.batch_schedule import BatchSchedule
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.options import one_of, whole_number
from headrace.sampling.strata import StrataOrder
from headrace.sampling.token_batches import TokenBatches
from headrace.sampling.weighted import WeightedOrder
from headrace.sampling.window_choice import window_target

import_extra("torch", "torch", "headrace.DataLoader")
import torch.utils.data  # noqa: E402

from headrace.loader.cuda import check_device  # noqa: E402
from headrace.loader.device_iterator import DeviceIterator, TorchDeviceIterator  # noqa: E402
from headrace.loader.engine_loader import EngineLoader  # noqa: E402
from headrace.loader.native_iterator import NativeIterator  # noqa: E402
from headrace.loader.place import read_place, save_place  # noqa: E402
from headrace.loader.prepared import PreparedPass, can_be_kept, prepared_device  # noqa: E402
from headrace.loader.python_engine import PythonEngine  # noqa: E402
from headrace.loader.python_options import NATIVE_DEFAULTS  # noqa: E402
from headrace.loader.replay import replay  # noqa: E402
from headrace.loader.single_samples import convert_sample  # noqa: E402
from headrace.loader.source import Source, as_arrays  # noqa: E402
from headrace.loader.stats import stats_of  # noqa: E402
from headrace.loader.transfer import Transfer  # noqa: E402
from headrace.sampling.order import is_plain  # noqa: E402

__all__ = ["DataLoader"]

_TORCH_ARGUMENTS = (
    *("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout"),
    *("worker_init_fn", "multiprocessing_context", "generator", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order"),
)


class DataLoader(EngineLoader):
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
            Copies run on a stream of their own, one batch ahead of the consumer; its current stream waits for them, the host does not. A batch within 1 MiB
            goes as one piece on the current stream: its fields share memory there. pin_memory is not needed then. None or "cpu": batches stay on
            the host. ValueError without such a device.
    With a headrace dataset, num_workers counts native threads (0: everything on the caller's thread), prefetch_factor batches a thread. "auto": chosen while
    it runs, from what the consumer waits for, and again when machine or consumer change; batches stay what they are. num_workers="auto" begins with what
    `headrace tune` found best for this dataset on this machine, else with the usable cores (the attribute holds this number), and chooses how many batches
    to have ahead as well; follows the affinity and quota of the thread that iterates; beside other automatic loaders of the process it takes what is best for
    all of them together. stats() says what is in force.
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
        options = {name: value for name, value in locals().items() if name in NATIVE_DEFAULTS}
        arguments = {name: value for name, value in locals().items() if name in _TORCH_ARGUMENTS}
        self.parallel = one_of("parallel", parallel, ("auto", "native", "process", "thread"))
        self.batch_schedule = None
        if isinstance(batch_size, BatchSchedule):
            batch_size.take(self)
            self.batch_schedule, arguments["batch_size"] = batch_size, batch_size.batch_size
        self.is_disabled = os.environ.get("HEADRACE_DISABLE", "") not in ("", "0")
        if type(dataset) is dict and sampler is None and batch_sampler is None and not self.is_disabled:
            arguments["dataset"] = as_arrays(dataset)
        plain = worker_init_fn is None and (collate_fn is None or collate_fn is torch.utils.data.default_collate)
        whole = batch_size is not None or batch_sampler is not None
        self._source = Source(arguments["dataset"], "disabled" if self.is_disabled else parallel, whole=whole, plain=plain)
        self.seed = seed
        self.order_seed = 0 if seed is None else whole_number("seed", seed, 0, 1 << 64)
        self.order, self.weights = order, weights
        if isinstance(window, str):
            window_target(window)
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
        self.snapshot_every_n_steps, self.shuffle = snapshot_every_n_steps, bool(shuffle)
        check_device(device)
        self.device = device
        self._begin_empty()
        if self.is_native:
            self._begin_native(options, arguments)
        else:
            self._python = PythonEngine(self)
            if not whole and collate_fn is None and self._source.is_headraces and not self.is_disabled:
                arguments["collate_fn"] = convert_sample
            self._begin_as_torch(options, arguments)
        self.followers = Followers(self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None), self.dataset)

    def _begin_empty(self) -> None:
        """What a loader knows that nobody iterated."""
        self.place = LoaderState()
        self._engines = EnginePool()
        self._latest: weakref.ref[NativeIterator] | None = None
        self._own = None
        self.planned = None
        self._is_prepared = False  # by Accelerate
        self._epoch_shift, self._was_loaded = 0, False
        self._workers_seed = self._pass_indices = None

    def __class_getitem__(cls, item: Any) -> types.GenericAlias:
        # DataLoader[Tensor] in annotations, as of torch's, which is generic.
        return types.GenericAlias(cls, item)

    # -- iteration ---------------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        device = check_device(self.device)
        if self.is_native and not self._hear_collate():
            self._python = PythonEngine(self)
        if not self.is_native:
            batches = super().__iter__() if self.is_disabled else self._python.iterate()
            return batches if device is None else TorchDeviceIterator(batches, Transfer(device))
        self._look_again()
        self.hear_sampler()
        if self._is_prepared and self.device is None:
            device = prepared_device()
        iterator = NativeIterator(self) if device is None else DeviceIterator(self, Transfer(device, self.budget))
        self._latest = weakref.ref(iterator)
        return PreparedPass(iterator) if self._is_prepared else iterator

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

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass. Without a call, each pass that delivered something is followed by the next epoch."""
        if self.is_native or self.parallel == "thread":
            epoch = whole_number("epoch", epoch, 0, 1 << 63)
        if type(epoch) is int:
            self.place = self.place.at_epoch(epoch)
        self._tell(epoch)

    def replay(self, step: int, epoch: int | None = None) -> Any:
        """Build the batch of any step again (of the current epoch unless one is named), without disturbing the pass under way.

        Raises ValueError for a step that the epoch does not have, TypeError for a user's sampler, whose order is not a function.
        """
        self._require_native("replay")
        return replay(self, step, epoch)

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: plain values, the same on every rank, counting delivered batches. Legal at any moment.

        Only `skipped`, there once on_error left out or replaced something, is each rank's own: the samples that failed here, each once. A place that
        is loaded on all ranks may come from any of them; each then counts on from that rank's errors.
        """
        if not self.is_native:
            return self._python.state_dict()
        return save_place(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved place: the next iterator delivers what the saved one would have delivered next. Reads no data.

        A sampler's epoch is set to what it was (set_epoch()). Raises ChangedError naming each difference in dataset, seed or order; ValueError for
        what is not a state.
        """
        if not self.is_native:
            self._python.load_state_dict(state_dict)
            return
        self._source.refresh()
        self.place = read_place(self, state_dict)
        self._was_loaded = True
        if self._own is not None:
            self._tell(self.place.epoch)
        elif "epoch" in self.place.drawn:
            self.followers.tell(self.place.drawn["epoch"])

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

        timed_one_in: 8 while batches come less than 50 us apart, else 1. One in eight is then timed and counts for all in stall_seconds, wait_seconds and the
        stages plan, assemble and fields, but what is slow (reads, decodes, waits that sleep) in each: sums hold to a few percent over 1,000 batches.
        """
        if not self.is_native:
            return self._python.stats()
        return stats_of(self, None if self._latest is None else self._latest())

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

    def _require_native(self, what: str) -> None:
        if not self.is_native:
            raise TypeError(
                f"{what}() needs a headrace dataset read in batches; this loader runs {type(self.dataset).__name__} as torch does"
            )
