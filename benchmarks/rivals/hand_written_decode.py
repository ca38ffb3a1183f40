"""Python threads over compressed samples in memory, as a person would write it: one frame a sample, decoded without the interpreter lock.

Every thread has a decoder of its own and decodes a whole batch (handing single samples between threads loses). The best known form for
each: byte planes split by numpy before Zstandard, which must be woven together again in numpy, or frames of the plain bytes; the benchmark
runs both and takes the faster. Text shares one trained dictionary. Frames are in memory before the clock, which favours this rival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any

import lz4.block  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch
import zstandard

__all__ = ["HandWrittenText", "HandWrittenVolumes"]

_AHEAD = 4  # batches under way


class _Threaded:
    def __init__(self, name: str, batch_size: int, threads: int) -> None:
        self.name, self.batch_size = name, batch_size
        self.pool = ThreadPoolExecutor(threads)
        self.own = local()

    def _run(self, indices: npt.NDArray[np.int64], batch_of: Callable[[npt.NDArray[np.int64]], Any]) -> Iterator[Any]:
        parts = [indices[begin : begin + self.batch_size] for begin in range(0, len(indices), self.batch_size)]
        waiting = [self.pool.submit(batch_of, part) for part in parts[:_AHEAD]]
        for number in range(len(parts)):
            yield waiting.pop(0).result()
            if number + _AHEAD < len(parts):
                waiting.append(self.pool.submit(batch_of, parts[number + _AHEAD]))


class HandWrittenVolumes(_Threaded):
    """Volumes as frames of `codec`, with the bytes of equal weight together or not."""

    def __init__(self, volumes: Iterator[npt.NDArray[np.float32]], codec: str, shuffled: bool, batch_size: int, threads: int = 2) -> None:
        super().__init__(f"hand-written, {codec}{' + shuffle' if shuffled else ''}", batch_size, threads)
        self.codec, self.shuffled = codec, shuffled
        self.frames: list[bytes] = []
        encoder = zstandard.ZstdCompressor(level=3)
        for volume in volumes:
            data = volume.view(np.uint8).reshape(-1, 4).T.tobytes() if shuffled else volume.tobytes()
            self.frames.append(lz4.block.compress(data) if codec == "lz4" else encoder.compress(data))
            self.shape = volume.shape

    def batches(self, indices: npt.NDArray[np.int64]) -> Iterator[torch.Tensor]:
        """Batches of fresh memory."""
        return self._run(indices, self._batch)

    def _batch(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        out = np.empty((len(indices), *self.shape), np.float32)
        if not hasattr(self.own, "decoder"):
            self.own.decoder = zstandard.ZstdDecompressor()
        for slot, index in enumerate(indices):
            frame = self.frames[index]
            data = np.frombuffer(lz4.block.decompress(frame) if self.codec == "lz4" else self.own.decoder.decompress(frame), np.uint8)
            if self.shuffled:
                out[slot].view(np.uint8).reshape(-1, 4)[:] = data.reshape(4, -1).T
            else:
                out[slot].view(np.uint8).reshape(-1)[:] = data
        return torch.from_numpy(out)


class HandWrittenText(_Threaded):
    """Text as one frame a sample, all with one dictionary; a batch is a list of str."""

    def __init__(self, texts: Sequence[str], batch_size: int, threads: int = 2) -> None:
        super().__init__("hand-written, zstd + dictionary", batch_size, threads)
        encoded = [text.encode() for text in texts]
        self.dictionary = zstandard.train_dictionary(64 << 10, encoded[:4000])
        encoder = zstandard.ZstdCompressor(level=3, dict_data=self.dictionary)
        self.frames = [encoder.compress(data) for data in encoded]

    def batches(self, indices: npt.NDArray[np.int64]) -> Iterator[list[str]]:
        """Batches of str."""
        return self._run(indices, self._batch)

    def _batch(self, indices: npt.NDArray[np.int64]) -> list[str]:
        if not hasattr(self.own, "decoder"):
            self.own.decoder = zstandard.ZstdDecompressor(dict_data=self.dictionary)
        decompress = self.own.decoder.decompress
        return [decompress(self.frames[index]).decode() for index in indices]
