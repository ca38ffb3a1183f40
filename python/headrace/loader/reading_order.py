"""Whose order a native loader follows: headrace's own, that of a sampler or generator, or batches planned by what their samples hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.shards import Dataset
from headrace.loader.source import Source
from headrace.sampling.batch_schedule import BatchSchedule
from headrace.sampling.mixing import MixedOrder
from headrace.sampling.options import one_of
from headrace.sampling.order import OrderBatchSampler, OrderSampler, SequentialOrderSampler
from headrace.sampling.partition import Share
from headrace.sampling.strata import StrataOrder
from headrace.sampling.token_batches import PlannedBatches, TokenBatches
from headrace.sampling.weighted import WeightedOrder, choose_order
from headrace.sampling.window_choice import automatic_window, window_target

__all__ = ["ReadingOrder"]


@dataclass(kw_only=True)
class ReadingOrder:
    """A loader's arguments that say order, batches and share; find() makes of them what torch's own constructor is given, and what was found.

    find() raises ValueError for what contradicts itself.
    """

    dataset: Any  # as the user gave it
    source: Source  # in which the engine found it
    order_seed: int
    batch_size: int | None
    shuffle: bool | None
    sampler: Any
    batch_sampler: Any
    drop_last: bool
    generator: Any
    seed: int | None
    order: str | WeightedOrder | MixedOrder | StrataOrder
    weights: Any
    window: int | str
    rank: int | None
    world_size: int | None
    mesh: Any
    uneven: str
    batch_by: TokenBatches | None
    ragged: str
    batch_schedule: BatchSchedule | None

    # What was found.
    window_chunks: int = 32  # `window`, once it is a number
    planned: PlannedBatches | None = None  # batches by what their samples hold
    own: OrderSampler | None = None  # where the order is headrace's: what trainers find as `sampler`
    is_fed: bool = False  # whether somebody else's order is followed

    ARGUMENTS: ClassVar[tuple[str, ...]] = (
        *(
            "dataset",
            "source",
            "order_seed",
            "batch_size",
            "shuffle",
            "sampler",
            "batch_sampler",
            "drop_last",
            "generator",
            "seed",
            "order",
        ),
        *("weights", "window", "rank", "world_size", "mesh", "uneven", "batch_by", "ragged", "batch_schedule"),
    )

    def find(self) -> None:
        """Decide."""
        self._recognise_parts()
        self._plan()
        self._draw()
        self._find_window()
        self._find_whose()
        if not self.is_fed:
            self._make_own()

    def torch_arguments(self) -> dict[str, Any]:
        """Order and batches, as the constructor of torch's DataLoader is to get them."""
        order = {"shuffle": self.shuffle, "sampler": self.sampler} if self.own is None else {"sampler": self.own}
        return {**order, "batch_size": self.batch_size, "batch_sampler": self.batch_sampler, "drop_last": self.drop_last}

    def _recognise_parts(self) -> None:
        """Take from a sampler that an earlier loader made for this dataset, if it is given, what that loader was told: trainers make loaders again."""
        batches = self.batch_sampler
        given = batches.sampler if isinstance(batches, OrderBatchSampler) else self.sampler
        if isinstance(given, OrderSampler) and given.of is self.dataset:
            self.order, self.shuffle, self.sampler, self.batch_sampler = (
                given.kind if given.shuffle else "global",
                given.shuffle,
                None,
                None,
            )
            share = given.share
            self.batch_size, self.drop_last, self.rank, self.world_size = share.batch_size, share.drop_last, share.rank, share.world_size
            self.mesh, self.uneven = share.mesh, share.uneven
        elif getattr(batches, "is_shared_out", False):  # Around such a sampler's batches, as Lightning does for predictions.
            self.rank, self.world_size, self.mesh, self.uneven = None, None, None, "pad"

    def _plan(self) -> None:
        """Batches by what their samples hold, new or of a loader that is made again from its attributes."""
        self.planned = self.batch_sampler if isinstance(self.batch_sampler, PlannedBatches) else None
        if self.batch_by is not None and self.planned is None:
            others = [one is not None for one in (self.sampler, self.batch_sampler, self.weights, self.generator)]
            changed = self.batch_size != 1 or self.drop_last or self.order != "global" or self.uneven == "exact"
            if any(others) or changed or hasattr(self.source.found, "mixed"):
                raise ValueError(
                    "batch_by makes the batches of an order of its own; leave batch_size, sampler, batch_sampler, generator, drop_last, order, weights and "
                    "uneven='exact' out"
                )
            if self.batch_by.is_packed and self.ragged != "offsets":
                raise ValueError("headrace.pack() lays samples side by side: give ragged='offsets'")
            share = Share(rank=self.rank, world_size=self.world_size, mesh=self.mesh, uneven=self.uneven)
            rows = self.source.found
            assert rows is not None
            self.planned = PlannedBatches(self.batch_by, rows, seed=self.order_seed, shuffle=bool(self.shuffle), share=share)
        if self.planned is not None:
            self.batch_size, self.batch_sampler, self.shuffle = 1, self.planned, None
            self.rank, self.world_size, self.mesh, self.uneven = None, None, None, "pad"

    def _draw(self) -> None:
        """Turn weights, mixtures and shares of classes into an order."""
        mixed = getattr(self.source.found, "mixed", None)
        self.order, self.sampler, self.shuffle = choose_order(
            self.order, self.weights, self.sampler, self.shuffle, len(self.source), self.batch_size or 1, mixed
        )
        if not isinstance(self.order, WeightedOrder | MixedOrder | StrataOrder):
            one_of("order", self.order, ("global", "window"))

    def _find_window(self) -> None:
        """The number of chunks, also of window="auto"."""
        if not isinstance(self.window, str):
            self.window_chunks = self.window
        elif self.shuffle and self.order == "window":
            self.window_chunks = automatic_window(window_target(self.window), self.source.native.chunk_layout, self.order_seed)

    def _find_whose(self) -> None:
        placed = self.rank is not None or self.world_size is not None or self.mesh is not None or self.uneven != "pad"
        is_ordered = placed or self.seed is not None or self.order != "global"
        self.is_fed = (
            self.sampler is not None
            or self.batch_sampler is not None
            or (self.generator is not None and bool(self.shuffle))
            or not (isinstance(self.dataset, Dataset | ArrayDataset) or is_ordered)
        )
        if self.is_fed and not isinstance(self.order, str):
            raise ValueError("weights and mixtures have an order of their own; leave sampler, batch_sampler and generator out")
        if self.is_fed and self.batch_schedule is not None:
            raise ValueError("a BatchSchedule cuts headrace's own order; leave sampler, batch_sampler, generator and batch_by out")
        if self.is_fed and placed:
            raise ValueError(
                "rank, world_size, mesh and uneven cut headrace's own order; a sampler, batch_sampler or generator must do its own share (DistributedSampler)"
            )

    def _make_own(self) -> None:
        # Of a dataset of torch's the order is asked where it is looked at again, so that it follows, and travels with its arrays only once.
        rows: Any = self.source.found if self.source.is_ours else self.source
        share = Share(
            batch_size=self.batch_size or 1,
            drop_last=self.drop_last,
            rank=self.rank,
            world_size=self.world_size,
            mesh=self.mesh,
            uneven=self.uneven,
        )
        kind, make = (self.order, OrderSampler) if self.shuffle else ("sequential", SequentialOrderSampler)
        self.own = make(rows, seed=self.order_seed, kind=kind, window=self.window_chunks, share=share, of=self.dataset)
