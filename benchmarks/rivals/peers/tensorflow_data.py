"""tf.data: indices shuffled over the whole range, batched, then gathered a batch at a time (its guide: vectorise the mapping), or a sample at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.rivals.peers.samples import Arrays, write_frames
from benchmarks.workloads.shapes import Shape


class Peer:
    """Whole batches or samples, both with parallel calls and prefetch tuned by tf.data itself."""

    name = "tf.data"
    order = "global shuffle of indices"

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder

    def convert(self) -> None:
        """Only volumes have a file of their own."""
        if self.shape.name == "volumes":
            write_frames(self.shape, self.folder)

    def settings(self) -> list[dict[str, Any]]:
        """Gather batches, or samples."""
        return [{"vectorised": True}, {"vectorised": False}]

    def open(self, vectorised: bool) -> None:
        """Data in memory, as tensors where it is not compressed."""
        tf.config.set_visible_devices([], "GPU")
        self.vectorised = vectorised
        if self.shape.name == "text":
            self.tensors: Any = [tf.constant(self.shape.texts())]
        elif self.shape.name == "volumes":
            self.arrays = Arrays(self.shape, self.folder)
        else:
            self.tensors = [tf.constant(self.shape.array(name, mapped=False)) for name in self.shape.field_names]

    def _gather(self, index: Any) -> Any:
        if self.shape.name == "volumes":
            call = self.arrays.batch if self.vectorised else self.arrays.sample
            volume = tf.numpy_function(lambda i: call(i)[0], [index], tf.float32)
            volume.set_shape([None, 1, 64, 64, 64] if self.vectorised else [1, 64, 64, 64])
            return (volume,)
        values = tuple(tf.gather(tensor, index) for tensor in self.tensors)
        return (tf.cast(values[0], tf.int64),) if self.shape.name == "tokens" else values

    def batches(self, epoch: int) -> Iterator[Any]:
        """An epoch, as numpy views of its tensors."""
        size = self.shape.batch_size
        indices = tf.data.Dataset.range(self.shape.samples).shuffle(self.shape.samples, seed=epoch)
        if self.vectorised:
            dataset = indices.batch(size).map(self._gather, num_parallel_calls=tf.data.AUTOTUNE)
        else:
            dataset = indices.map(self._gather, num_parallel_calls=tf.data.AUTOTUNE).batch(size)
        for batch in dataset.prefetch(tf.data.AUTOTUNE):
            values = tuple(np.asarray(memoryview(value)) if value.dtype != tf.string else value.numpy().tolist() for value in batch)
            yield values
