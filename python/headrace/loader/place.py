"""A native loader's place, saved and loaded: what `state_dict()` and `load_state_dict()` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.loader.state import VERSION, LoaderState, cuts_of, identity_of, read_state

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["read_place", "save_place"]


def save_place(loader: DataLoader) -> dict[str, Any]:
    """The loader's place as plain values, with what must be the same where it is loaded."""
    state = loader.place
    out = {"version": VERSION, **identity_of(loader), "epoch": state.epoch, "position": state.position, "finished": state.finished}
    if loader.batch_schedule is not None:
        out["schedule"] = loader.batch_schedule.state_dict()
    if state.skipped:
        out["skipped"] = list(state.skipped)
    if loader.planned is not None and not state.finished:
        out["ranks"], out["cuts"] = state.ranks or loader.planned.share.find().world_size, [list(cut) for cut in state.cuts]
    drawn = {} if state.finished else dict(state.drawn)
    if loader.is_fed and (epoch := loader.followers.epoch()) is not None:
        drawn.setdefault("epoch", epoch)  # Of the pass under way, or of the next.
    if drawn:
        out["drawn"] = drawn
    return out


def read_place(loader: DataLoader, saved: Mapping[str, Any]) -> LoaderState:
    """The place that was saved, checked against this loader; a schedule's goes into it at once. Raises as load_state_dict() does."""
    place = read_state(saved, identity_of(loader, saved), _last_position(loader, saved))
    if loader.batch_schedule is not None:
        loader.batch_schedule.load_state_dict(saved.get("schedule"))
    return place


def _last_position(loader: DataLoader, saved: Any) -> int:
    if not loader.is_fed:
        return loader.epoch_samples
    if loader.planned is not None:
        epoch = saved.get("epoch") if isinstance(saved, Mapping) else None
        cuts, ranks = cuts_of(saved) if isinstance(saved, Mapping) else ((), 0)
        return loader.planned.num_batches(epoch, cuts, ranks or None) if type(epoch) is int and 0 <= epoch < 1 << 63 else 0
    try:
        return len(loader)
    except TypeError:  # A sampler without a length, as torch allows.
        return (1 << 63) - 1
