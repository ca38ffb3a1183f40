"""One file for each loader that turns a folder of photos into batches, ours among them; each holds a class `Peer` with the same calls:

Peer(paths, kind)      kind "train": RandomResizedCrop(224) and a flip; "evaluate": the shorter side to 256, the middle 224x224; both normalised
settings()             the grid of settings that its documentation offers
open(**settings)       everything that is not delivering
batches(epoch)         an epoch, shuffled: arrays or tensors of (64, 3, 224, 224) float32, the last one as it comes
"""

from __future__ import annotations

import math
import random

BATCH = 64
SIDE = 224
SHORTER = 256
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def random_part() -> tuple[float, float]:
    """RandomResizedCrop's draws: share of the area, ratio of the sides."""
    return random.uniform(0.08, 1.0), math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
