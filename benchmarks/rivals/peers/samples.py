"""What loaders without a storage format of their own read: arrays in memory, and volumes as LZ4 frames, decoded sample by sample."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.workloads.shapes import Shape

__all__ = ["Arrays", "decode_volume", "encode_volume", "write_frames"]

_VOLUME = (1, 64, 64, 64)


def encode_volume(volume: npt.NDArray[np.float32]) -> bytes:
    """LZ4: of the codecs that Python has, the fastest to decode."""
    import lz4.block

    return lz4.block.compress(volume.tobytes(), store_size=False)


def decode_volume(frame: Any) -> npt.NDArray[np.float32]:
    """The volume of `encode_volume`."""
    import lz4.block

    decoded = lz4.block.decompress(frame, uncompressed_size=4 * 64**3)
    return np.frombuffer(decoded, np.float32).reshape(_VOLUME)


def write_frames(shape: Shape, folder: Path) -> None:
    """All volumes, compressed, in one file with offsets beside it."""
    frames = [encode_volume(volume) for volume in shape.array("volume")]
    np.save(folder / "frames.npy", np.frombuffer(b"".join(frames), np.uint8))
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, frames)]))


class Arrays:
    """A shape's samples in memory: the fastest that a loader without a format can be given."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self._shape = shape
        self._texts: list[bytes] = []
        self._fields: list[npt.NDArray[Any]] = []
        if shape.name == "text":
            self._texts = shape.texts()
        elif shape.name == "volumes":
            self._frames = memoryview(np.load(folder / "frames.npy"))
            self._offsets = np.load(folder / "offsets.npy").tolist()
        else:
            self._fields = [shape.array(name, mapped=False) for name in shape.field_names]

    def sample(self, index: int) -> tuple[Any, ...]:
        """One sample, decoded."""
        if self._texts:
            return (self._texts[index],)
        if not self._fields:
            return (decode_volume(self._frames[self._offsets[index] : self._offsets[index + 1]]),)
        if self._shape.name == "tokens":
            return (self._fields[0][index].astype(np.int64),)
        return tuple(field[index] for field in self._fields)

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> tuple[Any, ...]:
        """A whole batch, gathered at once where the data allows it."""
        if self._texts:
            return ([self._texts[index] for index in indices],)
        if not self._fields:
            volumes = np.empty((len(indices), *_VOLUME), np.float32)
            for place, index in enumerate(indices):
                volumes[place] = self.sample(index)[0]
            return (volumes,)
        chosen = np.asarray(indices)
        gathered = tuple(np.take(field, chosen, axis=0, mode="clip") for field in self._fields)
        return (gathered[0].astype(np.int64),) if self._shape.name == "tokens" else gathered


def in_threads(function: Any, tasks: Any, threads: int) -> Any:
    """Results of `function` over `tasks`, in order, computed ahead by threads; on this one where `threads` is 0."""
    if threads == 0:
        yield from map(function, tasks)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting: list[Any] = []
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
