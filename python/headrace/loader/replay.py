"""Any step's batch, built again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.loader.cuda import check_device
from headrace.loader.transfer import Transfer
from headrace.sampling.options import whole_number

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["replay"]


def replay(loader: DataLoader, step: int, epoch: int | None) -> Any:
    """What `DataLoader.replay` says, of a native loader: an engine of its own builds the batch, so a pass under way goes on."""
    if loader.is_fed:
        raise TypeError("replay() needs headrace's own order; this loader follows a sampler, batch_sampler or generator")
    schedule = loader.batch_schedule
    step = whole_number("step", step, 0, max(len(loader), 1) if schedule is None else 1 << 63)
    epoch = loader.place.epoch if epoch is None else whole_number("epoch", epoch, 0, 1 << 63)
    position, partition = step * loader.partition.global_batch, loader.partition
    if schedule is not None:
        if epoch != loader.place.epoch:
            raise ValueError(
                f"with a BatchSchedule, replay() knows the steps of the epoch under way, {loader.place.epoch}, not of epoch {epoch}"
            )
        position, partition = schedule.place_of(step, loader.epoch_samples, loader.partition)
    native = loader.source.native
    pipeline = loader.take_pipeline(native, partition)
    try:
        loader.tell_shares(pipeline, epoch)
        batch = pipeline.replay_at(epoch, position)
    finally:
        loader.give_pipeline(native, partition, pipeline)
    device = check_device(loader.device)
    return loader.convert(batch) if device is None else Transfer(device).copy(loader.to_host(batch), loader.slab_of(batch))
