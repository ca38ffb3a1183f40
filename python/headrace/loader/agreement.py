"""Whether all ranks are about to read the same epoch in the same way: one small all_gather at the start of a pass.

Ranks that disagree would read some samples twice and others never, and, taking different numbers of steps, wait for each other for ever.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from headrace.errors import HeadraceWarning, RanksDifferError
from headrace.loader.state import identity_of
from headrace.sampling.mesh import data_dimensions

if TYPE_CHECKING:
    from headrace.loader.loader import DataLoader

__all__ = ["check_agreement"]

_NUMBERS = ("epoch", "position", "steps", "seed", "batch_size", "world_size", "samples")
_HASHES = ("dataset", "order (shuffle, order, window, weights of samples or sources)", "remainder (drop_last, uneven)")
_NAMES = (*_NUMBERS, *_HASHES)
_PATIENCE_SECONDS = 30.0


def check_agreement(loader: DataLoader, epoch: int, position: int) -> None:
    """Compare the pass that begins at this place with the other ranks' passes. Each of them must call it; waits for the slowest.

    Raises RanksDifferError, on all ranks alike, naming each rank that differs from most others, and in what. Does nothing where the loader is told not
    to check, follows a sampler, reads alone, or where no process group connects the ranks that share its data.
    """
    follows = loader.is_fed and loader.planned is None
    if not loader.check_ranks or follows or loader.partition.world_size == 1 or not (dist.is_available() and dist.is_initialized()):
        return
    mine = [*_describe(loader, epoch, position), loader.partition.rank]
    if loader.mesh is None:
        # A share that is none of the group's, such as rank // 2 of world // 2, does not say who else reads.
        if loader.partition.world_size == dist.get_world_size():
            _compare(_gather(mine, None), list(range(dist.get_world_size())))
        return
    for dimension in data_dimensions(loader.mesh):
        group = loader.mesh.get_group(dimension)
        _compare(_gather(mine, group), dist.get_process_group_ranks(group))


def _describe(loader: DataLoader, epoch: int, position: int) -> list[int]:
    same = identity_of(loader, {"epoch": epoch, "finished": False})
    share = loader.partition
    planned = loader.planned
    steps = share.num_batches(loader.epoch_samples, position) if planned is None else len(planned) - position
    numbers = [epoch, position, steps, _signed(loader.order_seed), share.batch_size, share.world_size, same["num_samples"]]
    texts = [same["fingerprint"], f"{same['order']} {same['window']} {same.get('shares')}", f"{share.drop_last} {share.uneven}"]
    return numbers + [_signed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")) for text in texts]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _gather(mine: list[int], group: Any) -> list[list[int]]:
    """Everyone's numbers, by rank in the group; says so where the others let it wait."""
    # A group of one backend takes tensors of its own device alone.
    device = dist.distributed_c10d._get_object_coll_device(group)
    sent = torch.tensor(mine, dtype=torch.int64, device=device)
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    work = dist.all_gather(received, sent, group=group, async_op=True)
    begin, pause, is_told = time.monotonic(), 1e-5, False
    while work is not None and not work.is_completed():
        time.sleep(pause)
        pause = min(2 * pause, 0.01)
        if not is_told and time.monotonic() - begin > _PATIENCE_SECONDS:
            is_told = True
            warnings.warn(
                f"the start of a pass has waited {_PATIENCE_SECONDS:.0f} s for the other ranks: each of them must begin it too (iter(loader)); "
                "a loader that one rank alone iterates needs rank=0, world_size=1 or check_ranks=False",
                HeadraceWarning,
                stacklevel=5,
            )
    if work is not None:
        work.wait()
    return [one.tolist() for one in received]


def _compare(all_ranks: list[list[int]], names: list[int]) -> None:
    """`all_ranks`: what each sent, its share's rank last; `names`: their ranks in the world."""
    plans = [tuple(sent[:-1]) for sent in all_ranks]
    usual = Counter(plans).most_common(1)[0][0]  # Of as many, that of the lowest rank.
    found = [f"rank {name}: {_differences(plan, usual)}" for name, plan in zip(names, plans, strict=True) if plan != usual]
    shares = [sent[-1] for sent in all_ranks]
    if not found and len(set(shares)) < len(shares):
        found = [f"ranks {', '.join(map(str, names))} read the shares {', '.join(map(str, shares))}: some twice, others never"]
    if found:
        raise RanksDifferError(
            f"the ranks do not begin the same pass; {'; '.join(found)}. Every rank needs the same dataset, seed, order, batch_size, epoch (set_epoch()) "
            "and loaded state; check_ranks=False turns this check off"
        )


def _differences(plan: tuple[int, ...], usual: tuple[int, ...]) -> str:
    parts = []
    for name, value, other in zip(_NAMES, plan, usual, strict=True):
        if value != other and name in _HASHES:
            parts.append(f"another {name}")
        elif value != other:
            mask = (1 << 64) - 1 if name == "seed" else -1
            parts.append(f"{name} is {value & mask}, not {other & mask}")
    return ", ".join(parts)
