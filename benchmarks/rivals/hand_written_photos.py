"""The plain chain of a hand-written loader: simplejpeg decodes in full, OpenCV resizes, numpy normalises, Python threads share the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PlainChain"]

Array = npt.NDArray[Any]
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255


class PlainChain:
    """Images of `paths` as float32 batches of (batch, 3, side, side): RandomResizedCrop and flip, or Resize and CenterCrop."""

    def __init__(self, paths: Sequence[Path], batch_size: int, *, train: bool = True, side: int = 224, resize: int = 256) -> None:
        import cv2
        import simplejpeg

        cv2.setNumThreads(1)
        self._cv2, self._decode = cv2, simplejpeg.decode_jpeg
        self._encoded = [path.read_bytes() for path in paths]
        self._batch_size, self._side, self._resize = batch_size, side, resize
        self.prepare: Callable[[int, Array], None] = self._train if train else self._evaluate

    def decode_all(self, threads: int) -> int:
        """Decode every image in full, and nothing else: libjpeg-turbo's own rate. Returns how many pixels there were."""
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(lambda encoded: self._decode(encoded, "RGB").size // 3, self._encoded, chunksize=16))

    def batches(self, threads: int) -> Iterator[Array]:
        """One pass in shuffled order; threads=0: on the caller's thread."""
        order = np.random.default_rng(0).permutation(len(self._encoded))
        pool = ThreadPoolExecutor(threads) if threads else None
        for begin in range(0, len(order), self._batch_size):
            chosen = order[begin : begin + self._batch_size].tolist()
            out = np.empty((len(chosen), 3, self._side, self._side), np.float32)
            if pool is None:
                for i, out_one in zip(chosen, out, strict=True):
                    self.prepare(i, out_one)
            else:
                list(pool.map(self.prepare, chosen, out))
            yield out
        if pool is not None:
            pool.shutdown()

    def _train(self, index: int, out: Array) -> None:
        rng = np.random.default_rng(index)
        image = self._decode(self._encoded[index], "RGB")
        height, width = image.shape[:2]
        for _ in range(10):
            area = height * width * rng.uniform(0.08, 1.0)
            aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                image = image[top : top + h, left : left + w]
                break
        image = self._cv2.resize(image, (self._side, self._side), interpolation=self._cv2.INTER_LINEAR)
        self._normalise(image[:, ::-1] if rng.random() < 0.5 else image, out)

    def _evaluate(self, index: int, out: Array) -> None:
        image = self._decode(self._encoded[index], "RGB")
        height, width = image.shape[:2]
        scale = self._resize / min(height, width)
        image = self._cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=self._cv2.INTER_LINEAR)
        top, left = (image.shape[0] - self._side) // 2, (image.shape[1] - self._side) // 2
        self._normalise(image[top : top + self._side, left : left + self._side], out)

    @staticmethod
    def _normalise(image: Array, out: Array) -> None:
        for channel in range(3):
            np.subtract(image[..., channel], _MEAN[channel], out=out[channel])
            out[channel] *= 1 / _STD[channel]
